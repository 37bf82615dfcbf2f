"""Joins catalog and index, and nothing else does: follows revisions, builds and swaps snapshots."""

from __future__ import annotations

from matcher.follow.build import build_snapshot
from matcher.follow.follower import Follower, FollowerState, open_generation

__all__ = ["Follower", "FollowerState", "build_snapshot", "open_generation"]
