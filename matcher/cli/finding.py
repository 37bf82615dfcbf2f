"""What a check of `hashwarden doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad a finding is; only `FAIL` changes the exit status."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw.

    Attributes:
        check: what was looked at, in a word or two.
        status: how bad it is.
        detail: what was seen, and what to do about it.
    """

    check: str
    status: Status
    detail: str


__all__ = ["Finding", "Status"]
