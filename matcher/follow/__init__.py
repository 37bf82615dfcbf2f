"""Joins catalog and index, and nothing else does: follows revisions, builds and swaps snapshots."""

from __future__ import annotations

from matcher.follow.building import SnapshotSource
from matcher.follow.child import Publication
from matcher.follow.follower import Follower, FollowerState
from matcher.follow.one_shot import open_generation
from matcher.follow.snapshots import build_snapshot

__all__ = [
    "Follower",
    "FollowerState",
    "Publication",
    "SnapshotSource",
    "build_snapshot",
    "open_generation",
]
