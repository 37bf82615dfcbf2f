"""What drivers share that kill a run of theirs, at its n-th step or some time: the kill, the run.

Each run is a fork, so that nothing has to be imported again.
"""

from __future__ import annotations

import os
import signal
import traceback
from typing import TYPE_CHECKING

from hashlists.catalog import on_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType


def need_no_syncs() -> None:
    """What a process has written outlives it, whether or not it has reached the disk."""
    on_sqlite._PRAGMAS = tuple(each.replace("= FULL", "= OFF") for each in on_sqlite._PRAGMAS)


def die_at(
    steps: Iterable[tuple[ModuleType, str]], number: int, *, after: bool
) -> Callable[[bool], None]:
    """Plants the kill: before the `number`-th step, or after it.

    Args:
        steps: functions each call of which is a step.
        number: of the step, from 1.
        after: kill behind it.

    Returns:
        What is to be called before and after each step that is none of these functions: with
        whether it is done.
    """
    count = 0

    def step(done: bool) -> None:
        nonlocal count
        count += not done
        if count == number and done == after:
            os.kill(os.getpid(), signal.SIGKILL)

    def planted(real: Callable[..., object]) -> Callable[..., object]:
        def act(*args: object, **options: object) -> object:
            step(False)
            made = real(*args, **options)
            step(True)
            return made

        return act

    for module, name in steps:
        setattr(module, name, planted(getattr(module, name)))
    return step


def forked(act: Callable[[], None]) -> int:
    """The process id of a fork that does so, and then ends."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def was_killed(child: int) -> bool:
    """Whether a fork was killed; False when it came to its end before that."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the run failed by itself"
    return False
