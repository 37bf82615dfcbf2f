"""Imports list files: read, validate, stage, and one revision at the end, or nothing at all.

Invariants: a record is either imported or reported as rejected, with its place and a reason; when
a file is not what it says, is cut off, changes while it is read, or too large a share of the
records is rejected, the catalog stays at the revision it had. Memory does not grow with the files.
Several files, and the members of an archive, are one import and one revision.

What it is made of stands in `hashlists.importing`; `hashlists.import_process` runs it as a program.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from hashlists.catalog import Catalog, ImportSource
from hashlists.catalog.senders import sender_document
from hashlists.errors import (
    ListChangedError,
    ListNotFoundError,
    OptionsError,
    TooManyRejectionsError,
)
from hashlists.formats.harm import require_harm, require_told_harms
from hashlists.formats.registry import find_format
from hashlists.formats.unpacking.private_folder import private_folder, remove_leftovers
from hashlists.importing.files import RecordSource, open_files
from hashlists.importing.full import FullList, retract_absent
from hashlists.importing.report import ImportReport, report_to_dict, to_document
from hashlists.importing.request import check_digest, digest_request, identify, made_before
from hashlists.importing.run import Run, no_cycle_collection
from hashlists.importing.sequence import require_sequence
from hashlists.importing.unmatchable import require_few_unmatchable
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import NO_ONWARD_SHARING, Harm, HashList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hashlists.catalog import StagedImport
    from hashlists.errors import HashlistsError
    from hashlists.formats.unpacking.age_files import Identity
    from hashlists.importing.run import Observer, Progress
    from hashlists.model import Handling


def import_file(
    catalog: Catalog,
    path: Path,
    *,
    list_name: str,
    format: str,  # noqa: A002 - the word that the command line and the protos use
    importer: str,
    options: Mapping[str, str] | None = None,
    reason: str = "",
    idempotency_key: str | None = None,
    max_rejected_share: float | None = None,
    expected_sha256: bytes | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    prepare_list: Callable[[], None] | None = None,
    prepared_handling: Handling = NO_ONWARD_SHARING,
    prepared_harm: Harm | None = None,
    observers: Sequence[Observer] = (),
    dry_run: bool = False,
    full: FullList | None = None,
    force: bool = False,
    spool_dir: Path | None = None,
    identities: Sequence[Identity] = (),
) -> ImportReport:
    """Imports one file into a list, as one revision: `import_files` of that file."""
    return import_files(
        catalog,
        [path],
        list_name=list_name,
        format=format,
        importer=importer,
        options=options,
        reason=reason,
        idempotency_key=idempotency_key,
        max_rejected_share=max_rejected_share,
        expected_sha256=expected_sha256,
        limits=limits,
        progress=progress,
        prepare_list=prepare_list,
        prepared_handling=prepared_handling,
        prepared_harm=prepared_harm,
        observers=observers,
        dry_run=dry_run,
        full=full,
        force=force,
        spool_dir=spool_dir,
        identities=identities,
    )


def import_files(
    catalog: Catalog,
    paths: Sequence[Path],
    *,
    list_name: str,
    format: str,  # noqa: A002 - the word that the command line and the protos use
    importer: str,
    options: Mapping[str, str] | None = None,
    reason: str = "",
    idempotency_key: str | None = None,
    max_rejected_share: float | None = None,
    expected_sha256: bytes | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    prepare_list: Callable[[], None] | None = None,
    prepared_handling: Handling = NO_ONWARD_SHARING,
    prepared_harm: Harm | None = None,
    observers: Sequence[Observer] = (),
    dry_run: bool = False,
    tell_refusal: Callable[[HashlistsError], None] | None = None,
    full: FullList | None = None,
    force: bool = False,
    spool_dir: Path | None = None,
    identities: Sequence[Identity] = (),
) -> ImportReport:
    """Imports the files of one set into a list, as one revision.

    Args:
        catalog: holds the list.
        paths: the files, in order; plain, packed, or archives of several. All are of one format
            and read with the same options.
        list_name: the list; it must exist, unless `prepare_list` makes it.
        format: one of `hashlists.formats.registry.format_names()`.
        importer: who imports, kept with the revision.
        options: options of the format.
        reason: why, kept with the revision.
        idempotency_key: when all else but importer and reason is the same as under this key
            before, the first report is returned again.
        max_rejected_share: rejected records as a share of all, 0..1, above which nothing is
            imported; None for that of `limits`.
        expected_sha256: 32 bytes that the digest must equal (`request.identify` says of what);
            None for any.
        limits: ceilings of the import.
        progress: called after every batch.
        prepare_list: called before anything is written, once the beginning of the files (about
            100,000 records; all of a smaller set) has proved good; may create the list.
        prepared_handling: of the list that `prepare_list` creates; a list that is there has its
            own. It may change while the files are read.
        prepared_harm: what the list is about once `prepare_list` was called, so that files which
            say that they are about something else are refused before; None where it is not known.
            Where it differs from what the list is about now, it is told as what was asked for.
        observers: each is called with every validated batch, in order.
        dry_run: everything is read, staged and compared, then dropped: the report tells what would
            change. Neither `prepare_list` nor `idempotency_key` counts; a list that is not there
            counts as an empty one where `prepare_list` is given.
        tell_refusal: told in a dry run of each `TooManyRejectionsError`, `FileOrderError`,
            `WithdrawalsRefusedError` and `FullListRefusedError` in place of its being raised: the
            report tells what would change if it were forced, or of a file that can be no whole
            list, what it would change as an addition. None: raised.
        full: the files are the whole list: what they do not name is retracted, as it says. A dry
            run asks nobody. None where they only add and change.
        force: files of Hashwarden are taken though they do not follow what the list had of their
            sender, records though their time stamps say that the list has a later word on their
            entries, and what the files list by nothing that can be matched is withdrawn, however
            much it is; so all are where `full` is forced.
        spool_dir: where unpacked copies lie, for readers that need them; None for the folder of
            temporary files.
        identities: private keys, for files that are encrypted with age.

    Raises:
        ListNotFoundError: no list goes by that name.
        UnknownFormatError, OptionsError: format or options are wrong.
        FormatError: a file cannot be read, is not of that format, is cut off, changed, unpacks to
            more than the limits allow, or a part of the set is missing; or there are more
            classifications than in any scheme.
        HarmMismatchError: the entries are of another harm than the list, as their format or their
            file says.
        ListChangedError: the list was made meanwhile, with another handling.
        DigestMismatchError: the files are not the expected ones.
        TooManyRejectionsError: too large a share was rejected.
        FileOrderError: the files do not follow what the list had of their sender; see
            `importing.sequence`.
        WithdrawalsRefusedError: see `importing.unmatchable`.
        FullListRefusedError, ImportDeclinedError: see `importing.full`.
        ImportConflictError: the key was used before for another file, list, format, options or
            share.
        ImportInProgressError: another import of this list, or under this key, is under way.
        CatalogError: the catalog failed.
        After any of them nothing was imported.
    """
    started = time.monotonic()
    share = _share(max_rejected_share, limits)
    forced = force or (full is not None and full.force)
    handling = _handling(catalog, list_name, prepared_handling if prepare_list else None)
    if prepare_list is None or (dry_run and _stays_as_it_is(catalog, list_name)):
        _require_harm(catalog, list_name, format, options)
    if spool_dir is not None:
        spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_leftovers(spool_dir)
    with open_files(paths) as files, no_cycle_collection():
        records = RecordSource(files, format, options, limits, spool_dir, identities)
        digest, length = identify(files)
        source = ImportSource(
            format=format,
            sha256=digest,
            length=length,
            importer=importer,
            reason=reason,
            idempotency_key=None if dry_run else idempotency_key,
            request_sha256=digest_request(list_name, format, options, share, full),
        )
        check_digest(source, expected_sha256)
        if (first := made_before(catalog, list_name, source)) is not None:
            return first
        run = Run(records, handling, limits, progress, observers)
        refuse = tell_refusal if dry_run and tell_refusal is not None else _raise
        run.read_ahead(share if refuse is _raise else 1.0)
        if dry_run:
            with _catalog_to_try(catalog, list_name, spool_dir) as trial:
                with trial.begin_import(list_name, source, latest=not forced) as staged:
                    _stage(run, staged, share, full, forced=forced, ask=False, refuse=refuse)
                if prepared_harm is not None:
                    _require_prepared_harm(catalog, list_name, run, prepared_harm)
                elif prepare_list is None or _stays_as_it_is(catalog, list_name):
                    _require_told_harms(catalog, list_name, run)
                return run.report(list_name, digest, time.monotonic() - started)
        if prepared_harm is not None:
            _require_prepared_harm(catalog, list_name, run, prepared_harm)
        if prepare_list is not None:
            prepare_list()
            _require_harm(catalog, list_name, format, options)
        _require_told_harms(catalog, list_name, run)
        with catalog.begin_import(list_name, source, latest=not forced) as staged:
            _require_handling(catalog, list_name, handling)
            _stage(run, staged, share, full, forced=forced, ask=True, refuse=_raise)
            _require_told_harms(catalog, list_name, run)
            result = run.report(list_name, digest, time.monotonic() - started)
            sent = sender_document(run.mark.sender, run.mark.upto, alone=full is not None)
            revision = staged.commit(
                lambda number: {**to_document(replace(result, revision=number)), **sent}
            )
    return replace(
        result,
        revision=revision.number if revision else 0,
        seconds=time.monotonic() - started,
    )


def check_beginning(
    path: Path,
    *,
    format: str,  # noqa: A002 - as for `import_file`
    list_name: str,
    harm: Harm,
    options: Mapping[str, str] | None = None,
    max_rejected_share: float | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
) -> None:
    """Reads the beginning of a file as `import_file` does before it writes anything; no more.

    Args:
        path: the file.
        format: as for `import_file`.
        list_name: of the list that would be made for it.
        harm: what that list would be about.
        options: options of the format.
        max_rejected_share: 0..1; counts where the file ends within what is read.
        limits: ceilings of the import.

    Raises:
        UnknownFormatError, OptionsError, FormatError, HarmMismatchError, TooManyRejectionsError:
            as `import_file`.
    """
    require_harm(find_format(format), list_name, harm, options or {}, planned=True)
    with open_files([path]) as files, no_cycle_collection():
        records = RecordSource(files, format, options, limits)
        run = Run(records, NO_ONWARD_SHARING, limits)
        run.read_ahead(_share(max_rejected_share, limits))
        require_told_harms(run.harms, list_name, harm, planned=True)


def _stage(
    run: Run,
    staged: StagedImport,
    share: float,
    full: FullList | None,
    *,
    forced: bool,
    ask: bool,
    refuse: Callable[[HashlistsError], None],
) -> None:
    """Stages all that the files say, makes sure of them, and then stages what they imply."""
    run.stage_all(staged)
    run.records.require_same()
    try:
        run.require_share(share)
    except TooManyRejectionsError as error:
        refuse(error)
    if not forced:
        require_few_unmatchable(run.total.unmatchable, staged.before.entries, refuse)
    if full is None or not run.delta:
        require_sequence(run, staged, full=full is not None, force=forced, refuse=refuse)
    if full is not None:
        retract_absent(run, staged, full, ask=ask, refuse=refuse)


def _raise(error: HashlistsError) -> None:
    raise error


@contextmanager
def _catalog_to_try(catalog: Catalog, list_name: str, spool_dir: Path | None) -> Iterator[Catalog]:
    """Where a trial is staged: the catalog itself, or an empty one while the list is not there."""
    try:
        catalog.get_list(list_name)
    except ListNotFoundError:
        with (
            private_folder(spool_dir) as folder,
            Catalog.open(f"sqlite:///{folder / 'catalog.db'}") as empty,
        ):
            empty.create_list(HashList(list_name, Harm.TEST, "a trial"), author="a trial")
            yield empty
    else:
        yield catalog


def _share(given: float | None, limits: ImportLimits) -> float:
    share = limits.max_rejected_share if given is None else given
    if not 0 <= share <= 1:
        raise OptionsError(f"the largest share of rejected records is from 0 to 1, not {share}")
    return share


def _handling(catalog: Catalog, list_name: str, prepared: Handling | None) -> Handling:
    """What the list was made with, or the list that will be prepared will be."""
    try:
        return catalog.get_list(list_name).first_handling
    except ListNotFoundError:
        if prepared is None:
            raise
        return prepared


def _require_handling(catalog: Catalog, list_name: str, taken: Handling) -> None:
    """Contents are compared over what the list was made with; it must have been made with that.

    Raises:
        ListChangedError: it was made meanwhile, with another.
    """
    if catalog.get_list(list_name).first_handling != taken:
        raise ListChangedError(
            f"the list {list_name!r} was made with another handling while the files were read;"
            " nothing was imported: import them again"
        )


def _stays_as_it_is(catalog: Catalog, list_name: str) -> bool:
    """Whether nothing could make it a list of another harm; that it is there is needed for it."""
    try:
        return catalog.was_filled(list_name)
    except ListNotFoundError:
        return False


def _require_harm(
    catalog: Catalog, list_name: str, format_name: str, options: Mapping[str, str] | None
) -> None:
    harm = catalog.get_list(list_name).hash_list.harm
    require_harm(find_format(format_name), list_name, harm, options or {})


def _require_prepared_harm(catalog: Catalog, list_name: str, run: Run, harm: Harm) -> None:
    """As `_require_told_harms`, before the list is what it will be."""
    try:
        planned = catalog.get_list(list_name).hash_list.harm is not harm
    except ListNotFoundError:
        planned = True
    require_told_harms(run.harms, list_name, harm, planned=planned)


def _require_told_harms(catalog: Catalog, list_name: str, run: Run) -> None:
    if run.harms:
        require_told_harms(run.harms, list_name, catalog.get_list(list_name).hash_list.harm)


__all__ = [
    "FullList",
    "ImportReport",
    "check_beginning",
    "import_file",
    "import_files",
    "report_to_dict",
]

if __name__ == "__main__":  # else the program would end as if something had been imported
    sys.exit("nothing imported: use hashwarden lists import, or python -m hashlists.import_process")
