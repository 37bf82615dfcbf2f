"""The policy document: TOML, parsed by `matcher.settings`, into policies, and back.

docs/policy.md is its reference. Reading is strict: a key that means nothing is an error, since a
mistyped one would silently leave a rule out. A policy that does not say `extends` starts from the
built-in default, so that what is left out is looked up with care rather than not at all.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from hashlists.model import Classification, Harm, HashKind
from matcher.policy import tables
from matcher.policy.allow import AllowFile, AllowPair, AllowRule, sort_key
from matcher.policy.policy import (
    COUNTABLE_HARMS,
    DEFAULT_THRESHOLDS,
    NEAR_KINDS,
    ListRule,
    Policy,
    Thresholds,
    Verdicts,
    describe,
    describe_shared,
)
from matcher.policy.severity import (
    ANY_PROFILE,
    BUILT_IN_ORDER,
    NOT_ABUSE,
    UNMAPPED,
    SeverityTable,
    Verdict,
    normalised,
)
from matcher.policy.tables import Problems, Table, WrongValueError
from matcher.policy.views import VIEW_FAMILIES, VIEW_NAMES, view_selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matcher.model import ViewSelection

DEFAULT_NAME = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NO_NAMES: tuple[str, ...] = ()
_MAX_ENTRY_ID = 2**63 - 1
#: PhotoDNA: 144 values of 0..255, so no squared distance is larger.
_MAX_PHOTODNA = 144 * 255 * 255


def default_policy() -> Policy:
    """The built-in policy: every list of harm, `DEFAULT_THRESHOLDS`, near means review."""
    return Policy(DEFAULT_NAME)


def policies_from_dict(doc: Mapping[str, Any], *, origin: str) -> Mapping[str, Policy]:
    """Reads a policy document.

    Args:
        doc: the parsed TOML; empty for the built-in default alone.
        origin: what errors call the document, e.g. its file name.

    Returns:
        Policies by name; `"default"` is always there.

    Raises:
        PolicyError: naming each key path at fault and what is allowed there.
    """
    problems = Problems()
    with Table(doc, "", problems) as document:
        severities = _severity_table(document)
        found = [rule for each in document.tables("allow") if (rule := _allow(each)) is not None]
        allow = tuple(sorted(found, key=sort_key))
        drafts = _drafts(document.table("policies"), severities)
    problems.raise_any(origin)
    base = replace(default_policy(), severities=severities, allow=allow)
    policies = _extended(drafts, base, problems)
    problems.raise_any(origin)
    return policies


def policies_to_dict(policies: Mapping[str, Policy]) -> dict[str, Any]:
    """A document that reads as these policies: the inverse of `policies_from_dict`.

    Every policy is written in full. All of them must share allow-list and severities, as those of
    one document do.
    """
    written = {}
    for name, policy in policies.items():
        table = describe(policy)
        shared = describe_shared(policy)
        off = {k.value: "off" for k, _ in DEFAULT_THRESHOLDS if k not in policy.thresholds}
        own = {key: value for key, value in table.items() if key not in shared}
        written[name] = own | {"thresholds": {**off, **dict[str, Any](own["thresholds"])}}  # type: ignore[call-overload]
    shared = describe_shared(next(iter(policies.values()))) if policies else {}
    return {**shared, "policies": written}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A policy as written; None: not said."""

    path: str
    extends: str | None
    lists: tuple[str, ...] | None
    harms: tuple[str, ...] | None
    views: ViewSelection | None
    force: bool | None
    thresholds: Thresholds
    verdicts: Verdicts
    rules: tuple[ListRule, ...]

    def over(self, base: Policy, name: str) -> Policy:
        """This draft's words over those of the policy it extends."""
        return replace(
            base,
            name=name,
            lists=base.lists if self.lists is None else self.lists,
            harms=base.harms if self.harms is None else frozenset(Harm(h) for h in self.harms),
            views=base.views if self.views is None else self.views,
            force=base.force if self.force is None else self.force,
            thresholds=self.thresholds.over(base.thresholds),
            verdicts=self.verdicts.over(base.verdicts),
            rules=base.rules + self.rules,
        )


def _drafts(policies: Table, severities: SeverityTable) -> dict[str, _Draft]:
    drafts = {}
    for name, value in policies.items():
        path = policies.at(name)
        if not _NAME.fullmatch(name):
            policies.problems.add(
                path, "a policy's name is lower-case letters, digits, '-' and '_', 63 at most"
            )
        with Table(value, path, policies.problems) as table:
            drafts[name] = _draft(table, severities)
    return drafts


def _draft(table: Table, severities: SeverityTable) -> _Draft:
    harms = tuple(harm.value for harm in COUNTABLE_HARMS)
    return _Draft(
        path=table.path,
        extends=_optional(table, "extends", tables.text),
        lists=_optional(table, "lists", tables.sorted_names(tables.names)),
        harms=_optional(table, "harms", tables.names_among(harms, "harm")),
        views=_optional(table, "views", _views),
        force=_optional(table, "force", tables.boolean),
        thresholds=_thresholds(table.table("thresholds"), off=True),
        verdicts=_verdicts(table.table("severities"), severities),
        rules=tuple(_rule(each, severities) for each in table.tables("rules")),
    )


def _optional(table: Table, key: str, parse: Callable[[object], Any]) -> Any:
    return table.take(key, parse, None)


def _views(value: object) -> ViewSelection:
    return view_selection(tables.names_among(VIEW_NAMES, "view")(value))


_families = tables.names_among(VIEW_FAMILIES, "family of views")


def _rule(table: Table, severities: SeverityTable) -> ListRule:
    with table:
        rule = ListRule(
            lists=table.take("lists", tables.sorted_names(_list_names), _NO_NAMES),
            views=table.take("views", tables.sorted_names(_families), _NO_NAMES),
            thresholds=_thresholds(table.table("thresholds"), off=True),
            near_match_up_to=_thresholds(table.table("near_match_up_to"), off=True),
            verdicts=_verdicts(table.table("severities"), severities),
        )
    if rule.near_match_up_to.values and "lists" not in table:
        table.problems.add(
            table.path,
            "near_match_up_to needs 'lists': name those for which you have measured it",
        )
    if not (rule.thresholds.values or rule.near_match_up_to.values or rule.verdicts.values):
        table.problems.add(
            table.path, "says nothing; give it thresholds, near_match_up_to or severities"
        )
    return rule


def _list_names(value: object) -> tuple[str, ...]:
    found = tables.names(value)
    if "*" in found:
        raise WrongValueError('names lists one by one; leave "lists" out for every list')
    return found


def _thresholds(table: Table, *, off: bool) -> Thresholds:
    kinds = {kind.value: kind for kind in NEAR_KINDS}
    values: dict[HashKind, int | None] = {}
    for name, value in table.items():
        if name in kinds:
            try:
                values[kinds[name]] = _distance(value, kinds[name], off=off)
            except WrongValueError as error:
                table.problems.add(table.at(name), str(error))
        elif name in {kind.value for kind in HashKind}:
            table.problems.add(
                table.at(name), "digests are always looked up, and only equal ones count"
            )
        else:
            table.problems.add(table.at(name), tables.unknown("kind", name, list(kinds)))
    return Thresholds.of(values)


def _distance(value: object, kind: HashKind, *, off: bool) -> int | None:
    if off and value == "off":
        return None
    # Half of the bits differ between unrelated pictures: beyond that a threshold says nothing.
    most = _MAX_PHOTODNA if kind is HashKind.PHOTODNA else 4 * kind.nbytes
    try:
        return tables.whole_number(0, most)(value)
    except WrongValueError as error:
        raise WrongValueError(f'{error}, or "off"') from None


def _verdicts(table: Table, severities: SeverityTable) -> Verdicts:
    values = {}
    for name, value in table.items():
        if name not in severities.names:
            message = tables.unknown("severity", name, severities.names)
            table.problems.add(table.at(name), message)
            continue
        allowed = {each.word: each for each in _allowed_verdicts(name)}
        if isinstance(value, str) and value in allowed:
            values[name] = allowed[value]
        else:
            words = " or ".join(f'"{word}"' for word in allowed)
            table.problems.add(table.at(name), f"must be {words}")
    return Verdicts.of(values)


def _allowed_verdicts(severity: str) -> tuple[Verdict, ...]:
    if severity == UNMAPPED:  # what nobody has spoken of is never met with silence
        return (Verdict.MATCH, Verdict.REVIEW)
    if severity == NOT_ABUSE:  # its own issuer says so: it accuses nobody
        return (Verdict.REVIEW, Verdict.IGNORE)
    return (Verdict.MATCH, Verdict.REVIEW, Verdict.IGNORE)


def _severity_table(document: Table) -> SeverityTable:
    rows: dict[Classification, tuple[Classification, str]] = {}
    for table in document.tables("severity"):
        with table:
            row = _severity_row(table)
        if row is None:
            continue
        key = normalised(row[0])
        if key in rows:
            table.problems.add(table.path, "this scheme, profile and code has a row already")
        rows[key] = row
    natural = SeverityTable(tuple(rows[key] for key in sorted(rows, key=astuple)))
    known = tables.names_among(natural.names, "severity")
    ordered = replace(natural, order=document.take("severity_order", known, _NO_NAMES))
    return natural if ordered.names == natural.names else replace(natural, order=ordered.names)


def _severity_row(table: Table) -> tuple[Classification, str] | None:
    scheme = table.require("scheme", tables.text)
    profile = table.require("profile", tables.text_or_empty)
    code = table.require("code", tables.text)
    severity = table.require("severity", _severity_name)
    if scheme is None or profile is None or code is None or severity is None:
        return None
    if scheme.casefold() == "vics" and profile == ANY_PROFILE:
        table.problems.add(
            table.at("profile"),
            "a VICS category means something else in each profile; name the profile",
        )
    return Classification(scheme, profile, code), severity


def _severity_name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        allowed = ", ".join(BUILT_IN_ORDER)
        raise WrongValueError(
            f"must be one of {allowed}, or a name of your own: lower-case letters, digits, - and _"
        )
    return value


def _allow(table: Table) -> AllowRule | None:
    with table:
        reason = table.require("reason", tables.text)
        expires_at = table.require("expires", _expiry)
        rule: AllowRule | None = None
        if "sha256" in table:
            sha256 = table.require("sha256", tables.hex_bytes(HashKind.SHA256.nbytes))
            if sha256 is not None and reason is not None and expires_at is not None:
                rule = AllowFile(sha256, reason, expires_at)
        else:
            rule = _allow_pair(table, reason, expires_at)
    return rule


def _allow_pair(table: Table, reason: str | None, expires_at: datetime | None) -> AllowRule | None:
    if not any(key in table for key in ("kind", "code", "entry")):
        table.problems.add(table.path, "needs 'sha256', or 'kind', 'code' and 'entry' together")
    kind = table.take("kind", _near_kind, None)
    nbytes = HashKind.PDQ.nbytes if kind is None else kind.nbytes
    code = table.take("code", tables.hex_bytes(nbytes) if kind else _any_code, None)
    entry = table.take("entry", _entry_id, None)
    for key in ("kind", "code", "entry"):
        if key not in table:
            table.problems.add(table.path, f"needs the key {key!r}")
    if kind is None or code is None or entry is None or reason is None or expires_at is None:
        return None
    return AllowPair(kind, code, entry, reason, expires_at)


def _near_kind(value: object) -> HashKind | None:
    for kind in NEAR_KINDS:
        if value == kind.value:
            return kind
    raise WrongValueError(f"must be one of {', '.join(kind.value for kind in NEAR_KINDS)}")


def _any_code(_: object) -> bytes | None:
    """Without a kind, the code cannot be judged; the missing kind is told instead."""
    return None


def _entry_id(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return tables.whole_number(1, _MAX_ENTRY_ID)(value)


def _expiry(value: object) -> datetime:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise WrongValueError("must be a date, or a time with its offset from UTC")
        return value.astimezone(UTC)
    if isinstance(value, date):
        try:  # the named day still counts, wherever the clock stands in it
            return datetime.combine(value + timedelta(days=1), time(), UTC)
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)
    raise WrongValueError("must be a date, e.g. 2027-06-30 without quotes")


def _extended(drafts: Mapping[str, _Draft], base: Policy, problems: Problems) -> dict[str, Policy]:
    """Resolves `extends`; a policy's ancestors are built before it."""
    built = {} if DEFAULT_NAME in drafts else {DEFAULT_NAME: base}
    for name in drafts:
        chain = [name]
        while chain[-1] not in built and (parent := _parent(drafts, chain[-1])) is not None:
            if parent in chain or (parent not in drafts and parent not in built):
                _tell_bad_parent(drafts, chain, parent, problems)
                break
            chain.append(parent)
        for each in reversed(chain):
            if each not in built:
                parent_name = _parent(drafts, each)
                built[each] = drafts[each].over(built.get(parent_name or "", base), each)
    for name, draft in drafts.items():
        _check(built[name], draft, problems)
    return built


def _parent(drafts: Mapping[str, _Draft], name: str) -> str | None:
    """Whom a policy extends; None for the built-in default."""
    parent = drafts[name].extends
    return None if parent == name == DEFAULT_NAME else parent


def _tell_bad_parent(
    drafts: Mapping[str, _Draft], chain: list[str], parent: str, problems: Problems
) -> None:
    path = f"{drafts[chain[-1]].path}.extends"
    if parent in chain:
        problems.add(path, f"goes round in a circle: {' -> '.join([*chain, parent])}")
    else:
        known = sorted({*drafts, DEFAULT_NAME})
        problems.add(path, tables.unknown("policy", parent, known))


def _check(policy: Policy, draft: _Draft, problems: Problems) -> None:
    """What only the whole policy shows: a measured distance that no lookup reaches."""
    for number, rule in enumerate(draft.rules, 1):
        for kind, distance in rule.near_match_up_to:
            widest = policy.max_threshold(kind)
            path = f"{draft.path}.rules[{number}].near_match_up_to.{kind.value}"
            if widest is None:
                problems.add(path, f"{kind.value} is not looked up; give it a threshold")
            elif distance is not None and distance > widest:
                problems.add(path, f"is beyond the widest threshold of {kind.value}, {widest}")


__all__ = [
    "DEFAULT_NAME",
    "ListRule",
    "Policy",
    "Thresholds",
    "Verdicts",
    "default_policy",
    "policies_from_dict",
    "policies_to_dict",
    "view_selection",
]
