"""However a scan is planned, finished and opened again: sums are those of the records."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from matcher.scan.model import (
    Batch,
    BatchResult,
    FailureReason,
    Listed,
    MatchRecord,
    Outcome,
    Record,
    Way,
)
from matcher.scan.state import RunEnd, ScanState
from matcher.scan.state.packing import pack_objects, pack_records, unpack_objects, unpack_records
from matcher.scan.state.summary import MOST_BUCKETS, Timeline
from matcher.scan.tally import Tally
from tests.scan_state_support import RUN, document

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
sizes = st.none() | st.integers(0, 1 << 50)
times = st.none() | st.floats(0, 1e11)
objects = st.builds(Listed, names, sizes, times, names, names, st.binary(max_size=20))
matches = st.builds(
    MatchRecord,
    list=st.sampled_from(["one", "two"]),
    harm=st.just("CSAM"),
    entry=st.integers(0, 1 << 60),
    kind=st.sampled_from(["pdq", "md5"]),
    basis=st.sampled_from(["near", "exact"]),
    view=st.just("upright"),
    distance=st.none() | st.integers(0, 31),
    severity=st.sampled_from(["severe", "review"]),
    classification=st.none() | st.tuples(names, names, names),
    derivation=st.none() | names,
)


def record(its_id, listed, outcome, found, revision, *, member=""):
    return Record(
        id=its_id,
        source=0,
        key=listed.key,
        outcome=outcome,
        way=list(Way)[revision % len(Way)],
        member=member,
        reason=str(FailureReason.VANISHED) if outcome is Outcome.FAILED else "",
        size=listed.size,
        modified=listed.modified,
        etag=listed.etag,
        version=listed.version,
        matches=tuple(found),
        total_matches=len(found),
        revision=revision,
        raw=listed.raw,
    )


records = st.builds(
    record,
    st.just("1-1"),
    objects,
    st.sampled_from(Outcome),
    st.lists(matches, max_size=3),
    st.integers(0, 5),
    member=st.just("") | names,
)


@given(st.lists(objects, max_size=20))
def test_objects_are_read_as_they_were_written(some):
    assert list(unpack_objects(pack_objects(some))) == some


@given(st.lists(records, max_size=20))
def test_records_are_read_as_they_were_written(some):
    assert unpack_records(pack_records(some, ()), ()) == some


@given(
    st.lists(
        st.tuples(st.floats(0, 1e7), st.integers(0, 100), st.integers(0, 1 << 40)), max_size=60
    )
)
def test_a_timeline_loses_nothing_and_stays_short(work):
    timeline = Timeline()
    for at, number, fetched in work:
        timeline.add(at, number, fetched)
    points = timeline.points()
    assert len(points) <= MOST_BUCKETS
    assert sum(each.objects for each in points) == sum(each[1] for each in work)
    assert sum(each.bytes for each in points) == sum(each[2] for each in work)
    by_place = {each.seconds: each for each in points}
    for at, _, _ in work:
        assert int(at / timeline.seconds) * timeline.seconds in by_place
    # As if it had been as coarse from the beginning.
    coarse = Timeline(timeline.seconds)
    for each in work:
        coarse.add(*each)
    assert coarse.points() == points


class Scanning(RuleBasedStateMachine):
    """A scan beside a plain account of what must be in it."""

    @initialize()
    def begin(self):
        self.home = tempfile.TemporaryDirectory()
        self.folder = Path(self.home.name) / "out"
        self.state = ScanState.create(self.folder, document())
        self.waiting: dict[int, Batch] = {}
        self.finished: dict[int, BatchResult] = {}
        self.skipped: dict[str, int] = {}
        self.listed = self.not_selected = 0
        self.next = 1

    @rule(
        pages=st.lists(st.lists(objects, min_size=1, max_size=4), max_size=3),
        gap=st.integers(0, 3),
        left=st.integers(0, 4),
        skipped=st.dictionaries(st.sampled_from(["link", "pipe"]), st.integers(0, 3)),
    )
    def plan(self, pages, gap, left, skipped):
        made = [Batch(self.next + gap + at, 0, tuple(each)) for at, each in enumerate(pages)]
        self.state.plan(0, f"c{self.next}", made, not_selected=left, skipped=skipped)
        self.waiting |= {each.number: each for each in made}
        self.listed += sum(len(each) for each in pages)
        self.not_selected += left
        for reason, number in skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + number
        if made:
            self.next = made[-1].number + 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), fetched=st.integers(0, 1 << 40))
    def finish(self, data, fetched):
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        batch = self.waiting.pop(number)
        made = []
        for row, each in enumerate(batch.objects):
            for at in range(data.draw(st.integers(1, 2))):
                made.append(
                    record(
                        f"{batch.object_id(row)}{'.1' * at}",
                        each,
                        data.draw(st.sampled_from(Outcome)),
                        data.draw(st.lists(matches, max_size=3)),
                        data.draw(st.integers(0, 5)),
                        member="member" * at,
                    )
                )
        result = BatchResult(number, tuple(made), fetched_bytes=fetched)
        assert self.state.finish(result)
        self.finished[number] = result

    @precondition(lambda self: self.finished)
    @rule(data=st.data())
    def finish_late(self, data):
        number = data.draw(st.sampled_from(sorted(self.finished)))
        assert not self.state.finish(self.finished[number])

    @rule(end=st.none() | st.sampled_from([RunEnd.DONE, RunEnd.INTERRUPTED]))
    def run_anew(self, end):
        if end is not None:
            self.state.end_run(end)
        self.state.close()
        self.state = ScanState.open(self.folder)
        self.state.begin_run(**RUN)

    @invariant()
    def all_is_there_once(self):
        assert {each.number: each for each in self.state.planned()} == self.waiting
        made = [one for _, each in sorted(self.finished.items()) for one in each.records]
        assert list(self.state.records()) == made
        summary = self.state.summary()
        expected = Tally()
        for each in self.finished.values():
            expected.add(Tally.of(each))
        assert summary.tally == expected
        assert (summary.listed, summary.not_selected) == (self.listed, self.not_selected)
        assert summary.skipped == self.skipped
        assert self.state.next_number == self.next
        assert sum(each.objects for each in summary.timeline) == summary.finished

    def teardown(self):
        if hasattr(self, "home"):
            self.state.close()
            self.home.cleanup()


def test_a_scan_as_a_whole():
    fewer = max(5, settings.default.max_examples // 5)  # each step opens files and waits for them
    chosen = settings(max_examples=fewer, stateful_step_count=10)
    run_state_machine_as_test(Scanning, settings=chosen)
