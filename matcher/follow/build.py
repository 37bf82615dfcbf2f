"""The child process that builds a snapshot: `python -m matcher.follow.build`.

Takes its arguments as JSON from standard input, so that the catalog's URL stands on no command
line, and answers with one line of JSON: `{"snapshot": name}`, or `{"error": {...}}` and status 1.
Its parent is `matcher.follow.child`; it ends with that, so that no orphan that hangs keeps others
from building.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlists.catalog import Catalog
from hashlists.errors import HashlistsError
from matcher.errors import in_words
from matcher.follow.lock import publish_lock
from matcher.follow.snapshots import build_snapshot, published_name
from matcher.follow.vaults import make_vault
from matcher.parent import end_with

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)
#: Where both want the processor, answering goes before building; a build alone has all of it.
_NICENESS = 10


def main() -> int:
    """The child process; see the module."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    arguments = json.loads(sys.stdin.buffer.read())
    if not end_with(arguments["parent"], signal.SIGKILL):
        return 1
    answer = _answer(arguments)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0


def _answer(arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with Catalog.open(arguments["catalog_url"], make=False) as catalog:
            path = build_snapshot(
                catalog,
                Path(arguments["snapshots_dir"]),
                full=arguments["full"],
                seen=arguments["seen"],
                vault=make_vault(arguments["encryption_keys"]),
            )
        if arguments["publish_url"]:
            _push(Path(arguments["snapshots_dir"]), arguments)
    except HashlistsError as error:
        return {"error": {"reason": error.reason, "message": str(error)}}
    except OSError as error:
        return {"error": {"message": in_words(error)}}
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must know
        _log.exception("the snapshot cannot be built")
        return {"error": {"message": f"{in_words(error)}; the log tells where"}}
    return {"snapshot": path.name}


def _push(snapshots_dir: Path, arguments: Mapping[str, Any]) -> None:
    """Publishes what is current, also where it was published before: a store may lose things.

    One process of the machine at a time, so that none publishes what is older than what another
    has just published.
    """
    from hashlists.snapshot.destinations import note_destination  # noqa: PLC0415 - as the next
    from hashlists.snapshot.objects import Objects  # noqa: PLC0415 - brings object storage
    from hashlists.snapshot.store import push  # noqa: PLC0415 - as the one before

    with publish_lock(snapshots_dir):
        Objects(arguments["publish_url"], make=True)  # what can be no store is not noted as one
        note_destination(snapshots_dir, arguments["publish_url"])
        path = snapshots_dir / published_name(snapshots_dir)
        done = push(path, arguments["publish_url"], signing_key=Path(arguments["signing_key"]))
    if done.problem:
        _log.warning("published, but the store is not cleared of what is old: %s", done.problem)


__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
