"""`hashwarden lists enrich`: entries of digests alone get codes, made from their very files.

A file is an entry's own only where its SHA-256 or SHA-1 is the entry's; MD5 is not enough, for it
can be forged. What is made is proposed, and matched only once somebody has looked and confirmed it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from hashlists.model import HashKind
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.files import HashedFile, UnreadableFile, as_text, hash_files
from matcher.cli.lists_add import all_files, parse_shares
from matcher.cli.output import note, print_json, print_table, progress
from matcher.model import DecodeRequest, View, ViewSelection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashlists.catalog import Catalog, DerivedAction, DerivedHash
    from hashlists.model import Entry

EXIT_NOT_HASHED = 2
#: Files whose digests are looked up together: each time the whole list is read.
_FILES_AT_ONCE = 10_000
_UPRIGHT = ViewSelection(stored=False, composited=False)
#: Strong enough to say that a file is an entry's own.
_NAMING = (HashKind.SHA256, HashKind.SHA1)
_WHOLE = "file"
_MAX_DIGITS = 18


@dataclass(slots=True)
class _Enriched:
    """What was done.

    Attributes:
        files: that were looked at.
        named: of them, those that an entry without a PDQ code names.
        proposed, confirmed, withdrawn: codes.
        stale: codes that were to be confirmed, of entries that have another digest by now; they are
            left as they are.
        not_hashed: files that could not be read, or named and not hashed.
        revisions: that were made.
    """

    files: int = 0
    named: int = 0
    proposed: int = 0
    confirmed: int = 0
    withdrawn: int = 0
    stale: int = 0
    not_hashed: int = 0
    revisions: list[int] = field(default_factory=list)


@click.command("enrich")
@click.argument("named", nargs=-1, metavar="[FILE|ENTRY]...", type=click.Path(readable=False))
@click.option("--list", "list_name", required=True, metavar="NAME", help="The list to enrich.")
@click.option(
    "--crops",
    metavar="SHARE,...",
    callback=parse_shares,
    help="Make codes of centred crops, too, as `lists add` does.",
)
@click.option(
    "--confirm",
    is_flag=True,
    help="Confirm what is proposed of each ENTRY, so that it is matched.",
)
@click.option(
    "--withdraw",
    is_flag=True,
    help="Withdraw what is proposed or confirmed of each ENTRY, so that it is not matched.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="In place of each ENTRY: every code of the list that is proposed.",
)
@click.option(
    "--confirmed",
    is_flag=True,
    help="Show what is confirmed, in place of what is proposed; with --withdraw --all: withdraw "
    "that. The crops that `lists add` makes are among them.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why; --confirm and --withdraw need it.")
@options.as_json
@pass_session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    *,
    named: Sequence[str],
    list_name: str,
    crops: tuple[float, ...],
    confirm: bool,
    withdraw: bool,
    every: bool,
    confirmed: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Give entries that have no PDQ code one, made from the very file that they name.

    FILE may be a folder, as for `lists add`. A file is an entry's own where the entry has exactly
    its SHA-256 or SHA-1. Of others nothing is kept. The codes are proposed, and are not matched
    before they are confirmed; they count as derived, not as the source's, and no longer once the
    source gives the entry another digest. Each 10,000 files make a revision.

    Without FILE what is proposed is shown: the entry, how the code was made, by which digest the
    entry names the file, and who proposed it when; "fits" is False where the entry names another
    file by now. Then --confirm or --withdraw with each ENTRY, or with --all. With --confirmed what
    is matched is shown, with who confirmed it.

    Exit status: 0; 2 where a file could not be read, or an entry's own could not be hashed.
    """
    decides = confirm or withdraw
    _require_sense(named, confirm=confirm, withdraw=withdraw, every=every, reason=reason)
    if confirmed and (confirm or named or withdraw != every):
        raise click.UsageError("--confirmed goes alone, or with --withdraw --all")
    entry_ids = _entry_ids(named) if decides and not every else None
    from matcher.cli import derived_codes  # noqa: PLC0415  brings SQLAlchemy

    done = _Enriched()
    with session.catalog() as catalog, ExitStack() as opened:
        catalog.get_list(list_name)
        if not (decides or named):
            shown = derived_codes.show_confirmed if confirmed else derived_codes.show_proposed
            shown(catalog, list_name, as_json=as_json)
            return
        what = "confirm" if confirm else "withdraw" if withdraw else "propose"
        recorded = opened.enter_context(
            session.recorded("list.enrich", list_name, what=what, reason=reason)
        )
        recorded["revisions"] = done.revisions
        if decides:
            of: Sequence[DerivedAction] = derived_codes.PROPOSED
            if withdraw and not every:
                of = derived_codes.PROPOSED_OR_CONFIRMED
            elif confirmed:
                of = derived_codes.CONFIRMED
            order = _Decision(list_name, of, entry_ids, reason)
            _decide(session, catalog, order, confirm=confirm, done=done)
        else:
            _propose(
                session, catalog, list_name, files=named, crops=crops, reason=reason, done=done
            )
        pending = derived_codes.count_codes(catalog, list_name, derived_codes.PROPOSED)
    facts = {
        "list": list_name,
        **{
            name: getattr(done, name)
            for name in ("files", "named", "proposed", "confirmed", "withdrawn", "stale")
        },
        "pending": pending,
        "revisions": done.revisions,
        "not_hashed": done.not_hashed,
    }
    if as_json:
        print_json(facts)
    else:
        rows = [(name, str(value)) for name, value in facts.items() if name != "revisions"]
        print_table(("enrich", list_name), rows[1:])
        if done.stale:
            note(
                f"{counted(done.stale, 'code was', 'codes were')} left: the entry names another "
                "file by now; --withdraw refuses what is of the old one"
            )
        if pending:
            note(
                f"{counted(pending, 'code waits', 'codes wait')}: `lists enrich --list "
                f"{list_name}` shows what is proposed, --confirm has it matched"
            )
    ctx.exit(EXIT_NOT_HASHED if done.not_hashed else 0)


def _require_sense(
    named: Sequence[str], *, confirm: bool, withdraw: bool, every: bool, reason: str
) -> None:
    if confirm and withdraw:
        raise click.UsageError("either --confirm or --withdraw")
    if every and not (confirm or withdraw):
        raise click.UsageError("--all goes with --confirm or --withdraw")
    if (confirm or withdraw) and bool(named) == every:
        raise click.UsageError(
            "name the entries whose codes are meant, as they are shown without --confirm and "
            "--withdraw, or say --all"
        )
    if (confirm or withdraw) and not reason.strip():
        raise click.UsageError(
            "--confirm and --withdraw need a --reason; it is kept for those who ask why"
        )


def _entry_ids(named: Sequence[str]) -> list[int]:
    for each in named:
        if not each.isascii() or not each.isdecimal() or len(each) > _MAX_DIGITS:
            raise click.UsageError(
                f"{as_text(each)!r} is no entry; with --confirm and --withdraw name entries by "
                "their numbers"
            )
    return list(map(int, named))


@dataclass(frozen=True, slots=True)
class _Decision:
    """Which codes are confirmed or withdrawn, and why.

    Attributes:
        list_name: the list.
        of: their newest act is one of these.
        entry_ids: of these entries; None for all.
        reason: why.
    """

    list_name: str
    of: Sequence[DerivedAction]
    entry_ids: Sequence[int] | None
    reason: str


def _decide(
    session: Session, catalog: Catalog, order: _Decision, *, confirm: bool, done: _Enriched
) -> None:
    """Confirms codes, or withdraws them; says where there were none."""
    from hashlists.catalog import DerivedAction  # noqa: PLC0415
    from matcher.cli import derived_codes  # noqa: PLC0415

    number, done.stale, done.revisions = derived_codes.decide(
        catalog,
        order.list_name,
        DerivedAction.CONFIRM if confirm else DerivedAction.WITHDRAW,
        order.of,
        order.entry_ids,
        author=session.author,
        reason=order.reason,
    )
    done.confirmed, done.withdrawn = (number, 0) if confirm else (0, number)
    if not number and not done.stale:
        note(f"No code is {derived_codes.words_of(order.of)}, so nothing was changed.")
    if not confirm and order.of == derived_codes.PROPOSED:
        derived_codes.tell_confirmed(catalog, order.list_name)


def _propose(
    session: Session,
    catalog: Catalog,
    list_name: str,
    *,
    files: Sequence[str],
    crops: tuple[float, ...],
    reason: str,
    done: _Enriched,
) -> None:
    from hashlists.catalog import DerivedAction  # noqa: PLC0415
    from matcher.cli.derived_codes import act  # noqa: PLC0415

    for batch in _hashed(session, files, crops, done):
        rows = [row for file in _named(catalog, list_name, batch, done) for row in file]
        acted = act(
            catalog,
            list_name,
            rows,
            author=session.author,
            reason=reason,
            action=DerivedAction.PROPOSE,
        )
        done.proposed += len(rows) if acted else 0
        done.revisions += acted


def _hashed(
    session: Session, files: Sequence[str], crops: tuple[float, ...], done: _Enriched
) -> Iterator[list[HashedFile]]:
    """The files in batches; those that cannot be read are told."""
    request = DecodeRequest(_UPRIGHT, crops=crops)
    max_bytes = session.settings.image_bytes
    waiting: list[HashedFile] = []
    with session.decode_pool() as pool, progress("Hashing") as advance:
        for batch in hash_files(all_files(files), pool, request, max_bytes=max_bytes):
            for file in batch:
                done.files += 1
                if isinstance(file, UnreadableFile):
                    done.not_hashed += 1
                    note(f"{as_text(file.path)}: unreadable: {file.detail}", style="yellow")
                else:
                    waiting.append(file)
            advance(done.files, done.files, "files")
            if len(waiting) >= _FILES_AT_ONCE:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def _named(
    catalog: Catalog, list_name: str, files: Sequence[HashedFile], done: _Enriched
) -> Iterator[list[DerivedHash]]:
    """The codes of each file that entries without a PDQ code name."""
    digests = [file.hashes.digests[kind] for file in files for kind in _NAMING]
    known = catalog.entries_by_digest(list_name, digests)
    for file in files:
        naming = {
            entry_id: kind
            for kind in reversed(_NAMING)  # the stronger one comes last and stays
            for entry_id in known.get(file.hashes.digests[kind], ())
            if not _has_pdq(catalog.entry(entry_id))
        }
        if not naming:
            continue
        done.named += 1
        codes = _codes(file)
        if not codes:
            done.not_hashed += 1
            note(f"{as_text(file.path)}: it has no PDQ code that could be kept", style="yellow")
        yield _rows(file, naming, codes)


def _has_pdq(entry: Entry) -> bool:
    return HashKind.PDQ in entry.hashes or any(
        kind is HashKind.PDQ for kind, _ in entry.extra_hashes
    )


def _codes(file: HashedFile) -> dict[bytes, str]:
    """PDQ codes of the picture and its crops, each with how it was made."""
    from matcher.cli.file_entries import usable_codes  # noqa: PLC0415

    codes: dict[bytes, str] = {}
    for view in file.hashes.views:
        code = usable_codes(view).get(HashKind.PDQ)
        if code is not None:
            codes.setdefault(code, _WHOLE if view.view == View.UPRIGHT else view.view)
    return codes


def _rows(
    file: HashedFile, naming: dict[int, HashKind], codes: dict[bytes, str]
) -> list[DerivedHash]:
    from hashlists.catalog import DerivedHash  # noqa: PLC0415

    digests = file.hashes.digests
    return [
        DerivedHash(entry_id, HashKind.PDQ, code, derivation, kind, digests[kind])
        for entry_id, kind in naming.items()
        for code, derivation in codes.items()
    ]


__all__ = ["command"]
