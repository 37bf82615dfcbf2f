"""The page for people: what it says of every kind of scan, and that others' words stay words."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from matcher.model import NotHashableReason
from matcher.scan.document import Place, Selection
from matcher.scan.model import FailureReason, MatchRecord, Outcome
from matcher.scan.reports import sections, svg
from matcher.scan.reports.advice import ADVICE, advice_for
from matcher.scan.reports.page import PageReport
from matcher.scan.state.summary import Work
from matcher.scan.tally import ListTally, Tally
from tests.scan_report_support import DOCUMENT, RUN, found_record, summary_of

HOSTILE = "</style></title><script>alert(1)</script>\"'><img src=x>"


def page(records=(), summary=None, **options):
    stream = io.BytesIO()
    report = PageReport(stream, summary or summary_of(records), **options)
    report.write(list(records))
    report.finish()
    return stream.getvalue().decode()


def document(**changed):
    fields = {name: getattr(DOCUMENT, name) for name in DOCUMENT.__struct_fields__}
    return type(DOCUMENT)(**{**fields, **changed})


def test_others_words_are_escaped_wherever_they_stand():
    match = MatchRecord(HOSTILE, HOSTILE, 1, HOSTILE, "near", HOSTILE, 3, HOSTILE)
    made = [
        found_record(1, matches=(match,), format=HOSTILE),
        found_record(2, outcome=Outcome.FAILED, reason=HOSTILE, matches=()),
    ]
    summary = summary_of(
        made,
        document=document(id=HOSTILE, made_by=HOSTILE, policy=HOSTILE),
        runs=(replace(RUN, policy=HOSTILE, hashed=(HOSTILE,), how=HOSTILE),),
        skipped={HOSTILE: 1},
    )
    text = page(made, summary)
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("</style>") == 1
    assert text.count("&lt;script&gt;") > 12


def test_the_policy_of_content_allows_the_one_style_and_nothing_else():
    text = page([found_record(1)])
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    assert "style=" not in text
    leads = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert leads
    assert all(each.startswith(("#", "data:,")) for each in leads)


def test_no_scan_is_too_small():
    text = page(summary=summary_of([], runs=(), timeline=(), work_seconds=0.0))
    assert "not begun yet" in text
    assert "None of the objects is in the lists" in text
    assert "0 + 0 + 0 + 0 + 0 + 0 waiting = 0 listed. <strong>It adds up." in text
    assert "<h2>Throughput</h2>" not in text


def test_sums_that_do_not_add_up_are_told_and_loudly():
    made = [found_record(1)]
    for wrong in ({"finished": 2}, {"listed": 0}):
        text = page(made, summary_of(made, **wrong))
        assert "do not add up to the listing" in text
        assert "It adds up." not in text


def test_a_scan_that_has_not_ended_says_so():
    made = [found_record(1)]
    text = page(made, summary_of(made, listed=8))
    assert "It has not ended." in text
    assert "7 listed objects wait" in text
    text = page(made, summary_of(made, listing_done=False))
    assert "The listing is not at its end" in text


def test_changed_lists_are_told():
    made = [found_record(1), found_record(2, revision=8)]
    text = page(made)
    assert "changed within this scan" in text
    assert "by the revision that they were looked up in" in text
    runs = (
        RUN,
        replace(RUN, number=2, policy_version="ff", changed={"policy_version": ("0", "f")}),
    )
    assert "changed within this scan" in page(made[:1], summary_of(made[:1], runs=runs))
    assert "changed within this scan" not in page(made[:1])


def test_no_more_is_shown_than_a_person_reads():
    made = [found_record(number) for number in range(1, 20)]
    text = page(made, shown=5)
    assert "Shown are the first 5 of 19" in text
    assert "<code>1-5</code>" in text
    assert "<code>1-6</code>" not in text


def test_a_found_object_without_a_match_is_shown():
    made = [found_record(1, matches=(), outcome=Outcome.REVIEW)]
    assert "<code>1-1</code>" in page(made)


def test_every_reason_has_advice():
    failures = {f"{Outcome.FAILED}: {each}" for each in FailureReason}
    unhashed = {f"{Outcome.NOT_HASHABLE}: {each}" for each in NotHashableReason}
    assert set(ADVICE) == failures | unhashed
    assert advice_for("matched", "malformed") == ADVICE["not_hashable: malformed"]
    assert "no more of it" in advice_for("failed", "unheard of").means


def test_rows_are_in_the_order_in_which_they_matter():
    tally = Tally(
        reasons={"not_hashable: malformed": 9, "failed: vanished": 1, "failed: forbidden": 4},
        lists={
            "b": ListTally("csam", {"review": 3}, {"own": 1, "severe": 2}),
            "a": ListTally("csam", {"matched": 1}, {"abuse": 1}),
            "c": ListTally("csam", {"matched": 1, "review": 1}, {}),
        },
    )
    assert [(row.outcome, row.count) for row in sections.reason_rows(tally)] == [
        ("failed", 4),
        ("failed", 1),
        ("not_hashable", 9),
    ]
    assert sections.severities_of(tally) == ["severe", "abuse", "own"]
    assert [row.name for row in sections.list_rows(tally)] == ["c", "a", "b"]
    assert sections.list_rows(tally)[2].severities == (2, 0, 1)


def test_distances_are_summed_over_lists_and_gathered_where_they_are_many():
    lists = {
        "a": ListTally("csam", distances={"pdq 0": 1, "pdq 31": 2, "photodna 4000": 1}),
        "b": ListTally("csam", distances={"pdq 31": 5}),
    }
    pdq, photodna = sections.histograms(Tally(lists=lists))
    assert (pdq.kind, pdq.width, len(pdq.counts)) == ("pdq", 1, 32)
    assert (pdq.counts[0], pdq.counts[31], sum(pdq.counts)) == (1, 7, 8)
    assert pdq.label(31) == "31"
    assert (photodna.width, sum(photodna.counts)) == (84, 1)
    assert len(photodna.counts) <= 48
    assert photodna.label(47) == "3,948 to 4,031"


def test_speed_is_no_spike_at_the_end():
    summary = summary_of(
        [],
        timeline=(Work(0.0, 10, 5), Work(2.0, 20, 5), Work(4.0, 1, 5)),
        bucket_seconds=2.0,
        work_seconds=4.01,
    )
    rows = sections.speed_rows(summary)
    assert [(row.until, row.objects, row.bytes) for row in rows] == [(2.0, 10, 5), (4.01, 21, 10)]
    assert rows[1].rate == pytest.approx(21 / 2.01)
    assert sections.speed_rows(replace(summary, timeline=(), work_seconds=0.0)) == []
    assert len(sections.speed_rows(replace(summary, work_seconds=6.0))) == 3


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["/a"], "1 folder"),
        (
            ["s3://a/", "/a", "s3://b/", "gs://c/"],
            "2 buckets of S3, 1 bucket of Google Cloud Storage and 1 folder",
        ),
        (["az://a/b/", "az://c/"], "2 containers of Azure"),
        (["ftp://x"], "1 place"),
    ],
)
def test_places_are_counted_not_named(urls, words):
    assert sections.place_words([Place(url) for url in urls]) == words


def test_the_selection_is_told_without_names():
    told = sections.selection_words(
        Selection(
            include=("secret/*",),
            exclude=("secret", "b"),
            prefix="secret",
            min_bytes=0,
            max_bytes=2**21,
            modified_since=0.0,
            modified_before=1e9,
            sample=0.25,
            shard=2,
            shards=3,
            limit=10,
        )
    )
    assert len(told) == 10
    assert "secret" not in " ".join(told)
    assert "2.0 MiB or less" in told
    assert sections.selection_words(Selection()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (7_500, "2 h 5 min"), (90_000, "1 d 1 h")],
)
def test_durations_for_people(seconds, text):
    assert sections.duration_text(seconds) == text


def test_plots_are_well_formed_and_speak_to_those_who_do_not_see_them():
    drawn = [
        svg.stacked_bar([("matched", 1), ("review", 0)], 3, title=HOSTILE),
        svg.stacked_bar([("matched", 0)], 0, title="nothing"),
        svg.columns([0, 5, 1], title="t", description=HOSTILE, colour="plain"),
        svg.columns([], title="t", description="", colour="plain"),
        svg.line([(0.0, 1.0), (2.0, 3.0)], title="t", description="d", colour="plain"),
        svg.line([], title="t", description="d", colour="plain"),
    ]
    for text in drawn:
        tree = ET.fromstring(str(text))
        assert tree.attrib["role"] == "img"
        assert tree.find("title").text
    assert ET.fromstring(str(drawn[0])).find("title").text == HOSTILE
    first = ET.fromstring(str(drawn[0])).findall("rect")
    assert [float(each.attrib["width"]) for each in first] == [200.0]
    heights = [
        float(each.attrib["height"]) for each in ET.fromstring(str(drawn[2])).findall("rect")
    ]
    assert heights == [160.0, 32.0]
