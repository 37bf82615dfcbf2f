"""What a command refuses to do here and now, though it was typed as it should be.

Usage is told of wrong options and arguments only; what is refused for another cause is told in one
line, like any other error.
"""

from __future__ import annotations

from matcher.errors import MatcherError


class RefusalError(MatcherError):
    """A command cannot do here what it was asked for; the message says why, and what to do."""

    reason = "COMMAND_REFUSED"


__all__ = ["RefusalError"]
