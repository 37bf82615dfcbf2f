"""Fetching from exchanges: pages into a list, checkpoints, faults, records set aside, all anew."""

from __future__ import annotations

import shutil
import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest

from hashlists.catalog import Catalog, ExchangeState
from hashlists.catalog.stage_result import PURGED_RECORDS
from hashlists.errors import (
    ExchangeAwayError,
    ExchangeConflictError,
    ExchangeCredentialsError,
    ExchangePageError,
    ExchangePausedError,
    ExchangeRefusedError,
    FullListRefusedError,
    ListFedError,
)
from hashlists.exchanges.clock import Clock
from hashlists.exchanges.credentials import Credentials, find_credentials
from hashlists.exchanges.fetching import fetch
from hashlists.exchanges.http import HttpLimits
from hashlists.exchanges.progress import Progress, next_full
from hashlists.exchanges.registry import make_client
from tests import exchange_servers
from tests.catalog_support import bring, in_force, items
from tests.exchange_servers import ANSWERS, OPTIONS, SECRETS, Fault, Feed, serve
from tests.exchange_support import LIST, NAME, add_exchange, fetch_from, held, order

KINDS = tuple(ANSWERS)


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


@pytest.fixture(params=KINDS)
def server(request):
    with serve(Feed(request.param)) as running:
        yield running


@pytest.fixture
def any_server():
    with serve(Feed("threatexchange")) as running:
        yield running


def test_a_feed_is_followed_through_additions_changes_and_withdrawals(catalog, server):
    add_exchange(catalog, server)
    feed = server.feed
    feed.put(*range(8))
    first = fetch_from(catalog, server)
    assert (first.records, first.added, first.set_aside) == (8, 8, 0)
    assert held(catalog) == feed.truth()
    again = fetch_from(catalog, server)
    assert (again.added, again.updated, again.retracted, again.revision) == (0, 0, 0, 0)
    feed.time.pass_by(hours=5)
    feed.put(8, 9)
    feed.put(1, 2, version=1)
    feed.delete(3, 4)
    later = fetch_from(catalog, server)
    assert (later.added, later.updated, later.retracted) == (2, 2, 2)
    assert held(catalog) == feed.truth()
    feed.time.pass_by(days=2)
    feed.put(3)
    assert fetch_from(catalog, server).updated == 1
    assert held(catalog) == feed.truth()
    record = catalog.get_exchange(NAME)
    assert Progress.from_document(record.checkpoint).fetched_at == feed.time.now
    assert record.full_at is not None


def test_only_what_is_new_is_asked_for(catalog, server):
    add_exchange(catalog, server)
    server.feed.put(*range(7))
    fetch_from(catalog, server)
    server.feed.time.pass_by(days=1)
    server.feed.put(20)
    fetch_from(catalog, server)
    server.feed.time.pass_by(days=1)
    server.asked.clear()
    report = fetch_from(catalog, server)
    assert report.records <= 1
    assert len(server.pages) == 1


def test_a_list_that_an_exchange_fills_stays_in_shadow(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(1)
    fetch_from(catalog, any_server)
    assert catalog.get_list(LIST).hash_list.state == "shadow"


FAULTS = {
    "overloaded": Fault(429, b"later", {"Retry-After": "7"}),
    "failing": Fault(500, b"no"),
    "unavailable": Fault(503, b"no", {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    "cut": Fault(cut=40),
    "dropped": Fault(drop=True),
    "no page": Fault(body=b"{"),
    "another page": Fault(body=b'{"a": 1}'),
    "a web page": Fault(body=b"<html>", headers={"Content-Type": "text/html"}),
    "badly packed": Fault(body=b"not packed", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_that_passes_is_ridden_out(catalog, any_server, fault):
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(5))
    any_server.faults = [None, fault]
    assert fetch_from(catalog, any_server).added == 5
    assert held(catalog) == any_server.feed.truth()
    assert len(any_server.feed.time.slept) == 1


def test_retry_after_is_kept_to_and_waits_grow(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.faults = [FAULTS["overloaded"], FAULTS["failing"]]
    fetch_from(catalog, any_server)
    first, second = any_server.feed.time.slept
    assert first >= 7
    assert 0 <= second <= 120


@pytest.mark.parametrize(("seconds", "waits"), [(90, [90]), (121, [])])
def test_retry_after_may_be_a_moment_of_the_servers_own_clock(catalog, any_server, seconds, waits):
    """Within its bound it is kept to; beyond, the fetch ends."""
    add_exchange(catalog, any_server)
    any_server.ahead = timedelta(days=2)
    moment = any_server.feed.time.now + any_server.ahead + timedelta(seconds=seconds)
    any_server.faults = [Fault(503, b"", {"Retry-After": format_datetime(moment, usegmt=True)})]
    with nullcontext() if waits else pytest.raises(ExchangeAwayError, match="503"):
        fetch_from(catalog, any_server)
    assert any_server.feed.time.slept == waits


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e9", "٣", "Thu, 99 Jan 2026 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_none(catalog, any_server, text):
    add_exchange(catalog, any_server)
    headers = {"Retry-After": text.encode().decode("latin-1")}
    any_server.faults = [Fault(429, b"", headers)]
    fetch_from(catalog, any_server)
    (slept,) = any_server.feed.time.slept
    assert 0 <= slept <= 120


@pytest.mark.parametrize("breaks_off", [False, True])
def test_pages_out_of_order_are_followed_by_their_links(catalog, breaks_off):
    """Tech Against Terrorism's, whose checkpoint would leave earlier records behind."""
    with serve(Feed("tat", in_order=False)) as server:
        add_exchange(catalog, server)
        feed = server.feed
        for number in range(8):
            feed.time.pass_by(hours=1)
            feed.put(number)
        assert len({each.changed for each in feed.records.values()}) == 8
        if breaks_off:
            server.faults = [None, None, *[Fault(500, b"")] * 3]
            with pytest.raises(ExchangeAwayError):
                fetch_from(catalog, server)
        server.asked.clear()
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()
        assert [each.query.get("offset") is None for each in server.pages] == [True, False, False]
        feed.time.pass_by(hours=1)
        feed.delete(1)
        feed.put(2, version=1)
        feed.put(8, 9, 10)
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()


def test_missing_credentials_are_kept_as_a_failure(catalog, any_server):
    add_exchange(catalog, any_server)
    with pytest.raises(ExchangeCredentialsError, match="missing: access_token"):
        fetch(
            catalog,
            NAME,
            order(any_server.feed.time),
            lambda client, _: find_credentials(client.credential_names, {}, None),
        )
    progress = Progress.from_document(catalog.get_exchange(NAME).checkpoint)
    assert progress.failed_at == any_server.feed.time.now
    assert progress.error_reason == ExchangeCredentialsError.reason
    assert "access_token" in progress.error
    assert any_server.asked == []
    any_server.feed.put(1)
    fetch_from(catalog, any_server)
    assert Progress.from_document(catalog.get_exchange(NAME).checkpoint).failed_at is None


@pytest.mark.parametrize("fault", [FAULTS["cut"], FAULTS["another page"]])
def test_a_fault_that_stays_is_told_and_what_came_before_it_counts(catalog, server, fault):
    add_exchange(catalog, server)
    server.feed.put(*range(5))
    server.faults = [None, *[fault] * 3]
    with pytest.raises((ExchangeAwayError, ExchangePageError)) as raised:
        fetch_from(catalog, server)
    assert len(held(catalog)) == 3
    progress = Progress.from_document(catalog.get_exchange(NAME).checkpoint)
    assert progress.error == str(raised.value)
    assert progress.error_reason == raised.value.reason
    assert "hidden" not in str(progress.to_document())
    server.asked.clear()
    assert fetch_from(catalog, server).added == 2
    assert held(catalog) == server.feed.truth()
    assert Progress.from_document(catalog.get_exchange(NAME).checkpoint).error == ""


def test_one_that_asks_to_be_left_alone_for_long_is(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.faults = [Fault(429, b"", {"Retry-After": "3600"})]
    with pytest.raises(ExchangeAwayError, match="429"):
        fetch_from(catalog, any_server)
    assert any_server.feed.time.slept == []


def test_a_redirect_is_not_followed_and_its_query_not_told(catalog, server):
    add_exchange(catalog, server)
    server.faults = [Fault(302, b"", {"Location": "https://other.invalid/x?token=hidden"})]
    with pytest.raises(ExchangeRefusedError, match=r"302 Found\) to other\.invalid") as raised:
        fetch_from(catalog, server)
    assert "hidden" not in str(raised.value)
    assert "remove the exchange and add it again with the right --url" in str(raised.value)
    assert len(server.pages) == 1


def test_wrong_credentials_are_told_at_once_and_never_repeated(catalog, server):
    add_exchange(catalog, server)
    wrong = Credentials(dict.fromkeys(SECRETS[server.feed.kind], "wrong-hidden-word"))
    assert "wrong" not in repr(wrong)
    with pytest.raises(ExchangeCredentialsError, match="401") as raised:
        fetch(catalog, NAME, order(server.feed.time), lambda *_: wrong)
    assert "hidden" not in str(raised.value)
    assert server.feed.time.slept == []
    assert "hidden" not in str(catalog.get_exchange(NAME))


@pytest.mark.parametrize("origin", ["the environment", "the file /etc/a-feed"])
def test_where_refused_credentials_came_from_is_told(catalog, server, origin):
    add_exchange(catalog, server)
    wrong = Credentials(dict.fromkeys(SECRETS[server.feed.kind], "wrong-hidden-word"), origin)
    with pytest.raises(ExchangeCredentialsError, match=f", which came from {origin}$"):
        fetch(catalog, NAME, order(server.feed.time), lambda *_: wrong)


def test_what_a_full_fetch_is_told_twice_is_counted_as_such(catalog, server):
    add_exchange(catalog, server)
    server.feed.put(*range(8))
    server.feed.bad = {2}
    report = fetch_from(catalog, server, full=True)
    assert report.set_aside == catalog.get_exchange(NAME).set_aside == 1
    assert report.records - report.told_again == 8
    assert "_aside" not in report.to_document()
    assert fetch_from(catalog, server).told_again == 0


def test_an_oversize_answer_is_refused(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(3))
    with pytest.raises(ExchangePageError, match="longer than 100 bytes"):
        fetch_from(catalog, any_server, http=HttpLimits(answer_bytes=100))
    assert held(catalog) == {}


def test_an_answer_that_stalls_or_trickles_ends(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(3))
    over = threading.Event()
    any_server.faults = [Fault(wait=over)] * 3
    try:
        with pytest.raises(ExchangeAwayError, match="in time"):
            fetch_from(catalog, any_server, http=HttpLimits(read_seconds=0.05))
    finally:
        over.set()
    any_server.faults = []
    ticks = iter(range(0, 10_000, 700))
    clock = Clock(lambda: any_server.feed.time.now, lambda: next(ticks), lambda _: None)
    with pytest.raises(ExchangeAwayError, match="longer than 600 seconds"):
        fetch_from(catalog, any_server, clock=clock, http=HttpLimits(answer_seconds=600))


def test_nothing_answers(catalog, any_server):
    add_exchange(catalog, any_server)
    settings = dict(catalog.get_exchange(NAME).settings)
    with serve(Feed("threatexchange")) as gone:
        settings["url"] = gone.url
    catalog.update_exchange(NAME, settings=settings)
    with pytest.raises(ExchangeAwayError, match="cannot be reached"):
        fetch_from(catalog, any_server)


def test_a_malformed_record_is_set_aside_and_holds_nothing_up(catalog, server):
    add_exchange(catalog, server)
    server.feed.put(*range(7))
    server.feed.bad = {2}
    report = fetch_from(catalog, server)
    assert (report.added, report.set_aside) == (6, 1)
    assert held(catalog) == server.feed.truth()
    (aside,) = catalog.list_set_aside(NAME)
    assert aside.record.place.startswith("record ")
    assert aside.record.field
    assert "zz" not in aside.record.reason
    server.feed.put(*range(7))  # all of it comes again
    fetch_from(catalog, server)
    assert catalog.get_exchange(NAME).set_aside in (1, 2)  # once for each content
    server.feed.bad = set()
    server.feed.time.pass_by(hours=1)
    server.feed.put(2)
    fetch_from(catalog, server)
    assert held(catalog) == server.feed.truth()


def test_a_page_most_of_whose_records_are_malformed_is_no_page(catalog, server):
    add_exchange(catalog, server)
    server.feed.size = 30
    server.feed.put(*range(20))
    server.feed.bad = set(range(15))
    with pytest.raises(ExchangePageError, match="15 of 20 records"):
        fetch_from(catalog, server)
    assert held(catalog) == {}
    server.feed.bad = set()
    fetch_from(catalog, server)
    assert held(catalog) == server.feed.truth()


def test_a_page_of_what_nothing_can_match_holds_nothing_up(catalog):
    """Most of NCMEC's videos may be known by links alone: that is no page of another layout."""
    with serve(Feed("ncmec")) as server:
        add_exchange(catalog, server)
        server.feed.put(1)
        body = ANSWERS["ncmec"](
            server.feed, {"from": "2000-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}
        )
        videos = "".join(
            f'<video><member id="42">x</member><id>v{number}</id><fingerprints>'
            '<tmk-pdqf rel="self" href="/v2/x"/></fingerprints></video>'
            for number in range(30)
        )
        behind = f"</images><videos>{videos}</videos>".encode()
        server.faults = [Fault(body=body.replace(b"</images>", behind))]
        report = fetch_from(catalog, server)
        assert (report.records, report.added, report.set_aside) == (31, 1, 0)
        assert sum(n for note, n in report.notes.items() if "cannot be matched" in note) == 30
        assert held(catalog) == server.feed.truth()


def test_what_was_purged_for_good_stays_erased_and_is_told(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(1, 2)
    fetch_from(catalog, any_server)
    catalog.purge(LIST, [min(in_force(catalog))], author="a person", reason="made up")
    any_server.feed.time.pass_by(hours=1)
    any_server.feed.put(1, 2, version=1)
    report = fetch_from(catalog, any_server)
    assert (report.set_aside, catalog.list_set_aside(NAME)) == (0, [])
    assert report.notes[PURGED_RECORDS] == 1
    assert len(held(catalog)) == 1


def test_what_shares_a_hash_with_a_purged_entry_outlives_a_full_fetch(
    catalog, any_server, monkeypatch
):
    """Two opinions on one picture are two entries; only the one of them was purged."""
    told = exchange_servers.digest
    same_picture = {2: 1}

    def digest(kind, record):
        return told(kind, replace(record, number=same_picture.get(record.number, record.number)))

    monkeypatch.setattr(exchange_servers, "digest", digest)
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(10))
    fetch_from(catalog, any_server)
    number_of = {catalog.entry(number).key: number for number in in_force(catalog)}
    catalog.purge(LIST, [number_of[b"\0001"]], author="a person", reason="made up")
    any_server.feed.time.pass_by(days=1)
    report = fetch_from(catalog, any_server, full=True)
    assert (report.absent, report.retracted, report.set_aside) == (0, 0, 0)
    assert in_force(catalog).keys() == set(number_of.values()) - {number_of[b"\0001"]}


def test_what_a_rollback_took_out_comes_back(catalog, server):
    """The exchange goes on behind it, so all of it is fetched anew."""
    add_exchange(catalog, server)
    feed = server.feed
    feed.size = 30
    feed.put(*range(3))
    then = fetch_from(catalog, server).revision
    for number in (5, 6, 7):
        feed.time.pass_by(days=1)
        feed.put(number)
        fetch_from(catalog, server)
    feed.time.pass_by(days=1)
    feed.delete(0)
    fetch_from(catalog, server)
    catalog.rollback(LIST, then, author="a person", reason="an odd page")
    assert len(held(catalog)) == 3
    record = catalog.get_exchange(NAME)
    client = make_client(record.kind, OPTIONS[record.kind])
    assert next_full(record, client) == record.full_due_at is not None
    feed.time.pass_by(days=1)
    feed.put(8)
    report = fetch_from(catalog, server)
    assert report.full
    assert held(catalog) == feed.truth()
    assert catalog.get_exchange(NAME).full_due_at is None
    feed.time.pass_by(hours=1)
    assert not fetch_from(catalog, server).full


def test_entries_of_ones_own_have_no_place_in_a_fed_list(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(10))
    fetch_from(catalog, any_server)
    with pytest.raises(ListFedError, match=f"filled by the exchange {NAME}"):
        bring(catalog, items("mine"), list_name=LIST)
    assert held(catalog) == any_server.feed.truth()


@pytest.mark.parametrize("ahead", [timedelta(days=3), timedelta(days=-3)])
def test_clocks_that_differ_lose_nothing(catalog, server, ahead):
    add_exchange(catalog, server)
    feed = server.feed
    feed.size = 5
    ours = feed.time.clock(ahead=ahead)
    for round_ in range(3):
        feed.put(*range(round_ * 6, round_ * 6 + 6))
        fetch_from(catalog, server, clock=ours)
        assert held(catalog) == feed.truth()
        feed.time.pass_by(hours=7)


def test_a_server_that_tells_no_time_is_followed_too(catalog, server):
    add_exchange(catalog, server)
    server.tells_date = False
    for round_ in range(3):
        server.feed.put(round_, version=round_)
        fetch_from(catalog, server)
        assert held(catalog) == server.feed.truth()
        server.feed.time.pass_by(hours=7)


def test_a_link_that_holds_no_longer_leads_back_to_the_beginning(catalog, server):
    add_exchange(catalog, server)
    server.feed.put(*range(8))
    server.faults = [None, *[Fault(500, b"")] * 3]
    with pytest.raises(ExchangeAwayError):
        fetch_from(catalog, server)
    server.faults = [Fault(400, b"stale")]
    if server.feed.kind == "tat":
        with pytest.raises(ExchangeRefusedError):
            fetch_from(catalog, server)
    fetch_from(catalog, server)
    assert held(catalog) == server.feed.truth()


def test_a_link_is_not_used_after_half_a_day(catalog, server):
    add_exchange(catalog, server)
    server.feed.put(*range(8))
    server.faults = [None, *[Fault(500, b"")] * 3]
    with pytest.raises(ExchangeAwayError):
        fetch_from(catalog, server)
    server.feed.time.pass_by(hours=13)
    server.asked.clear()
    fetch_from(catalog, server)
    assert not server.pages[0].query.keys() & {"start", "nextPageToken", "offset"}
    if server.feed.kind == "threatexchange":
        assert "after" not in server.pages[0].query
    assert held(catalog) == server.feed.truth()


def test_of_two_fetches_at_once_the_second_changes_nothing(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(3))

    def meanwhile():
        any_server.before_page = lambda: None
        fetch_from(catalog, any_server)

    any_server.before_page = meanwhile
    with pytest.raises(ExchangeConflictError):
        fetch_from(catalog, any_server)
    assert held(catalog) == any_server.feed.truth()
    assert Progress.from_document(catalog.get_exchange(NAME).checkpoint).error == ""


def test_a_paused_exchange_is_not_fetched(catalog, any_server):
    add_exchange(catalog, any_server)
    catalog.update_exchange(NAME, state=ExchangeState.PAUSED)
    with pytest.raises(ExchangePausedError):
        fetch_from(catalog, any_server)
    assert any_server.asked == []


def test_a_full_fetch_withdraws_what_is_gone(catalog, server):
    add_exchange(catalog, server)
    feed = server.feed
    feed.put(*range(7))
    fetch_from(catalog, server)
    feed.time.pass_by(days=1)
    del feed.records[5]  # and nobody tells
    feed.put(20)
    assert fetch_from(catalog, server).retracted == 0
    report = fetch_from(catalog, server, full=True)
    assert (report.full, report.absent, report.retracted) == (True, 1, 1)
    assert held(catalog) == feed.truth()
    assert catalog.get_exchange(NAME).full_at == feed.time.now.replace(microsecond=0)
    feed.time.pass_by(days=1)
    feed.put(5)
    fetch_from(catalog, server)
    assert held(catalog) == feed.truth()


def test_what_changes_during_a_full_fetch_counts(catalog, server):
    add_exchange(catalog, server)
    feed = server.feed
    feed.put(*range(12))
    fetch_from(catalog, server)
    feed.time.pass_by(days=1)
    pages = iter(range(100))

    def meanwhile():
        if next(pages) == 2:
            feed.time.pass_by(seconds=5)
            feed.put(*range(6), version=1)
            feed.delete(6, 7, 8)

    server.before_page = meanwhile
    fetch_from(catalog, server, full=True, force=True)
    assert held(catalog) == feed.truth()


@pytest.mark.parametrize("why", ["too many", "a malformed record"])
def test_a_full_fetch_that_looks_wrong_takes_but_does_not_withdraw(catalog, any_server, why):
    feed = any_server.feed
    add_exchange(catalog, any_server)
    feed.put(*range(20))
    fetch_from(catalog, any_server)
    feed.time.pass_by(days=1)
    before = feed.truth()
    for number in range(10 if why == "too many" else 1):
        del feed.records[number]
    if why == "a malformed record":
        feed.bad = {11}
    feed.put(30)
    with pytest.raises(FullListRefusedError, match=r"entries in force were not found"):
        fetch_from(catalog, any_server, full=True)
    assert held(catalog).keys() == before.keys() | {"id:30"}
    report = fetch_from(catalog, any_server, full=True, force=True)
    assert report.absent == (10 if why == "too many" else 2)
    assert held(catalog) == feed.truth()


def test_a_full_fetch_that_breaks_off_changes_nothing(catalog, any_server):
    add_exchange(catalog, any_server)
    any_server.feed.put(*range(8))
    fetch_from(catalog, any_server)
    head, truth = catalog.head(), any_server.feed.truth()
    any_server.feed.time.pass_by(days=1)
    any_server.feed.put(*range(8), version=1)
    any_server.faults = [None, *[Fault(500, b"")] * 3]
    with pytest.raises(ExchangeAwayError):
        fetch_from(catalog, any_server, full=True)
    assert (catalog.head(), held(catalog)) == (head, truth)


def test_what_the_exchange_forgets_to_withdraw_is_found_by_a_full_fetch_in_time(catalog):
    with serve(Feed("threatexchange", forgets=timedelta(days=90))) as server:
        add_exchange(catalog, server)
        feed = server.feed
        feed.put(*range(6))
        fetch_from(catalog, server)
        for _ in range(4):
            feed.time.pass_by(days=21)
            assert not fetch_from(catalog, server).full
        feed.time.pass_by(days=2)
        assert fetch_from(catalog, server).full


def test_withdrawals_that_were_forgotten_before_they_were_told_are_found(catalog):
    with serve(Feed("threatexchange", forgets=timedelta(days=30))) as server:
        add_exchange(catalog, server)
        feed = server.feed
        feed.put(*range(6))
        fetch_from(catalog, server)
        feed.time.pass_by(days=1)
        feed.delete(3)
        feed.time.pass_by(days=35)
        report = fetch_from(catalog, server)
        assert (report.full, report.retracted) == (True, 1)
        assert held(catalog) == feed.truth()
        assert not fetch_from(catalog, server).full


def test_a_refused_full_fetch_is_tried_again_by_itself_after_a_day(catalog):
    with serve(Feed("threatexchange", forgets=timedelta(days=90))) as server:
        add_exchange(catalog, server)
        feed = server.feed
        feed.put(*range(4))
        fetch_from(catalog, server)
        feed.delete(*range(3))
        feed.time.pass_by(days=100)
        with pytest.raises(FullListRefusedError):
            fetch_from(catalog, server)
        feed.put(9)
        feed.time.pass_by(hours=1)
        assert not fetch_from(catalog, server).full  # which does not make good what was missed
        assert "id:9" in held(catalog)
        feed.time.pass_by(days=1)
        with pytest.raises(FullListRefusedError):
            fetch_from(catalog, server)
        assert fetch_from(catalog, server, full=True, force=True).retracted == 3


def test_an_entry_named_twice_on_a_page_is_what_its_latest_record_says(catalog):
    with serve(Feed("threatexchange")) as server:
        add_exchange(catalog, server)
        server.feed.put(1, version=0)
        row = ANSWERS["threatexchange"](server.feed, {"start_time": "0"})
        server.feed.time.pass_by(hours=1)
        server.feed.put(1, version=1)
        new = ANSWERS["threatexchange"](server.feed, {"start_time": "0"})
        truth = server.feed.truth()
        old_record, new_record = (
            x[len(b'{"data": [') : x.index(b'], "paging"')] for x in (row, new)
        )
        body = b'{"data": [' + new_record + b", " + old_record + b"]}"
        server.faults = [Fault(body=body)]
        report = fetch_from(catalog, server)
        assert (report.records, report.repeated, report.set_aside) == (2, 1, 0)
        assert held(catalog) == truth
