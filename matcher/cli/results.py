"""Decisions as `match` and `lookup` print them, and the exit status that they add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hashlists.model import Harm, HashKind
from hashlists.words import counted
from matcher.cli.output import is_terminal, note, print_json, print_row, print_table, without_hashes
from matcher.gaps import NO_GAPS
from matcher.model import Basis, Decision, Match, MatchResult

if TYPE_CHECKING:
    from hashlists.model import Classification
    from matcher.gaps import Gaps

EXIT_FOUND = 1
EXIT_UNDECIDED = 2
_ERROR = "ERROR"
_MOST_QUIET_ROWS = 200  # rows without a known match that a person is shown
_MOST_FAILURES_TOLD = 20
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
    "derivation",
    "ignored_in",
)
_NOT_KNOWN = "?"


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
    _remarks: Counter[str] = field(default_factory=Counter)

    def add(self, item: str | int, outcome: Outcome, gaps: Gaps = NO_GAPS) -> None:
        """Takes the outcome of one item, and what of it was not looked at."""
        if isinstance(outcome, MatchResult):
            self._last = outcome
            self._kinds.update(outcome.kinds_tried)
        if self.as_json:
            print_json(to_record(self.subject, item, outcome, gaps, details=self.details))
        elif is_terminal():
            self._keep(item, outcome, gaps)
        else:
            if not self._counts:
                print_row((self.subject, *_PLAIN_COLUMNS))
            print_row((str(item), *_plain_cells(outcome)))
            self._tell_failure(item, outcome)
        self._counts[_word(outcome)] += 1
        self._remarks.update(_summary_remarks(outcome, gaps))

    def _tell_failure(self, item: str | int, outcome: Outcome) -> None:
        """Says why an item has no answer, for which a line has no cell; of many the first."""
        if isinstance(outcome, Failure) and self._counts[_ERROR] < _MOST_FAILURES_TOLD:
            named = outcome.detail.startswith(f"{self.subject} {item}: ")
            note(without_hashes(outcome.detail if named else f"{item}: {outcome.detail}"))

    def _keep(self, item: str | int, outcome: Outcome, gaps: Gaps) -> None:
        quiet = _is_unremarkable(outcome) and not gaps.remarks()
        if quiet and self._counts[_word(outcome)] >= _MOST_QUIET_ROWS:
            self._left_out += 1
        else:
            self._rows.append((str(item), *_human_cells(outcome, gaps)))

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
        for remark, number in self._remarks.items():
            note(f"{number} {remark}")
        if self._last is not None:
            kinds = ", ".join(kind.value for kind in HashKind if kind in self._kinds) or "no kind"
            last = self._last
            note(
                f"Searched revision {last.revision} of the catalog under the policy "
                f"{last.policy!r}, by {kinds}."
            )
        if self.exit_status == EXIT_FOUND:
            note("A hash match is a lead, not proof: a person must look before anything is done.")


def to_record(
    subject: str,
    item: str | int,
    outcome: Outcome,
    gaps: Gaps = NO_GAPS,
    *,
    details: bool = False,
) -> dict[str, Any]:
    """The JSON object of one item.

    `total_matches` stands in it only where more matched than are listed, `ignored_matches` only
    where matches are listed that other entries speak against, `detail` only where
    matches were left out of account and none counts, or both with `details`; the keys of `gaps`
    only where something was not looked at;
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
    if outcome.ignored:
        record["ignored_matches"] = [_match_record(match) for match in outcome.ignored]
    record |= gaps.record()
    if details:
        return record | _details(outcome)
    if outcome.truncated:
        record["total_matches"] = outcome.total_matches
    if _left_out_of_account(outcome):
        record["detail"] = _said(outcome)
    return record


def _left_out_of_account(outcome: MatchResult) -> bool:
    """Whether it would read as if nothing were known, but for the allow-list or the severities."""
    return outcome.decision is Decision.NO_KNOWN_MATCH and bool(_said(outcome))


def _is_unremarkable(outcome: Outcome) -> bool:
    """Whether nothing is known of the item, and there is no more to say."""
    if isinstance(outcome, Failure):
        return False
    return outcome.decision is Decision.NO_KNOWN_MATCH and not _said(outcome)


def _said(outcome: MatchResult) -> str:
    """The answer's one line, in full where this machine's operator may have it."""
    return outcome.detail_for_operator or outcome.detail


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
        "derivation": match.derivation,
    }


def _classification_record(issued: Classification | None) -> dict[str, str] | None:
    if issued is None:
        return None
    return {"scheme": issued.scheme, "profile": issued.profile, "code": issued.code}


def _details(result: MatchResult) -> dict[str, Any]:
    return {
        "detail": _said(result),
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


def _summary_remarks(outcome: Outcome, gaps: Gaps) -> list[str]:
    """What the summary counts; each reads on after a number."""
    if isinstance(outcome, Failure):
        return []
    told = []
    if gaps.truncated:
        told.append("cut off: what still renders was hashed")
    if gaps.has_unhashed_frames:
        told.append("with frames or pages that were not hashed; see --views all")
    if gaps.views_left_out:
        told.append("with views that limits left out")
    if outcome.ignored:
        told.append(
            "found, though another entry has a class that decides nothing "
            f"(in {', '.join(_ignored_in(outcome))})"
        )
    if _left_out_of_account(outcome):
        told.append(f"without a known match: {_said(outcome)}")
    return told


def _human_cells(outcome: Outcome, gaps: Gaps) -> tuple[str, ...]:
    if isinstance(outcome, Failure):
        return (_ERROR, "", outcome.detail, "")
    word = _word(outcome)
    if not outcome.matches:
        told = _said(outcome) or (outcome.reason or "")
        return (word, "", "; ".join(filter(None, (told, *gaps.remarks()))), "")
    best = outcome.matches[0]
    evidence = "; ".join((_evidence(best) + _others(outcome), *_against(outcome), *gaps.remarks()))
    return (word, _entry(best), evidence, best.severity)


def _entry(match: Match) -> str:
    """E.g. "industry #7"; that a list is only there to try things is always said."""
    trial = f" ({Harm.TEST.value})" if match.harm == Harm.TEST.value else ""
    return f"{match.list_name} #{match.entry_id}{trial}"


def _others(outcome: MatchResult) -> str:
    """How many more matched, and in which lists beside that of the strongest, if less severely."""
    more = outcome.total_matches - 1
    if not more:
        return ""
    best = outcome.matches[0]
    severities: dict[str, str] = {}
    for each in outcome.matches:
        severities.setdefault(each.list_name, each.severity)
    lists = [
        name if severity == best.severity else f"{name}: {severity}"
        for name, severity in severities.items()
        if name != best.list_name
    ]
    return f", and {more} more" + (f" (also in {', '.join(lists)})" if lists else "")


def _against(outcome: MatchResult) -> list[str]:
    """Which lists hold the item under a class that decides nothing, and under which."""
    told = []
    for name in _ignored_in(outcome):
        match = next(each for each in outcome.ignored if each.list_name == name)
        told.append(f"but {name} holds it as {_class(match)}, which decides nothing")
    return told


def _ignored_in(outcome: MatchResult) -> list[str]:
    return [*dict.fromkeys(each.list_name for each in outcome.ignored)]


def _class(match: Match) -> str:
    """E.g. "not_abuse (vics US 0)"."""
    issued = match.classification
    return match.severity if issued is None else f"{match.severity} ({issued.words})"


def _evidence(match: Match) -> str:
    """E.g. "exact sha1" or "near pdq: 4 bits, upright, by a derived code (crop:0.02)"."""
    if match.basis is Basis.EXACT:
        return f"exact {match.kind.value}"
    if match.distance is None:
        near = match.closeness.value
    elif match.kind is HashKind.PHOTODNA:
        near = f"{match.distance} squared L2"
    else:
        near = counted(match.distance, "bit")
    told = f"near {match.kind.value}: {near}" + (f", {match.view}" if match.view else "")
    return told + (f", by a derived code ({match.derivation})" if match.derivation else "")


def _plain_cells(outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, Failure):
        return (_ERROR, outcome.reason, *[""] * (len(_PLAIN_COLUMNS) - 2))
    reason = "" if outcome.reason is None else outcome.reason.value
    head = (outcome.decision.value, reason, outcome.match_id, str(outcome.total_matches))
    if not outcome.matches:
        return (*head, *[""] * (len(_PLAIN_COLUMNS) - len(head)))
    best = outcome.matches[0]
    distance = "" if best.distance is None else str(best.distance)
    made = _NOT_KNOWN if best.derivation is None else best.derivation
    against = ",".join(_ignored_in(outcome))
    evidence = (
        best.kind.value,
        best.basis.value,
        best.view,
        distance,
        best.severity,
        made,
        against,
    )
    return (*head, best.list_name, str(best.entry_id), *evidence)
