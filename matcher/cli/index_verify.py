"""`hashwarden index verify`: does the index find what it must, and hold what the catalog holds?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import SnapshotError
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_json, print_table, progress, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.follow.agreement import Agreement
    from matcher.follow.view import Sealed
    from matcher.index.verify import Comparison

EXIT_DIFFERENT = 1
_SAMPLE = 256


@click.command(short_help="Compare the index with a plain search, and with the catalog.")
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=_SAMPLE,
    show_default=True,
    help="How many hashes of each longer list and kind, and entries of the catalog, to compare.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    help="Choose the same sample again. Default: another one each time.",
)
@options.as_json
@pass_session
@click.pass_context
def verify(
    ctx: click.Context, session: Session, *, sample: int, seed: int | None, as_json: bool
) -> None:
    """Compare the published snapshot with plain searches, and with the catalog.

    Every byte is checked against its digest. Then hashes are looked up in the index and by
    comparing them with every hash there is (FAISS' flat index; a dictionary for digests): of lists
    with at most 10,000 hashes of a kind all of them; of longer ones a sample, as it is and with
    bits flipped; and random ones. Each answer must be the same: nothing missed, nothing more, every
    distance equal. Last, counts by list and a sample of entries are compared with the catalog, but
    for what changed there since. On a machine that pulls its snapshots there is no catalog, and
    that last comparison is left out.

    This reads the whole index several times, and takes some seconds for each million hashes. It
    needs no more memory than a search.

    Exit status: 1 where anything differs or the snapshot cannot be used. No hash is shown.
    """
    sealed = _open(session)
    if sealed is None:
        source = "serve` pulls" if session.is_replica else "index build` makes"
        note(f"There is no snapshot yet; `hashwarden {source} one.", style="red")
        ctx.exit(EXIT_DIFFERENT)
    compared = list(_compared(session, sealed, sample=sample, seed=seed, as_json=as_json))
    agreement = _agreement(session, sealed, sample=sample, seed=seed)
    holds = not any(each.differing for each in compared) and (agreement is None or agreement.holds)
    if as_json:
        print_json({"check": "catalog", "compared": agreement is not None, **_record(agreement)})
        print_json({"check": "result", "revision": sealed.snapshot.revision, "holds": holds})
    else:
        _print_compared(compared)
        _print_agreement(agreement)
    _tell(holds, sealed)
    ctx.exit(0 if holds else EXIT_DIFFERENT)


def _open(session: Session) -> Sealed | None:
    from matcher.follow.view import Sealed  # noqa: PLC0415  brings numpy and faiss

    try:
        with waiting("Checking digests"):
            return Sealed.open_current(session.settings.snapshots_dir, vault=session.vault)
    except SnapshotError as error:
        note(f"The snapshot cannot be used: {error}", style="red")
        click.get_current_context().exit(EXIT_DIFFERENT)


def _compared(
    session: Session, sealed: Sealed, *, sample: int, seed: int | None, as_json: bool
) -> Iterator[Comparison]:
    from matcher.index.verify import compare_with_oracles  # noqa: PLC0415  brings faiss

    with progress("Comparing with a plain search") as advance:
        for each in compare_with_oracles(
            sealed.index,
            sample=sample,
            seed=seed,
            thresholds=_thresholds(session),
            progress=advance,
        ):
            if as_json:
                print_json(
                    {
                        "check": "search",
                        "kind": each.kind.value,
                        "list": each.list_name or None,
                        "hashes": each.codes,
                        "looked_up": each.queries,
                        "found": each.found,
                        "differing": each.differing,
                    }
                )
            yield each


def _thresholds(session: Session) -> dict[Any, int]:
    """By kind the widest threshold that any policy uses."""
    from hashlists.model import HashKind  # noqa: PLC0415
    from matcher.index.verify import DEFAULT_THRESHOLDS  # noqa: PLC0415

    widest: dict[Any, int] = {}
    for kind in HashKind:
        if kind in DEFAULT_THRESHOLDS:
            used = [policy.max_threshold(kind) for policy in session.policies.values()]
            known = [each for each in used if each is not None]
            if known:
                widest[kind] = max(known)
    return widest


def _agreement(
    session: Session, sealed: Sealed, *, sample: int, seed: int | None
) -> Agreement | None:
    """How the snapshot compares with the catalog; None where there is no catalog."""
    if not session.has_catalog:
        return None
    from matcher.follow.agreement import compare_with_catalog  # noqa: PLC0415

    with session.catalog() as catalog, waiting("Comparing with the catalog"):
        return compare_with_catalog(sealed, catalog, sample=sample, now=int(time.time()), seed=seed)


def _record(agreement: Agreement | None) -> dict[str, Any]:
    if agreement is None:
        return {}
    return {
        "revision": agreement.revision,
        "changed_since": agreement.changed_since,
        "in_index": dict(agreement.in_index),
        "in_catalog": dict(agreement.in_catalog),
        "sampled": agreement.sampled,
        "missing": dict(agreement.missing_by_list),
    }


def _print_compared(compared: list[Comparison]) -> None:
    columns = ("kind", "list", "hashes", "looked up", "found", "differing")
    rows = [
        (
            each.kind.value,
            each.list_name or "(random)",
            f"{each.codes:,}",
            f"{each.queries:,}",
            f"{each.found:,}",
            f"{each.differing:,}",
        )
        for each in compared
    ]
    print_table(columns, rows)


def _print_agreement(agreement: Agreement | None) -> None:
    if agreement is None:
        note("Not compared with a catalog: there is none on this machine.")
        return
    names = sorted({*agreement.in_index, *agreement.in_catalog})
    rows = [
        (
            name,
            f"{agreement.in_index.get(name, 0):,}",
            f"{agreement.in_catalog.get(name, 0):,}",
            f"{agreement.missing_by_list.get(name, 0):,}",
        )
        for name in names
    ]
    columns = ("list", "entries in index", "in catalog", "differing of the sample")
    print_table(columns, rows)
    sampled = counted(agreement.sampled, "entry was", "entries were")
    note(f"{sampled} compared one by one with the catalog.")
    if agreement.changed_since:
        left = counted(agreement.changed_since, "entry was", "entries were")
        note(f"{left} left out, having changed since.")


def _tell(holds: bool, sealed: Sealed) -> None:  # noqa: FBT001  one word, one meaning
    if holds:
        note(f"Revision {sealed.snapshot.revision}: no difference.", style="green")
    else:
        note(
            f"Revision {sealed.snapshot.revision}: the index DIFFERS. Matches may be missed: build "
            "it anew with `hashwarden index build --full`, and report this.",
            style="red",
        )
