"""Values that a table holds with types of their own, JSON's or Parquet's, as a `RawBatch`.

A cell of a type that its field never has (an object as a size, a number as a hash) is a fault of
its row alone. Whether a value of the right type makes sense, validation judges.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from hashlists.formats import own_layout
from hashlists.formats.base import Encoding, FileHeader, RawHash
from hashlists.formats.field_mapping import FLAGS
from hashlists.formats.mapped_batch import mapped_batch
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.formats.field_mapping import FieldMapping
    from hashlists.model import PlaceAt

    _Faults = dict[int, tuple[str, str]]

UNKNOWN_KIND_NOTE: Final = "further hash of unknown kind left aside"
_KINDS: Final = frozenset(map(str, HashKind))
_TEXT: Final = frozenset({str, NoneType})


class _WrongTypeError(TypeError):
    """A value is of no type that its field has; the message says what was expected."""


def typed_batch(
    mapping: FieldMapping,
    header: FileHeader,
    cells: Mapping[str, Sequence[Any]],
    *,
    rows: int,
    place_at: PlaceAt,
) -> RawBatch:
    """The columns as a batch.

    Args:
        mapping: says what the columns are.
        header: of the file.
        cells: values by `FieldMapping.all_columns`, and where the file is of Hashwarden's own
            layout those of `own_layout.further_columns`; further hashes are lists of objects with
            kind, value and derivation.
        rows: values in each column.
        place_at: where each row stood.
    """
    faults: _Faults = {}
    columns = mapping.all_columns()
    plain = {
        wanted: _column(wanted, values, columns.get(wanted, wanted), faults)
        for wanted, values in cells.items()
        if wanted != own_layout.FURTHER
    }
    further, unknown = _further(cells.get(own_layout.FURTHER, ()), faults)
    batch = mapped_batch(mapping, header, plain, rows=rows, place_at=place_at, extra_hashes=further)
    notes = {UNKNOWN_KIND_NOTE: unknown} if unknown else {}
    batch = replace(batch, faults={**batch.faults, **faults}, notes=notes)
    return own_layout.with_origin(batch, plain)


def _column(wanted: str, values: Sequence[Any], name: str, faults: _Faults) -> Sequence[Any]:
    """The values as `mapped_batch` takes them; None where a row is at fault."""
    types = set(map(type, values))
    if types <= _TEXT:
        return values
    read = _reader_of(wanted)
    if read is _hash and types <= {bytes, NoneType}:
        return values
    taken = []
    for row, value in enumerate(values):
        try:
            taken.append(None if value is None else read(value))
        except _WrongTypeError as error:
            faults.setdefault(row, (name, str(error)))
            taken.append(None)
    return taken


def _reader_of(wanted: str) -> Callable[[Any], Any]:
    kind = wanted.partition(".")[0]
    if kind in _KINDS:
        return _hash
    if wanted in FLAGS or wanted == "retracted":
        return _flag
    if wanted in ("size", "verified_count"):
        return _number
    if wanted == "releasable_to":
        return _names
    return _text


def _hash(value: Any) -> Any:
    each = value if isinstance(value, list) else [value]
    if all(isinstance(one, str | bytes | None) for one in each):
        return value
    raise _WrongTypeError("a hash is a text, or a list of texts")


def _flag(value: Any) -> bool | int | str:
    if isinstance(value, bool | int | str):
        return value
    raise _WrongTypeError("neither yes nor no; expected true or false")


def _number(value: Any) -> float | str:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        return value
    raise _WrongTypeError("not a whole number")


def _names(value: Any) -> str | list[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    raise _WrongTypeError("recipients are a list of texts")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _WrongTypeError("neither text nor a whole number")


def _further(cells: Sequence[Any], faults: _Faults) -> tuple[list[RawHash], int]:
    """Further hashes of all rows, and how many were of a kind not known here."""
    found: list[RawHash] = []
    unknown = 0
    for row, cell in enumerate(cells):
        for item in _items(cell):
            raw = _further_hash(row, item)
            if raw is not None:
                found.append(raw)
            elif isinstance(item, dict) and isinstance(item.get("kind"), str):
                unknown += item["kind"] not in _KINDS
                if item["kind"] in _KINDS:
                    faults.setdefault(row, (own_layout.FURTHER, "a hash without a value"))
            else:
                faults.setdefault(row, (own_layout.FURTHER, "not a list of hashes with a kind"))
    return found, unknown


def _items(cell: Any) -> Sequence[Any]:
    if cell is None:
        return ()
    return cell if isinstance(cell, list) else (cell,)


def _further_hash(row: int, item: Any) -> RawHash | None:
    """A further hash; None where it is none of a known kind."""
    if not isinstance(item, dict) or item.get("kind") not in _KINDS:
        return None
    value, derivation = item.get("value"), item.get("derivation")
    if not isinstance(value, str | bytes) or not isinstance(derivation, str | None):
        return None
    encoding = Encoding.RAW if isinstance(value, bytes) else Encoding.HEX
    kind = HashKind(item["kind"])
    return RawHash(row, kind, value, encoding, own_layout.FURTHER, derivation or None)
