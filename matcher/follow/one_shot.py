"""Opens the newest revision once, for a command that ends with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher.builtin_list import ensure_test_list
from matcher.follow.follower import Follower
from matcher.index.holder import Holder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hashlists.catalog import Catalog
    from hashlists.snapshot.vault import Vault
    from matcher.pipeline import Generation
    from matcher.policy.rules import Policy


def open_generation(
    catalog: Catalog,
    snapshots_dir: Path,
    policies: Mapping[str, Policy],
    *,
    default_policy: str = "default",
    live_entries: int = 50_000,
    add_test_list: bool = True,
    vault: Vault | None = None,
) -> Generation:
    """Opens the catalog's newest revision, for one-shot use; builds in the calling thread.

    Args:
        catalog: what is opened; it gets the built-in list where it has none.
        snapshots_dir: where snapshots lie, and a new one is built.
        policies: by name.
        default_policy: the name that an empty one stands for.
        live_entries: as for `Follower`.
        add_test_list: False leaves the catalog just as it is.
        vault: as for `Follower`.

    Raises:
        CatalogError, SnapshotError, OSError: it cannot be read or built.
        PolicyError: the default policy does not fit the lists.
    """
    if add_test_list:
        ensure_test_list(catalog)
    holder: Holder[Generation] = Holder()
    follower = Follower(
        catalog,
        snapshots_dir,
        policies,
        holder,
        default_policy=default_policy,
        live_entries=live_entries,
        vault=vault,
    )
    follower.refresh()
    return holder.current


__all__ = ["open_generation"]
