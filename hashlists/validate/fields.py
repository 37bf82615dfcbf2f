"""Plain columns: texts, numbers and media types."""

from __future__ import annotations

import re
from types import NoneType
from typing import TYPE_CHECKING

from hashlists.validate.check import UNPRINTABLE, text_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.validate.check import Check

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+\-]*/[A-Za-z0-9][\w.+\-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


def read_texts(
    values: Sequence[str | None] | None, name: str, limit: int, check: Check
) -> Sequence[str | None]:
    """Texts verbatim; empty ones are None."""
    if values is None or not any(values):
        return check.nones()
    whole = all(values)
    present: Sequence[str] = values if whole else [text for text in values if text]  # type: ignore[assignment]
    if max(map(len, present)) <= limit:
        joined = "".join(present)
        if joined.isprintable() or not UNPRINTABLE.search(joined):
            return values if whole else [text or None for text in values]
    return [_read_text(row, text, name, limit, check) for row, text in enumerate(values)]


def _read_text(row: int, text: str | None, name: str, limit: int, check: Check) -> str | None:
    if text and (fault := text_fault(text, limit)) is not None:
        check.reject(row, name, f"the value {fault}")
        return None
    return text or None


def read_source_ids(batch: RawBatch, check: Check) -> Sequence[str | None]:
    """The source's own ids as texts."""
    if batch.source_ids is None:
        return check.nones()
    texts: Sequence[str | None]
    if set(map(type, batch.source_ids)) <= {str, NoneType}:
        texts = batch.source_ids  # type: ignore[assignment]  # as just seen
    else:
        texts = [None if value is None else str(value) for value in batch.source_ids]
    return read_texts(texts, batch.names.source_id, check.limits.max_id_chars, check)


def read_media_types(values: Sequence[str | None] | None, check: Check) -> Sequence[str | None]:
    """Media types; a text that is none is left aside, for nothing depends on it."""
    if values is None:
        return check.nones()
    limit = check.limits.max_text_chars
    known = {
        text: text if text and len(text) <= limit and _MEDIA_TYPE.fullmatch(text) else None
        for text in set(values)
    }
    return [known[text] for text in values]


def read_sizes(batch: RawBatch, check: Check) -> Sequence[int | None]:
    """Sizes; 0 means that none was given, for no record is of the empty file."""
    sizes = read_numbers(batch.sizes, batch.names.size, check)
    return sizes if all(sizes) else [size or None for size in sizes]


def read_numbers(
    values: Sequence[float | str | None] | None, name: str, check: Check
) -> Sequence[int | None]:
    """Counts and sizes of 0 or more, written as whole numbers or as their decimal text."""
    if values is None:
        return check.nones()
    if set(map(type, values)) == {int}:
        numbers: Sequence[int] = values  # type: ignore[assignment]
        if min(numbers) >= 0 and max(numbers) <= check.limits.max_size_bytes:
            return numbers
    return [_read_number(row, value, name, check) for row, value in enumerate(values)]


def _read_number(row: int, value: float | str | None, name: str, check: Check) -> int | None:
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            check.reject(row, name, "not a whole number in decimal digits")
            return None
        value = int(value)
    if isinstance(value, float):
        if not value.is_integer():
            check.reject(row, name, "not a whole number")
            return None
        value = int(value)
    if value is not None and not 0 <= value <= check.limits.max_size_bytes:
        check.reject(row, name, f"the number is not in 0 to {check.limits.max_size_bytes}")
        return None
    return value


__all__ = ["read_media_types", "read_numbers", "read_sizes", "read_source_ids", "read_texts"]
