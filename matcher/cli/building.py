"""Snapshots are built by the command line as servers build them: by a child process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.errors import SnapshotError
from matcher.cli.output import waiting
from matcher.cli.stores import published_stores

if TYPE_CHECKING:
    from pathlib import Path

    from hashlists.model import PurgeReport
    from matcher.cli.context import Session

_ATTEMPTS = 3


def build_snapshot(session: Session, *, full: bool = False, publish_url: str | None = None) -> str:
    """Builds a snapshot of the newest revision and makes it the current one.

    Where another process builds just now, its snapshot is waited for first.

    Args:
        session: whose settings count.
        full: build everything, although what changed would do.
        publish_url: where it goes besides; None for what the settings say.

    Returns:
        The snapshot's name.

    Raises:
        HashlistsError, OSError: nothing was built.
    """
    from matcher.follow.building import BuildOrder  # noqa: PLC0415  brings numpy and faiss
    from matcher.follow.child import ChildProcess, Publication  # noqa: PLC0415
    from matcher.follow.snapshots import published_name  # noqa: PLC0415

    settings = session.settings
    url = settings.snapshot_publish_url if publish_url is None else publish_url
    key = settings.snapshot_signing_key
    publication = Publication(url, key) if url and key else None
    child = ChildProcess(
        settings.catalog_url,
        settings.snapshots_dir,
        publication=publication,
        vault=session.vault,
    )
    before = published_name(settings.snapshots_dir)
    with waiting("Building the index"):
        return child.build(BuildOrder(seen=before, full=full))


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of the snapshots that held what was purged.

    Attributes:
        told: what was done with those of this machine, in words.
        stores: URLs of stores that may hold older ones still.
    """

    told: str
    stores: tuple[str, ...]


def forget_purged(session: Session, done: PurgeReport) -> Forgotten:
    """Sees to it that no snapshot of this machine holds what was purged.

    What is built is published where the settings say so, which withdraws what the store has shown.

    Raises:
        HashlistsError, OSError: a snapshot that holds it may still be there.
    """
    from hashlists import snapshot as snapshots  # noqa: PLC0415  brings numpy

    root = session.settings.snapshots_dir
    assert done.revision is not None
    if _is_empty(root):
        snapshots.sweep(root, keep_previous=False)
        told = "none on this machine; servers elsewhere build theirs anew"
        return Forgotten(told, published_stores(session.settings))
    for _ in range(_ATTEMPTS):  # the build of another process may have begun before the purge
        build_snapshot(session)
        if (snapshots.current_revision(root) or 0) >= done.revision.number:
            break
    else:
        raise SnapshotError("other processes publish snapshots of older revisions all the time")
    snapshots.sweep(root, keep_previous=False)
    set_url = session.settings.snapshot_publish_url
    left = tuple(url for url in published_stores(session.settings) if url != set_url)
    told = "built anew, the old ones removed; running servers follow within seconds"
    return Forgotten(told, left)


def _is_empty(root: Path) -> bool:
    """Whether nothing was published there; what is damaged may hold something."""
    from hashlists import snapshot as snapshots  # noqa: PLC0415  brings numpy

    try:
        return snapshots.current_name(root) is None
    except SnapshotError:
        return False
