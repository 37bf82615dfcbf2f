"""Writes hash sets in the Project VIC data model (VICS), version 2.0: JSON, `#Media`.

One record a line, context first, members in the schema's order. What the schema requires decides:

- `MD5` is the key of a record: an entry without one is left out and counted.
- `MediaID` is an Int32. A source's id that is a number from 0 to 2^31-1 is kept; any other entry
  gets its number in the catalog, negative, so that it is never taken for a source's id.
- `IsPrecategorized` must be there: false where the entry does not say, and counted.
- `Category` is one byte whose meaning depends on the profile. It is written for entries classified
  by VICS in that very profile, with a number of 0 to 255, and null for all others: a number of one
  country means something else in another. Those that have a class are counted.
- `DateUpdated` must be a date and time with its zone.

Further values of a kind, and kinds without a member of their own, stand in `AlternativeHashes`; the
names there of SHA-256, PDQ and the 64-bit kinds are those of Hashwarden, since none are published.
Codes that were derived here are left out and counted: the format cannot mark them. So are entries
that are in force no longer, and series, of which only that there is one is known.

Entries of different keys may have the same MD5. All of them are written, but a reader that goes by
the schema keeps one: the others are counted.

Options:
    profile: whose categories are written, e.g. US, UK, Default; required.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.formats import losses
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.shared_keys import SharedKeys
from hashlists.formats.vics_context import written_context
from hashlists.model import EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.model import EntryBatch, ExportBatch, ExtraHash

_MAX_MEDIA_ID: Final = 2**31 - 1
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_MAX_CATEGORY: Final = 255
_DATE_TIME = re.compile(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,12})?"
    r"(Z|[+-][0-2][0-9]:[0-5][0-9])",
    re.ASCII,
)
#: Kinds with a member of their own; all others stand in `AlternativeHashes`.
_OWN_MEMBERS: Final = frozenset({HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA})
_NAMES: Final = {
    HashKind.MD5: "MD5",
    HashKind.SHA1: "SHA1",
    HashKind.SHA256: "SHA256",
    HashKind.PHOTODNA: "PhotoDNA",
    HashKind.PDQ: "PDQ",
    HashKind.PHASH: "pHash",
    HashKind.DHASH: "dHash",
    HashKind.AHASH: "aHash",
    HashKind.WHASH: "wHash",
}
_WRITTEN_FLAGS: Final = int(~(EntryFlag.SERIES | EntryFlag.BASELINE))
_MD5_KEY_TAG: Final = b"\x03"
_encode = msgspec.json.Encoder().encode


class _AlternativeHash(msgspec.Struct, gc=False):
    MD5: str
    HashName: str
    HashValue: str


class _Media(msgspec.Struct, gc=False, omit_defaults=True):
    """One record; members without a default are always written."""

    MD5: str
    MediaID: int
    Category: int | None
    SHA1: str | None = None
    VictimIdentified: bool | None = None
    OffenderIdentified: bool | None = None
    IsDistributed: bool | None = None
    MediaSize: int | None = None
    DateUpdated: str | None = None
    IsPrecategorized: bool | None = None
    IsSuspected: bool | None = None
    MimeType: str | None = None
    SelfGenerated: bool | None = None
    PhotoDNA: str | None = None
    AlternativeHashes: list[_AlternativeHash] | None = None


class VicsWriter:
    """Writes entries as one hash set (see `base.ListWriter`); the module names the options.

    Raises:
        OptionsError: an option is unknown, wrong or missing.
    """

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin = NO_ORIGIN
    ) -> None:
        refuse_unknown_options(options, ("profile",), "vics")
        self._profile = options.get("profile", "")
        context = _encode(written_context(self._profile))
        self._is_delta = bool(origin.since)
        self._stream = stream
        self._losses: Counter[str] = Counter()
        self._behind_first = False
        self._shared = SharedKeys()
        stream.write(b'{"@odata.context":%b,"value":[' % context)

    @property
    def losses(self) -> Mapping[str, int]:
        """What could not be written, and of how many entries."""
        return dict(self._losses)

    @property
    def left_out(self) -> int:
        """Entries without MD5."""
        return self._losses[losses.NO_HASH]

    def write(self, batch: ExportBatch) -> None:
        """Writes the entries of a batch."""
        extra: dict[int, list[ExtraHash]] = {}
        for each in batch.entries.extra_hashes:
            extra.setdefault(each.row, []).append(each)
        lines = []
        for row in range(len(batch)):
            record = self._record(batch, row, extra.get(row, ()))
            if record is not None:
                lines.append(b",\n" if self._behind_first else b"\n")
                lines.append(_encode(record))
                self._behind_first = True
        self._stream.write(b"".join(lines))

    def finish(self) -> None:
        """Writes the end of the file, and counts records that share their key."""
        self._stream.write(b"\n]}\n")
        if repeated := self._shared.repeated:
            self._losses[losses.SHARED_KEY] = repeated

    def _record(
        self, batch: ExportBatch, row: int, extra: list[ExtraHash] | tuple[()]
    ) -> _Media | None:
        if batch.retracted[row]:
            self._losses[losses.WITHDRAWALS] += 1
            return None
        entries = batch.entries
        hashes = {kind: value for kind, values in entries.hashes.items() if (value := values[row])}
        md5 = hashes.get(HashKind.MD5)
        if md5 is None:
            self._losses[losses.NO_HASH] += 1
            if self._is_delta:  # the recipient may have the MD5 that it had before
                self._losses[losses.WITHDRAWALS] += 1
            return None
        self._shared.take((md5,))
        self._count_losses(entries, row, md5)
        says = _Flags(entries.flags[row], entries.flags_known[row])
        photodna = hashes.get(HashKind.PHOTODNA)
        precategorized = says(EntryFlag.PRECATEGORIZED)
        if precategorized is None:
            self._losses[losses.PRECATEGORIZED_ASSUMED] += 1
        return _Media(
            MD5=md5.hex(),
            MediaID=self._media_id(entries.source_ids[row], batch.entry_ids[row]),
            Category=self._category(entries, row),
            SHA1=hashes[HashKind.SHA1].hex() if HashKind.SHA1 in hashes else None,
            VictimIdentified=says(EntryFlag.VICTIM_IDENTIFIED),
            OffenderIdentified=says(EntryFlag.OFFENDER_IDENTIFIED),
            IsDistributed=says(EntryFlag.DISTRIBUTED),
            MediaSize=entries.sizes[row],
            DateUpdated=self._date(entries.source_updated_at[row]),
            IsPrecategorized=bool(precategorized),
            IsSuspected=says(EntryFlag.SUSPECTED),
            MimeType=entries.media_types[row],
            SelfGenerated=says(EntryFlag.SELF_GENERATED),
            PhotoDNA=_text(HashKind.PHOTODNA, photodna) if photodna else None,
            AlternativeHashes=self._alternatives(md5.hex(), hashes, extra),
        )

    def _alternatives(
        self, md5: str, hashes: Mapping[HashKind, bytes], extra: list[ExtraHash] | tuple[()]
    ) -> list[_AlternativeHash] | None:
        values = [(kind, value) for kind, value in hashes.items() if kind not in _OWN_MEMBERS]
        values += [(each.kind, each.value) for each in extra if each.derivation is None]
        if any(each.derivation is not None for each in extra):
            self._losses[losses.DERIVED] += 1
        made = [_AlternativeHash(md5, _NAMES[kind], _text(kind, value)) for kind, value in values]
        return made or None

    def _count_losses(self, entries: EntryBatch, row: int, md5: bytes) -> None:
        if entries.keys[row] != _MD5_KEY_TAG + md5:
            self._losses[losses.KEY] += 1
        if entries.verified_counts[row] is not None:
            self._losses[losses.VERIFIED_COUNT] += 1
        losses.count_handling(self._losses, entries.handlings[row])
        losses.count_flags(self._losses, entries.flags_known[row], _WRITTEN_FLAGS)

    def _media_id(self, source_id: str | None, entry_id: int) -> int:
        if source_id is not None:
            if _NUMBER.fullmatch(source_id) and int(source_id) <= _MAX_MEDIA_ID:
                return int(source_id)
            self._losses[losses.SOURCE_ID] += 1
        return -(entry_id % _MAX_MEDIA_ID) or -_MAX_MEDIA_ID

    def _category(self, entries: EntryBatch, row: int) -> int | None:
        found = entries.classifications[row]
        if found is None:
            return None
        if (
            (found.scheme, found.profile) == ("vics", self._profile)
            and _NUMBER.fullmatch(found.code)
            and int(found.code) <= _MAX_CATEGORY
        ):
            return int(found.code)
        self._losses[losses.CLASSIFICATION] += 1
        return None

    def _date(self, text: str | None) -> str | None:
        if text is not None and not _DATE_TIME.fullmatch(text):
            self._losses[losses.UPDATED_AT] += 1
            return None
        return text


class _Flags:
    """What an entry says yes or no to; None for what it does not speak of."""

    __slots__ = ("_known", "_set")

    def __init__(self, flags: int, known: int) -> None:
        self._set = flags
        self._known = known

    def __call__(self, flag: EntryFlag) -> bool | None:
        return bool(self._set & flag) if self._known & flag else None


def _text(kind: HashKind, value: bytes) -> str:
    """PhotoDNA as 192 characters of base64, all others as hex."""
    return base64.b64encode(value).decode() if kind is HashKind.PHOTODNA else value.hex()


__all__ = ["VicsWriter"]
