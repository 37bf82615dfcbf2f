"""Clocks that stand still until a test moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """What is asked what time it is.

    Args:
        now: a test sets it, or adds to it.
        told: makes what whoever asks is told of it; by default it is told as it is.
    """

    def __init__(self, now: Any = 1_000.0, *, told: Callable[[Any], Any] | None = None) -> None:
        self.now = now
        self._told = told

    def __call__(self) -> Any:
        return self.now if self._told is None else self._told(self.now)


__all__ = ["Clock"]
