"""Reads STIX 2.1 bundles: the files that they name, and what indicators withdraw.

A bundle is one JSON object whose array `objects` may hold anything. Taken over are `file` and
`artifact` objects with hashes, and indicators whose pattern is a choice between hashes of a file
(`stix_pattern`). Objects of every other type, relationships too, are left aside and noted. A bundle
does not say why it names a file, so all its files count: it must be one made as a hash list.

Taken over: MD5, SHA-1, SHA-256; PDQ, PhotoDNA and the 64-bit kinds under custom names such as
`PDQ` or `x_photodna`, and those of our own extension (`stix_extension`), with the entry's class,
flags and handling. Never taken over: `payload_bin`, names and paths of files, URLs, descriptions,
names of persons.
Key: the object's id; with our extension, its `entry_id`, which stays when the id changes.
Retractions: `revoked` withdraws what went by the same key, and so do an indicator of type `benign`
and a file or indicator that has no hash of a known kind any longer. Of several versions of an
object the newest counts (`stix_index`). `valid_until` becomes the end of use. A note with our
extension and `since` in it says that the bundle is a delta.
Handling: `sharing` says whom the words of TLP allow. Any other marking allows nobody, and so does
one whose definition the bundle lacks; granular markings count as if they marked the whole object.
An object without markings leaves it to the list. The originator is the name of the organisation in
`created_by_ref`, or that id itself.
Assumed: what a class is called, for STIX has no word for it (options `classification`, `scheme`).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import BatchReader, FileHeader, Format, Likeness, RawBatch
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.sharing import SHARING_OPTIONS, Sharing
from hashlists.formats.stix_index import Head, read_index
from hashlists.formats.stix_objects import ClassSource, StixObject, find_marks, to_batch
from hashlists.formats.stix_writer import StixWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.formats.base import Sample
    from hashlists.limits import ImportLimits

RecordT = TypeVar("RecordT")

_OPTIONS: Final = ("classification", "label_prefix", "profile", "scheme", *SHARING_OPTIONS)
_CLASS_SOURCES: Final = ("none", "labels", "indicator_types")
_WANTED: Final = ("type", "spec_version", "more")
_IS_BUNDLE = re.compile(rb'"type"\s*:\s*"bundle"')
_BUNDLE_ID = re.compile(rb'"id"\s*:\s*"bundle--')
_HAS_FILES = re.compile(rb'"(?:file|artifact|indicator)--[0-9a-fA-F]{8}-')


class StixReader(BatchReader):
    """Iterates over a STIX bundle (see `base.ListReader`).

    Options:
        classification: where the class stands in objects without our extension: `none` (default),
            `labels` or `indicator_types`; several of them are one code, joined by `;`.
        label_prefix: only what begins with it counts, and without it.
        scheme, profile: of those classes; `stix` and none by default.
        tlp.clear, tlp.green, tlp.amber: names of recipients whom the word allows.

    Raises:
        OptionsError: an option is unknown or has no such value.
        FormatError: the file is not a STIX 2.1 bundle.
    """

    format: Final = "stix"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        self._classes = _read_options(options)
        self._sharing = Sharing(options)
        self._stream = stream
        self._limits = limits
        self._header = FileHeader(
            "stix", "2.1", options.get("scheme", "stix"), options.get("profile", "")
        )
        self._bytes_read = 0
        _check_bundle(self._open(Head).members)
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The version of STIX, and the scheme as the options say."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed in the pass that yields batches."""
        return self._bytes_read

    def _open(self, record_type: type[RecordT]) -> JsonArrayStream[RecordT]:
        self._stream.seek(0)
        objects = JsonArrayStream(
            self._stream,
            array_key="objects",
            record_type=record_type,
            wanted=_WANTED,
            limits=self._limits,
        )
        objects.open_array()
        return objects

    def _read(self) -> Iterator[RawBatch]:
        index, members = read_index(partial(self._open, Head), self._sharing, self._limits)
        _check_bundle(members)
        objects = self._open(StixObject)
        for chunk in objects.chunks():
            self._bytes_read = objects.bytes_read
            yield from (RawBatch.of_mark(self._header, each) for each in find_marks(chunk))
            batch = to_batch(chunk, index, self._header, self._classes)
            if batch.rows or batch.rejections or batch.notes:
                yield batch
        self._bytes_read = objects.bytes_read


def _read_options(options: Mapping[str, str]) -> ClassSource:
    refuse_unknown_options(options, _OPTIONS, "stix")
    member = options.get("classification", "none")
    if member not in _CLASS_SOURCES:
        raise OptionsError(
            f"classification={member[:64]!r} is not known; it may be {', '.join(_CLASS_SOURCES)}"
        )
    return ClassSource(member, options.get("label_prefix", ""))


def _check_bundle(members: Mapping[str, object]) -> None:
    """Refuses what is no bundle, or only a part of one, by the members read so far.

    The envelope in which a TAXII server answers is a bundle without type and id.
    """
    if members.get("type", "bundle") != "bundle":
        raise FormatError('the file is not a STIX bundle: its "type" is not "bundle"')
    if members.get("more"):
        raise FormatError(
            'the file is one page of a TAXII collection ("more" is true); import the whole'
            " collection: put the objects of all pages into one bundle"
        )
    if members.get("spec_version", "2.1") != "2.1":
        raise FormatError(
            "the bundle is of another version of STIX than 2.1; let its source convert it"
        )


def _looks_like(sample: Sample) -> Likeness | None:
    head = sample.head
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return None
    files = "" if _HAS_FILES.search(head) else "; no file or indicator among its first objects"
    if _BUNDLE_ID.search(head) or (_IS_BUNDLE.search(head) and b'"objects"' in head):
        return Likeness(95, f'it calls itself a STIX bundle ("type": "bundle"){files}')
    if b'"objects"' in head and _HAS_FILES.search(head):
        return Likeness(60, "an array of objects whose ids are those of STIX, e.g. of files")
    return None


FORMAT = Format(
    "stix",
    "STIX 2.1 bundle",
    open_reader=StixReader,
    open_writer=StixWriter,
    looks_like=_looks_like,
    tells_retractions=True,
    tells_delta=True,
    keeps_lists_apart=True,
    keeps_senders_apart=True,
    ending=".json",
    media_type="application/stix+json;version=2.1",
)
