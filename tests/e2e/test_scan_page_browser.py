"""The page that a scan writes, in a real browser: at a desk, on a phone, in the dark, on paper."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from matcher.model import NotHashableReason
from matcher.scan.document import Selection
from matcher.scan.model import FailureReason, MatchRecord, Outcome, Record, Way
from matcher.scan.reports import write_reports
from matcher.scan.state.summary import RunEnd, Work
from tests.browser import PROGRAM, browser
from tests.scan_report_support import DOCUMENT, RUN, found_record, summary_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (package chromium)")

DESK, PHONE = 1280, 390
LONG = "a-list-of-a-very-long-name-without-any-place-to-break-it-" * 2
HOSTILE = "</style><script>console.error('run')</script><img src=x onerror=alert(1)>"


def records() -> list[Record]:
    """A scan in which everything comes that the page can show."""
    made = []
    for number in range(1, 400):
        lists = ("hotline", HOSTILE, LONG)
        near = number % 5 != 0
        match = MatchRecord(
            list=lists[number % 3],
            harm="csam",
            entry=number,
            kind="pdq" if near else "md5",
            basis="near" if near else "exact",
            view="upright" if near else "",
            distance=number * 7 % 32 if near else None,
            severity=("severe", "abuse", "unmapped", "jurisdiction")[number % 4],
        )
        outcome = Outcome.REVIEW if number % 3 == 0 else Outcome.MATCHED
        made.append(found_record(number, outcome=outcome, matches=(match,)))
    photodna = replace_match(made[0], kind="photodna", distance=2_900)
    made[0] = found_record(1, matches=(*made[0].matches, photodna), total_matches=2)
    for number in range(400, 5_000):
        way = Way.REPEAT if number % 9 == 0 else Way.FETCHED
        made.append(plain(number, Outcome.NO_KNOWN_MATCH, way=way, format="png"))
    reasons = [*FailureReason, *NotHashableReason, "a reason of tomorrow"]
    for number, reason in enumerate(reasons * 3, 5_000):
        failed = reason in list(FailureReason)
        outcome = Outcome.FAILED if failed else Outcome.NOT_HASHABLE
        made.append(plain(number, outcome, reason=str(reason)))
    for number in range(40):
        outcome = Outcome.NO_KNOWN_MATCH if number % 4 else Outcome.REVIEW
        made.append(plain(9_000 + number, outcome, member=f"in/{number}.jpg", revision=8))
    return made


def replace_match(record: Record, **changed: object) -> MatchRecord:
    match = record.matches[0]
    return MatchRecord(
        **{**{name: getattr(match, name) for name in match.__struct_fields__}, **changed}
    )


def plain(number: int, outcome: Outcome, **fields: object) -> Record:
    return found_record(
        number,
        **{
            "outcome": outcome,
            "matches": (),
            "total_matches": 0,
            "match_id": "",
            "md5": "",
            "sha1": "",
            "sha256": "",
            **fields,
        },
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a scan that ran twice, was stopped, and met all there is."""
    folder = tmp_path_factory.mktemp("scan")
    made = records()
    summary = summary_of(made)
    second = replace(
        RUN,
        number=2,
        began_at=RUN.began_at + 3_600,
        ended_at=0.0,
        how="",
        revision=8,
        policy=LONG,
        changed={"revision": ("7", "8")},
    )
    work = [Work(at * 2.0, 5 + at * 37 % 90, at * 1_000_000) for at in range(120)]
    summary = replace(
        summary,
        document=replace_document(HOSTILE),
        runs=(replace(RUN, how=RunEnd.KILLED, objects=1_234), second),
        listed=summary.listed + 77,
        listing_done=False,
        not_selected=12,
        skipped={"links that leave the folder": 3},
        work_seconds=239.0,
        bucket_seconds=2.0,
        timeline=tuple(work),
    )
    write_reports(folder, summary, made, ["html"])
    return folder / "report.html"


def replace_document(account: str) -> object:
    fields = {name: getattr(DOCUMENT, name) for name in DOCUMENT.__struct_fields__}
    chosen = Selection(include=("*.jpg",), min_bytes=2_000, sample=0.5, modified_since=1.6e9)
    return type(DOCUMENT)(**{**fields, "made_by": account, "selection": chosen, "archives": True})


def test_it_is_whole_at_every_width_and_asks_for_nothing(page, tmp_path):
    with browser(tmp_path) as opened:
        tab = opened.new_page()
        for name, width, dark in (
            ("desk", DESK, False),
            ("phone", PHONE, False),
            ("dark", DESK, True),
        ):
            tab.open(page, width=width, dark=dark)
            root = "document.documentElement"
            assert tab.evaluate(f"{root}.scrollWidth") <= tab.evaluate(f"{root}.clientWidth")
            assert tab.evaluate("innerWidth") == width
            (tmp_path / f"{name}.png").write_bytes(tab.picture())
            ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        assert tab.logged == []
        assert {url for url in tab.asked if not url.startswith("data:")} == {page.as_uri()}
        assert tab.evaluate("document.scripts.length + document.images.length") == 0
        assert tab.evaluate("document.querySelectorAll('main svg.plot').length") == 3
        # A bar is as wide as what it stands for: nothing of the page's style was refused.
        assert (
            tab.evaluate("document.querySelector('svg.plot').getBoundingClientRect().height") > 99
        )
        assert tab.evaluate("document.querySelectorAll('section, main h2').length") > 8
        paper = base64.b64decode(tab.call("Page.printToPDF")["data"])
        assert paper.startswith(b"%PDF")


def test_other_peoples_words_stay_words(page, tmp_path):
    with browser(tmp_path) as opened:
        tab = opened.new_page()
        tab.open(page, width=DESK)
        text = tab.evaluate("document.body.innerText")
        assert HOSTILE in text
        assert LONG in text
        assert tab.logged == []
        # Without the escaping the policy would still have refused the script, and said so.
        tab.evaluate(
            "void document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'document.title = 1'}))"
        )
        assert tab.evaluate("document.title") != "1"
        opened.wait(lambda: tab.logged)
