"""Sources, states and lists of scans for tests: in memory, and no slower than they must be."""

from __future__ import annotations

import asyncio
import io
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from PIL import Image

from hashlists import snapshot
from hashlists.model import Classification, Harm, HashKind, ListState
from matcher.decode.pool import InProcessPool
from matcher.hashing.digests import digest_bytes
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.entries import COLUMNS
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.write import write_index
from matcher.model import DEFAULT_VIEWS, DecodeRequest
from matcher.pipeline import Generation, hash_items
from matcher.policy.rules import default_policy
from matcher.scan.document import Place, ScanDocument, Selection
from matcher.scan.model import Content, FailureReason, FetchError, Listed, Page
from matcher.scan.tally import Tally


def picture(number, *, size=(48, 40), image_format="PNG"):
    """A file of a picture that no other number gives, nor anything like it."""
    chance = np.random.default_rng(number)
    low = Image.fromarray(chance.integers(0, 256, (6, 7, 3), np.uint8))
    file = io.BytesIO()
    low.resize(size, Image.Resampling.BICUBIC).save(file, image_format)
    return file.getvalue()


def hashes_of(files):
    """The hashes of pictures."""
    pool, request = InProcessPool(workers=1), DecodeRequest(DEFAULT_VIEWS)
    try:
        decoded = [pool.submit(each, request).result() for each in files]
    finally:
        pool.close()
    return hash_items([digest_bytes(each) for each in files], decoded, [request] * len(files))


def generation_of(root, known, *, exact=()):
    """A generation with one list, `known-abuse`, of these pictures, and files by digest."""
    hashed = hashes_of(known)
    digests = [digest_bytes(each).sha256 for each in (*known, *exact)]
    pdq = np.array([np.frombuffer(x.views[0].codes[HashKind.PDQ], np.uint8) for x in hashed])
    sha256 = np.array([np.frombuffer(each, np.uint8) for each in digests])
    rows, count = np.arange(len(digests)), len(digests)
    builder = IndexBuilder()
    builder.add(
        IndexRows(
            catalog_ids=(rows + 1).astype(np.int64),
            list_rows=np.zeros(count, np.uint16),
            classification_rows=np.ones(count, COLUMNS["classification_rows"]),
            flags=np.zeros(count, np.uint16),
            sizes=np.full(count, -1, np.int64),
            expires=np.zeros(count, np.uint32),
            codes={HashKind.PDQ: (rows[: len(pdq)], pdq), HashKind.SHA256: (rows, sha256)},
        )
    )
    counts = {HashKind.PDQ: len(pdq), HashKind.SHA256: count}
    lists = [IndexedList("known-abuse", Harm.CSAM, ListState.LIVE, count, counts)]
    with snapshot.SnapshotWriter(root, revision=7) as writer:
        classifications = [None, Classification("vics", "US", "1")]
        write_index(writer, lists=lists, classifications=classifications, base=builder)
        path = writer.publish(parameters={})
    index = MatchIndex.open(snapshot.open_snapshot(path))
    return Generation(index, {"default": default_policy()})


def document(**changed):
    """What was asked for of a scan."""
    told = {"id": "s1", "made_at": 0.0, "made_by": "a person", "places": (Place("memory:"),)}
    return ScanDocument(**(told | changed))


class MemorySource:
    """Objects in memory, in the order of their keys.

    `faults` are what the next tries to read a key meet, one after the other: an exception, or a
    coroutine function that is awaited first.
    """

    url = "memory:"

    def __init__(self, objects, *, page=100):
        self.objects = dict(sorted(objects.items()))
        self.page = page
        self.faults = defaultdict(deque)
        self.fetches = Counter()
        self.pages_listed = 0
        self.at_once = self.most_at_once = 0

    async def list(self, after=""):
        keys = [key for key in self.objects if key > after]
        for start in range(0, len(keys), self.page):
            part = keys[start : start + self.page]
            self.pages_listed += 1
            yield Page(tuple(self.listed(key) for key in part), part[-1])

    def listed(self, key):
        return Listed(key, len(self.objects[key]), 1.0, f"e-{key}")

    async def fetch(self, listed, *, max_bytes):
        self.fetches[listed.key] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.faults[listed.key]:
                fault = self.faults[listed.key].popleft()
                if isinstance(fault, Exception):
                    raise fault
                await fault()
            if listed.key not in self.objects:
                raise FetchError(FailureReason.VANISHED, "it is gone")
            data = self.objects[listed.key]
            if len(data) > max_bytes:
                return Content(listed, None, digest_bytes(data))
            return Content(listed, data)
        finally:
            self.at_once -= 1

    def order(self, key):
        return key

    async def close(self):
        pass


@dataclass
class MemoryPosition:
    cursor: str = ""
    done: bool = False


@dataclass
class MemoryState:
    """A state that keeps what it must, and checks what it is told."""

    document: object = field(default_factory=document)
    positions: dict = field(default_factory=dict)
    waiting: dict = field(default_factory=dict)
    results: dict = field(default_factory=dict)
    listed: int = 0
    not_selected: int = 0
    skipped: Counter = field(default_factory=Counter)
    plans: int = 0

    @property
    def next_number(self):
        return 1 + max((*self.waiting, *self.results), default=0)

    def position(self, source):
        return self.positions.get(source, MemoryPosition())

    def planned(self):
        return [self.waiting[number] for number in sorted(self.waiting)]

    def plan(self, source, cursor, batches, *, done, not_selected, skipped):
        assert not self.position(source).done
        for number, batch in enumerate(batches, self.next_number):
            assert (batch.number, batch.source) == (number, source)
        self.waiting |= {each.number: each for each in batches}
        self.positions[source] = MemoryPosition(cursor, done)
        self.listed += sum(len(each.objects) for each in batches)
        self.not_selected += not_selected
        self.skipped.update(skipped)
        self.plans += 1

    def summary(self):
        return SimpleNamespace(listed=self.listed)

    def finish(self, result, *, sealer=None):
        batch = self.waiting.pop(result.number)
        assert [each.key for each in result.of_objects()] == [each.key for each in batch.objects]
        self.results[result.number] = result
        return True

    def records(self):
        return [each for number in sorted(self.results) for each in self.results[number].records]

    def tally(self):
        tally = Tally()
        for each in self.results.values():
            tally.add(Tally.of(each))
        return tally


class Everything:
    """Selects all."""

    def passes(self, listed):
        return True


def selection(**changed):
    return Selection(**changed)
