"""What a child process says went wrong, as the error that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists import errors as list_errors
from hashlists.errors import HashlistsError

if TYPE_CHECKING:
    from collections.abc import Mapping


def error_of(message: Mapping[str, str]) -> HashlistsError:
    """The child's `{"reason", "message"}` as the class that carries its reason."""
    for each in vars(list_errors).values():
        if isinstance(each, type) and issubclass(each, HashlistsError):  # noqa: SIM102 - read apart
            if each.reason == message["reason"]:
                return each(message["message"])
    return HashlistsError(message["message"])
