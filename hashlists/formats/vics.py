"""Reads hash sets in the Project VIC data model (VICS): JSON, versions 1.0 to 1.3 and 2.0.

A file is one OData object: a context that names version, profile and entity set, and an array
`value` of `Media` records. Keys may come in any order; where the context stands behind the array,
the file is read twice.

Taken over: hashes, the category verbatim with the file's profile (the meaning of a number depends
on the profile, 0 is a value, null is none), size, id, time stamp, media type and yes/no flags.
Never taken over: paths, comments, tags, the names of series (only that there is one), thumbnails,
Exif, files on seized disks. Members `SHA256` and `PDQ`, which the schema does not have, are read
where a file has them.

Case files (`#Cases`) are refused, since they carry data of cases. With the option `cases=media` the
media of their cases are read, and all else in them is skipped unread.

A file that is one page of several (OData's `nextLink`) or holds another number of records than its
own `count` says is refused: a part must not pass for the whole. Pages that are imported together
make the whole (see `paged_set`).

A record in which an object has a member twice, read or not, is rejected; in the file's object that
is refused of the context, the count, the link to a next page and `value`.

Names count as the model writes them. A member that is written in another case is not read; a note
tells which, and a record that has no hash for this reason is rejected with it.

VICS has no retractions: that a record is missing from a later file proves nothing by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.advice import INSPECT
from hashlists.formats.base import BatchReader, FileHeader, Format, RawBatch
from hashlists.formats.harm import KNOWN_GOOD_OPTION
from hashlists.formats.json_nested import NestedArrayStream
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.vics_context import CONTEXT_KEYS, find_contexts, parse_context
from hashlists.formats.vics_likeness import looks_like
from hashlists.formats.vics_names import names_in_other_case
from hashlists.formats.vics_records import Media, count_objects, to_batch
from hashlists.formats.vics_writer import VicsWriter
from hashlists.model import Harm
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.formats.paged_set import PagedSet
    from hashlists.formats.vics_context import Context
    from hashlists.limits import ImportLimits

_NEXT_KEYS: Final = ("@odata.nextLink", "odata.nextLink")
_COUNT_KEYS: Final = ("@odata.count", "odata.count")
_COUNT_TEXT = re.compile(r"[0-9]{1,20}", re.ASCII)
_OPTIONS: Final = ("cases", KNOWN_GOOD_OPTION, "profile")


class VicsReader(BatchReader):
    """Iterates over a VICS file (see `base.ListReader` and `paged_set.PagedReader`).

    Options:
        profile: the profile to assume where the file names none (1.x files usually do not).
        cases: `media` reads the media of a case file; without it, case files are refused.
        known_good: `yes` for a set of known-good files, which go into lists of that harm alone.

    Raises:
        OptionsError: an option is unknown or wrong, or names another profile than the file.
        FormatError: the file is not a VICS hash set of a known version.
    """

    format: Final = "vics"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        _check_options(options)
        self._stream = stream
        self._limits = limits
        self._assumed_profile = options.get("profile", "")
        self._may_be_case_file = options.get("cases") == "media"
        self._pages: PagedSet | None = None
        self._records: JsonArrayStream[Media] = self._open()
        self._context = self._find_context()
        self._header = self._context.header(self._assumed_profile)
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """Version and profile as the file's context names them."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed in the pass that yields batches."""
        return self._records.bytes_read

    def join(self, pages: PagedSet) -> None:
        """Says that the file comes with the other pages of its set."""
        self._pages = pages

    def _open(self, *, case_file: bool = False) -> JsonArrayStream[Media]:
        self._stream.seek(0)
        wanted = (*CONTEXT_KEYS, *_NEXT_KEYS, *_COUNT_KEYS)
        records: JsonArrayStream[Media]
        if case_file:
            records = NestedArrayStream(
                self._stream,
                array_key="value",
                inner_key="Media",
                record_type=Media,
                wanted=wanted,
                limits=self._limits,
                count_objects=count_objects,
                find_odd_names=names_in_other_case,
            )
        else:
            records = JsonArrayStream(
                self._stream,
                array_key="value",
                record_type=Media,
                wanted=wanted,
                limits=self._limits,
                count_objects=count_objects,
                find_odd_names=names_in_other_case,
            )
        records.open_array()
        return records

    def _find_context(self) -> Context:
        """The context from before the array, else from behind it by reading the file twice."""
        found = find_contexts(self._records.members)
        again = not found
        if again:
            for _ in self._records.chunks():
                pass
            found = find_contexts(self._records.members)
        if not found:
            raise FormatError(
                'the file has neither "@odata.context" (VICS 2.0) nor "odata.metadata" (1.x); '
                f"without it, it is not a VICS file; {INSPECT}"
            )
        context = parse_context(found[0])
        if context.is_case_file and not self._may_be_case_file:
            raise FormatError(
                "this is a case file (#Cases), which carries data of cases; export the hash set "
                "alone (#Media) and import that, or take nothing but its media with the option "
                "cases=media"
            )
        if again or context.is_case_file:
            self._records = self._open(case_file=context.is_case_file)
        return context

    def _read(self) -> Iterator[RawBatch]:
        records = self._records
        if self._pages is None:
            _refuse_page(records.members)
        for chunk in records.chunks():
            if chunk.records or chunk.rejections:
                yield to_batch(chunk, self._header)
        # Under its other name a context may stand behind the array and say something else.
        named = [parse_context(context) for context in find_contexts(records.members)]
        if any(each != self._context for each in named):
            raise FormatError(
                "the file names two contexts that differ; which one counts is not clear"
            )
        said, found = _said_count(records.members), _counted(records)
        if self._pages is not None:
            self._pages.add(next_page=_next_page(records.members), said=said, found=found)
            return
        _refuse_page(records.members)
        if said is not None and said != found:
            raise FormatError(
                f"its count says {counted(said, 'record')}, but the file holds {found:,}; it may "
                "be a part of the set, or damaged: get it again from its source"
            )


def _check_options(options: Mapping[str, str]) -> None:
    refuse_unknown_options(options, _OPTIONS, "vics")
    if options.get("cases", "media") != "media":
        raise OptionsError("the option cases takes one value: media")
    if options.get(KNOWN_GOOD_OPTION, "yes") != "yes":
        raise OptionsError(f"the option {KNOWN_GOOD_OPTION} takes one value: yes")


def _next_page(members: Mapping[str, object]) -> str | None:
    """The link to the next page; None on the last one."""
    link = next((members[key] for key in _NEXT_KEYS if members.get(key)), None)
    return None if link is None else str(link)


def _refuse_page(members: Mapping[str, object]) -> None:
    """Refuses a file that says that the set goes on elsewhere."""
    if _next_page(members) is not None:
        raise FormatError(
            'the file is one page of several ("nextLink" leads to the next); import the whole set: '
            "fetch every page and import all of them together, or let the source export the set as "
            "one file"
        )


def _said_count(members: Mapping[str, object]) -> int | None:
    """How many records there are, as the file has it; OData writes the number as text, too."""
    value = next((members[key] for key in _COUNT_KEYS if members.get(key) is not None), None)
    if value is None:
        return None
    if isinstance(value, str) and _COUNT_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise FormatError("the file's count is not a number of records")


def _counted(records: JsonArrayStream[Media]) -> int:
    """What the count of the file counts: elements of `value`, so cases in a case file."""
    return records.outer_read if isinstance(records, NestedArrayStream) else records.records_read


FORMAT = Format(
    "vics",
    "Project VIC JSON",
    open_reader=VicsReader,
    open_writer=VicsWriter,
    looks_like=looks_like,
    may_be_known_good=True,
    harm=Harm.CSAM,
    written_for=Harm.CSAM,
    ending=".json",
    media_type="application/json",
)
