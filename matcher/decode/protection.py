"""What can protect the rest against a decoder that a file has taken over."""

from __future__ import annotations

import enum


class Protection(enum.Flag):
    """Kinds of protection, each of which a system may have or not."""

    SYSTEM_CALLS = enum.auto()  # a seccomp filter
    MEMORY = enum.auto()  # a limit of the address space
    PRIVILEGES = enum.auto()  # it runs as nobody, or as who is not root, and can gain nothing
    FILES = enum.auto()  # limits: no further descriptor, no byte into a file, no core dump

    @property
    def text(self) -> str:
        """The kinds by name, e.g. "memory, privileges"; "none" for none."""
        names = [(each.name or "").lower().replace("_", " ") for each in self]
        return ", ".join(names) or "none"


EVERY_PROTECTION = ~Protection(0)


def told(had: Protection) -> str:
    """What decoders are limited in, and what not, for a person."""
    missing = EVERY_PROTECTION & ~had
    text = f"limited in: {had.text}"
    return f"{text}; not in: {missing.text}" if missing else text


__all__ = ["EVERY_PROTECTION", "Protection", "told"]
