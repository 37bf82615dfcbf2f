"""How the state of the index is shown: as JSON objects, and as tables for people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from matcher.cli.output import note, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matcher.cli.index_state import CatalogState, IndexState, SnapshotState
    from matcher.cli.stores import StoreState
    from matcher.settings import Settings

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def state_record(
    settings: Settings,
    state: IndexState,
    catalog: CatalogState | None,
    stores: Sequence[StoreState],
) -> dict[str, Any]:
    """The JSON object of `index status`."""
    return {
        "folder": str(settings.snapshots_dir),
        "problem": state.problem,
        "snapshot": None if state.current is None else _snapshot_record(state.current),
        "previous": None
        if state.previous is None
        else {key: getattr(state.previous, key) for key in ("name", "revision", "created_at")},
        "catalog": None
        if catalog is None
        else {
            "revision": catalog.revision,
            "changes_waiting": catalog.waiting,
            "same_history": catalog.same_history,
            "wipe_owed": catalog.wipe_owed,
        },
        "stores": [each.record() for each in stores],
        "unfinished": dict(state.unfinished),
        "building": state.building,
    }


def _snapshot_record(snapshot: SnapshotState) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "revision": snapshot.revision,
        "created_at": snapshot.created_at,
        "bytes": snapshot.nbytes,
        "segments": [
            {
                "name": name,
                "entries": segment.entries,
                "dead": segment.dead,
                "kinds": {
                    kind.value: {
                        "codes": info.codes,
                        "search": dict(info.search),
                        "bytes": snapshot.kind_bytes[name, kind],
                        "bytes_a_hash": _bytes_a_hash(snapshot.kind_bytes[name, kind], info.codes),
                    }
                    for kind, info in segment.kinds.items()
                },
            }
            for name, segment in snapshot.segments.items()
        ],
    }


def _bytes_a_hash(nbytes: int, codes: int) -> float | None:
    return round(nbytes / codes, 1) if codes else None


def print_state(
    settings: Settings,
    state: IndexState,
    catalog: CatalogState | None,
    stores: Sequence[StoreState],
) -> None:
    """Prints the state for a person."""
    facts = list(_facts(settings, state, catalog, stores))
    print_table(("index", str(settings.snapshots_dir)), facts)
    if state.current is not None:
        _print_segments(state.current)


def _facts(
    settings: Settings,
    state: IndexState,
    catalog: CatalogState | None,
    stores: Sequence[StoreState],
) -> Iterator[tuple[str, str]]:
    if state.problem:
        yield "problem", state.problem
    if state.current is not None:
        yield from _snapshot_facts(state.current)
    if catalog is not None:
        yield "catalog's newest revision", str(catalog.revision)
        yield "waiting", _waiting(catalog)
        if catalog.wipe_owed:
            yield "purge", "traces are left in the catalog's file: hashwarden lists wipe"
    for store in stores:
        yield "pulled from" if settings.snapshot_pull_url else "published to", store.url
        yield "newest publication", store.told
    if state.previous is not None:
        yield "before it", f"revision {state.previous.revision} of {state.previous.created_at}"
    if state.building:
        yield "building", "a process builds just now"
    for name, nbytes in state.unfinished.items():
        yield "unfinished", f"{name}, {size(nbytes)}"


def _snapshot_facts(snapshot: SnapshotState) -> Iterator[tuple[str, str]]:
    yield "snapshot", snapshot.name
    yield "revision", str(snapshot.revision)
    yield "created", snapshot.created_at
    yield "size on disk", size(snapshot.nbytes)
    living = sum(each.entries - each.dead for each in snapshot.segments.values())
    yield "entries", f"{living:,}"


def _waiting(catalog: CatalogState) -> str:
    if not catalog.same_history:
        return "everything: the snapshot is of another catalog, or of one that was restored since"
    return f"entries changed since: {catalog.waiting:,}" if catalog.waiting else "nothing"


def _print_segments(snapshot: SnapshotState) -> None:
    columns = ("segment", "entries", "dead", "kind", "hashes", "found by", "bytes a hash")
    rows = []
    for name, segment in snapshot.segments.items():
        own = (name, f"{segment.entries:,}", f"{segment.dead:,}")
        if not segment.kinds:
            rows.append((*own, "", "", "", ""))
        for kind, info in segment.kinds.items():
            share = _bytes_a_hash(snapshot.kind_bytes[name, kind], info.codes)
            rows.append((*own, kind.value, f"{info.codes:,}", _method(info.search), str(share)))
    print_table(columns, rows)


def _method(search: Mapping[str, Any]) -> str:
    """The method and its parameters in a few words, e.g. `multi_index 1 x 24 + 10 x 23 bits`."""
    words = [str(search["method"])]
    for name, value in search.items():
        if name == "chunk_bits":
            cut = " + ".join(f"{len([*chunks])} x {bits}" for bits, chunks in groupby(value))
            words.append(f"{cut} bits")
        elif name != "method":
            words.append(f"{name} {value}")
    return " ".join(words)


def print_built(
    snapshot: SnapshotState, *, built: bool, seconds: float, store: StoreState | None
) -> None:
    """Prints what was built for a person, and where it was published."""
    if not built:
        note("Nothing was built: the current snapshot is of the newest revision already.")
    facts = [*_snapshot_facts(snapshot), ("seconds", f"{seconds:.1f}")]
    if store is not None:
        facts += [("published to", store.url), ("newest publication", store.told)]
    print_table(("index", "built" if built else "unchanged"), facts)
    _print_segments(snapshot)


def size(nbytes: int) -> str:
    """Bytes in the unit that a person would choose."""
    value, unit = float(nbytes), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{nbytes} bytes"
