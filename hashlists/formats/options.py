"""What readers and writers share in checking their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.errors import OptionsError
from hashlists.near_names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def refuse_unknown_options(
    options: Mapping[str, str], known: Collection[str], format_name: str
) -> None:
    """Names the first option that a format does not have.

    Raises:
        OptionsError: there is one.
    """
    for name in sorted(set(options) - set(known)):
        told = f"known options: {', '.join(sorted(known))}" if known else "it has none"
        what = f"unknown option {name!r} of format {format_name}"
        raise OptionsError(f"{what}{did_you_mean(name, known)}{told}")


__all__ = ["refuse_unknown_options"]
