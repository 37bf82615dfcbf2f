"""Decisions as `match` and `lookup` print them, and the exit status that they add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hashlists.model import HashKind
from matcher.cli.output import is_terminal, note, print_json, print_row, print_table
from matcher.model import Basis, Decision, Match, MatchResult

if TYPE_CHECKING:
    from hashlists.model import Classification

EXIT_FOUND = 1
EXIT_UNDECIDED = 2
_ERROR = "ERROR"
_MOST_QUIET_ROWS = 200  # rows without a known match that a person is shown
_FOUND = (Decision.MATCH, Decision.REVIEW)
_HUMAN_COLUMNS = ("decision", "list", "evidence", "severity")
_PLAIN_COLUMNS = (
    "decision",
    "reason",
    "match_id",
    "total_matches",
    "list",
    "entry",
    "kind",
    "basis",
    "view",
    "distance",
    "severity",
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that was not matched at all.

    Attributes:
        reason: one word for programs.
        detail: one line for a person.
    """

    reason: str
    detail: str


Outcome = MatchResult | Failure


@dataclass
class Report:
    """Prints outcomes, in the order in which they come, and knows the exit status.

    JSON and plain lines are printed at once; the table of a person at the end.

    Attributes:
        subject: what an item is told by: "path" or "query".
        as_json: print JSON Lines.
        details: add to each JSON object what the decision rests on.
    """

    subject: str
    as_json: bool
    details: bool = False
    _counts: Counter[str] = field(default_factory=Counter)
    _rows: list[tuple[str, ...]] = field(default_factory=list)
    _left_out: int = 0
    _last: MatchResult | None = None
    _kinds: set[HashKind] = field(default_factory=set)

    def add(self, item: str | int, outcome: Outcome) -> None:
        """Takes the outcome of one item."""
        if isinstance(outcome, MatchResult):
            self._last = outcome
            self._kinds.update(outcome.kinds_tried)
        if self.as_json:
            print_json(to_record(self.subject, item, outcome, details=self.details))
        elif is_terminal():
            self._keep(item, outcome)
        else:
            if not self._counts:
                print_row((self.subject, *_PLAIN_COLUMNS))
            print_row((str(item), *_plain_cells(outcome)))
        self._counts[_word(outcome)] += 1

    def _keep(self, item: str | int, outcome: Outcome) -> None:
        quiet = isinstance(outcome, MatchResult) and outcome.decision is Decision.NO_KNOWN_MATCH
        if quiet and self._counts[_word(outcome)] >= _MOST_QUIET_ROWS:
            self._left_out += 1
        else:
            self._rows.append((str(item), *_human_cells(outcome)))

    def finish(self) -> int:
        """Prints what remains to be told and gives the exit status."""
        if self._rows:
            print_table((self.subject, *_HUMAN_COLUMNS), self._rows)
        if not self.as_json:
            self._tell_summary()
        return self.exit_status

    @property
    def exit_status(self) -> int:
        """1 where anything matched or needs review, else 2 where anything is not known, else 0."""
        if any(self._counts[_shown(decision)] for decision in _FOUND):
            return EXIT_FOUND
        if self._counts[_shown(Decision.NOT_HASHABLE)] or self._counts[_ERROR]:
            return EXIT_UNDECIDED
        return 0

    def _tell_summary(self) -> None:
        if self._left_out:
            note(f"{self._left_out} more without a known match are not shown; see --json")
        note(", ".join(f"{number} {word}" for word, number in self._counts.items()))
        if self._last is not None:
            kinds = ", ".join(kind.value for kind in HashKind if kind in self._kinds) or "no kind"
            last = self._last
            note(f"Searched revision {last.revision} under the policy {last.policy!r}, by {kinds}.")
        if self.exit_status == EXIT_FOUND:
            note("A hash match is a lead, not proof: a person must look before anything is done.")


def to_record(
    subject: str, item: str | int, outcome: Outcome, *, details: bool = False
) -> dict[str, Any]:
    """The JSON object of one item.

    `total_matches` stands in it only where more matched than are listed, or with `details`;
    `error` only where the item was not matched at all: then `decision` is null.
    """
    if isinstance(outcome, Failure):
        error = {"reason": outcome.reason, "detail": outcome.detail}
        empty: dict[str, Any] = {"decision": None, "reason": None, "match_id": None, "matches": []}
        return {subject: item, **empty, "error": error}
    record: dict[str, Any] = {
        subject: item,
        "decision": outcome.decision.value,
        "reason": None if outcome.reason is None else outcome.reason.value,
        "match_id": outcome.match_id or None,
        "matches": [_match_record(match) for match in outcome.matches],
    }
    if details:
        record |= _details(outcome)
    elif outcome.truncated:
        record["total_matches"] = outcome.total_matches
    return record


def _match_record(match: Match) -> dict[str, Any]:
    return {
        "list": match.list_name,
        "entry": match.entry_id,
        "kind": match.kind.value,
        "basis": match.basis.value,
        "view": match.view or None,
        "distance": match.distance,
        "classification": _classification_record(match.classification),
        "severity": match.severity,
    }


def _classification_record(issued: Classification | None) -> dict[str, str] | None:
    if issued is None:
        return None
    return {"scheme": issued.scheme, "profile": issued.profile, "code": issued.code}


def _details(result: MatchResult) -> dict[str, Any]:
    return {
        "detail": result.detail,
        "total_matches": result.total_matches,
        "shadow_matches": result.shadow_matches,
        "kinds_tried": [kind.value for kind in result.kinds_tried],
        "views_tried": list(result.views_tried),
        "views_left_out": list(result.views_left_out),
        "revision": result.revision,
        "policy": result.policy,
        "policy_version": result.policy_version,
    }


def _shown(decision: Decision) -> str:
    return decision.value.replace("_", " ")


def _word(outcome: Outcome) -> str:
    return _ERROR if isinstance(outcome, Failure) else _shown(outcome.decision)


def _human_cells(outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, Failure):
        return (_ERROR, "", outcome.detail, "")
    word = _word(outcome)
    if not outcome.matches:
        return (word, "", outcome.detail or (outcome.reason or ""), "")
    best = outcome.matches[0]
    more = outcome.total_matches - 1
    evidence = _evidence(best) + (f", and {more} more" if more else "")
    return (word, f"{best.list_name} #{best.entry_id}", evidence, best.severity)


def _evidence(match: Match) -> str:
    """E.g. "exact sha1" or "near pdq: 4 bits, upright"."""
    if match.basis is Basis.EXACT:
        return f"exact {match.kind.value}"
    unit = "squared L2" if match.kind.value == "photodna" else "bits"
    near = match.closeness.value if match.distance is None else f"{match.distance} {unit}"
    return f"near {match.kind.value}: {near}" + (f", {match.view}" if match.view else "")


def _plain_cells(outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, Failure):
        return (_ERROR, outcome.reason, *[""] * (len(_PLAIN_COLUMNS) - 2))
    reason = "" if outcome.reason is None else outcome.reason.value
    head = (outcome.decision.value, reason, outcome.match_id, str(outcome.total_matches))
    if not outcome.matches:
        return (*head, *[""] * (len(_PLAIN_COLUMNS) - len(head)))
    best = outcome.matches[0]
    distance = "" if best.distance is None else str(best.distance)
    evidence = (best.kind.value, best.basis.value, best.view, distance, best.severity)
    return (*head, best.list_name, str(best.entry_id), *evidence)
