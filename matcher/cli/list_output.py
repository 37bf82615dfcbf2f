"""How lists and revisions are shown: as JSON objects, and as tables for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from hashlists.model import CODE_KINDS, Harm, HashKind
from hashlists.words import one_or_many
from matcher.cli.output import is_terminal, note, print_paragraphs, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.catalog import ListRecord
    from hashlists.model import Coverage, Handling, Revision
    from matcher.client import RemoteList

    #: A list as the local catalog or a server tells of it.
    ShownList: TypeAlias = ListRecord | RemoteList


def list_record(record: ShownList) -> dict[str, Any]:
    """The JSON object of a list."""
    held = record.hash_list
    return {
        "name": held.name,
        "title": held.title,
        "harm": held.harm.value,
        "source": held.source,
        "legal_basis": held.legal_basis,
        "state": held.state.value,
        "handling": _handling_record(held.handling),
        "revision": record.revision,
        "created_at": record.created_at.isoformat(),
        "coverage": coverage_record(record.coverage),
    }


def _handling_record(handling: Handling) -> dict[str, Any]:
    return {
        "originator": handling.originator,
        "releasable_to": list(handling.releasable_to),
        "expires_at": handling.expires_at and handling.expires_at.isoformat(),
    }


def coverage_record(coverage: Coverage) -> dict[str, Any]:
    """What share of the entries can match what, by kind."""
    return {
        "entries": coverage.entries,
        "near_matchable": coverage.near_matchable,
        "near_matchable_share": coverage.near_matchable_share,
        "by_kind": {kind.value: coverage.by_kind.get(kind, 0) for kind in HashKind},
        "share_by_kind": {kind.value: _share(coverage, kind) for kind in HashKind},
    }


def _share(coverage: Coverage, kind: HashKind) -> float:
    return coverage.by_kind.get(kind, 0) / coverage.entries if coverage.entries else 0.0


def revision_record(revision: Revision) -> dict[str, Any]:
    """The JSON object of a revision."""
    return {
        "revision": revision.number,
        "kind": revision.kind.value,
        "list": revision.list_name,
        "author": revision.author,
        "reason": revision.reason,
        "committed_at": revision.committed_at.isoformat(),
        "added": revision.added,
        "updated": revision.updated,
        "retracted": revision.retracted,
        "restored": revision.restored,
        "handling": revision.handling and _handling_record(revision.handling),
    }


def print_list(record: ShownList) -> None:
    """Prints one list with its coverage."""
    held = record.hash_list
    facts = [
        ("name", held.name),
        ("title", held.title),
        ("harm", held.harm.value),
        ("source", held.source),
        ("legal basis", held.legal_basis),
        ("state", held.state.value),
        *_handling_facts(held.handling),
        ("created", f"{record.created_at:%Y-%m-%d %H:%M} UTC"),
        ("revision", str(record.revision)),
        *coverage_facts(record.coverage),
    ]
    print_table(("list", held.name), facts[1:])
    warn_of_coverage(record.coverage, held.harm)


def _handling_facts(handling: Handling) -> list[tuple[str, str]]:
    end = handling.expires_at
    over = end is not None and end <= datetime.now(UTC)
    told = "never" if end is None else f"{end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return [
        ("originator", handling.originator or "its source"),
        ("releasable to", ", ".join(handling.releasable_to) or "nobody"),
        ("expires", told + " (over: entries without an end of their own match no more)" * over),
    ]


def coverage_facts(coverage: Coverage) -> list[tuple[str, str]]:
    """Coverage as rows of a table."""
    return [
        ("entries", f"{coverage.entries:,}"),
        ("can match near", _counted(coverage.near_matchable, coverage.entries)),
        *(
            (f"with {kind.value}", _counted(coverage.by_kind[kind], coverage.entries))
            for kind in HashKind
            if coverage.by_kind.get(kind)
        ),
    ]


def _counted(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else f"{part:,}"


def wants_near(harm: Harm | None) -> bool:
    """Whether a list of this harm misses something where entries match exact copies only.

    One of known-good files does not: it says of files, byte for byte, that they are known.
    """
    return harm is not Harm.KNOWN_GOOD


def warn_of_coverage(coverage: Coverage, harm: Harm | None) -> None:
    """Says how many entries can match exact copies only, where that is a lack.

    Args:
        coverage: of the entries.
        harm: what their list is about; None where nobody knows.
    """
    exact_only = coverage.entries - coverage.near_matchable
    if exact_only and wants_near(harm):
        match = one_or_many(exact_only, "matches", "match")
        note(
            f"{_counted(exact_only, coverage.entries)} of the entries {match} only files that are "
            "the same byte for byte: no copy that was resized or saved anew is found without a "
            "hash that shows likeness and is computed from uploads "
            f"({', '.join(kind.value for kind in CODE_KINDS)}). Codes that `lists enrich` made of "
            "their files are not counted here.",
            style="yellow",
        )


def print_lists(records: Sequence[ShownList]) -> None:
    """Prints a table of lists."""
    if not records:
        note("There are no lists yet; see `hashwarden lists import --help`.")
        return
    columns = ("name", "harm", "state", "entries", "can match near", "revision", "source")
    rows = [
        (
            record.hash_list.name,
            record.hash_list.harm.value,
            record.hash_list.state.value,
            f"{record.coverage.entries:,}",
            _counted(record.coverage.near_matchable, record.coverage.entries),
            str(record.revision),
            record.hash_list.source,
        )
        for record in records
    ]
    print_table(columns, rows)


def print_revisions(found: Sequence[Revision]) -> None:
    """Prints revisions: paragraphs for a person, since a table of all columns fits no terminal."""
    if not found:
        note("Nothing was changed yet.")
    elif is_terminal():
        print_paragraphs((_revision_heading(each), _revision_lines(each)) for each in found)
    else:
        print_table(_REVISION_COLUMNS, [_revision_row(each) for each in found])


_REVISION_COLUMNS = (
    *("revision", "when (UTC)", "what", "list", "added", "updated", "retracted", "restored"),
    *("by", "reason"),
)
#: What a revision does to entries.
_COUNTS = ("added", "updated", "retracted", "restored")


def _revision_row(revision: Revision) -> tuple[str, ...]:
    return (
        str(revision.number),
        f"{revision.committed_at:%Y-%m-%d %H:%M:%S}",
        revision.kind.value,
        revision.list_name or "",
        *(f"{getattr(revision, name):,}" for name in _COUNTS),
        revision.author,
        revision.reason,
    )


def _revision_heading(revision: Revision) -> str:
    when = f"{revision.committed_at:%Y-%m-%d %H:%M:%S} UTC"
    what = " ".join(filter(None, (revision.kind.value, revision.list_name)))
    return f"revision {revision.number}  {when}  {what}"


def _revision_lines(revision: Revision) -> list[str]:
    counts = [(getattr(revision, name), name) for name in _COUNTS]
    changed = ", ".join(f"{number:,} {name}" for number, name in counts if number)
    return [
        f"{changed}; by {revision.author}" if changed else f"by {revision.author}",
        revision.reason,
        *([_in_words(revision.handling)] if revision.handling else []),
    ]


def _in_words(handling: Handling) -> str:
    return ", ".join(f"{name} {told}" for name, told in _handling_facts(handling))
