"""Flags: what a source says yes or no to, and what it does not speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import FlagColumn
    from hashlists.validate.check import Check

_YES: Final = frozenset({"true", "t", "yes", "y", "1"})
_NO: Final = frozenset({"false", "f", "no", "n", "0"})


class _FlagMemo(dict[tuple[object, ...], tuple[int, int]]):
    """From the values of one row to the bits set and known; values that are no flags raise."""

    def __init__(self, columns: Sequence[FlagColumn]) -> None:
        super().__init__()
        self._bits = [int(column.flag) for column in columns]

    def __missing__(self, values: tuple[object, ...]) -> tuple[int, int]:
        flags = known = 0
        for bit, value in zip(self._bits, values, strict=True):
            says = _flag_value(value)
            if says is not None:
                known |= bit
                flags |= bit if says else 0
        self[values] = flags, known
        return flags, known


def _flag_value(value: object) -> bool | None:
    """What a flag says.

    Raises:
        ValueError: it says neither yes nor no.
    """
    word = str(value).strip().lower() if value is not None else ""
    if not word:
        return None
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError


def read_flags(columns: Sequence[FlagColumn], check: Check) -> tuple[Sequence[int], Sequence[int]]:
    """Bits set and bits known of each row."""
    if not columns or not check.rows:
        return [0] * check.rows, [0] * check.rows
    memo = _FlagMemo(columns)
    columns_values = [column.values for column in columns]
    try:
        pairs = list(map(memo.__getitem__, zip(*columns_values, strict=True)))
    except ValueError:
        pairs = [
            _read_row_flags(row, values, columns, memo, check)
            for row, values in enumerate(zip(*columns_values, strict=True))
        ]
    return [flags for flags, _ in pairs], [known for _, known in pairs]


def _read_row_flags(
    row: int,
    values: tuple[object, ...],
    columns: Sequence[FlagColumn],
    memo: _FlagMemo,
    check: Check,
) -> tuple[int, int]:
    try:
        return memo[values]
    except ValueError:
        culprit = next(c for c, v in zip(columns, values, strict=True) if not _is_flag(v))
        check.reject(row, culprit.field, "neither yes nor no; expected true or false")
        return 0, 0


def _is_flag(value: object) -> bool:
    try:
        _flag_value(value)
    except ValueError:
        return False
    return True


__all__ = ["read_flags"]
