"""An import that came over gRPC: spooled, checked, and run by a child process.

The file has no name and lies on the disk only while it is imported. It is imported only when
exactly the announced bytes came, so a broken upload is never taken for a short file. Parsing and
staging run in a process of their own: they neither slow matching down nor share its memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.errors import DigestMismatchError, ImportProcessError
from matcher.errors import InvalidRequestError
from matcher.service.child_errors import error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

MAX_CHUNK_BYTES = 1 << 20
_SHA256_BYTES = 32
_MAX_KEY_CHARS = 200


@dataclass(frozen=True, slots=True)
class WholeList:
    """The file is the whole list.

    Attributes:
        force: retract whatever speaks against it.
        max_absent_entries: import nothing where more would be retracted; None for any number.
    """

    force: bool
    max_absent_entries: int | None

    def __post_init__(self) -> None:
        if self.max_absent_entries is not None and self.max_absent_entries < 0:
            raise InvalidRequestError("is negative", field="start.whole_list.max_absent_entries")


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What an import's first message says, checked.

    Attributes:
        list_name, format, options: where it goes and how it is read.
        sha256: digest of the whole file, 32 bytes.
        length: bytes of the whole file.
        idempotency_key: the same key and file again gives the first report again.
        max_rejected_share: 0..1, or None for the default.
        reason, importer: kept with the revision.
        validate_only: change nothing, and tell what would change.
        whole_list: what to do with entries that the file does not name; None: they stay.
        force: withdraw what it lists by nothing that can be matched, however much it is.
    """

    list_name: str
    format: str
    options: Mapping[str, str]
    sha256: bytes
    length: int
    idempotency_key: str
    max_rejected_share: float | None
    reason: str
    importer: str
    validate_only: bool = False
    whole_list: WholeList | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if len(self.sha256) != _SHA256_BYTES:
            raise InvalidRequestError("has 32 bytes", field="start.sha256")
        if self.length <= 0:
            raise InvalidRequestError("is required: bytes of the file", field="start.length")
        if not 0 < len(self.idempotency_key) <= _MAX_KEY_CHARS:
            raise InvalidRequestError(
                f"is required, at most {_MAX_KEY_CHARS} characters", field="start.idempotency_key"
            )
        if self.max_rejected_share is not None and not 0 <= self.max_rejected_share <= 1:
            raise InvalidRequestError("is from 0 to 1", field="start.max_rejected_share")


class Spool:
    """A private file that takes an upload's chunks and checks them against what was announced.

    Args:
        folder: on the disk where the file lies; created with mode 0700.
        order: what was announced.
        max_bytes: the largest list file that is taken.
    """

    def __init__(self, folder: Path, order: ImportOrder, *, max_bytes: int) -> None:
        if order.length > max_bytes:
            raise InvalidRequestError(
                f"is {order.length}; the limit is {max_bytes}", field="start.length"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Without a name nobody else can erase it, and the kernel does once this process is gone.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` does
        self._order = order
        self._digest = hashlib.sha256()
        self._received = 0

    def write(self, chunk: bytes) -> None:
        """Takes the next chunk.

        Raises:
            InvalidRequestError: the chunk is empty or too large.
            DigestMismatchError: more came than was announced.
        """
        if not 0 < len(chunk) <= MAX_CHUNK_BYTES:
            raise InvalidRequestError(f"has 1 to {MAX_CHUNK_BYTES} bytes", field="chunk")
        self._received += len(chunk)
        if self._received > self._order.length:
            raise DigestMismatchError(
                f"more than the announced {self._order.length} bytes came; nothing is imported"
            )
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> int:
        """The descriptor of the whole file, at its beginning; valid until `close`.

        Raises:
            DigestMismatchError: fewer or other bytes came than were announced.
        """
        if self._received != self._order.length:
            raise DigestMismatchError(
                f"{self._received} of the announced {self._order.length} bytes came; "
                "nothing is imported"
            )
        if self._digest.digest() != self._order.sha256:
            raise DigestMismatchError(
                "the file does not have the announced SHA-256; nothing is imported"
            )
        self._file.seek(0)  # writes out what is buffered, too
        return self._file.fileno()

    def close(self) -> None:
        """Erases the file; called however the import ended."""
        self._file.close()


async def run_import(
    catalog_url: str, file: int, order: ImportOrder, spool_dir: Path
) -> AsyncIterator[Mapping[str, Any]]:
    """Runs the import of the file with that descriptor in a child process.

    Yields:
        `{"progress": {...}}` while it runs, then `{"report": {...}}`.

    Raises:
        HashlistsError: what the child says is wrong; nothing was imported.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hashlists.import_process",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
        pass_fds=(file,),
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        arguments = _arguments(catalog_url, file, order, spool_dir)
        child.stdin.write(json.dumps(arguments).encode() + b"\n")
        child.stdin.close()
        reported = False
        async for line in child.stdout:
            message: Mapping[str, Any] = json.loads(line)
            if "error" in message:
                raise error_of(message["error"])
            reported = "report" in message
            yield message
        if await child.wait() or not reported:
            raise ImportProcessError("the import process ended early; nothing was imported")
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def _arguments(catalog_url: str, file: int, order: ImportOrder, spool_dir: Path) -> list[str]:
    arguments = [
        f"--catalog={catalog_url}",
        f"--file=/dev/fd/{file}",
        f"--list={order.list_name}",
        f"--format={order.format}",
        f"--importer={order.importer}",
        f"--reason={order.reason}",
        f"--idempotency-key={order.idempotency_key}",
        f"--sha256={order.sha256.hex()}",
        f"--spool-dir={spool_dir}",
        *(f"--option={key}={value}" for key, value in order.options.items()),
    ]
    if order.max_rejected_share is not None:
        arguments.append(f"--max-rejected-share={order.max_rejected_share}")
    if order.validate_only:
        arguments.append("--dry-run")
    if order.whole_list is not None:
        arguments.append("--full")
        if order.whole_list.max_absent_entries is not None:
            arguments.append(f"--max-absent={order.whole_list.max_absent_entries}")
    if order.force or (order.whole_list is not None and order.whole_list.force):
        arguments.append("--force")
    return arguments
