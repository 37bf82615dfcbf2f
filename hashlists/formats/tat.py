"""Reads answers of Tech Against Terrorism's Hash List API: JSON, one page of `results`.

The list is about terrorist content, not child abuse: lists of this format are of the harm
`terrorism`, and stay apart.

Taken over: the hash (PDQ, MD5, SHA-1, SHA-256), the ideology verbatim as the class of scheme `tat`,
the media type that belongs to the file type, the time of the last change. A record's own number is
its key; one that is marked deleted withdraws the entry of that number. Records of another known
algorithm, such as SHA-512, are counted and left out; what the list held by their numbers is
withdrawn, since the source stands by it no longer. One of an unknown algorithm is malformed, and
withdraws nothing: see `kind_names`.

Of a page the path and query of the next one and the checkpoint are kept for the exchange client as
`page`; a report notes that there are more. A record says what is so now, so one page alone may be
imported. `count` is that of the whole list, so it is compared only with pages that are said to be
that. There are no options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError
from hashlists.formats.base import (
    Encoding,
    FieldNames,
    FileHeader,
    Format,
    HashColumn,
    Likeness,
    PageInfo,
    RawBatch,
    Sample,
)
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.kind_names import KindNames, unknown_kind
from hashlists.formats.notes import Notes
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.page_reader import PageReader
from hashlists.formats.pages import (
    link_query,
    link_target,
    page_token,
    refuse_pickle,
)
from hashlists.formats.picked import pick
from hashlists.model import Harm, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.formats.chunk import Chunk
    from hashlists.limits import ImportLimits

_KINDS: Final = {
    "pdq": HashKind.PDQ,
    "md5": HashKind.MD5,
    "sha1": HashKind.SHA1,
    "sha256": HashKind.SHA256,
}
_ALGORITHMS: Final = KindNames(_KINDS)
_NAMES = FieldNames(
    key="id", source_id="id", category="ideology", media_type="file_type", updated_at="updated_on"
)
#: A table of our own, so that the same file means the same on every machine.
_MEDIA_TYPES: Final = {
    "avi": "video/x-msvideo",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4v": "video/x-m4v",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "tiff": "image/tiff",
    "webm": "video/webm",
    "webp": "image/webp",
}


class _Record(msgspec.Struct, gc=False):
    """The members that are taken over, under the source's names; the decoder skips all others."""

    id: int | str | None = None
    hash_digest: str | None = None
    algorithm: str | None = None
    ideology: str | None = None
    file_type: str | None = None
    deleted: bool | None = None
    updated_on: int | float | str | None = None


class TatReader(PageReader[_Record]):
    """Iterates over a page of records (see `base.ListReader`).

    Raises:
        OptionsError: options were given; there are none.
        FormatError: the file is not such a page.
    """

    format: Final = "tat"
    _records: JsonArrayStream[_Record]

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, (), self.format)
        refuse_pickle(stream)
        records = JsonArrayStream(
            stream,
            array_key="results",
            record_type=_Record,
            wanted=("next", "previous", "checkpoint", "count"),
            limits=limits,
        )
        records.open_array()
        super().__init__(records)

    @property
    def header(self) -> FileHeader:
        """The scheme of the ideologies."""
        return FileHeader("tat", "2", "tat", "")

    def _read_page(self) -> PageInfo:
        """Path and query of the next page, and the checkpoint of this one."""
        members = self._records.members
        link, before, total = (members.get(name) for name in ("next", "previous", "count"))
        if link is not None and not isinstance(link, str):
            raise FormatError('"next" is no link to the next page')
        return PageInfo(
            next=link_target(link) if link else None,
            checkpoint=page_token(members.get("checkpoint")),
            complete=not link,
            follows=bool(before) if "previous" in members else None,
            is_delta=any("after" in link_query(each) for each in (link, before)),
            total=total if isinstance(total, int) else None,
            records=self._records.records_read,
        )

    def _to_batch(self, chunk: Chunk[_Record]) -> RawBatch:
        notes = Notes()
        records, place_at = pick(chunk, lambda record: _is_known(record, notes))
        kinds = [_kind(record) for record in records]
        ids = [None if record.id is None else str(record.id) for record in records]
        gone = [bool(record.deleted) for record in records]
        left = [row for row, kind in enumerate(kinds) if kind is None and not gone[row]]
        others = {row for row in left if _ALGORITHMS.is_other(records[row].algorithm)}
        return RawBatch(
            rows=len(records),
            header=self.header,
            hashes=[
                HashColumn(
                    kind,
                    [
                        record.hash_digest if kind is of_row else None
                        for record, of_row in zip(records, kinds, strict=True)
                    ],
                    Encoding.DETECT,
                    f"hash_digest ({kind})",
                )
                for kind in _KINDS.values()
                if kind in kinds
            ],
            place_at=place_at,
            key_texts=ids,
            codes=[record.ideology for record in records],
            source_ids=ids,
            media_types=[_media_type(record.file_type) for record in records],
            updated_at=[
                None if record.updated_on is None else str(record.updated_on) for record in records
            ],
            retracted=gone,
            retraction_reasons=["deleted" if each else None for each in gone],
            stamped=True,
            unmatchable=others,
            faults={
                row: ("algorithm", unknown_kind(records[row].algorithm))
                for row in left
                if row not in others
            },
            names=_NAMES,
            rejections=chunk.rejections,
            notes=dict(notes),
        )


def _kind(record: _Record) -> HashKind | None:
    return _ALGORITHMS.kind(record.algorithm)


def _is_known(record: _Record, notes: Notes) -> bool:
    """Whether the record says anything of an entry; counts those of other algorithms.

    A deletion needs the record's number alone, and so does what that number no longer stands for.
    """
    if record.deleted or not _ALGORITHMS.is_other(record.algorithm):
        return True
    notes.add_named("record of another algorithm left aside", record.algorithm)
    return record.id not in (None, "")


def _media_type(file_type: str | None) -> str | None:
    """The media type of an ending such as `mp4`; a media type stays as it is."""
    if file_type is None or "/" in file_type:
        return file_type
    return _MEDIA_TYPES.get(file_type.lower().lstrip("."))


def looks_like(sample: Sample) -> Likeness | None:
    """Tells a page by the names of its members."""
    head = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"{") or b'"hash_digest"' not in head:
        return None
    if b'"ideology"' in head and b'"algorithm"' in head:
        return Likeness(90, "JSON whose records have hash_digest, algorithm and ideology")
    return Likeness(50, "JSON whose records have hash_digest")


FORMAT = Format(
    "tat",
    "Tech Against Terrorism JSON",
    open_reader=TatReader,
    looks_like=looks_like,
    tells_retractions=True,
    harm=Harm.TERRORISM,
)
