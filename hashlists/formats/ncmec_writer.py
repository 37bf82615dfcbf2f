"""Writes entries in the shape of NCMEC's Hash Sharing answers, version 2, as `ncmec` reads them.

NCMEC publishes what its server answers, not a format for files, so this is XML of that shape: an
entry with member, id, time stamp, classification and fingerprints; a deletion for an entry that is
no longer in force. Entries whose media type is a video's stand under `<videos>`, all others under
`<images>`. Videos are written behind the images, as the shape wants it: until then they wait in
memory, beyond 8 MiB encrypted in a temporary file without a name.

A deletion says which entry, by member and id, and nothing else. Whether that was of an image or of
a video is not said of what is withdrawn, so it stands among both: whoever keeps the two apart finds
it there. In a delta an entry that has no hash that the format knows is deleted, too: the recipient
may have one that it had before.

An entry that NCMEC's reader brought in keeps its member and id, which another catalog may hand on,
too. Any other one gets the member of the options, and as its id some digits of its catalog and its
number there: stable, and never the same for two entries, those of another catalog under the same
member included. Its key is counted as lost then, since a reader forms another one.

There is no `count`, which would have to stand before the entries are known. Whose the page is,
which revision it shows, and of a delta from which it starts, a processing instruction says:
`<?hashwarden sender="S" upto="R" since="R"?>`, which nobody else has to know.

Options:
    member_id: number of the member that stands for entries of other origin; 0 by default.
    member_name: its name; empty by default. No other name is ever written.
    pdna_encoding: `hex` (default), `base64` or `decimal`: how NCMEC writes PhotoDNA is not public.
    max_timestamp: what stands as `maxTimestamp`, e.g. 2026-11-21T12:00:00Z; some clients need it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Final
from xml.sax.saxutils import escape, quoteattr

from hashlists.errors import OptionsError
from hashlists.formats import losses
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.delta_mark import SENDER, SINCE, UPTO
from hashlists.formats.ncmec import FINGERPRINTS, INSTRUCTION, NAMESPACE
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.pages import choose
from hashlists.formats.sealed_spool import SealedSpool
from hashlists.model import TEXT_KEY_TAG, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.model import EntryBatch, ExportBatch, ExtraHash

_OPTIONS: Final = ("member_id", "member_name", "pdna_encoding", "max_timestamp")
_ENCODINGS: Final = ("hex", "base64", "decimal")
_MEMBER_KEY = re.compile(r"(?P<member>[0-9]{1,20})/(?P<own>.+)", re.DOTALL)
_MEMBER_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
#: Characters that XML has no way to write, and line ends, which readers of XML change.
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
#: 48 bits: no two catalogs have the same, and nobody takes them for a hash of 64.
_CATALOG_DIGITS: Final = 12
_HASHES: Final = frozenset(kind for _, kind in FINGERPRINTS)


class NcmecWriter:
    """Writes entries as one page (see `base.ListWriter`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong.
    """

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin = NO_ORIGIN
    ) -> None:
        refuse_unknown_options(options, _OPTIONS, "ncmec")
        self._member_id = options.get("member_id", "0")
        if not _MEMBER_ID.fullmatch(self._member_id):
            raise OptionsError("the option member_id must be a number, as NCMEC gives each member")
        self._member_name = _checked_name(options.get("member_name", ""))
        self._pdna_encoding = choose(options, "pdna_encoding", _ENCODINGS, "hex")
        self._attributes = _checked_time(options.get("max_timestamp", ""))
        self._losses: Counter[str] = Counter()
        self._is_delta = bool(origin.since)
        self._catalog = _digits_of(origin.catalog_id)
        self._stream = stream
        self._videos = SealedSpool()
        self._has_images = False
        mark = _mark(origin)
        stream.write(
            b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            b'%b<queryResult xmlns="%b">\n' % (mark.encode(), NAMESPACE.encode())
        )

    @property
    def losses(self) -> Mapping[str, int]:
        """What could not be written, and of how many entries."""
        return dict(self._losses)

    @property
    def left_out(self) -> int:
        """Entries without any hash that the format knows."""
        return self._losses[losses.NO_HASH]

    def write(self, batch: ExportBatch) -> None:
        """Writes the entries of a batch."""
        images: list[str] = []
        videos: list[str] = []
        extra: dict[int, list[ExtraHash]] = {}
        for each in batch.entries.extra_hashes:
            extra.setdefault(each.row, []).append(each)
        for row, gone in enumerate(batch.retracted):
            is_video = (batch.entries.media_types[row] or "").startswith("video/")
            kind = "video" if is_video else "image"
            if not gone and (text := self._entry(batch, row, kind, extra.get(row, ()))):
                (videos if is_video else images).append(text)
            elif gone or self._is_delta:
                identity = self._deleted(batch, row)
                images.append(f"<deletedImage>{identity}</deletedImage>\n")
                videos.append(f"<deletedVideo>{identity}</deletedVideo>\n")
        if images and not self._has_images:
            self._stream.write(f"<images{self._attributes}>\n".encode())
            self._has_images = True
        self._stream.write("".join(images).encode())
        self._videos.write("".join(videos).encode())

    def finish(self) -> None:
        """Writes the videos and the end."""
        if self._has_images:
            self._stream.write(b"</images>\n")
        if self._videos.bytes:
            self._stream.write(f"<videos{self._attributes}>\n".encode())
            for piece in self._videos.take():
                self._stream.write(piece)
            self._stream.write(b"</videos>\n")
        self._stream.write(b"</queryResult>\n")

    def _entry(self, batch: ExportBatch, row: int, kind: str, extra: Sequence[ExtraHash]) -> str:
        """One entry as text; empty where it has no hash that the format knows."""
        entries = batch.entries
        hashes = "".join(
            f"<{tag}>{self._hash_text(hash_kind, value)}</{tag}>"
            for tag, hash_kind in FINGERPRINTS
            if (column := entries.hashes.get(hash_kind)) and (value := column[row])
        )
        if not hashes:
            self._losses[losses.NO_HASH] += 1
            return ""
        self._count_losses(entries, row, extra)
        code = self._code(entries, row)
        classification = f"<classification>{escape(code)}</classification>" if code else ""
        return (
            f"<{kind}>{self._identity(batch, row, self._time(entries, row))}{classification}"
            f"<fingerprints>{hashes}</fingerprints></{kind}>\n"
        )

    def _deleted(self, batch: ExportBatch, row: int) -> str:
        """Which entry is withdrawn."""
        if batch.reasons[row]:
            self._losses[losses.REASONS] += 1
        return self._identity(batch, row)

    def _identity(self, batch: ExportBatch, row: int, stamp: str = "") -> str:
        """Member, time stamp and id of an entry."""
        entries = batch.entries
        member, name = self._member_id, self._member_name
        own = f"{self._catalog}{batch.entry_ids[row]}"
        key_ids = entries.source_ids if batch.key_ids is None else batch.key_ids
        if (match := _member_key(entries.keys[row], key_ids[row])) is None:
            self._losses[losses.KEY] += 1
        else:
            own = match["own"]
            if match["member"] != member:
                member, name = match["member"], ""
        if entries.source_ids[row] not in (None, own):
            self._losses[losses.SOURCE_ID] += 1
        return f'<member id="{member}">{escape(name)}</member>{stamp}<id>{escape(own)}</id>'

    def _time(self, entries: EntryBatch, row: int) -> str:
        time = entries.source_updated_at[row] or ""
        if _NOT_XML.search(time):
            self._losses[losses.UPDATED_AT] += 1
            time = ""
        return f"<timestamp>{escape(time)}</timestamp>" if time else ""

    def _code(self, entries: EntryBatch, row: int) -> str:
        """The code where it is NCMEC's; that of another scheme would pass for one of NCMEC's."""
        found = entries.classifications[row]
        if found is None:
            return ""
        is_own = (found.scheme, found.profile) == ("ncmec", "")
        if not is_own or _NOT_XML.search(found.code):
            self._losses[losses.CLASSIFICATION] += 1
            return ""
        return found.code

    def _hash_text(self, kind: HashKind, value: bytes) -> str:
        if kind is not HashKind.PHOTODNA or self._pdna_encoding == "hex":
            return value.hex()
        if self._pdna_encoding == "base64":
            return base64.b64encode(value).decode()
        return ",".join(map(str, value))

    def _count_losses(self, entries: EntryBatch, row: int, extra: Sequence[ExtraHash]) -> None:
        """Counts the fields of an entry for which the format has no place."""
        for kind, values in entries.hashes.items():
            if kind not in _HASHES and values[row]:
                self._losses[str(kind)] += 1
        losses.count_further(self._losses, extra)
        losses.count_flags(self._losses, entries.flags_known[row])
        losses.count_handling(self._losses, entries.handlings[row])
        for name, said in (
            (losses.SIZE, entries.sizes[row]),
            (losses.VERIFIED_COUNT, entries.verified_counts[row]),
            (losses.MEDIA_TYPE, entries.media_types[row]),
        ):
            if said is not None:
                self._losses[name] += 1


def _mark(origin: FileOrigin) -> str:
    """The processing instruction, where there is something to say."""
    said = [f'{SENDER}="{origin.sender}"', f'{UPTO}="{origin.upto}"'] if origin.sender else []
    if origin.since:
        said.append(f'{SINCE}="{origin.since}"')
    return f"<?{INSTRUCTION} {' '.join(said)}?>\n" if said else ""


def _digits_of(catalog_id: str) -> str:
    """What stands before the numbers of a catalog, which shows nothing else of it."""
    if not catalog_id:
        return ""
    digest = hashlib.sha256(b"hashwarden ncmec " + catalog_id.encode())
    return f"{digest.hexdigest()[:_CATALOG_DIGITS]}-"


def _member_key(key: bytes, source_id: str | None) -> re.Match[str] | None:
    """Member and own id, where the key is made of both.

    The reader keeps the own id as that of the source, too; without it a key such as 2024/17 may be
    anything, the number of a case among them.
    """
    text = key[1:].decode() if key.startswith(TEXT_KEY_TAG) else ""
    match = None if _NOT_XML.search(text) else _MEMBER_KEY.fullmatch(text)
    return match if match is not None and match["own"] == source_id else None


def _checked_name(name: str) -> str:
    if _NOT_XML.search(name):
        raise OptionsError("the option member_name has characters that XML cannot hold")
    return name


def _checked_time(text: str) -> str:
    """The attribute with the newest time, or nothing."""
    if not text:
        return ""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise OptionsError(
            "the option max_timestamp must be a time of RFC 3339, e.g. 2026-11-21T12:00:00Z"
        ) from None
    return f" maxTimestamp={quoteattr(text)}"
