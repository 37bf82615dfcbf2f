"""The holder: readers see one whole object, before and after a swap, and nothing in between."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

import pytest

from matcher.errors import NotReadyError
from matcher.index.holder import Holder


@dataclass(frozen=True)
class Pair:
    first: int
    second: int


def test_nothing_is_held_at_first():
    with pytest.raises(NotReadyError, match="no hash lists are loaded"):
        _ = Holder().current


def test_a_swap_gives_back_what_was_held():
    holder: Holder[Pair] = Holder()
    one, two = Pair(1, 1), Pair(2, 2)
    assert holder.swap(one) is None
    assert holder.current is one
    assert holder.swap(two) is one
    assert holder.current is two


def test_a_falsy_object_is_held_too():
    holder: Holder[tuple[int, ...]] = Holder()
    holder.swap(())
    assert holder.current == ()


def test_the_old_object_goes_with_its_last_reader():
    class Held:
        pass

    holder: Holder[Held] = Holder()
    holder.swap(Held())
    reader = holder.current
    gone = weakref.ref(reader)
    holder.swap(Held())
    assert gone() is reader
    del reader
    assert gone() is None


def test_readers_and_writers_at_once():
    holder: Holder[Pair] = Holder()
    holder.swap(Pair(0, 0))
    stop = threading.Event()
    torn: list[Pair] = []
    returned: list[Pair | None] = []

    def read() -> None:
        while not stop.is_set():
            pair = holder.current
            if pair.first != pair.second:
                torn.append(pair)

    def write(start: int) -> None:
        returned.extend(holder.swap(Pair(n, n)) for n in range(start, 4000, 2))

    readers = [threading.Thread(target=read) for _ in range(3)]
    writers = [threading.Thread(target=write, args=(start,)) for start in (1, 2)]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert torn == []
    # Each object that was ever put in came back exactly once, but for the one still held.
    seen = sorted(pair.first for pair in [*returned, holder.current])
    assert seen == list(range(4000))
