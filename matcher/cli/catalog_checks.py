"""Checks of `hashwarden doctor` on what is matched: catalog, snapshot and policies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashlists.model import TEST_LIST_NAME, Harm, ListState
from hashlists.words import counted
from matcher.cli.finding import Finding, Status
from matcher.cli.list_output import wants_near
from matcher.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hashlists.catalog import ListRecord
    from hashlists.snapshot import Snapshot
    from matcher.cli.context import Session
    from matcher.policy.binding import ListInfo
    from matcher.policy.policy import Policy


def check_catalog(session: Session) -> Iterator[Finding]:
    """What the catalog holds, and whether it is rid of what was purged."""
    settings = session.settings
    file = settings.catalog_file
    if session.is_replica:
        detail = (
            "none here: this machine is a replica, and its lists are kept where its snapshots are "
            f"built, which it pulls from {settings.snapshot_pull_url}"
        )
        yield Finding("catalog", Status.OK, detail)
        return
    if session.lost_catalog:
        yield Finding("catalog", Status.FAIL, session.lost_catalog)
        return
    if file is not None and not file.exists():
        detail = (
            f"none in {file.parent}: nothing can be matched; `hashwarden lists import` makes it"
        )
        yield Finding("catalog", Status.WARN, detail)
        return
    with session.catalog() as catalog:
        head = catalog.head()
        records = catalog.list_lists(limit=1000)
        wipe_owed, logs_values = catalog.wipe_owed, catalog.logs_values
    yield from _lists(head, records)
    yield _traces(owed=wipe_owed)
    if file is None:
        yield _statement_log(logs_values=logs_values)


def _lists(head: int, records: Sequence[ListRecord]) -> Iterator[Finding]:
    entries = sum(record.coverage.entries for record in records)
    held = f"{counted(len(records), 'list')}, {counted(entries, 'entry', 'entries')}"
    detail = f"revision {head}, {held}"
    own = sum(r.coverage.entries for r in records if r.hash_list.name == TEST_LIST_NAME)
    if entries == own:
        yield Finding("catalog", Status.WARN, f"{detail}: no abuse image can match yet")
    else:
        yield Finding("catalog", Status.OK, detail)
    for record in records:
        has_none = record.coverage.entries and not record.coverage.near_matchable
        if has_none and wants_near(record.hash_list.harm):
            detail = (
                "no hash of it is of a kind computed from uploads: it matches exact copies only"
            )
            yield Finding(f"list {record.hash_list.name}", Status.WARN, detail)


def _traces(*, owed: bool) -> Finding:
    if not owed:
        return Finding(
            "purged entries", Status.OK, "no trace of one is left in the catalog's files"
        )
    detail = "traces of some are left in the catalog's files: run `hashwarden lists wipe`, on the "
    return Finding("purged entries", Status.FAIL, detail + "catalog's machine, in a quiet hour")


def _statement_log(*, logs_values: bool) -> Finding:
    if not logs_values:
        return Finding(
            "statement log", Status.OK, "the database server writes no values to its log"
        )
    detail = (
        "the database server writes statements with their values, hashes among them, to its log "
        "(log_statement, log_min_duration_statement or sampling), where no purge finds them; as a "
        "superuser: ALTER ROLE ... SET log_parameter_max_length = 0 for the catalog's user, and "
        "erase what the log holds already"
    )
    return Finding("statement log", Status.WARN, detail)


def check_snapshot(session: Session) -> Iterator[Finding]:
    """Whether what is matched is there and whole."""
    from hashlists import snapshot  # noqa: PLC0415  brings numpy

    settings = session.settings
    keys = () if session.vault is None else session.vault.key_names()  # or raises what is wrong
    if not (session.is_replica or session.has_catalog):
        return
    head = 0
    if not session.is_replica:
        with session.catalog(of_any=True) as catalog:
            head = catalog.head()
    opened = snapshot.open_current(settings.snapshots_dir, vault=session.vault)
    if opened is None and session.is_replica:
        detail = "none yet: nothing can be matched; `hashwarden serve` pulls it"
        yield Finding("snapshot", Status.WARN, detail)
    elif opened is None:
        yield Finding("snapshot", Status.OK, "none yet; the first match or server start builds it")
    elif opened.revision < head:
        detail = (
            f"revision {opened.revision}; the next match or a running server brings it to {head}"
        )
        yield Finding("snapshot", Status.OK, detail)
    else:
        yield Finding("snapshot", Status.OK, f"revision {opened.revision}, digests verified")
    if opened is not None and keys:
        yield _encryption(session, opened, keys)


def _encryption(session: Session, opened: Snapshot, keys: Sequence[str]) -> Finding:
    """Whether the snapshot is encrypted as the keys say."""
    from hashlists.encryption.keys import shown  # noqa: PLC0415  little used
    from hashlists.snapshot.manifest import key_name  # noqa: PLC0415  brings numpy

    name = key_name(opened.path, opened.manifest)
    told, *others = (shown(bytes.fromhex(each)) for each in (name, *keys))
    known = f"{counted(len(keys), 'key')}, the newest first: {', '.join(others)}"
    if name == keys[0]:
        return Finding(
            "encryption", Status.OK, f"the snapshot is encrypted with key {told}; {known}"
        )
    how = f"with the older key {told}" if name else "not at all, although encryption_keys is set"
    where = "here" if not session.is_replica else "on the machine that builds"
    detail = f"the snapshot is encrypted {how}: run `hashwarden index build` {where}; {known}"
    return Finding("encryption", Status.WARN, detail)


def check_policies(session: Session) -> Iterator[Finding]:
    """Whether the policies load and fit the lists, as the start of a server demands."""
    try:
        policies = session.policies
    except PolicyError as error:
        for problem in str(error).split("\n"):
            yield Finding("policies", Status.FAIL, problem)
        return
    default = session.settings.default_policy
    detail = f"{', '.join(policies)} (from {session.settings.policy_origin}); default: {default}"
    if default not in policies:
        yield Finding("policies", Status.FAIL, f"{detail}, which does not exist")
    else:
        yield Finding("policies", Status.OK, detail)
    from matcher.policy.binding import bind  # noqa: PLC0415

    lists = _lists_of(session)
    for name, policy in policies.items():
        for problem in () if lists is None else bind(policy, lists, strict=False).problems:
            detail = f"{problem}; a server does not start with it, and nothing is matched"
            yield Finding(f"policy {name}", Status.FAIL, detail)
    yield from _expired_rules(policies.values())


def _lists_of(session: Session) -> list[ListInfo] | None:
    """The lists as policies see them; the built-in one is there before anything is matched.

    Returns:
        None at a replica that has pulled nothing: its lists are not known yet.
    """
    if session.is_replica:
        return _lists_in_snapshot(session)
    from matcher.policy.binding import ListInfo  # noqa: PLC0415

    infos = {TEST_LIST_NAME: ListInfo(TEST_LIST_NAME, Harm.TEST, ListState.LIVE, {})}
    if session.has_catalog:
        with session.catalog(of_any=True) as catalog, catalog.read() as reader:
            for record in reader.lists():
                held = record.hash_list
                infos[held.name] = ListInfo(
                    held.name, held.harm, held.state, record.coverage.by_kind
                )
    return list(infos.values())


def _lists_in_snapshot(session: Session) -> list[ListInfo] | None:
    from matcher.follow.view import Sealed  # noqa: PLC0415  brings numpy and faiss
    from matcher.policy.binding import ListInfo  # noqa: PLC0415

    opened = Sealed.open_current(session.settings.snapshots_dir, vault=session.vault)
    if opened is None:
        return None
    return [ListInfo(x.name, x.harm, x.state, x.counts) for x in opened.index.lists]


def _expired_rules(policies: Iterable[Policy]) -> Iterator[Finding]:
    now = datetime.now(UTC)
    rules = {rule for policy in policies for rule in policy.allow if rule.expires_at <= now}
    for rule in sorted(rules, key=lambda rule: (rule.expires_at, rule.reason)):
        detail = f"expired on {rule.expires_at:%Y-%m-%d}, so it hides nothing any more: "
        yield Finding("allow rule", Status.WARN, detail + repr(rule.reason))


__all__ = ["check_catalog", "check_policies", "check_snapshot"]
