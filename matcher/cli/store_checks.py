"""Checks of `hashwarden doctor` on stores: what is published to them, or pulled from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.errors import HashlistsError
from matcher.cli.finding import Finding, Status
from matcher.cli.stores import StoreState, store_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.snapshot.signing import Publication
    from matcher.cli.context import Session
    from matcher.cli.index_state import SnapshotState


def check_stores(session: Session) -> Iterator[Finding]:
    """Whether the stores answer, what they show, and whether the keys can be used."""
    from matcher.cli.index_state import read_state  # noqa: PLC0415  brings numpy

    yield from _keys(session)
    states = store_states(session.settings)
    if not states:
        detail = "none: snapshots are neither published nor pulled"
        yield Finding("store", Status.OK, detail)
        return
    current = read_state(session.settings.snapshots_dir, session.vault).current
    for state in states:
        yield _pulled(session, state, current) if session.is_replica else _published(state, current)


def _keys(session: Session) -> Iterator[Finding]:
    from hashlists.snapshot import signing  # noqa: PLC0415  brings cryptography

    settings = session.settings
    try:
        if settings.snapshot_signing_key is not None:
            signing.load_signing_key(settings.snapshot_signing_key)
            detail = f"{settings.snapshot_signing_key}, which signs what is published"
            yield Finding("signature key", Status.OK, detail)
        if settings.snapshot_verify_key is not None:
            keys = len(signing.load_verify_keys(settings.snapshot_verify_key))
            detail = f"{settings.snapshot_verify_key}, {keys} that may have signed what is pulled"
            yield Finding("signature key", Status.OK, detail)
    except HashlistsError as error:
        yield Finding("signature key", Status.FAIL, str(error))


def _published(state: StoreState, current: SnapshotState | None) -> Finding:
    from hashlists.snapshot.destinations import DESTINATIONS_FILE  # noqa: PLC0415  brings numpy

    mend = f"`hashwarden index build --publish {state.url}`"
    if state.problem:
        gone = f"one that is gone for good is to be taken out of {DESTINATIONS_FILE}"
        detail = f"{state.url}: {state.told}; once mended: {mend}; {gone}, beside the snapshots"
        return Finding("store", Status.FAIL, detail)
    if state.publication is None:
        return Finding("store", Status.WARN, f"{state.url}: {state.told}; {mend} does so")
    detail = f"published to {state.url}: {state.told}"
    if current is None or state.publication.revision >= current.revision:
        return Finding("store", Status.OK, detail)
    if state.precedes_purge(current.revision, current.parameters):
        detail += f"; it may hold what was purged since: {mend} erases that"
        return Finding("store", Status.FAIL, detail)
    detail += f"; here is revision {current.revision}: {mend}, or a running builder, publishes it"
    return Finding("store", Status.WARN, detail)


def _pulled(session: Session, state: StoreState, current: SnapshotState | None) -> Finding:
    if state.problem:
        detail = f"{state.url}: {state.told}; what was pulled before is matched meanwhile"
        return Finding("store", Status.FAIL, detail)
    if state.publication is None:
        detail = f"{state.url}: {state.told}; publish from the builder"
        return Finding("store", Status.FAIL, detail)
    detail = f"pulled from {state.url}: {state.told}"
    if problem := _unopenable(session, state.url, state.publication):
        detail += f"; it cannot be used here, and what was pulled before is matched: {problem}"
        return Finding("store", Status.FAIL, detail)
    if current is not None and current.revision == state.publication.revision:
        return Finding("store", Status.OK, detail)
    held = "nothing" if current is None else f"revision {current.revision}"
    detail += f"; here is {held}: a running server pulls it within a minute"
    return Finding("store", Status.WARN, detail)


def _unopenable(session: Session, url: str, publication: Publication) -> str:
    """Why a server here would not pull what is published; empty where it would."""
    from hashlists.snapshot.latest import HASTY, manifest_of  # noqa: PLC0415  object storage
    from hashlists.snapshot.objects import Objects  # noqa: PLC0415  as above
    from hashlists.snapshot.vault import lock_of  # noqa: PLC0415  brings cryptography

    try:
        manifest = manifest_of(Objects(url, HASTY), publication)
        lock_of(session.vault, Path(publication.snapshot), manifest)
    except HashlistsError as error:
        return str(error)
    return ""


__all__ = ["check_stores"]
