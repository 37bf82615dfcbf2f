"""Which decoders there are: processes in a sandbox, or threads of this one."""

from __future__ import annotations

import enum
import logging
import sys
from typing import TYPE_CHECKING

from matcher.decode.pool import InProcessPool
from matcher.decode.protection import EVERY_PROTECTION
from matcher.errors import UnprotectedError

if TYPE_CHECKING:
    from matcher.decode.limits import DecodeLimits, WorkerLimits
    from matcher.decode.pool import DecodePool
    from matcher.decode.protection import Protection

_log = logging.getLogger(__name__)


class Sandbox(enum.StrEnum):
    """Where decoders run."""

    ON = "on"  # in processes, protected by whatever this system has
    REQUIRED = "required"  # the same, and not at all where any protection is missing
    OFF = "off"  # in threads of this process


def decode_pool(
    limits: DecodeLimits, worker_limits: WorkerLimits, *, workers: int, sandbox: Sandbox
) -> DecodePool:
    """Starts decoders.

    Args:
        limits: ceilings for one upload.
        worker_limits: ceilings for each process that decodes.
        workers: how many decode at once.
        sandbox: where they run. On other systems than Linux `ON` gives threads, with a warning.

    Raises:
        UnprotectedError: all protection is required, and this system has not all of it.
        DecodersAwayError: it is required, and no decoder could be started to tell.
    """
    if sandbox is Sandbox.OFF:
        return InProcessPool(limits, workers)
    if sys.platform != "linux":
        if sandbox is Sandbox.REQUIRED:
            raise UnprotectedError("decoders have no sandbox on this system; Linux has one")
        _log.warning("decoders run unprotected: they have no sandbox on this system")
        return InProcessPool(limits, workers)
    pool = _in_processes(limits, worker_limits, workers)
    if sandbox is Sandbox.REQUIRED:
        try:
            _require_all(pool.protection())
        except BaseException:
            pool.close()
            raise
    return pool


def _in_processes(limits: DecodeLimits, worker_limits: WorkerLimits, workers: int) -> DecodePool:
    from matcher.decode.sandbox.pool import SandboxPool  # noqa: PLC0415  needs Linux

    return SandboxPool(limits, workers, worker_limits=worker_limits)


def _require_all(had: Protection) -> None:
    missing = EVERY_PROTECTION & ~had
    if missing:
        raise UnprotectedError(
            f"decoders lack protection by: {missing.text}; for `system calls` install libseccomp "
            "(Debian: libseccomp2) and let this process load seccomp filters, or set "
            "`decode_sandbox` to `on`"
        )


__all__ = ["Sandbox", "decode_pool"]
