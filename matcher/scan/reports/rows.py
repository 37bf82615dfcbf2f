"""A record as the reports with addresses show it: one set of names and meanings for all of them.

Left out are the object's digests, and its ETag, which at many stores is one: the digest of a file
that matched by its bytes is a hash of a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matcher.scan.model import MatchRecord  # noqa: TC001  msgspec resolves it to read rows
from matcher.scan.reports.addresses import moment_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.model import Record
    from matcher.scan.reports.addresses import Addresses


class Row(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An object, or a member of an archive; what there is nothing to say of is left out.

    Attributes:
        id: opaque; the same in all reports of the scan.
        address: the place's URL, the key, and for a member "!/" and its path.
        place: URL or folder that was scanned.
        key: name of the object below the place.
        outcome, way: as `Record` has them.
        member: path within the archive that `key` names.
        raw_name: the name's bytes where it is no UTF-8, as base64 in texts.
        reason, detail, attempts, size, version, format, match_id, revision, total_matches, gaps,
            matches: as `Record` has them.
        modified: RFC 3339, UTC.
    """

    id: str
    address: str
    place: str
    key: str
    outcome: str
    way: str
    member: str = ""
    raw_name: bytes = b""
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    size: int | None = None
    modified: str = ""
    version: str = ""
    format: str = ""
    match_id: str = ""
    revision: int = 0
    total_matches: int = 0
    gaps: tuple[str, ...] = ()
    matches: tuple[MatchRecord, ...] = ()


#: Names of the fields, in their order.
FIELDS = Row.__struct_fields__


class Rows:
    """Records as rows, made once for all reports of a pass.

    Args:
        addresses: of the scan.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._records: Sequence[Record] = ()
        self._rows: Sequence[Row] = ()

    def of(self, records: Sequence[Record]) -> Sequence[Row]:
        """A row for each; those of the very same sequence are made once."""
        if records is not self._records:
            self._records = records
            self._rows = [_row(record, self._addresses) for record in records]
        return self._rows


def _row(record: Record, addresses: Addresses) -> Row:
    return Row(
        id=record.id,
        address=addresses.address(record),
        place=addresses.place(record),
        key=record.key,
        outcome=str(record.outcome),
        way=str(record.way),
        member=record.member,
        raw_name=record.raw,
        reason=record.reason,
        detail=record.detail,
        attempts=record.attempts,
        size=record.size,
        modified=moment_text(record.modified),
        version=record.version,
        format=record.format,
        match_id=record.match_id,
        revision=record.revision,
        total_matches=record.total_matches,
        gaps=record.gaps,
        matches=record.matches,
    )


__all__ = ["FIELDS", "Row", "Rows"]
