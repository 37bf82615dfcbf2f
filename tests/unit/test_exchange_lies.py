"""Feeds that say what is not so, of their times and of their end: nothing is lost in silence."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
from datetime import timedelta

import pytest

from hashlists.catalog import Catalog, Checkpoint, stage_result
from hashlists.errors import ExchangePageError, ExchangeRefusedError
from hashlists.exchanges.base import Ask
from hashlists.exchanges.progress import Progress
from hashlists.exchanges.registry import ExchangeSettings
from hashlists.exchanges.walk import Walk, WalkLimits
from hashlists.model import HashKind
from tests.catalog_support import value
from tests.exchange_servers import ANSWERS, PAGE, START, Fault, Feed, Record, serve
from tests.exchange_support import LIST, NAME, OPTIONS, add_exchange, fetch_from, held

FAR = timedelta(days=365 * 50)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The file of an empty catalog, made once."""
    file = tmp_path_factory.mktemp("empty") / "catalog.db"
    Catalog.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def catalog(tmp_path, empty):
    shutil.copy(empty, tmp_path / "catalog.db")
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("kind", "size", "in_order"),
    [
        *((kind, 50, True) for kind in ANSWERS),
        *(("tat", size, way) for size in (2, 3) for way in (True, False)),
    ],
)
def test_one_record_dated_too_late_stops_nothing(catalog, kind, size, in_order):
    feed = Feed(kind, size=size, in_order=in_order)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(5))
        feed.records[9] = Record(9, 0, START + FAR)
        fetch_from(catalog, server)
        for round_ in range(2):
            feed.time.pass_by(days=2)
            feed.put(20 + round_, 30 + round_)
            feed.delete(round_)
            report = fetch_from(catalog, server)
            assert (report.added, report.retracted) == (2, 1)
            found, truth = held(catalog), feed.truth()
            if kind == "ncmec":  # which is asked for a range, and the record lies behind it
                del truth[feed.key(feed.records[9])]
            assert found == truth


@pytest.mark.parametrize("server_ahead", [timedelta(days=3), timedelta(days=-3)])
def test_a_position_lies_behind_neither_clock(catalog, server_ahead):
    feed = Feed("tat", size=2)
    with serve(feed) as server:
        add_exchange(catalog, server)
        server.ahead = server_ahead
        for number in range(5):
            feed.records[number] = Record(number, 0, START + timedelta(days=number))
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()
        position = Progress.from_document(catalog.get_exchange(NAME).checkpoint).position
        after = int(position["after"].partition(",")[0])
        assert after <= START.timestamp()
        assert after <= (START + server_ahead).timestamp()


def test_a_position_that_lay_behind_the_clock_already_is_drawn_back(catalog):
    feed = Feed("tat")
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(1)
        fetch_from(catalog, server)
        record = catalog.get_exchange(NAME)
        progress = Progress.from_document(record.checkpoint)
        far = {"after": f"{int((START + FAR).timestamp())},9"}
        catalog.save_progress(checkpoint_of(record, progress.moved(far, START)))
        feed.time.pass_by(days=1)
        feed.put(2)
        fetch_from(catalog, server)
        feed.time.pass_by(days=1)
        feed.put(3)
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()


def checkpoint_of(record, progress):
    return Checkpoint(record.exchange_id, progress.to_document(), record.number)


@pytest.mark.parametrize("odd", ["soon", "99999999999999,1", "1772366400"])
def test_a_checkpoint_that_cannot_be_read_moves_nothing(catalog, odd, monkeypatch):
    right = ANSWERS["tat"]

    def with_odd_checkpoint(feed, query):
        return json.dumps({**json.loads(right(feed, query)), "checkpoint": odd}).encode()

    monkeypatch.setitem(ANSWERS, "tat", with_odd_checkpoint)
    feed = Feed("tat", size=2)
    with serve(feed) as server:
        add_exchange(catalog, server)
        for round_ in range(3):
            feed.put(*range(round_ * 5, round_ * 5 + 5))
            fetch_from(catalog, server)
            assert held(catalog) == feed.truth()
            feed.time.pass_by(days=1)


def tokens(kind, names, *, emptied=False):
    """Answers with the kind's first page again and again, each with the next name as token."""
    right = ANSWERS[kind]

    def lying(feed, query):
        page = {name: text for name, text in query.items() if name not in TOKENS}
        body = right(feed, page)
        token = next(names)
        if kind == "ncmec":
            link = f"{PAGE[kind]}?from={query['from']}&amp;to={query['to']}&amp;start={token}"
            if emptied:
                body = body[: body.index(b"<images")] + b"</queryResult>"
            paging = f"<paging><next>{link}</next></paging></queryResult>".encode()
            return body.replace(b"</queryResult>", paging)
        said = json.loads(body)
        if kind == "stopncii":
            said |= {"hasMoreRecords": True, "nextPageToken": token}
        if kind == "threatexchange":
            said["paging"] = {"cursors": {"after": token}, "next": "https://x.invalid"}
        if kind == "tat":
            said["next"] = f"https://x.invalid{PAGE[kind]}?offset={token}"
        if emptied:
            said |= {"data": [], "results": [], "hashRecords": [], "count": 0}
        return json.dumps(said).encode()

    return lying


TOKENS = ("start", "nextPageToken", "after", "offset")
FULL = pytest.mark.parametrize("full", [False, True])


@FULL
@pytest.mark.parametrize("kind", ANSWERS)
def test_pages_that_lead_in_a_circle_end(catalog, kind, full, monkeypatch):
    feed = Feed(kind)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(3))
        fetch_from(catalog, server)
        monkeypatch.setitem(ANSWERS, kind, tokens(kind, itertools.cycle("ABC")))
        server.asked.clear()
        with pytest.raises(ExchangePageError, match="leads back"):
            fetch_from(catalog, server, full=full)
        assert len(server.pages) == 4
        assert held(catalog) == feed.truth()
        told = Progress.from_document(catalog.get_exchange(NAME).checkpoint).error
        assert "leads back" in told
        monkeypatch.undo()
        feed.time.pass_by(hours=13)
        feed.put(5)
        fetch_from(catalog, server, full=full)
        assert held(catalog) == feed.truth()


@FULL
@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("kind", ANSWERS)
def test_pages_that_bring_nothing_new_end(catalog, kind, full, emptied, monkeypatch):
    names = map(str, itertools.count(100))
    monkeypatch.setitem(ANSWERS, kind, tokens(kind, names, emptied=emptied))
    feed = Feed(kind)
    limits = WalkLimits(repeated_pages=7, idle_pages=11)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(3))
        with pytest.raises(ExchangePageError, match="in a row brought nothing new"):
            fetch_from(catalog, server, full=full, walk=limits)
        assert len(server.pages) == (11 if emptied else 8)


def test_an_exchange_that_refuses_each_of_its_links_ends(catalog):
    feed = Feed("threatexchange", size=2)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(5))
        server.faults = [None, Fault(400, b"stale")] * 5
        with pytest.raises(ExchangeRefusedError):
            fetch_from(catalog, server)
        assert len(server.pages) == 4
        server.faults = []
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_the_list_holds_already_may_come_again_for_long(catalog, kind):
    feed = Feed(kind, size=1)
    with serve(feed) as server:
        add_exchange(catalog, server)
        for number in range(8):
            feed.time.pass_by(minutes=1)
            feed.put(number)
        fetch_from(catalog, server)
        limits = WalkLimits(remembered=2, repeated_pages=3, idle_pages=3)
        assert fetch_from(catalog, server, full=True, walk=limits).absent == 0
        assert held(catalog) == feed.truth()


def test_a_walk_remembers_no_more_than_it_is_told_to():
    walk = Walk(WalkLimits(remembered=2))
    asks = [Ask("page", [("token", str(number))]) for number in range(4)]
    walk.take(asks[0], [b"a"], asks[1])
    walk.take(asks[1], [b"b"], asks[2])
    walk.take(asks[2], [b"c"], asks[0])  # which is forgotten
    with pytest.raises(ExchangePageError, match="leads back"):
        walk.take(asks[3], [b"d"], asks[2])


@pytest.mark.parametrize(
    "answer",
    [
        ("tat", {"results": [{"id": 1, "algorithm": "SHA512", "hash_digest": "ab" * 64}]}),
        ("threatexchange", {"data": [{"id": "1", "type": "HASH_TMK", "indicator": "x",
                                      "descriptors": {"data": [{"status": "MALICIOUS"}]}}]}),
    ],
)  # fmt: skip
def test_what_an_id_stands_for_no_longer_is_withdrawn(catalog, answer):
    kind, page = answer
    feed = Feed(kind)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(1, 2)
        fetch_from(catalog, server)
        server.faults = [Fault(body=json.dumps(page).encode())]
        report = fetch_from(catalog, server)
        assert (report.retracted, report.set_aside) == (1, 0)
        assert report.notes[stage_result.UNMATCHABLE] == 1
        assert list(held(catalog)) == [feed.key(feed.records[2])]
        feed.time.pass_by(days=1)
        feed.put(1)
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()


def tat_page(numbers, algorithm):
    return json.dumps(
        {
            "results": [
                {"id": n, "algorithm": algorithm, "hash_digest": "ab" * 32, "deleted": False}
                for n in numbers
            ]
        }
    ).encode()


@pytest.mark.parametrize("algorithm", ["pdq_hash", "SHA512"])
def test_a_page_that_writes_its_hashes_in_a_new_way_withdraws_nothing(catalog, algorithm):
    feed = Feed("tat")
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(1, 101))
        fetch_from(catalog, server)
        before = held(catalog)
        server.faults = [Fault(body=tat_page(range(1, 51), algorithm))] * 9
        with pytest.raises(ExchangePageError):
            fetch_from(catalog, server)
        assert held(catalog) == before
        assert len(before) == 100
        server.faults = []
        fetch_from(catalog, server)
        assert held(catalog) == before


def test_what_is_of_another_kind_for_good_goes_with_a_forced_full_fetch(catalog):
    feed = Feed("tat")
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(1, 51))
        fetch_from(catalog, server)
        server.faults = [Fault(body=tat_page(range(1, 51), "SHA512"))]
        with pytest.raises(ExchangePageError, match="50 of 50 records"):
            fetch_from(catalog, server, full=True)
        assert len(held(catalog)) == 50
        server.faults = [Fault(body=tat_page(range(1, 51), "SHA512"))]
        assert fetch_from(catalog, server, full=True, force=True).retracted >= 50


def test_a_record_of_an_unknown_kind_is_set_aside_and_its_entry_stays(catalog):
    feed = Feed("tat")
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(1, 2)
        fetch_from(catalog, server)
        server.faults = [Fault(body=tat_page([1], "pdq_hash"))]
        report = fetch_from(catalog, server)
        assert (report.retracted, report.set_aside) == (0, 1)
        assert len(held(catalog)) == 2


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_an_exchange_that_is_added_again_fetches_all_anew(catalog, kind):
    """It leads elsewhere, or has forgotten what it withdrew; both is found out."""
    feed, other = Feed(kind), Feed(kind)
    other.time = feed.time
    with serve(feed) as server, serve(other) as elsewhere:
        add_exchange(catalog, server)
        assert catalog.get_exchange(NAME).full_due_at is None
        feed.put(*range(1, 11))
        fetch_from(catalog, server)
        catalog.remove_exchange(NAME)
        settings = ExchangeSettings(elsewhere.url, OPTIONS[kind]).to_document()
        catalog.add_exchange(NAME, kind=kind, list_name=LIST, settings=settings)
        assert catalog.get_exchange(NAME).full_due_at is not None
        other.put(*range(1, 10))
        report = fetch_from(catalog, elsewhere)
        assert (report.full, report.absent) == (True, 1)
        assert held(catalog) == other.truth()
        assert catalog.get_exchange(NAME).full_due_at is None


def stopncii_page(*records):
    """Records as status, time and hash, on one page that is the last."""
    rows = [
        {"signalType": "ImagePDQ", "hashStatus": each[0], "lastModtimestamp": each[1],
         "hashValue": each[2]}
        for each in records
    ]  # fmt: skip
    return Fault(body=json.dumps({"hashRecords": rows}).encode())


CODE = value(HashKind.PDQ, "a made-up one")
HEX, UPPER, BASE64 = CODE.hex(), CODE.hex().upper(), base64.b64encode(CODE).decode()


@pytest.mark.parametrize("writings", [(HEX, BASE64), (BASE64, HEX), (HEX, UPPER)])
@pytest.mark.parametrize(
    ("statuses", "times", "stands"),
    [
        (("Active", "Withdrawn"), (300, 400), False),
        (("Active", "Withdrawn"), (400, 300), True),
        (("Withdrawn", "Active"), (300, 400), True),
        (("Withdrawn", "Active"), (400, 300), False),
        (("Active", "Withdrawn"), (None, None), False),
        (("Withdrawn", "Active"), (None, 300), True),
    ],
)
def test_one_hash_counts_once_however_it_is_written(catalog, writings, statuses, times, stands):
    with serve(Feed("stopncii")) as server:
        add_exchange(catalog, server)
        server.faults = [stopncii_page(*zip(statuses, times, writings, strict=True))]
        report = fetch_from(catalog, server)
        assert (report.records, report.repeated, report.set_aside) == (2, 1, 0)
        assert len(held(catalog)) == stands


def test_two_hashes_whose_base64_differs_by_case_are_two(catalog):
    other = BASE64.swapcase()
    assert base64.b64decode(other) != CODE
    with serve(Feed("stopncii")) as server:
        add_exchange(catalog, server)
        server.faults = [stopncii_page(("Active", 1, BASE64), ("Withdrawn", 2, other))]
        assert fetch_from(catalog, server).repeated == 0
        assert [code for code, _ in held(catalog).values()] == [CODE]


def test_a_malformed_record_takes_no_others_place(catalog):
    with serve(Feed("stopncii")) as server:
        add_exchange(catalog, server)
        odd = "x" * len(HEX)
        rows = [("Active", 1, HEX), ("Active", 2, odd), ("Withdrawn", 3, odd), ("Active", 0, HEX)]
        server.faults = [stopncii_page(*rows)]
        report = fetch_from(catalog, server)
        assert (report.records, report.added, report.repeated, report.set_aside) == (4, 1, 1, 2)
        assert [code for code, _ in held(catalog).values()] == [CODE]


def test_records_set_aside_on_several_pages_are_all_kept(catalog):
    def page(number, **more):
        rows = [number, {"indicator": []}]  # no ids, at the same places of both pages
        return Fault(body=json.dumps({"data": rows, **more}).encode())

    with serve(Feed("threatexchange")) as server:
        add_exchange(catalog, server)
        further = {"paging": {"cursors": {"after": "x"}, "next": "https://x.invalid"}}
        for round_ in range(2):  # and when they come again they are the same
            server.faults = [page(1, **further), page(2)]
            report = fetch_from(catalog, server)
            assert (report.pages, report.set_aside) == (2, 4), round_
            assert catalog.get_exchange(NAME).set_aside == 4


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", ["ncmec", "threatexchange", "tat"])
def test_records_that_were_mended_count_no_longer(catalog, kind, full):
    feed = Feed(kind)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(4))
        feed.bad = {1, 2}
        assert fetch_from(catalog, server).set_aside == 2
        assert catalog.get_exchange(NAME).set_aside == 2
        feed.time.pass_by(hours=1)
        feed.bad = {2}
        feed.put(1, 2)
        fetch_from(catalog, server)
        assert catalog.get_exchange(NAME).set_aside == 1
        feed.time.pass_by(hours=1)
        if full:
            del feed.records[2]  # it was never taken, so a full fetch alone can tell
        else:
            feed.delete(2)
        fetch_from(catalog, server, full=full)
        assert catalog.get_exchange(NAME).set_aside == 0
        assert held(catalog) == feed.truth()
