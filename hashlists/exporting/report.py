"""What an export did: as a value, and as plain values for others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        list_names: the lists.
        format: of the file.
        recipients: who may get it; None where it stays with the keeper of the catalog.
        revision: the one that it shows.
        since: the revision from which on it tells what changed; 0 where it tells all.
        entries: entries in force that the file holds.
        retracted: withdrawals that it tells.
        left_out: entries that the format cannot hold at all; `losses` says why.
        untold: withdrawals that the format cannot tell, so that its recipients do not learn of
            them from this file.
        purged: entries that were purged after `since`; nothing is left to name them by.
        losses: what the format cannot carry, in words, and of how many entries.
        unreleasable: entries that were held back since their handling does not name every
            recipient.
        by_recipient: how many of them each recipient is not named for.
        expired: entries that were held back since nobody may use them any longer.
        bytes: of the file.
        sha256: of the file, packed and encrypted as it is, in lower-case hex.
        media_type: of the file, packed and encrypted as it is.
        ending: what names of such files end with, e.g. `.json.gz.age`.
        compression: how it is packed; `none` where it is not.
        encrypted_to: the public keys that it is encrypted to.
        seconds: wall-clock time.
        warnings: what its keeper should know of it, in words.
    """

    list_names: tuple[str, ...]
    format: str
    recipients: tuple[str, ...] | None
    revision: int
    since: int
    entries: int
    retracted: int
    left_out: int
    untold: int
    purged: int
    losses: Mapping[str, int]
    unreleasable: int
    by_recipient: Mapping[str, int]
    expired: int
    bytes: int
    sha256: str
    media_type: str
    ending: str
    compression: str
    encrypted_to: tuple[str, ...]
    seconds: float
    warnings: tuple[str, ...] = field(default=())

    @property
    def held_back(self) -> int:
        """Entries that were chosen and did not go out."""
        return self.unreleasable + self.expired


def report_to_dict(report: ExportReport) -> dict[str, Any]:
    """The report as plain JSON-able values."""
    recipients = report.recipients
    return {
        "lists": list(report.list_names),
        "format": report.format,
        "recipients": None if recipients is None else list(recipients),
        "own_copy": recipients is None,
        "revision": report.revision,
        "since": report.since,
        "entries": report.entries,
        "retracted": report.retracted,
        "left_out": report.left_out,
        "untold": report.untold,
        "purged": report.purged,
        "losses": dict(sorted(report.losses.items())),
        "held_back": {
            "entries": report.held_back,
            "unreleasable": report.unreleasable,
            "by_recipient": dict(sorted(report.by_recipient.items())),
            "expired": report.expired,
        },
        "bytes": report.bytes,
        "sha256": report.sha256,
        "media_type": report.media_type,
        "ending": report.ending,
        "compression": report.compression,
        "encrypted_to": list(report.encrypted_to),
        "seconds": round(report.seconds, 3),
        "warnings": list(report.warnings),
    }


__all__ = ["ExportReport", "report_to_dict"]
