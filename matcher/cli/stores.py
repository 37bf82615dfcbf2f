"""The stores of this machine: those it publishes to, or the one it pulls from, and what they show.

Looking changes nothing, and a store that is away is an answer, not an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hashlists.errors import HashlistsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hashlists.snapshot.signing import Publication
    from matcher.settings import Settings

_NOTHING = "nothing is published there yet"
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


@dataclass(frozen=True, slots=True)
class StoreState:
    """A store, as it was seen just now.

    Attributes:
        url: the store.
        publication: its newest publication; None where there is none, or it cannot be known.
        problem: why it cannot be known; empty otherwise.
    """

    url: str
    publication: Publication | None
    problem: str

    @property
    def told(self) -> str:
        """The newest publication in words."""
        if self.problem:
            return f"cannot be told: {self.problem}"
        if self.publication is None:
            return _NOTHING
        when = datetime.fromisoformat(self.publication.published_at).astimezone(UTC)
        return (
            f"revision {self.publication.revision}, {_ago(when, datetime.now(UTC))} "
            f"({when:%Y-%m-%d %H:%M:%S} UTC)"
        )

    def record(self) -> dict[str, Any]:
        """The JSON object of the store."""
        shown = self.publication
        return {
            "url": self.url,
            "problem": self.problem,
            "publication": None
            if shown is None
            else {
                "snapshot": shown.snapshot,
                "revision": shown.revision,
                "published_at": shown.published_at,
                "number": shown.sequence,
            },
        }

    def precedes_purge(self, revision: int, parameters: Mapping[str, Any]) -> bool:
        """Whether it shows what was published before a purge.

        Args:
            revision: of the snapshot on this machine.
            parameters: those of its manifest, which say what purges it was built after.
        """
        from hashlists.snapshot.purges import purge_state  # noqa: PLC0415  brings numpy

        shown = self.publication
        if shown is None or shown.revision >= revision:
            return False
        return shown.purge_state != purge_state({"parameters": parameters})


def _ago(then: datetime, now: datetime) -> str:
    seconds = (now - then).total_seconds()
    for unit, length in _UNITS:
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'s' * (number > 1)} ago"
    return "just now"


def published_stores(settings: Settings) -> tuple[str, ...]:
    """URLs of the stores that this machine publishes to, or has published to.

    Raises:
        SnapshotError: what it has published to cannot be read.
    """
    from hashlists.snapshot.destinations import destinations  # noqa: PLC0415  brings numpy

    set_url = (settings.snapshot_publish_url,) if settings.snapshot_publish_url else ()
    return tuple(dict.fromkeys((*set_url, *destinations(settings.snapshots_dir))))


def store_states(settings: Settings) -> list[StoreState]:
    """Looks at the store that this machine pulls from, or at those that it publishes to.

    Raises:
        SnapshotError: as for `published_stores`.
    """
    if settings.snapshot_pull_url:
        return [_look(settings.snapshot_pull_url, verify_key=settings.snapshot_verify_key)]
    return [published_state(settings, url) for url in published_stores(settings)]


def published_state(settings: Settings, url: str) -> StoreState:
    """Looks at a store that this machine publishes to."""
    if settings.snapshot_signing_key is None:
        problem = "the setting snapshot_signing_key, without which nothing is verified, is missing"
        return StoreState(url, None, problem)
    return _look(url, signing_key=settings.snapshot_signing_key)


def _look(
    url: str, *, signing_key: Path | None = None, verify_key: Path | None = None
) -> StoreState:
    from hashlists.snapshot.latest import latest_publication  # noqa: PLC0415  object storage

    try:
        found = latest_publication(url, signing_key=signing_key, verify_key=verify_key)
        return StoreState(url, found, "")
    except HashlistsError as error:
        return StoreState(url, None, str(error))


__all__ = ["StoreState", "published_state", "published_stores", "store_states"]
