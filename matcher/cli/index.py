"""`hashwarden index`: the snapshots that matching runs on are shown, built and verified."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from hashlists.errors import HashlistsError
from matcher.cli import options
from matcher.cli.building import build_snapshot
from matcher.cli.context import Session, add_test_list, pass_session
from matcher.cli.index_output import print_built, print_state, state_record
from matcher.cli.index_verify import verify
from matcher.cli.output import note, print_json
from matcher.cli.refusal import RefusalError
from matcher.cli.stores import published_state, store_states

if TYPE_CHECKING:
    from matcher.cli.index_state import CatalogState, IndexState

EXIT_UNUSABLE = 1
_LONGEST_PAUSE_SECONDS = 60.0


@click.group("index")
def command() -> None:
    """Show, build and verify the index that matching runs on.

    The index lies in snapshots: folders of arrays, each of one revision of the catalog. Servers and
    commands build them by themselves; nothing here has to be done for that.
    """


@command.command()
@options.as_json
@pass_session
@click.pass_context
def status(ctx: click.Context, session: Session, *, as_json: bool) -> None:
    """Show the published snapshot, what it holds, and what waits to be built.

    An entry that is dead in a segment was changed or retracted since; it is never found. Bytes a
    hash are those of everything that finds a hash and leads to its entries. Nothing is verified but
    sizes: see `index verify`.

    Exit status: 1 where there is no snapshot that can be used.
    """
    from matcher.cli.index_state import NO_SNAPSHOT, read_state  # noqa: PLC0415  brings numpy

    state = read_state(session.settings.snapshots_dir, session.vault)
    if session.is_replica and state.problem == NO_SNAPSHOT:
        state = replace(state, problem="no snapshot was pulled yet; `hashwarden serve` pulls it")
    catalog = _ask_catalog(session, state)
    stores = store_states(session.settings)
    usable = state.current is not None and (catalog is None or catalog.same_history)
    if as_json:
        print_json({"usable": usable, **state_record(session.settings, state, catalog, stores)})
    else:
        print_state(session.settings, state, catalog, stores)
    ctx.exit(0 if usable else EXIT_UNUSABLE)


def _ask_catalog(session: Session, state: IndexState) -> CatalogState | None:
    """What the catalog says; None where there is none here, or nothing to ask about."""
    from matcher.cli.index_state import ask_catalog  # noqa: PLC0415  brings numpy

    if not session.has_catalog or state.current is None:
        return None
    with session.catalog(of_any=True) as catalog:
        return ask_catalog(catalog, state.current)


@command.command()
@click.option("--full", is_flag=True, help="Build everything anew, not only what changed.")
@click.option(
    "--publish",
    "publish_url",
    metavar="URL",
    help="Publish it to this folder or object store, signed with snapshot_signing_key. Default: "
    "the setting snapshot_publish_url.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Go on and build whenever the catalog has moved on, until interrupted.",
)
@options.as_json
@pass_session
def build(
    session: Session, *, full: bool, publish_url: str | None, watch: bool, as_json: bool
) -> None:
    """Build a snapshot of the catalog's newest revision now, and publish it.

    Where the published one is of the newest revision already, nothing is built, but with --full.
    One process of a machine builds at a time; this one waits for its turn.

    With --watch this is a builder for other machines, which pull what it publishes.
    """
    _require_builder(session, publish_url)
    with session.catalog() as catalog:
        add_test_list(catalog)
    name = _build_once(session, full=full, publish_url=publish_url, as_json=as_json)
    if watch:
        _watch(session, publish_url, name, as_json=as_json)


def _require_builder(session: Session, publish_url: str | None) -> None:
    settings = session.settings
    session.require_no_replica()
    if publish_url and settings.snapshot_signing_key is None:
        raise RefusalError(
            "--publish needs the setting snapshot_signing_key, the file of the private key that "
            "signs what is published: HASHWARDEN_SNAPSHOT_SIGNING_KEY=FILE, or in hashwarden.toml"
        )


def _build_once(session: Session, *, full: bool, publish_url: str | None, as_json: bool) -> str:
    """Builds, publishes and tells; returns the snapshot's name."""
    from matcher.cli.index_state import read_state  # noqa: PLC0415  brings numpy

    started = time.monotonic()
    before = read_state(session.settings.snapshots_dir, session.vault).current
    name = build_snapshot(session, full=full, publish_url=publish_url)
    seconds = time.monotonic() - started
    current = read_state(session.settings.snapshots_dir, session.vault).current
    assert current is not None
    built = before is None or before.name != name
    url = publish_url or session.settings.snapshot_publish_url
    store = published_state(session.settings, url) if url else None
    if as_json:
        print_json(
            {
                "built": built,
                "snapshot": current.name,
                "revision": current.revision,
                "entries": sum(each.entries - each.dead for each in current.segments.values()),
                "bytes": current.nbytes,
                "seconds": round(seconds, 3),
                "store": None if store is None else store.record(),
            }
        )
    else:
        print_built(current, built=built, seconds=seconds, store=store)
    return name


def _watch(session: Session, publish_url: str | None, name: str, *, as_json: bool) -> None:
    """Builds whenever the catalog has moved on, and publishes whatever is current.

    What counts is what this process has published: a snapshot that others built on this machine, or
    whose publication failed, is of the newest revision and yet in no store.

    Args:
        session: whose settings count.
        publish_url: where snapshots go; None for what the settings say.
        name: of the snapshot that was built, and published, last.
        as_json: how to tell of it.
    """
    pause = settled = session.settings.follow_seconds
    done: str | None = name
    while True:
        time.sleep(pause)
        try:
            if done is None or _is_behind(session, done):
                done = _build_once(session, full=False, publish_url=publish_url, as_json=as_json)
            pause = settled
        except (HashlistsError, OSError) as error:
            pause, done = min(2 * pause, _LONGEST_PAUSE_SECONDS), None
            note(f"not built, tried again in {pause:.0f} s: {error}", style="yellow")


def _is_behind(session: Session, done: str) -> bool:
    from matcher.cli.index_state import read_state  # noqa: PLC0415  brings numpy

    state = read_state(session.settings.snapshots_dir, session.vault)
    catalog = _ask_catalog(session, state)
    if state.current is None or state.current.name != done or catalog is None:
        return True
    return not catalog.same_history or catalog.revision != state.current.revision


command.add_command(verify)
