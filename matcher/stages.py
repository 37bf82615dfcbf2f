"""How long each stage of the work on an upload takes; what to do with it is the observer's affair.

A clock notes for each stage when it began first and how long it took in all. It costs two looks at
the time a stage, and nothing of an upload is in it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Stage(StrEnum):
    """What an upload goes through; a closed set, fit for labels of metrics."""

    DECODE_QUEUE = "decode_queue"
    DECODE = "decode"
    DIGEST = "digest"
    BATCH_QUEUE = "batch_queue"
    HASH = "hash"
    LOOKUP = "lookup"
    POLICY = "policy"


@dataclass(slots=True)
class Spell:
    """The time that a stage took.

    Attributes:
        began: when it began first, in nanoseconds of `time.perf_counter_ns`.
        took: nanoseconds in all, without what lay between its parts.
    """

    began: int
    took: int

    @classmethod
    def between(cls, began: int, ended: int) -> Self:
        """A stage of one part."""
        return cls(began, max(0, ended - began))

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.took / 1e9


class StageClock:
    """Notes the stages of one piece of work. Not for several threads at once.

    Args:
        now: nanoseconds that never go back.
    """

    def __init__(self, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now = now
        self._spells: dict[Stage, Spell] = {}

    @property
    def spells(self) -> Mapping[Stage, Spell]:
        """What was noted, in the order in which stages began."""
        return MappingProxyType(self._spells)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Around a part of a stage, whatever ends it."""
        began = self._now()
        try:
            yield
        finally:
            self.note(stage, began, self._now())

    def note(self, stage: Stage, began: int, ended: int) -> None:
        """Notes a part of a stage that was timed elsewhere."""
        spell = self._spells.get(stage)
        if spell is None:
            self._spells[stage] = Spell.between(began, ended)
        else:
            spell.took += max(0, ended - began)


__all__ = ["Spell", "Stage", "StageClock"]
