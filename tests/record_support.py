"""Records of matches that rest on nothing real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hashlists.model import HashKind
from matcher.model import Basis, Closeness, Decision
from matcher.records import MatchRecord, RecordedEntry, RecordedMatch, RecordStore
from matcher.records.model import micros_of
from matcher.sealing import KeySource
from tests.clocks import Clock

KEY, OTHER_KEY = "ab" * 32, "cd" * 32
START = datetime(2026, 3, 1, tzinfo=UTC)
KEEP = timedelta(days=30)


def record_clock():
    """Seconds since 1970, as a test has them; nobody sets it, so that it is a steady one too."""
    return Clock(START, told=datetime.timestamp)


def open_store(folder, clock=None, *, keys=KEY, name="records.sqlite3", keep=KEEP, steady=None):
    source = keys if isinstance(keys, KeySource) else KeySource(f"keys:{keys}")
    clock = clock or record_clock()
    url = f"sqlite:///{folder / name}"
    return RecordStore.open(url, source, keep=keep, clock=clock, steady=steady or clock)


def entry(number, *, name="one", label="a"):
    return RecordedEntry(name, "csam", number, None if label is None else ("s", "p", label))


def recorded(number, **said):
    return RecordedMatch(
        entry=entry(number, **said),
        kind=HashKind.SHA256,
        basis=Basis.EXACT,
        view="",
        distance=0,
        closeness=Closeness.EQUAL,
        severity="high",
        derivation="",
    )


def record(match_id, *, at=START, client="c", entries=(1,), policy_version="v1", **said):
    values = {
        "reference": f"r-{match_id}",
        "sha256": "00" * 32,
        "size": 10,
        "decision": Decision.MATCH,
        "revision": 7,
        "policy": "default",
        "hasher_version": "h",
        "decoder_version": "d",
        "total_matches": len(entries),
        "matches": tuple(
            each if isinstance(each, RecordedMatch) else recorded(each) for each in entries
        ),
        **said,
    }
    return MatchRecord(
        match_id=match_id,
        at=micros_of(at),
        client=client,
        policy_version=policy_version,
        **values,
    )


def ids(pages):
    return [each.record.match_id for page in pages for each in page]
