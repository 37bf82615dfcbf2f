"""Makes the keys of encrypted snapshots out of what a setting says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlists.snapshot.vault import SharedMemory, Vault


def make_vault(place: str, shared: SharedMemory | None = None) -> Vault | None:
    """The keys at a place; None for the empty one, where nothing is encrypted.

    Args:
        place: as `hashlists.encryption.keys.KeySource` takes it.
        shared: where memory is asked for before a file is decrypted.
    """
    if not place:
        return None
    from hashlists.encryption.keys import KeySource  # noqa: PLC0415 - as the next
    from hashlists.snapshot.vault import Vault  # noqa: PLC0415 - brings cryptography

    return Vault(KeySource(place), shared=shared)


__all__ = ["make_vault"]
