"""What ends a scan, or keeps it from beginning; what goes wrong with one object does neither."""

from __future__ import annotations

from matcher.errors import MatcherError


class ScanError(MatcherError):
    """Base of what ends a scan. What is finished stays finished, and `--resume` goes on."""

    reason = "SCAN_ERROR"


class SourceError(ScanError):
    """A place cannot be opened or listed."""

    reason = "SCAN_SOURCE"


class EngineError(ScanError):
    """Nothing is there any more that scans."""

    reason = "SCAN_ENGINE"


class StateError(ScanError):
    """The output folder is none of a scan, is in use, is damaged, or cannot be written."""

    reason = "SCAN_STATE"


class SelectionError(ScanError):
    """What is to be scanned is asked for in a way that makes no sense."""

    reason = "SCAN_SELECTION"


class ReportError(ScanError):
    """A report cannot be made: a library is missing, or the records are sealed."""

    reason = "SCAN_REPORT"


def first_of(error: BaseException) -> BaseException:
    """The first error among those of tasks that ended together; of any other error, itself."""
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


__all__ = [
    "EngineError",
    "ReportError",
    "ScanError",
    "SelectionError",
    "SourceError",
    "StateError",
    "first_of",
]
