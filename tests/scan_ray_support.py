"""A folder that tests scan with workers of Ray, what they are told, and a whole scan of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from matcher.scan.document import Place
from matcher.scan.engines.orders import Orders
from matcher.scan.run import run_scan
from matcher.scan.sources import open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import RunEnd, ScanState
from tests.scan_support import document, generation_of, picture

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from matcher.scan.engines.base import Engine
    from matcher.scan.model import Record

REVISION = 7
FILES = 700
KNOWN = (3, 17, 450)
#: Every 50th file, from the second on.
NO_PICTURES = FILES // 50


def make_files(folder: Path) -> None:
    """Pictures, a few of them known, and files that are none."""
    for number in range(FILES):
        (folder / f"{number % 7}").mkdir(exist_ok=True)
        content = b"no picture" if number % 50 == 1 else picture(number)
        (folder / f"{number % 7}" / f"{number:04}.png").write_bytes(content)


def make_snapshot(root: Path) -> str:
    """The name of a snapshot of the pictures that are known."""
    generation_of(root, [picture(number) for number in KNOWN])
    (folder,) = root.glob("snapshot-*")
    return folder.name


def orders(scanned: Path, **changes: Any) -> Orders:
    told = {"places": (Place(str(scanned)),), "image_bytes": 1 << 20, "revision": REVISION}
    return Orders(**(told | changes))


async def scan(
    folder: Path,
    place: Place,
    engine: Engine,
    meanwhile: Callable[[ScanState], Awaitable[None]] | None = None,
) -> list[Record]:
    """The records of a whole scan, those parts left out that are drawn by lot or by chance."""
    made = document(places=(place,))
    source = open_source(place)
    with ScanState.create(folder, made) as state:
        state.begin_run(revision=REVISION, policy="default", policy_version="v")
        running = asyncio.create_task(run_scan(state, [source], Selector(made.selection), engine))
        if meanwhile is not None:
            await meanwhile(state)
        assert await running
        state.end_run(RunEnd.DONE)
        await source.close()
        return [
            msgspec.structs.replace(each, match_id="", way="fetched") for each in state.records()
        ]


async def some_are_finished(state: ScanState) -> None:
    """Waits for the first batch; nothing but the state tells of it."""
    for _ in range(6000):
        if state.summary().finished:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("no batch is finished")
