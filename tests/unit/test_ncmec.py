"""The NCMEC reader by small pages: what is taken over, what is left aside, what is refused."""

from __future__ import annotations

import base64
import io
import random

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import ncmec
from hashlists.formats.base import PageInfo, Sample
from hashlists.formats.registry import find_format, open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Classification, ExtraHash, HashKind, Retraction
from hashlists.validate import TEXT_KEY_TAG, validate
from tests import export_support as support
from tests.catalog_support import untimed

NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"


def value(kind: HashKind, seed: int = 1) -> bytes:
    return random.Random(f"{kind}{seed}").randbytes(kind.nbytes)


MD5 = value(HashKind.MD5).hex()


def entry(*parts, kind="image", member='<member id="42">Example Member</member>', own="image1"):
    """An entry with an MD5, unless `parts` bring fingerprints of their own."""
    inner = "".join(parts)
    if "<fingerprints>" not in inner and not kind.startswith("deleted"):
        inner += f"<fingerprints><md5>{MD5}</md5></fingerprints>"
    return f"<{kind}>{member}<id>{own}</id>{inner}</{kind}>"


def page(*images, videos="", rest="", attributes="", namespace=f' xmlns="{NAMESPACE}"'):
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<queryResult{namespace}>'
        f"<images{attributes}>{''.join(images)}</images>{videos}{rest}</queryResult>"
    ).encode()


def read(data, *, options=None, limits=None):
    limits = limits or ImportLimits()
    reader = open_reader(io.BytesIO(data), format="ncmec", options=options, limits=limits)
    return reader, list(reader)


def run(data, **kwargs):
    """Entries as rows, retractions, rejections and notes of a page."""
    _, batches = read(data, **kwargs)
    results = [validate(batch, default_handling=support.NO_ONWARD_SHARING) for batch in batches]
    rows = [row for result in results for row in support.rows_of(result.entries)]
    retractions = [each for result in results for each in result.retractions]
    rejections = [each for result in results for each in result.rejections]
    notes = {}
    for batch in batches:
        for note, times in batch.notes.items():
            notes[note] = notes.get(note, 0) + times
    return rows, retractions, rejections, notes


def one(*parts, **kwargs):
    rows, _, rejections, notes = run(page(entry(*parts, **kwargs)))
    assert rejections == []
    (row,) = rows
    return row, notes


FULL = (
    "<timestamp>2017-10-24T15:00:00Z</timestamp><classification>A1</classification>"
    f"<fingerprints><md5>{MD5.upper()}</md5><sha1>{value(HashKind.SHA1).hex()}</sha1>"
    f"<pdna>{value(HashKind.PHOTODNA).hex()}</pdna><pdq>{value(HashKind.PDQ).hex()}</pdq>"
    "</fingerprints>"
)


def test_every_field_that_is_taken_over():
    row, notes = one(FULL)
    assert notes == {}
    assert row.hashes.keys() == {HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA, HashKind.PDQ}
    assert (row.key, row.source_id) == (TEXT_KEY_TAG + b"42/image1", "image1")
    assert row.classification == Classification("ncmec", "", "A1")
    assert row.updated_at == "2017-10-24T15:00:00Z"
    assert all(row.hashes[kind] == value(kind) for kind in row.hashes)


@pytest.mark.parametrize(
    "written",
    [
        value(HashKind.PHOTODNA).hex().upper(),
        base64.b64encode(value(HashKind.PHOTODNA)).decode(),
        ",".join(map(str, value(HashKind.PHOTODNA))),
        "\n      " + ", ".join(map(str, value(HashKind.PHOTODNA))) + "\n    ",
    ],
)
def test_photodna_in_each_way_of_writing_it(written):
    row, _ = one(f"<fingerprints><pdna>{written}</pdna></fingerprints>")
    assert row.hashes == {HashKind.PHOTODNA: value(HashKind.PHOTODNA)}


def test_deletions_of_images_and_videos_are_retractions():
    deleted = entry("<timestamp>x</timestamp>", kind="deletedImage", own="gone")
    video = entry(kind="deletedVideo", own="v", member='<member id="7"/>')
    data = page(entry(), deleted, videos=f"<videos>{video}</videos>")
    rows, retractions, rejections, _ = run(data)
    assert len(rows) == 1
    assert untimed(retractions) == [
        Retraction(TEXT_KEY_TAG + b"42/gone", "deletedImage"),
        Retraction(TEXT_KEY_TAG + b"7/v", "deletedVideo"),
    ]
    assert rejections == []


@pytest.mark.parametrize("own", [" image1", "image1 ", "\n  image1\n", "\u00a0image1\t"])
def test_blanks_around_an_id_are_no_part_of_it(own):
    rows, _, rejections, _ = run(page(entry(own=own)))
    assert [(row.key, row.source_id) for row in rows] == [(TEXT_KEY_TAG + b"42/image1", "image1")]
    assert rejections == []
    (gone,) = run(page(entry(kind="deletedImage", own=own)))[1]
    assert gone.key == TEXT_KEY_TAG + b"42/image1"


def test_an_id_of_blanks_is_none():
    _, _, (rejection,), _ = run(page(entry(own="  ")))
    assert rejection.reason == "the entry has no id"


def test_a_deletion_holds_whatever_else_is_wrong_with_it():
    twice = "<timestamp>a</timestamp><timestamp>b</timestamp>"
    hashes = "<fingerprints><md5>none</md5></fingerprints>"
    _, retractions, rejections, _ = run(page(entry(twice, hashes, kind="deletedImage")))
    assert len(retractions) == 1
    assert rejections == []


def test_a_later_value_of_a_kind_comes_on_top():
    other = value(HashKind.PDQ, 2)
    hashes = f"<pdq>{value(HashKind.PDQ).hex()}</pdq><pdq>{other.hex()}</pdq>"
    _, batches = read(page(entry(f"<fingerprints>{hashes}</fingerprints>")))
    entries = validate(batches[0], default_handling=support.NO_ONWARD_SHARING).entries
    assert entries.extra_hashes == [ExtraHash(0, HashKind.PDQ, other)]


def test_fingerprints_behind_links_are_noted_and_their_addresses_kept_nowhere():
    links = (
        f"<fingerprints><md5>{MD5}</md5>"
        '<tmk-pdqf rel="self" href="/v2/entries/1/fingerprints/TMK_PDQF"/>'
        "<netclean>abc</netclean></fingerprints>"
    )
    reader, batches = read(page(entry(links)))
    assert "TMK_PDQF" not in repr((reader, batches))
    assert batches[0].notes == {
        "fingerprint behind a link left aside: tmk-pdqf": 1,
        "fingerprint of unknown kind left aside: netclean": 1,
    }


LINK = '<tmk-pdqf rel="self" href="/v2/entries/1/fingerprints/TMK_PDQF"/>'
UNMATCHABLE = (
    "entry known only by fingerprints that cannot be matched, such as links: not in the list"
)


@pytest.mark.parametrize("hashes", [LINK, "<netclean>abc</netclean>", LINK + "<md5> </md5>"])
def test_an_entry_that_nothing_can_match_is_counted_and_withdrawn(hashes):
    unmatchable = entry(f"<fingerprints>{hashes}</fingerprints>", kind="video", own="v")
    data = page(entry(), entry(own="b"), videos=f"<videos>{unmatchable}</videos>")
    rows, retractions, rejections, notes = run(data)
    assert [row.source_id for row in rows] == ["image1", "b"]
    reason = "listed by nothing that can be matched"
    assert untimed(retractions) == [Retraction(TEXT_KEY_TAG + b"42/v", reason, unmatchable=True)]
    assert (rejections, notes[UNMATCHABLE]) == ([], 1)


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("MD5", HashKind.MD5), ("Sha-1", HashKind.SHA1), ("PDNA", HashKind.PHOTODNA),
        ("photo_dna", HashKind.PHOTODNA), ("Pdq", HashKind.PDQ),
    ],
)  # fmt: skip
def test_a_fingerprint_in_another_spelling_is_the_same(tag, kind):
    row, notes = one(f"<fingerprints><{tag}>{value(kind).hex()}</{tag}></fingerprints>")
    assert (row.hashes, notes) == ({kind: value(kind)}, {})


def test_an_entry_of_unknown_fingerprints_alone_is_rejected_and_withdraws_nothing():
    unknown = entry(f"<fingerprints>{LINK}<md5-hex>{MD5}</md5-hex></fingerprints>", own="v")
    rows, retractions, rejections, notes = run(page(unknown, entry()))
    assert ([row.source_id for row in rows], retractions) == (["image1"], [])
    assert [(each.place.number, each.field) for each in rejections] == [(1, "fingerprints")]
    assert "md5-hex" in rejections[0].reason
    assert UNMATCHABLE not in notes


def test_an_entry_without_any_fingerprint_is_malformed():
    for hashes in ("", "<md5></md5>"):
        _, retractions, rejections, notes = run(
            page(entry(f"<fingerprints>{hashes}</fingerprints>"))
        )
        assert [each.reason for each in rejections] == ["the record has no hash"]
        assert (retractions, notes) == ([], {})


@pytest.mark.parametrize(
    ("mark", "since"),
    [('since="7"', 7), ("since='7'", 7), ("", 0), ('since="x"', 0), (f'since="{10**30}"', 0)],
)
def test_a_delta_is_one_whatever_its_mark_says(mark, since):
    """Wherever it stands, and told before the records where it stands before them."""
    whole = page(entry())
    at = whole.index(b"<queryResult")
    for cut in (at, len(whole)):
        data = whole[:cut] + f"<?hashwarden {mark}?>".encode() + whole[cut:]
        batches = list(open_reader(io.BytesIO(data), format="ncmec"))
        told = [number for number, batch in enumerate(batches) if batch.delta]
        assert told == [0 if cut == at else len(batches) - 1]
        assert batches[told[0]].since == since


def test_a_deletion_with_links_is_a_deletion():
    gone = entry(f"<fingerprints>{LINK}</fingerprints>", kind="deletedImage")
    _, retractions, _, notes = run(page(gone))
    assert untimed(retractions) == [Retraction(TEXT_KEY_TAG + b"42/image1", "deletedImage")]
    assert UNMATCHABLE not in notes


def feedback(*opinions):
    return f'<feedback lastUpdateTimestamp="2023-06-01T12:48:14Z">{"".join(opinions)}</feedback>'


def affirmative(kind, *members):
    who = "".join(f'<member id="{member}">x</member>' for member in members)
    return (
        f'<affirmativeFeedback type="{kind}"><members timestamp="x">{who}</members>'
        "</affirmativeFeedback>"
    )


NEGATIVE = (
    '<negativeFeedback type="Sha1"><reasons><reason guid="g" name="n" type="Sha1"/>'
    '<members><member id="9">x</member></members></reasons></negativeFeedback>'
)


def test_other_members_that_affirm_count_once_each():
    said = feedback(affirmative("Md5", 42, 43, 44), affirmative("Sha1", 44, 45))
    row, notes = one(said)
    assert row.verified_count == 3
    assert notes == {}


@pytest.mark.parametrize("said", ["<feedback/>", feedback(), feedback(affirmative("Md5", 42))])
def test_no_other_member_affirming_says_nothing(said):
    row, _ = one(said)
    assert row.verified_count is None


def test_negative_feedback_is_noted():
    row, notes = one(feedback(NEGATIVE))
    assert row.verified_count is None
    assert notes == {"entry with negative feedback, which is not kept": 1}


def test_feedback_means_the_same_where_the_parser_reads_it_and_where_not():
    """The first entry goes to the parser; those behind it, laid out as documented, do not."""
    said = feedback(affirmative("Md5", 42, 43), affirmative("Sha1", 43, 44), NEGATIVE)
    plain = [
        entry(own="")
        .replace("<id></id>", f"<timestamp>2017-10-24T15:00:00Z</timestamp><id>{number}</id>")
        .replace("</fingerprints>", f"</fingerprints>{said}")
        for number in range(3)
    ]
    found, _, rejections, notes = run(page(*plain, entry(kind="deletedImage"), *plain[:1]))
    assert [row.verified_count for row in found] == [2] * 4
    assert rejections == []
    assert notes == {"entry with negative feedback, which is not kept": 4}


def test_a_page_of_plain_entries_in_small_blocks():
    entries = [
        entry(FULL, own="")
        .replace("<id></id>", "")
        .replace("<classification>", "<id>i</id><classification>")
        for _ in range(50)
    ]
    for block_bytes in (100, 3000, 1 << 20):
        _, batches = read(page(*entries), limits=ImportLimits(block_bytes=block_bytes))
        numbers = [batch.place_at(row).number for batch in batches for row in range(batch.rows)]
        assert numbers == list(range(1, 51))


def test_categorizations_are_noted():
    _, notes = one("<categorizations><group/></categorizations>")
    assert notes == {"element of an entry left aside: categorizations": 1}


PAGING = (
    "<paging><next>{}/v2/entries?from=2017-10-20T00%3A00%3A00.000Z&amp;start=2001&amp;max=3000"
    "</next></paging>"
)


@pytest.mark.parametrize("host", ["", "https://elsewhere.example", "https://u:p@elsewhere.example"])
def test_the_next_page_is_kept_without_its_host(host):
    images = ' count="1" maxTimestamp="2017-10-24T15:10:00Z"'
    video = '<videos count="0" maxTimestamp="2017-10-24T17:20:00+01:00"/>'
    data = page(entry(), attributes=images, videos=video, rest=PAGING.format(host))
    reader, _ = read(data)
    assert reader.page == PageInfo(
        next="/v2/entries?from=2017-10-20T00%3A00%3A00.000Z&start=2001&max=3000",
        checkpoint="2017-10-24T17:20:00+01:00",
        complete=False,
    )
    assert "from=" not in repr(reader.page)


def test_the_last_page():
    reader, batches = read(page(entry(), rest="<paging><next/></paging>"))
    assert reader.page == PageInfo(next=None, checkpoint=None, complete=True)
    assert [batch.notes for batch in batches] == [{}]


@pytest.mark.parametrize("link", ["https://[x/", "a\tb&#233;", "x" * 9000])
def test_a_next_link_that_is_none(link):
    with pytest.raises(FormatError, match="no address"):
        read(page(rest=f"<paging><next>{link}</next></paging>"))


def test_a_time_that_is_none_is_noted():
    reader, batches = read(page(entry(), attributes=' maxTimestamp="yesterday"'))
    assert reader.page.checkpoint is None
    assert batches[-1].notes == {"maxTimestamp that is no time, left aside": 1}


def test_a_wrong_count_is_refused_unless_the_option_says_otherwise():
    data = page(entry(), attributes=' count="2"')
    with pytest.raises(FormatError, match=r"says that it has 2, but it has 1 entry;.*check_count"):
        read(data)
    rows, _, _, _ = run(data, options={"check_count": "no"})
    assert len(rows) == 1
    with pytest.raises(FormatError, match="no number"):
        read(page(attributes=' count="many"'))


def test_the_count_covers_deletions_and_rejections():
    bad = entry(own="")
    data = page(entry(), bad, entry(kind="deletedImage"), attributes=' count="3"')
    rows, retractions, rejections, _ = run(data)
    assert (len(rows), len(retractions), len(rejections)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("bad", "field", "why"),
    [
        (entry(member=""), "member", "no member"),
        (entry(member='<member id="x"/>'), "member", "number"),
        (entry(own=""), "id", "no id"),
        (entry("<id>second</id>"), "id", "two"),
        (entry('<member id="7"/>'), "member", "two"),
        (entry("<classification>A1</classification>" * 2), "classification", "two"),
        (entry("<fingerprints><md5>xyz</md5></fingerprints>"), "md5", "32 hexadecimal"),
        (entry("<fingerprints></fingerprints>"), "", "no hash"),
        (entry("<fingerprints> <md5> </md5></fingerprints>"), "", "no hash"),
        (entry(f"<classification>{'x' * 65}</classification>"), "classification", "at most 64"),
        (entry(own="x" * 300), "id", "characters"),
        ("<audio><id>1</id></audio>", "", "unknown kind"),
    ],
)
def test_one_bad_entry_is_rejected_alone(bad, field, why):
    good = entry(own="good")
    for before, after in (("", ""), ("\n  ", "\n")):
        rows, _, rejections, _ = run(page(good, before, bad, after, good.replace("good", "other")))
        assert [row.source_id for row in rows] == ["good", "other"]
        (rejection,) = rejections
        assert rejection.field == field
        assert why in rejection.reason
        assert rejection.place.number == 2
        data = page(good, before, bad)
        assert data[rejection.place.offset :].startswith(bad[:5].encode())
        assert MD5 not in rejection.reason


def test_text_in_every_way_of_writing_it():
    row, _ = one(
        "<!-- a comment with </image> --><timestamp><![CDATA[2017<10]]></timestamp>",
        "<classification>&#65;1</classification>",
        own="\n   caf&#xe9; &amp; more\n  ",
    )
    assert row.source_id == "café & more"
    assert row.updated_at == "2017<10"
    assert row.classification == Classification("ncmec", "", "A1")


@pytest.mark.parametrize(
    "data",
    [
        page(entry(FULL), namespace=""),
        page(entry(FULL), namespace=f' xmlns="{NAMESPACE}" xmlns:x="urn:x" x:y="z"'),
        b"\xef\xbb\xbf" + page(entry(FULL)),
        page(entry(FULL))
        .replace(b"<", b"<n:")
        .replace(b"<n:/", b"</n:")
        .replace(b"<n:?", b"<?")
        .replace(b"xmlns=", b"xmlns:n="),
        page(entry(FULL)).replace(b'encoding="UTF-8"', b"encoding='us-ascii'"),
    ],
)
def test_the_same_page_however_its_names_are_written(data):
    rows, _, rejections, notes = run(data)
    assert (len(rows), rejections, notes) == (1, [], {})
    assert len(rows[0].hashes) == 4


def test_elements_of_another_namespace_are_not_taken_for_entries():
    foreign = f'<x:md5 xmlns:x="urn:x">{MD5}</x:md5>'
    row, notes = one(f"<fingerprints><sha1>{'5a' * 20}</sha1>{foreign}</fingerprints>")
    assert row.hashes.keys() == {HashKind.SHA1}
    assert notes == {"fingerprint of unknown kind left aside: without a printable name": 1}


def test_unknown_parts_of_a_page_are_noted():
    rest = f"<audios><image>{'x' * 99}</image></audios><!-- x --><odd\u00e9/>"
    rows, _, _, notes = run(page(entry(), rest=rest))
    assert len(rows) == 1
    assert notes == {
        "element of unknown meaning left aside: audios": 1,
        "element of unknown meaning left aside: without a printable name": 1,
    }


def test_an_entry_that_is_listed_twice_is_handed_on_twice():
    rows, _, _, _ = run(page(entry(), entry()))
    assert rows[0] == rows[1]


def test_an_empty_page():
    assert run(page()) == ([], [], [], {})
    reader, batches = read(f'<queryResult xmlns="{NAMESPACE}"/>'.encode())
    assert batches == []
    assert reader.page.complete


def test_unknown_options_are_named():
    with pytest.raises(OptionsError, match="'profile' of format ncmec; known options: check_count"):
        read(page(), options={"profile": "x"})
    with pytest.raises(OptionsError, match="must be one of yes, no"):
        read(page(), options={"check_count": "maybe"})


def test_it_looks_like_itself():
    head = page(entry())
    assert ncmec.looks_like(Sample(head)).score >= 90
    assert ncmec.looks_like(Sample(page(entry(), namespace=""))).score == 60
    assert ncmec.looks_like(Sample(b"<status/>")) is None
    assert ncmec.looks_like(Sample(b'{"queryResult": 1}')) is None
    assert ncmec.looks_like(Sample(b"<html>queryResult</html>")) is None
    assert find_format("ncmec").tells_retractions
