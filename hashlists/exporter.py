"""Writes lists to a file in an exchange format: what may go to its recipients, and nothing else.

Invariants: a file is there whole or not at all; it shows one revision; an entry whose handling does
not name every recipient is not in it, and the report counts it. What the format cannot carry is
counted in the report, by field. The same revision, options and day give the same bytes, unless they
are encrypted; the day counts since entries expire. Memory is a few batches, however long the lists.

What it is made of stands in `hashlists.exporting`. Nothing here decides what a format can carry.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from hashlists.catalog import ExportSelection
from hashlists.errors import HarmMismatchError, OptionsError
from hashlists.exporting.layers import outgoing
from hashlists.exporting.measured import Measured
from hashlists.exporting.report import ExportReport, report_to_dict
from hashlists.exporting.request import (
    AGE_MEDIA_TYPE,
    AGE_SUFFIX,
    Compression,
    ExportRequest,
    compression_for,
)
from hashlists.exporting.whole_file import whole_file
from hashlists.formats import losses
from hashlists.formats.base import FileOrigin
from hashlists.formats.delta_mark import sender_id
from hashlists.formats.harm import require_written_harm
from hashlists.formats.registry import find_format, find_written_format, open_writer
from hashlists.model import Harm, ListState
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hashlists.catalog import Catalog, Export
    from hashlists.formats.base import ListWriter
    from hashlists.model import HashList

    #: Called after every batch with how many entries were read so far.
    Progress = Callable[[int], None]


def export_lists(
    catalog: Catalog,
    target: Path,
    request: ExportRequest,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Writes lists to a file, readable by its owner alone.

    Args:
        catalog: holds the lists.
        target: the file; it must not be there yet, its folder must. A name that ends with `.gz` or
            `.zst` says how it is packed, `.age` behind it that it is encrypted.
        request: what goes out, to whom and how.
        force: a file that is there is replaced, once the new one is whole.
        progress: called after every batch.

    Raises:
        ListNotFoundError, RevisionNotFoundError: there is no such list or revision.
        UnknownFormatError, OptionsError: format, options or name are wrong, or the format does not
            keep several lists apart.
        HarmMismatchError: the lists are of different harms, or of one that the format is not
            written for.
        EncryptionRecipientError: a public key is none.
        ExportTargetError: the file must not, or cannot, be written.
        CatalogError: the catalog failed.
        After any of them there is no such file, or the one that was there before.
    """
    packed = replace(request, compression=compression_for(target.name, request))
    with whole_file(target, force=force) as stream:
        return export_to_stream(catalog, stream, packed, progress=progress)


def export_to_stream(
    catalog: Catalog,
    stream: BinaryIO,
    request: ExportRequest,
    *,
    progress: Progress | None = None,
) -> ExportReport:
    """Writes lists to a stream, which stays open. What was written before an error is of no use.

    Args:
        catalog: holds the lists.
        stream: taken from where it stands.
        request: as for `export_lists`, like all that follows; without `compression` nothing is
            packed.
        progress: called after every batch.

    Raises:
        OSError: the stream takes no more.
        HashlistsError: as `export_lists`.
    """
    started = time.monotonic()
    lists = [catalog.get_list(name).hash_list for name in request.list_names]
    harm = _require_one_harm(lists)
    require_written_harm(find_written_format(request.format), harm)
    _require_apart(request)
    measured = Measured(stream)
    compression = request.compression or Compression.NONE
    with (
        _selected(catalog, request) as export,
        outgoing(measured, compression, request.encrypt_to) as out,
    ):
        origin = FileOrigin(
            harm,
            request.since,
            export.catalog_id,
            sender_id(export.catalog_id, request.list_names),
            export.revision,
        )
        writer = open_writer(out, format=request.format, options=request.options, origin=origin)
        given, gone = _write_all(export, writer, progress)
    if request.since:  # what the format cannot hold any longer, it withdraws
        gone += writer.left_out
    untold = writer.losses.get(losses.WITHDRAWALS, 0)
    held_back = export.held_back
    report = ExportReport(
        list_names=tuple(request.list_names),
        format=request.format,
        recipients=None if request.recipients is None else tuple(request.recipients),
        revision=export.revision,
        since=request.since,
        entries=given - writer.left_out,
        retracted=gone - untold,
        left_out=writer.left_out,
        untold=untold,
        purged=export.purged,
        losses={
            **writer.losses,
            **({losses.NOT_ASKED_FOR: export.without_derived} if export.without_derived else {}),
        },
        unreleasable=held_back.unreleasable,
        by_recipient=dict(held_back.by_recipient),
        expired=held_back.expired,
        bytes=measured.bytes,
        sha256=measured.sha256,
        media_type=_media_type(request, compression),
        ending=_ending(request, compression),
        compression=compression.value,
        encrypted_to=tuple(request.encrypt_to),
        seconds=time.monotonic() - started,
    )
    return replace(report, warnings=tuple(_warnings(report, lists)))


def _media_type(request: ExportRequest, compression: Compression) -> str:
    if request.encrypt_to:
        return AGE_MEDIA_TYPE
    return compression.media_type or find_format(request.format).media_type


def _ending(request: ExportRequest, compression: Compression) -> str:
    encrypted = AGE_SUFFIX if request.encrypt_to else ""
    return f"{find_format(request.format).ending}{compression.suffix}{encrypted}"


def _write_all(export: Export, writer: ListWriter, progress: Progress | None) -> tuple[int, int]:
    """Writes every batch and the end; how many entries in force there were, and withdrawals."""
    given = gone = 0
    for batch in export:
        writer.write(batch)
        withdrawn = sum(batch.retracted)
        given += len(batch) - withdrawn
        gone += withdrawn
        if progress is not None:
            progress(given + gone)
    writer.finish()
    return given, gone


@contextmanager
def _selected(catalog: Catalog, request: ExportRequest) -> Iterator[Export]:
    selection = ExportSelection(
        list_names=request.list_names,
        recipients=request.recipients,
        since=request.since,
        upto=request.upto,
        classifications=request.classifications,
        kinds=request.kinds,
        derived=request.derived,
    )
    with catalog.read() as reader:
        yield reader.export(selection)


def _require_one_harm(lists: Sequence[HashList]) -> Harm:
    """The harm of all the lists: a file is of one.

    Raises:
        HarmMismatchError: they are of several.
    """
    first, *others = lists
    for other in others:
        if other.harm is not first.harm:
            raise HarmMismatchError(
                f"the list {first.name} is of harm {first.harm}, the list {other.name} of harm "
                f"{other.harm}; they are kept apart: export each to a file of its own"
            )
    return first.harm


def _require_apart(request: ExportRequest) -> None:
    """Refuses several lists in a file whose reader cannot tell their entries apart.

    Raises:
        OptionsError: the same key may stand in two of them, and be withdrawn from one alone.
    """
    if len(request.list_names) > 1 and not find_format(request.format).keeps_lists_apart:
        raise OptionsError(
            f"a file of {request.format} holds one list: what is withdrawn from one of several, or "
            "classed otherwise in it, a reader could not tell from what the others hold; export "
            "each list to a file of its own, or all of them to stix"
        )


def _warnings(report: ExportReport, lists: Sequence[HashList]) -> Iterator[str]:
    """What its keeper must do, or know, beside handing the file on."""
    if report.untold:
        yield (
            counted(report.untold, "entry is withdrawn, or has", "entries are withdrawn, or have")
            + f" no hash left for {report.format}, which cannot tell it: whoever gets this file "
            "keeps what they have unless told in another way"
        )
    if report.since and not find_format(report.format).tells_delta:
        yield (
            f"nothing in a file of {report.format} says that it holds only what changed since "
            f"revision {report.since}: whoever imports it as a whole list loses all the rest, so "
            "tell them"
        )
    if report.purged:
        yield (
            counted(report.purged, "entry was", "entries were")
            + f" purged since revision {report.since}, which nothing names any longer; whoever was "
            "given what was purged may have it still"
        )
    for each in lists:
        if each.state is ListState.SHADOW:
            yield (
                f"the list {each.name} is in shadow: it decides nothing here, and nothing in the "
                "file says so; tell whoever gets it"
            )
    if lists[0].harm is Harm.KNOWN_GOOD:
        yield "the entries are known-good files, of no harm; whoever gets the file must know it"


__all__ = [
    "Compression",
    "ExportReport",
    "ExportRequest",
    "export_lists",
    "export_to_stream",
    "report_to_dict",
]
