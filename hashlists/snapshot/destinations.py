"""Which stores this machine has published to, so that none is forgotten when something is purged.

A store that was named once, on a command line, holds what it was given until it is published to
again. So each is noted beside the snapshots before anything goes there, and stays noted: one that
is gone for good is taken out of the file by hand.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from hashlists.errors import SnapshotError
from hashlists.snapshot.files import (
    describe,
    exclusive,
    json_bytes,
    new_file,
    open_folder,
    read_small,
    sync_folder,
)
from hashlists.snapshot.pointer import POINTER_TEMPORARY

if TYPE_CHECKING:
    from pathlib import Path

DESTINATIONS_FILE = "destinations.json"
_MAX_BYTES = 1 << 20


def destinations(root: Path) -> tuple[str, ...]:
    """URLs of the stores to which snapshots of this folder went.

    Raises:
        SnapshotError: the file is there and cannot be read.
    """
    try:
        handle = open_folder(root)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SnapshotError(f"the folder of snapshots {describe(error)}") from error
    try:
        if DESTINATIONS_FILE not in os.listdir(handle):  # noqa: PTH208  the folder that was opened
            return ()
        data = read_small(root, handle, DESTINATIONS_FILE, _MAX_BYTES)
    finally:
        os.close(handle)
    return _parse(data)


def _parse(data: bytes) -> tuple[str, ...]:
    with suppress(ValueError, RecursionError):
        body = json.loads(data)
        if isinstance(body, list) and all(isinstance(each, str) for each in body):
            return tuple(body)
    raise SnapshotError(
        f"the folder of snapshots: file {DESTINATIONS_FILE} is damaged; it names the stores that"
        " were published to, which may hold what was purged: publish to each again, then remove it"
    )


def note_destination(root: Path, url: str) -> None:
    """Notes a store before the first publication to it, whole or not at all.

    Raises:
        SnapshotError: what was noted before cannot be read.
        OSError: it cannot be written.
    """
    with exclusive(root):
        noted = destinations(root)
        if url in noted:
            return
        # Named like the pointer's own, so that a sweep removes what a crash leaves.
        temporary = root / f"{POINTER_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with new_file(temporary) as stream:
                stream.write(json_bytes(DESTINATIONS_FILE, [*noted, url]) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(root / DESTINATIONS_FILE)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(root)


__all__ = ["DESTINATIONS_FILE", "destinations", "note_destination"]
