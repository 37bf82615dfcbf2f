"""Classifications, verbatim: 0 is a code, None and "" are none."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hashlists.model import Classification
from hashlists.validate.check import text_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.validate.check import Check


@lru_cache(maxsize=4096)
def _classification(scheme: str, profile: str, code: str) -> Classification:
    return Classification(scheme, profile, code)


def classify(batch: RawBatch, check: Check) -> Sequence[Classification | None]:
    """The classification of each row, interned."""
    if batch.codes is None:
        return check.nones()
    if batch.schemes is None and batch.profiles is None:
        scheme, profile = batch.header.scheme, batch.header.profile
        return _look_up(batch.codes, lambda code: (scheme, profile, code), batch, check)
    named = zip(
        batch.schemes or check.nones(), batch.profiles or check.nones(), batch.codes, strict=True
    )
    return _look_up(list(named), lambda row: _with_defaults(row, batch), batch, check)


def _with_defaults(
    row: tuple[str | None, str | None, int | str | None], batch: RawBatch
) -> tuple[str, str, int | str | None]:
    scheme, profile, code = row
    header = batch.header
    if scheme is None:
        return header.scheme, header.profile if profile is None else profile, code
    return scheme, profile or "", code


def _look_up(
    values: Sequence[Hashable],
    parts: Callable[..., tuple[str, str, int | str | None]],
    batch: RawBatch,
    check: Check,
) -> Sequence[Classification | None]:
    """One classification for each different value; rows whose value is none are rejected."""
    limit = check.limits.max_code_chars
    known: dict[Hashable, Classification | None] = {}
    bad: dict[Hashable, str] = {}
    for value in set(values):
        scheme, profile, code = parts(value)
        texts = (scheme, profile, "" if code is None else str(code))
        fault = next(filter(None, (text_fault(text, limit) for text in texts)), None)
        if fault is not None:
            bad[value] = f"the value {fault}"
        elif texts[2]:
            known[value] = _classification(*texts)
    if bad:
        for row, value in enumerate(values):
            if value in bad:
                check.reject(row, batch.names.category, bad[value])
    return list(map(known.get, values))


__all__ = ["classify"]
