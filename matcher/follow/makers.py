"""Chooses who builds for a follower: a child process in the background, or the calling thread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from matcher.follow.building import BackgroundBuilder, InlineBuilder
from matcher.follow.child import ChildProcess
from matcher.follow.lock import is_build_locked
from matcher.follow.snapshots import build_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from hashlists.snapshot.vault import Vault
    from matcher.follow.building import Builder, BuildOrder
    from matcher.follow.child import Publication
    from matcher.follow.readable import Readable


def make_builder(
    catalog: Readable,
    snapshots_dir: Path,
    catalog_url: str,
    publication: Publication | None,
    vault: Vault | None = None,
) -> Builder:
    """A builder over that catalog; without a URL to hand to a child, it is the calling thread."""
    if not catalog_url:
        return InlineBuilder(partial(_build_here, catalog, snapshots_dir, vault))
    child = ChildProcess(catalog_url, snapshots_dir, publication=publication, vault=vault)
    return BackgroundBuilder(
        child.build, is_busy=partial(is_build_locked, snapshots_dir), stop=child.stop
    )


def _build_here(
    catalog: Readable, snapshots_dir: Path, vault: Vault | None, order: BuildOrder
) -> None:
    build_snapshot(catalog, snapshots_dir, full=order.full, seen=order.seen, vault=vault)


__all__ = ["make_builder"]
