"""Snapshots are built by the command line as servers build them: by a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.errors import SnapshotError
from matcher.cli.output import waiting

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
    child = ChildProcess(settings.catalog_url, settings.snapshots_dir, publication=publication)
    before = published_name(settings.snapshots_dir)
    with waiting("Building the index"):
        return child.build(BuildOrder(seen=before, full=full))


def forget_purged(session: Session, done: PurgeReport) -> str:
    """Sees to it that no snapshot of this machine holds what was purged.

    Returns:
        What was done, in words.

    Raises:
        HashlistsError, OSError: a snapshot that holds it may still be there.
    """
    from hashlists import snapshot as snapshots  # noqa: PLC0415  brings numpy

    root = session.settings.snapshots_dir
    assert done.revision is not None
    if _is_empty(root):
        snapshots.sweep(root, keep_previous=False)
        return "none on this machine; servers elsewhere build theirs anew"
    for _ in range(_ATTEMPTS):  # the build of another process may have begun before the purge
        build_snapshot(session)
        if (snapshots.current_revision(root) or 0) >= done.revision.number:
            break
    else:
        raise SnapshotError("other processes publish snapshots of older revisions all the time")
    snapshots.sweep(root, keep_previous=False)
    return "built anew, the old ones removed; running servers follow within seconds"


def _is_empty(root: Path) -> bool:
    """Whether nothing was published there; what is damaged may hold something."""
    from hashlists import snapshot as snapshots  # noqa: PLC0415  brings numpy

    try:
        return snapshots.current_name(root) is None
    except SnapshotError:
        return False
