"""What readers and writers share in checking their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def refuse_unknown_options(
    options: Mapping[str, str], known: Collection[str], format_name: str
) -> None:
    """Names the first option that a format does not have.

    Raises:
        OptionsError: there is one.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        named = f"known options: {', '.join(sorted(known))}" if known else "it has none"
        raise OptionsError(f"unknown option {unknown[0]!r} of format {format_name}; {named}")
