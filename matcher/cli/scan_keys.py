"""The keys that seal the hashes that scans keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matcher.cli.context import Session
    from matcher.sealing import Sealer


def sealer_of(session: Session, *, make: bool = False) -> Sealer:
    """What seals kept hashes, and opens them, by the setting match_keys.

    Args:
        session: of this command.
        make: make the keys where there are none.

    Raises:
        SealingKeyError: they cannot be read, or made.
    """
    from matcher.scan.state import scan_sealer  # noqa: PLC0415  brings SQLAlchemy
    from matcher.sealing import KeySource  # noqa: PLC0415  brings cryptography

    keys = KeySource(session.settings.match_keys)
    if make:
        session.settings.prepare_data_dir()
        keys.prepare()
    else:
        keys.newest()
    return scan_sealer(keys)


__all__ = ["sealer_of"]
