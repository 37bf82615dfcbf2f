"""Small scans for tests of what is written down of one: objects, records, hashes."""

from __future__ import annotations

import hashlib

import msgspec

from hashlists.model import HashKind
from matcher.model import ImageHashes, NotHashableReason, Undecodable, ViewHashes
from matcher.scan.document import Place, ScanDocument
from matcher.scan.model import (
    Answer,
    Batch,
    BatchResult,
    FailureReason,
    Listed,
    Outcome,
    Record,
)
from matcher.scan.records import digests_of, kept_hashes
from matcher.scan.state import scan_sealer
from matcher.sealing import KeySource

RUN = {"revision": 4, "policy": "default", "policy_version": "x"}
READ_AT = 2_000.0


def document(**changes):
    known = {"id": "s1", "made_at": 1_000.0, "made_by": "a person", "places": (Place("/data"),)}
    return ScanDocument(**(known | changes))


def sealer(secret=b"k"):
    return scan_sealer(KeySource(f"keys:{hashlib.sha256(secret).hexdigest()}"))


def listed(number, prefix="k"):
    return Listed(f"{prefix}{number:05}", number, 1_000.0 + number, f"tag {number}")


def batches(numbers, *, size=4, first=1, source=0):
    """Batches of objects of these numbers."""
    numbers = list(numbers)
    return [
        Batch(first + at // size, source, tuple(map(listed, numbers[at : at + size])))
        for at in range(0, len(numbers), size)
    ]


def records(batch):
    """A record for each object; its outcome hangs on its key alone."""
    outcomes = list(Outcome)
    made = []
    for row, each in enumerate(batch.objects):
        outcome = outcomes[int(each.key[1:]) % len(outcomes)]
        reason = FailureReason.VANISHED if outcome is Outcome.FAILED else ""
        made.append(
            Record(
                id=batch.object_id(row),
                source=batch.source,
                key=each.key,
                outcome=outcome,
                reason=str(reason),
                size=each.size,
                revision=4,
            )
        )
    return tuple(made)


def hashes(key):
    """Hashes that stand for the content of a key; of every third one there are no views."""
    known = hashlib.sha256(key.encode()).digest()
    digests = {HashKind.MD5: known[:16], HashKind.SHA1: known[:20], HashKind.SHA256: known}
    if int(key[1:]) % 3 == 2:
        missing = Undecodable(NotHashableReason.MALFORMED, "is cut off")
        return ImageHashes(digests, 10, undecodable=missing)
    return ImageHashes(digests, 10, (ViewHashes("upright", 90, {HashKind.PDQ: known}),))


def kept(batch, row, **more):
    made = hashes(batch.objects[row].key)
    answer = Answer(digests_of(made), None, made, "png")
    return kept_hashes(batch, row, answer, now=READ_AT, **more)


def result(batch, *, keep=False, fetched_bytes=100):
    made = records(batch)
    its = ()
    if keep:
        its = tuple(
            kept(batch, row) for row, each in enumerate(made) if each.outcome is not Outcome.FAILED
        )
    return BatchResult(batch.number, made, its, fetched_bytes, seconds=0.5)


def plain(record):
    return msgspec.to_builtins(record)
