"""Formats by name. A new format is a module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from hashlists.errors import UnknownFormatError
from hashlists.formats.base import ListReader
from hashlists.formats.csv import CsvReader
from hashlists.formats.vics import VicsReader
from hashlists.limits import DEFAULT_LIMITS, ImportLimits

_Opener = Callable[[BinaryIO, Mapping[str, str], ImportLimits], ListReader]

_READERS: Mapping[str, _Opener] = {"csv": CsvReader, "vics": VicsReader}


def format_names() -> tuple[str, ...]:
    """Names of all formats that can be read, sorted."""
    return tuple(sorted(_READERS))


def open_reader(
    stream: BinaryIO,
    *,
    format: str,  # noqa: A002  # the word that the command line and the protos use
    options: Mapping[str, str] | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
) -> ListReader:
    """Opens a list file and reads as much of it as it takes to know its header.

    Args:
        stream: the file, seekable; read from its start, never closed here.
        format: one of `format_names()`.
        options: options of the format; each reader documents its own.
        limits: ceilings of the import.

    Raises:
        UnknownFormatError: no reader goes by that name.
        OptionsError: an option is unknown or does not fit the file.
        FormatError: the file is not of that format.
    """
    opener = _READERS.get(format)
    if opener is None:
        known = ", ".join(format_names())
        raise UnknownFormatError(f"unknown list format {format!r}; known formats: {known}")
    stream.seek(0)
    return opener(stream, dict(options or {}), limits)
