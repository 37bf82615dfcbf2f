"""Formats by name. A new format is a module with a `FORMAT` and one line here.

The modules of formats that need a large library import it when a file is opened, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from hashlists.errors import UnknownFormatError
from hashlists.formats import (
    csv,
    digests,
    encase,
    hashlookup,
    icse,
    jsonl,
    misp,
    ncmec,
    nsrl_csv,
    nsrl_sqlite,
    parquet,
    stix,
    stopncii,
    tat,
    threatexchange,
    threatexchange_text,
    tsk,
    vics,
)
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.foreign_files import HEAD_BYTES, refuse_foreign
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.near_names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hashlists.formats.base import Format, ListReader, ListWriter

FORMATS: Mapping[str, Format] = {
    each.FORMAT.name: each.FORMAT
    for each in (
        csv,
        digests,
        encase,
        hashlookup,
        icse,
        jsonl,
        misp,
        ncmec,
        nsrl_csv,
        nsrl_sqlite,
        parquet,
        stix,
        stopncii,
        tat,
        threatexchange,
        threatexchange_text,
        tsk,
        vics,
    )
}


def format_names() -> tuple[str, ...]:
    """Names of all formats that can be read, sorted."""
    return _names(each for each in FORMATS.values() if each.open_reader is not None)


def written_format_names() -> tuple[str, ...]:
    """Names of all formats that can be written, sorted."""
    return _names(each for each in FORMATS.values() if each.open_writer is not None)


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownFormatError: there is none.
    """
    found = FORMATS.get(name)
    if found is None:
        known = ", ".join(sorted(FORMATS))
        told = f"unknown list format {name!r}{did_you_mean(name, FORMATS)}"
        raise UnknownFormatError(f"{told}known formats: {known}")
    return found


def find_written_format(name: str) -> Format:
    """The format of that name, which can be written.

    Raises:
        UnknownFormatError: there is none, or it is only read.
    """
    found = FORMATS.get(name)
    if found is not None and found.open_writer is not None:
        return found
    what = f"unknown list format {name!r}" if found is None else f"{name} is only read"
    known = ", ".join(written_format_names())
    raise UnknownFormatError(f"{what}; formats that are written: {known}")


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
        FormatError: the file is not of that format, or no list at all.
    """
    opener = find_format(format).open_reader
    if opener is None:
        known = ", ".join(format_names())
        raise UnknownFormatError(f"{format} is only written; formats that are read: {known}")
    stream.seek(0)
    refuse_foreign(stream.read(HEAD_BYTES))
    stream.seek(0)
    return opener(stream, dict(options or {}), limits)


def open_writer(
    stream: BinaryIO,
    *,
    format: str,  # noqa: A002  # the word that the command line and the protos use
    options: Mapping[str, str] | None = None,
    origin: FileOrigin = NO_ORIGIN,
) -> ListWriter:
    """Begins a list file.

    Args:
        stream: taken from where it stands; never closed here.
        format: one of `written_format_names()`.
        options: options of the format; each writer documents its own.
        origin: what the file says of itself, as far as the format can.

    Raises:
        UnknownFormatError: no writer goes by that name.
        OptionsError: an option is unknown or wrong.
    """
    opener = find_written_format(format).open_writer
    assert opener is not None  # as was just seen
    return opener(stream, dict(options or {}), origin)


def _names(formats: Iterable[Format]) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in formats))
