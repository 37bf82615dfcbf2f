"""The child process that builds snapshots, seen from its parent.

Invariants: a child that hangs, dies or talks nonsense is an error of that build and of nothing
else; no more of its answer is read than any answer has. A catalog's URL, which may hold a
password, and keys go to the child through a pipe and stand on no command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hashlists import errors as list_errors
from hashlists.errors import HashlistsError, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hashlists.snapshot.vault import Vault
    from matcher.follow.building import BuildOrder

#: Nothing that a builder answers is longer.
MAX_ANSWER_BYTES = 1 << 16
#: A build of a hundred million entries takes minutes; one that takes this long hangs.
BUILD_SECONDS = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a snapshot goes once it is built.

    Attributes:
        url: the folder or object store.
        signing_key: file of the private key that signs it.
        seconds: least time between one that a server published and the next, unless that withdraws
            something.
    """

    url: str
    signing_key: Path
    seconds: float = 10.0


class ChildProcess:
    """Builds snapshots by `python -m matcher.follow.build`.

    Args:
        catalog_url: SQLAlchemy URL of the catalog.
        snapshots_dir: where snapshots lie.
        publication: where they go besides, if anywhere.
        vault: the keys that encrypt them; None for none.
        seconds: after which a child is taken to hang and is killed.
    """

    def __init__(
        self,
        catalog_url: str,
        snapshots_dir: Path,
        *,
        publication: Publication | None = None,
        vault: Vault | None = None,
        seconds: float = BUILD_SECONDS,
    ) -> None:
        self._encryption_keys = "" if vault is None else vault.place
        self._catalog_url = catalog_url
        self._snapshots_dir = snapshots_dir
        self._publication = publication
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def build(self, order: BuildOrder) -> str:
        """Runs a child to its end.

        Returns:
            The name of the snapshot that is current then.

        Raises:
            HashlistsError: what the child says is wrong, or that it ended early.
            OSError: no child can be started.
        """
        child = self._spawn()
        late = threading.Timer(self._seconds, child.kill)
        late.start()
        try:
            answer = _converse(child, self._arguments(order))
        finally:
            late.cancel()
            child.kill()  # one that ended already takes no harm
            code = child.wait()
            with self._lock:
                self._child = None
        return _name_in(answer, code)

    def stop(self) -> None:
        """Kills the child; a build that is under way fails, and none begins after that."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise SnapshotError("no snapshot is built any more: the process is ending")
            self._child = subprocess.Popen(
                [sys.executable, "-m", "matcher.follow.build"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            return self._child

    def _arguments(self, order: BuildOrder) -> dict[str, Any]:
        to = self._publication
        return {
            **asdict(order),
            "parent": os.getpid(),
            "catalog_url": self._catalog_url,
            "snapshots_dir": str(self._snapshots_dir),
            "encryption_keys": self._encryption_keys,
            "publish_url": "" if to is None else to.url,
            "signing_key": "" if to is None else str(to.signing_key),
        }


def _converse(child: subprocess.Popen[bytes], arguments: Mapping[str, Any]) -> bytes:
    """Hands the arguments over and takes the answer, all of it or what a bound lets through."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.closing(child.stdout):
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
            pipe.write(json.dumps(arguments).encode())
        return child.stdout.read(MAX_ANSWER_BYTES + 1)


def _name_in(answer: bytes, code: int) -> str:
    try:
        message = json.loads(answer) if len(answer) <= MAX_ANSWER_BYTES else None
    except ValueError:
        message = None
    if isinstance(message, dict) and isinstance(message.get("snapshot"), str):
        return str(message["snapshot"])
    if isinstance(message, dict) and isinstance(message.get("error"), dict):
        raise _error_from(message["error"])
    raise SnapshotError(
        f"the process that builds snapshots ended early (status {code}); nothing was published"
    )


def _error_from(message: Mapping[str, Any]) -> HashlistsError:
    """The child's error as the class that carries its reason."""
    text = str(message.get("message", ""))
    for each in vars(list_errors).values():
        if isinstance(each, type) and issubclass(each, HashlistsError):  # noqa: SIM102 - read apart
            if each.reason == message.get("reason"):
                return each(text)
    return SnapshotError(text)


__all__ = ["ChildProcess", "Publication"]
