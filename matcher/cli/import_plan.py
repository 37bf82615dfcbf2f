"""`lists import --plan`: what an import would do, and whom its entries might match wrongly.

Nothing of the catalog is changed: the import is staged, looked at and dropped. Where there is no
catalog yet, none is made.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlists.errors import ListNotFoundError
from hashlists.model import CODE64_KINDS, CODE_KINDS, Harm, HashKind, ListState
from hashlists.words import counted, one_or_many
from matcher.cli.files import UnreadableFile, as_text, hash_files
from matcher.cli.import_output import Planned, import_record, print_import
from matcher.cli.lists_add import all_files
from matcher.cli.output import note, print_json, print_table, progress
from matcher.demo_data import harmless_codes
from matcher.model import QUALITY_FLOOR, DecodeRequest, ViewSelection
from matcher.screening import Findings, References, Screening

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.catalog import Catalog
    from hashlists.errors import HashlistsError
    from hashlists.importer import ImportReport
    from matcher.cli.context import Session
    from matcher.cli.importing import ImportOrder
    from matcher.index.match_index import MatchIndex
    from matcher.policy.binding import ListInfo

#: Numbers by themselves: those of words such as MD5 belong to them.
_NUMBERS = re.compile(r"(?<![\w-])\d+(?![\w-])")
_SHOWN = 20
_PAGE = 1_000
_UPRIGHT = ViewSelection(stored=False, composited=False)


@dataclass(frozen=True, slots=True)
class ChanceHits:
    """What a policy would expect of an upload by pure chance.

    Attributes:
        policy: its name.
        before, after: the import; hits for one upload on average, over live lists.
        problem: why the policy would be refused with the lists as they would be; empty if not.
    """

    policy: str
    before: float
    after: float
    problem: str


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would do.

    Attributes:
        report: of the trial.
        state: the list's, or that which it would be created in.
        harm: what the list is, or would be, about.
        creates: whether the list would be created.
        screening: what was found of its entries.
        references: how many harmless codes they were compared with, by kind.
        thresholds: bits within which they were near.
        known_good_lists: the lists of known-good files that they were looked up in.
        reasons: rejected records by reason, of those that the report spells out.
        chance: by policy.
        refusals: why the import would be refused as it was ordered; empty where it would not.
    """

    report: ImportReport
    state: ListState
    harm: Harm
    creates: bool
    screening: Screening
    references: Mapping[HashKind, int]
    thresholds: Mapping[HashKind, int]
    known_good_lists: Sequence[str]
    reasons: Mapping[str, int]
    chance: Sequence[ChanceHits]
    refusals: Sequence[HashlistsError]


def plan_here(session: Session, order: ImportOrder, folders: Sequence[str]) -> ImportPlan:
    """Tries an import out, with its entries screened.

    Args:
        session: of the command.
        order: what would be imported.
        folders: pictures, or folders of them, that are known to be harmless.

    Raises:
        HashlistsError: it would not be imported, and what it would change cannot be told.
    """
    from matcher.cli.import_local import try_here  # noqa: PLC0415  brings the catalog and numpy

    policy = session.policies[session.settings.default_policy]
    thresholds = {
        kind: limit for kind in CODE_KINDS if (limit := policy.max_threshold(kind)) is not None
    }
    references = References(_reference_codes(session, folders, frozenset(thresholds)))
    with _catalog(session) as catalog:
        lists = _list_infos(catalog)
        good = [each.name for each in lists if each.harm is Harm.KNOWN_GOOD]
        harm = _harm(catalog, order)
        looked_up = good if harm is not Harm.KNOWN_GOOD else []
        index = _index(session, catalog) if looked_up else None
        screening = Screening(references, thresholds, index)
        refusals: list[HashlistsError] = []
        report = try_here(session, catalog, order, screening.observe, refusals.append)
    planned = _planned(lists, order, harm, report, screening)
    states = {each.name: each.state for each in lists}
    return ImportPlan(
        report=report,
        state=states.get(order.list_name, order.described.state or ListState.LIVE),
        harm=harm,
        creates=order.list_name not in states,
        screening=screening,
        references=references.kinds,
        thresholds=thresholds,
        known_good_lists=looked_up,
        reasons=_by_reason(report),
        chance=_chance(session, lists, planned),
        refusals=refusals,
    )


@contextmanager
def _catalog(session: Session) -> Iterator[Catalog]:
    """The catalog, or an empty one for the time being where there is none yet."""
    if session.has_catalog or session.is_replica:
        with session.catalog() as catalog:
            yield catalog
        return
    from hashlists.catalog import Catalog  # noqa: PLC0415  brings SQLAlchemy

    with (
        tempfile.TemporaryDirectory(prefix="hashwarden-") as folder,
        Catalog.open(f"sqlite:///{Path(folder) / 'catalog.sqlite3'}") as empty,
    ):
        yield empty


def _index(session: Session, catalog: Catalog) -> MatchIndex:
    from matcher.follow.one_shot import open_generation  # noqa: PLC0415  brings the index

    session.settings.prepare_data_dir()
    return open_generation(
        catalog,
        session.settings.snapshots_dir,
        session.policies,
        default_policy=session.settings.default_policy,
        add_test_list=False,
        vault=session.vault,
    ).index


def _reference_codes(
    session: Session, folders: Sequence[str], kinds: frozenset[HashKind]
) -> Iterator[tuple[HashKind, bytes, str]]:
    yield from ((HashKind.PDQ, code, name) for name, code in harmless_codes().items())
    if not folders:
        return
    request = DecodeRequest(_UPRIGHT, kinds & frozenset(CODE64_KINDS))
    max_bytes = session.settings.image_bytes
    done = unusable = 0
    with session.decode_pool() as pool, progress("Hashing references") as advance:
        for batch in hash_files(all_files(folders), pool, request, max_bytes=max_bytes):
            for file in batch:
                views = () if isinstance(file, UnreadableFile) else file.hashes.views
                usable = [each for each in views if each.quality >= QUALITY_FLOOR]
                unusable += not usable
                for view in usable:
                    for kind, code in view.codes.items():
                        yield kind, code, as_text(file.path)
            done += len(batch)
            advance(done, done, "files")
    if unusable:
        have = one_or_many(unusable, "has", "have")
        note(f"{unusable:,} of {counted(done, 'reference file')} {have} no code to compare with.")


def _list_infos(catalog: Catalog) -> list[ListInfo]:
    from matcher.policy.binding import ListInfo  # noqa: PLC0415

    found: list[ListInfo] = []
    while page := catalog.list_lists(after=found[-1].name if found else None, limit=_PAGE):
        for each in page:
            held = each.hash_list
            found.append(ListInfo(held.name, held.harm, held.state, each.coverage.by_kind))
    return found


def _harm(catalog: Catalog, order: ImportOrder) -> Harm:
    try:
        return catalog.get_list(order.list_name).hash_list.harm
    except ListNotFoundError:
        return Harm(order.described.harm or Harm.TEST)


def _planned(
    lists: Sequence[ListInfo],
    order: ImportOrder,
    harm: Harm,
    report: ImportReport,
    screening: Screening,
) -> list[ListInfo]:
    """The lists as they would be with the import, and once its list is live.

    What an import adds of a kind is bounded by what the file holds of it, and, but for further
    hashes of entries, by how many entries are new or changed.
    """
    from matcher.policy.binding import ListInfo  # noqa: PLC0415

    before = {each.name: each.counts for each in lists}.get(order.list_name, {})
    written = report.added + report.updated
    counts = {}
    for kind in HashKind:
        in_file, entries = screening.values[kind], report.coverage.by_kind.get(kind, 0)
        new = min(in_file, written + max(0, in_file - entries)) if written else 0
        held = 0 if order.whole is not None else before.get(kind, 0)
        counts[kind] = in_file if order.whole is not None else held + new
    others = [each for each in lists if each.name != order.list_name]
    return [*others, ListInfo(order.list_name, harm, ListState.LIVE, counts)]


def _chance(
    session: Session, lists: Sequence[ListInfo], planned: Sequence[ListInfo]
) -> list[ChanceHits]:
    from matcher.policy.binding import bind  # noqa: PLC0415

    found = []
    for name, policy in session.policies.items():
        before = bind(policy, lists, strict=False)
        after = bind(policy, planned, strict=False)
        problem = "; ".join(each for each in after.problems if each not in before.problems)
        found.append(
            ChanceHits(name, before.expected_chance_hits, after.expected_chance_hits, problem)
        )
    return found


def _by_reason(report: ImportReport) -> Mapping[str, int]:
    """Rejections that differ in numbers alone count as of one reason."""
    return Counter(_NUMBERS.sub("N", each.reason) for each in report.rejections)


def plan_record(plan: ImportPlan) -> dict[str, Any]:
    """The JSON object of a plan."""
    return {
        **import_record(plan.report, plan.state),
        "plan": True,
        "creates_list": plan.creates,
        "refusals": [{"reason": each.reason, "detail": str(each)} for each in plan.refusals],
        "rejected_by_reason": dict(plan.reasons),
        "screening": {
            "references": {kind.value: number for kind, number in plan.references.items()},
            "thresholds": {kind.value: bits for kind, bits in plan.thresholds.items()},
            "near_harmless": _findings_record(plan.screening.near),
            "known_good_lists": list(plan.known_good_lists),
            "known_good": _findings_record(plan.screening.known_good),
        },
        "chance_hits": [
            {
                "policy": each.policy,
                "before": each.before,
                "after": each.after,
                "problem": each.problem,
            }
            for each in plan.chance
        ],
    }


def _findings_record(findings: Findings) -> dict[str, Any]:
    return {
        "entries": findings.entries,
        "by_reference": dict(findings.by_reference.most_common(_SHOWN)),
        "first": [
            {
                "place": each.place,
                "kind": each.kind.value,
                "reference": each.reference,
                "distance": each.distance,
            }
            for each in findings.first
        ],
    }


def print_plan(plan: ImportPlan) -> None:
    """Prints a plan as tables, and below them what needs a look."""
    planned = Planned(creates=plan.creates, is_refused=bool(plan.refusals))
    print_import(plan.report, plan.state, plan.harm, planned)
    near, good = plan.screening.near, plan.screening.known_good
    known = ", ".join(plan.known_good_lists) or "there is no list of them"
    facts = [
        ("harmless codes compared with", f"{sum(plan.references.values()):,}"),
        ("entries near one of them", f"{near.entries:,}"),
        ("entries that are known-good files", f"{good.entries:,} ({known})"),
        *((f"rejected: {reason}", f"{number:,}") for reason, number in plan.reasons.items()),
        *(
            (
                f"chance hits an upload, policy {each.policy}",
                f"{each.before:.2g} -> {each.after:.2g}",
            )
            for each in plan.chance
        ),
    ]
    print_table(("screening", plan.report.list_name), facts)
    for what, findings in (("near", near), ("known-good", good)):
        for each in findings.first[:_SHOWN]:
            bits = f", {counted(each.distance, 'bit')} away" if what == "near" else ""
            note(
                f"{what}: {each.place} ({each.kind.value}{bits}): {each.reference}", style="yellow"
            )
        if findings.entries > _SHOWN:
            note(f"... and {counted(findings.entries - _SHOWN, 'more entry', 'more entries')}")
    for chance in plan.chance:
        if chance.problem:
            note(f"policy {chance.policy}: {chance.problem}", style="yellow")
    for refusal in plan.refusals:
        note(f"As it is, the import would be refused: {refusal}", style="red")
    note("This was a plan: nothing was imported.")


def show(plan: ImportPlan, *, as_json: bool) -> None:
    """Prints a plan."""
    if as_json:
        print_json(plan_record(plan))
    else:
        print_plan(plan)


__all__ = ["ChanceHits", "ImportPlan", "plan_here", "plan_record", "print_plan", "show"]
