"""Hashes of records that are read one by one, gathered as the columns of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.formats.base import Encoding, HashColumn, RawHash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.model import HashKind


class HashRows:
    """The first value of each kind in a column, what comes on top beside them.

    Args:
        fields: what the format calls each kind, for rejections.
    """

    def __init__(self, fields: Mapping[HashKind, str]) -> None:
        self.extra: list[RawHash] = []
        self._fields = fields
        self._first: dict[HashKind, dict[int, str]] = {}

    def add(self, row: int, kind: HashKind, value: str, derivation: str | None = None) -> None:
        """One value of a row, as written."""
        column = self._first.setdefault(kind, {})
        if derivation is None and row not in column:
            column[row] = value
            return
        encoding, field = _encoding(kind), self._fields[kind]
        self.extra.append(RawHash(row, kind, value, encoding, field, derivation))

    def columns(self, rows: int) -> list[HashColumn]:
        """The columns of a batch of so many rows."""
        return [
            HashColumn(
                kind, list(map(values.get, range(rows))), _encoding(kind), self._fields[kind]
            )
            for kind, values in self._first.items()
            if values
        ]


def _encoding(kind: HashKind) -> Encoding:
    return Encoding.HEX if kind.is_digest else Encoding.DETECT


__all__ = ["HashRows"]
