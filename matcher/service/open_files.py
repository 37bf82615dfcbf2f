"""How many files a process may have open, and how many connections of its servers that allows.

Systems begin processes with a low limit (1,024, for old programs that break above) and let them
raise it to a higher one. Every connection takes a file. Where strangers' connections took all of
them, no record of a match could be written and no decoder started: so connections have a bound
below the limit, beyond which gRPC closes new ones at once. It knows no bound for each address.
"""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)
#: As high as the limit is raised: more connections than a process could serve.
_ENOUGH = 1 << 20


def raise_limit() -> None:
    """Has this process, and those that it starts, open as many files as the system lets it."""
    soft, hard = limits()
    wanted = min(hard, _ENOUGH)
    if soft >= wanted:
        return
    try:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (OSError, ValueError) as error:
        _log.warning(
            "no more than %d files may be open, and that cannot be raised: %s", soft, error
        )


def limits() -> tuple[int, int]:
    """How many files this process may have open, and how many it may allow itself."""
    soft, hard = (
        _ENOUGH if each == resource.RLIM_INFINITY else each
        for each in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, hard


def most_connections(open_files: int) -> int:
    """How many connections each of the two servers of a process may have open.

    They are three quarters of all files together; the rest is for all else.
    """
    return max(1, open_files * 3 // 8)


__all__ = ["limits", "most_connections", "raise_limit"]
