"""Records of matches come back as they were, to whom they may, for as long as they are kept."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from matcher.errors import (
    BrokenSealError,
    MatchNotFoundError,
    MatchRecordsError,
    SealingKeyError,
)
from matcher.model import Outcome
from matcher.records import RecordFilter, Reported, model, store, sweeping
from matcher.records.model import micros_of
from matcher.sealing import KeySource
from tests.record_support import (
    KEEP,
    KEY,
    OTHER_KEY,
    START,
    entry,
    ids,
    open_store,
    record,
    record_clock,
    recorded,
)

RIGHT = Reported(Outcome.CONFIRMED, "seen", micros_of(START), "c")
WRONG = Reported(Outcome.WRONG, "a dog", micros_of(START), "c")


@pytest.fixture
def clock():
    return record_clock()


@pytest.fixture
def records(tmp_path, clock):
    with open_store(tmp_path, clock) as opened:
        yield opened


def raw(folder, query):
    with sqlite3.connect(folder / "records.sqlite3") as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


class TestKeeping:
    def test_a_record_comes_back_as_it_was(self, records):
        kept = record("m", entries=(1, recorded(2, label=None)))
        records.add([kept])
        found = records.get("m")
        assert found.record == kept
        assert found.reported is None
        assert found.record.moment == START

    def test_what_is_there_already_stays(self, records):
        records.add([record("m")])
        records.add([record("m", client="other"), record("n")])
        assert ids(records.pages(RecordFilter())) == ["n", "m"]
        assert records.get("m").record.client == "c"

    def test_nothing_is_to_be_read_in_the_file(self, tmp_path, records):
        secret = record("m", client="somebody", reference="their-name", sha256="fe" * 32)
        records.add([secret], {"v1": {"policies": {"default": {"lists": ["list-of-theirs"]}}}})
        records.report("m", Reported(Outcome.WRONG, "in-words", 0, "somebody"))
        held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
        for told in (b"somebody", b"their-name", b"fe" * 8, b"in-words", b"list-of-theirs"):
            assert told not in held

    def test_its_name_is_all_that_a_record_shows(self):
        assert repr(record("m")) == "MatchRecord('m')"

    def test_none_is_found_by_another_id(self, records):
        with pytest.raises(MatchNotFoundError):
            records.get("m")

    def test_one_of_another_client_is_not_found(self, records):
        records.add([record("m", client="c")])
        assert records.get("m", client="c").record.match_id == "m"
        with pytest.raises(MatchNotFoundError):
            records.get("m", client="d")

    def test_all_or_none_are_added(self, records, monkeypatch):
        whole, made = store.entry_to_bytes, []

        def breaks(each):
            made.append(each)
            if len(made) == 2:
                raise RuntimeError
            return whole(each)

        monkeypatch.setattr(store, "entry_to_bytes", breaks)
        with pytest.raises(RuntimeError):
            records.add([record("m"), record("n")])
        assert ids(records.pages(RecordFilter())) == []

    def test_a_policy_is_kept_with_its_times(self, records):
        document = {"allow": [{"expires": datetime(2027, 1, 1, tzinfo=UTC)}], "policies": {}}
        records.add([record("m")], {"v1": document})
        assert records.policy("v1") == document
        assert records.policy("v2") is None


class TestFinding:
    def test_pages_go_through_all(self, records, monkeypatch):
        monkeypatch.setattr(store, "_PAGE", 2)
        records.add([record(str(number), entries=(number,)) for number in range(5)])
        pages = list(records.pages(RecordFilter()))
        assert [len(page) for page in pages] == [2, 2, 1]
        assert ids(pages) == list("43210")  # newest first
        assert {each.entry_id for _, each in records.entries()} == set(range(5))

    def test_those_of_a_client(self, records):
        records.add([record("m", client="a"), record("n", client="b")])
        assert ids(records.pages(RecordFilter(client="b"))) == ["n"]

    def test_those_of_a_time(self, records):
        records.add([record(str(day), at=START + timedelta(days=day)) for day in range(4)])
        wanted = RecordFilter(since=START + timedelta(days=1), until=START + timedelta(days=3))
        assert ids(records.pages(wanted)) == ["2", "1"]

    def test_those_that_rest_on_an_entry_of_any_class(self, records):
        records.add(
            [
                record("m", entries=(1, 2)),
                record("n", entries=(recorded(1, label="b"),)),
                record("o", entries=(3,)),
            ]
        )
        wanted = RecordFilter(entries=frozenset({1, 2}))
        assert ids(records.pages(wanted)) == ["n", "m"]
        assert ids(records.pages(RecordFilter(entries=frozenset({9})))) == []

    @pytest.mark.parametrize("at_once", [1, 2, 200])
    def test_each_comes_once_however_many_marks_a_statement_takes(
        self, records, monkeypatch, at_once
    ):
        monkeypatch.setattr(store, "_MARKS", at_once)
        records.add([record("m", entries=(1, 2, 3)), record("n", entries=(3, 4))])
        marks = [mark for mark, _ in records.entries()]
        assert sorted(ids(records.resting_on(marks, RecordFilter()))) == ["m", "n"]

    def test_entries_are_told_once_for_each_class(self, records):
        records.add([record("m", entries=(1, 2)), record("n", entries=(1, recorded(2, label="b")))])
        told = sorted(map(repr, (each for _, each in records.entries())))
        assert told == sorted(map(repr, (entry(1), entry(2), entry(2, label="b"))))


class TestOutcomes:
    def test_an_outcome_is_kept_and_counted_by_list(self, records):
        records.add([record("m", entries=(1, recorded(2, name="two"))), record("n")])
        assert records.report("m", RIGHT) == RIGHT
        assert records.report("n", WRONG) == WRONG
        assert records.get("m").reported == RIGHT
        assert ids([[each for page in records.pages(RecordFilter()) for each in page]])
        assert records.outcome_counts() == {
            "one": {Outcome.CONFIRMED: 1, Outcome.WRONG: 1},
            "two": {Outcome.CONFIRMED: 1, Outcome.WRONG: 0},
        }

    def test_the_last_word_counts(self, records):
        records.add([record("m")])
        records.report("m", RIGHT)
        records.report("m", WRONG)
        assert records.get("m").reported == WRONG
        assert records.outcome_counts() == {"one": {Outcome.CONFIRMED: 0, Outcome.WRONG: 1}}

    def test_the_same_said_again_changes_nothing(self, records):
        records.add([record("m")])
        records.report("m", RIGHT)
        later = Reported(RIGHT.outcome, RIGHT.reason, RIGHT.at + 5, "d")
        assert records.report("m", later) == RIGHT
        assert records.outcome_counts()["one"][Outcome.CONFIRMED] == 1

    def test_nobody_reports_on_what_is_not_theirs(self, records):
        records.add([record("m", client="c")])
        with pytest.raises(MatchNotFoundError):
            records.report("m", RIGHT, client="d")
        assert records.outcome_counts() == {}


class TestExpiry:
    def test_what_is_too_old_is_given_to_nobody(self, records, clock):
        records.add([record("m")])
        clock.now = START + KEEP
        assert records.get("m").record.match_id == "m"
        clock.now += timedelta(microseconds=1)
        assert ids(records.pages(RecordFilter())) == []
        for act in (records.get, lambda each: records.report(each, RIGHT)):
            with pytest.raises(MatchNotFoundError):
                act("m")

    def test_it_is_swept_with_all_that_goes_with_it(self, tmp_path, records, clock, monkeypatch):
        monkeypatch.setattr(sweeping, "_SWEPT", 2)
        old = [record(str(number), entries=(1, 2)) for number in range(5)]
        records.add(old, {"v1": {"policies": {}}})
        records.report("0", WRONG)
        assert records.sweep().records == 0
        clock.now = START + timedelta(days=20)
        new = record("new", at=clock.now, entries=(2, 3), policy_version="v2")
        records.add([new], {"v2": {"policies": {}}})
        assert records.sweep().records == 0
        clock.now = START + KEEP + timedelta(seconds=1)
        assert records.sweep().records == 5
        assert ids(records.pages(RecordFilter())) == ["new"]
        assert {each.entry_id for _, each in records.entries()} == {2, 3}
        assert raw(tmp_path, "SELECT count(*) FROM record_entries") == [(2,)]
        assert raw(tmp_path, "SELECT count(*) FROM outcomes") == [(0,)]
        assert (records.policy("v1"), records.policy("v2")) == (None, {"policies": {}})
        assert records.outcome_counts()["one"][Outcome.WRONG] == 1

    def test_a_policy_is_kept_as_long_as_it_is_used(self, records, clock):
        records.add([record("m")], {"v1": {}})
        clock.now = START + timedelta(days=20)
        records.add([record("n", at=clock.now)])
        clock.now = START + timedelta(days=40)
        records.sweep()
        assert records.policy("v1") == {}

    def test_no_days_sweep_all(self, tmp_path, clock, records):
        records.add([record("m")])
        clock.now += timedelta(seconds=1)
        with open_store(tmp_path, clock, keep=timedelta()) as none:
            assert none.sweep().records == 1


class TestClocksThatAreWrong:
    """Records are deleted by the time that passes, whatever a clock says of it."""

    @pytest.fixture
    def steady(self):
        return record_clock()

    @pytest.fixture
    def passing(self, clock, steady):
        def passed(**time):
            for each in (clock, steady):
                each.now += timedelta(**time)

        return passed

    @pytest.fixture
    def records(self, tmp_path, clock, steady):
        with open_store(tmp_path, clock, steady=steady) as opened:
            opened.add([record("m", at=START - timedelta(days=20)), record("n")], {"v1": {}})
            opened.sweep()
            yield opened

    def held(self, folder):
        return {name for (name,) in raw(folder, "SELECT match_id FROM records")}

    @pytest.mark.parametrize("ahead", [timedelta(days=100), timedelta(days=20_000)])
    def test_a_jump_ahead_deletes_nothing(self, tmp_path, records, clock, passing, ahead):
        clock.now += ahead
        for _ in range(24):
            passing(hours=1)
            swept = records.sweep()
        assert swept.records == 0
        assert swept.ahead == ahead - timedelta(days=1)
        clock.now -= ahead
        assert records.sweep().ahead == timedelta()  # it was a day too far, and comes back
        assert ids(records.pages(RecordFilter())) == ["n", "m"]
        assert records.policy("v1") == {}

    def test_nor_does_one_that_every_start_finds(self, tmp_path, records, clock):
        clock.now += timedelta(days=20_000)
        for number in range(5):
            with open_store(tmp_path, clock) as started:
                started.add([record(str(number), at=clock.now)])
                assert started.sweep().records == 0
        assert self.held(tmp_path) == {"m", "n", *"01234"}

    def test_nor_where_no_time_was_noted_yet(self, tmp_path, records, clock):
        """As an earlier version leaves the database."""
        raw(tmp_path, "DELETE FROM meta WHERE name = 'time'")
        clock.now += timedelta(days=20_000)
        with open_store(tmp_path, clock) as started:
            started.add([record("late", at=clock.now)])
            for _ in range(2):
                assert started.sweep().records == 0
        assert self.held(tmp_path) == {"m", "n", "late"}

    def test_a_clock_that_stays_wrong_ages_them_twice_as_fast(
        self, tmp_path, records, clock, passing
    ):
        clock.now += timedelta(days=20_000)
        passing(days=4, hours=23)
        assert records.sweep().records == 0
        passing(hours=2)
        assert records.sweep().records == 1
        assert self.held(tmp_path) == {"n"}

    def test_several_processes_age_them_no_faster(self, tmp_path, records, clock, steady, passing):
        clock.now += timedelta(days=20_000)
        with (
            open_store(tmp_path, clock, steady=steady) as one,
            open_store(tmp_path, clock, steady=steady) as other,
        ):
            for _ in range(4 * 24):
                passing(hours=1)
                for each in (records, one, other):
                    assert each.sweep().records == 0

    def test_after_a_pause_it_is_made_up_for(self, tmp_path, clock, steady, passing, records):
        passing(days=15)
        with open_store(tmp_path, clock, steady=steady) as started:
            assert started.sweep().ahead == timedelta(days=15)
            passing(days=5)
            assert started.sweep().records == 0
            passing(hours=1)
            assert started.sweep().records == 1
            passing(days=10)
            assert started.sweep().ahead == timedelta()

    def test_what_a_clock_that_is_behind_has_dated_is_kept(self, tmp_path, records, clock, passing):
        right = clock.now
        clock.now = datetime(1970, 1, 1, tzinfo=UTC)
        passing(minutes=5)
        records.add([record("early", at=clock.now)])
        records.sweep()
        clock.now = right
        passing(days=29)
        assert records.sweep().records == 1  # "m", whose days are over
        found = records.get("early")
        assert found.record.moment.year == 1970
        assert records.expires(found) > micros_of(clock.now)
        passing(days=2)
        records.sweep()
        assert self.held(tmp_path) == set()

    def test_a_first_record_of_1970_keeps_none_for_decades(self, tmp_path, clock, steady, passing):
        """As where a machine without a clock of its own has not been told the time yet."""
        right, clock.now = clock.now, datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        with open_store(tmp_path, clock, steady=steady) as opened:
            opened.add([record("early", at=clock.now)])
            opened.sweep()
            clock.now = right
            opened.add([record("n", at=clock.now)])
            for _ in range(150):
                passing(days=1)
                opened.sweep()
        assert self.held(tmp_path) == set()

    def test_a_clock_that_was_behind_for_long_is_believed_in_the_end(self, records, clock, passing):
        clock.now -= timedelta(days=2)
        passing(days=1)
        records.sweep()
        clock.now += timedelta(days=2)
        passing(days=10)
        assert records.sweep() == sweeping.Swept(1, timedelta())

    def test_what_is_kept_for_no_days_goes_whatever_the_time_is(self, tmp_path, records, clock):
        clock.now -= timedelta(days=20_000)
        with open_store(tmp_path, clock, keep=timedelta()) as none:
            assert none.sweep().records == 2

    def test_where_nothing_is_kept_the_clock_is_believed(self, tmp_path, clock):
        with open_store(tmp_path, clock) as empty:
            empty.sweep()
            clock.now += timedelta(days=20_000)
            assert empty.sweep().ahead == timedelta()
            empty.add([record("m", at=clock.now)])
            assert empty.sweep().ahead == timedelta()


class TestKeys:
    def test_other_keys_are_refused_and_change_nothing(self, tmp_path, records):
        records.add([record("m")])
        with pytest.raises(SealingKeyError, match="another key"):
            open_store(tmp_path, keys=OTHER_KEY)
        assert records.get("m").record.match_id == "m"

    def test_keys_that_change_under_an_open_store_write_nothing(self, tmp_path, clock):
        path = tmp_path / "match.keys"
        with open_store(tmp_path, clock, keys=KeySource(f"file:{path}")) as opened:
            opened.add([record("m")])
            path.write_text(OTHER_KEY + "\n")
            with pytest.raises(SealingKeyError):
                opened.add([record("n")])
        path.write_text(OTHER_KEY + "\n")
        assert raw(tmp_path, "SELECT match_id FROM records") == [("m",)]

    def test_a_new_key_goes_before_the_old(self, tmp_path, clock, records):
        records.add([record("m", entries=(1,))], {"v1": {}})
        records.report("m", RIGHT)
        with open_store(tmp_path, clock, keys=f"{OTHER_KEY},{KEY}") as both:
            both.add([record("n", entries=(1,))], {"v1": {}})
            assert ids(both.pages(RecordFilter(client="c"))) == ["n", "m"]
            assert ids(both.pages(RecordFilter(entries=frozenset({1})))) == ["n", "m"]
            marks = [mark for mark, _ in both.entries()]
            assert len(marks) == 2
            assert ids(both.resting_on(marks, RecordFilter())) == ["n", "m"]
            assert both.policy("v1") == {}
            assert both.report("m", WRONG) == WRONG
        with pytest.raises(SealingKeyError):
            open_store(tmp_path, clock, keys=KEY)

    def test_what_was_sealed_with_a_key_that_is_gone_is_told(self, tmp_path, clock, records):
        records.add([record("m")])
        with open_store(tmp_path, clock, keys=f"{OTHER_KEY},{KEY}") as both:
            both.add([record("n")])
        with open_store(tmp_path, clock, keys=OTHER_KEY) as new:
            assert new.get("n").record.match_id == "n"
            with pytest.raises(BrokenSealError):
                new.get("m")
            with pytest.raises(BrokenSealError):
                ids(new.pages(RecordFilter()))

    def test_a_record_in_anothers_place_does_not_open(self, tmp_path, records):
        records.add([record("m"), record("n", client="d")])
        raw(
            tmp_path,
            "UPDATE records SET sealed = (SELECT sealed FROM records WHERE match_id = 'n')"
            " WHERE match_id = 'm'",
        )
        with pytest.raises(BrokenSealError):
            records.get("m")


class TestDatabases:
    def test_another_database_is_not_taken_over(self, tmp_path):
        with sqlite3.connect(tmp_path / "records.sqlite3") as connection:
            connection.execute("CREATE TABLE other (x)")
        connection.close()
        with pytest.raises(MatchRecordsError, match="choose another"):
            open_store(tmp_path)

    def test_one_of_a_newer_build_is_refused(self, tmp_path, records):
        raw(tmp_path, "UPDATE meta SET value = x'32' WHERE name = 'schema_version'")
        with pytest.raises(MatchRecordsError, match="newer build"):
            open_store(tmp_path)

    def test_what_is_no_database_is_told_of_as_match_records(self, tmp_path):
        (tmp_path / "records.sqlite3").write_bytes(b"nonsense" * 200)
        with pytest.raises(MatchRecordsError, match="the database"):
            open_store(tmp_path)

    def test_a_form_that_is_not_read_is_told(self):
        for kind in (model.MatchRecord, Reported):
            with pytest.raises(MatchRecordsError):
                kind.from_bytes(b"{}")
