"""Records of matches that rest on nothing real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hashlists.model import HashKind
from matcher.model import Basis, Closeness, Decision
from matcher.records import MatchRecord, RecordedEntry, RecordedMatch, RecordStore
from matcher.records.model import micros_of
from matcher.sealing import KeySource

KEY, OTHER_KEY = "ab" * 32, "cd" * 32
START = datetime(2026, 3, 1, tzinfo=UTC)
KEEP = timedelta(days=30)


class Clock:
    """Seconds since 1970, as a test has them."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now.timestamp()


def open_store(folder, clock=None, *, keys=KEY, name="records.sqlite3", keep=KEEP):
    source = keys if isinstance(keys, KeySource) else KeySource(f"keys:{keys}")
    return RecordStore.open(f"sqlite:///{folder / name}", source, keep=keep, clock=clock or Clock())


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
