"""However a page is written, cut into blocks and read, it means the same.

Entries of plain shape never reach the parser. Whether that is sound shows here: with the pattern
taken away, every page, whole or damaged, must give the same entries at the same places, the same
rejections, or the same error.
"""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from hashlists.errors import HashlistsError
from hashlists.formats import ncmec
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import NO_ONWARD_SHARING
from hashlists.validate import validate

NEVER = re.compile(r"(?!)")
SPACES = st.text(" \t\r\n", max_size=3)
TEXTS = st.text(st.sampled_from("aZ09-_.:é&<>]漢 "), min_size=1, max_size=6)


def outcome(data, limits, options=None):
    """All that a page gives, or the error that it ends in."""
    found = []
    notes = {}
    try:
        reader = open_reader(io.BytesIO(data), format="ncmec", limits=limits, options=options)
        for batch in reader:
            result = validate(batch, default_handling=NO_ONWARD_SHARING, limits=limits)
            entries = result.entries
            found += [
                (str(entries.place_at(row)), entries.keys[row], entries.content_digests[row])
                for row in range(len(entries))
            ]
            found += [("retracted", each.key, each.reason) for each in result.retractions]
            found += [(str(each.place), each.field, each.reason) for each in result.rejections]
            for note, times in batch.notes.items():
                notes[note] = notes.get(note, 0) + times
    except HashlistsError as error:
        return str(error)
    return sorted(map(str, found)), notes, reader.page


def by_both_ways(data, limits):
    lifted = outcome(data, limits)
    with mock.patch.object(ncmec, "_PLAIN_ENTRY", NEVER):
        parsed = outcome(data, limits)
    assert lifted == parsed
    return lifted


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@st.composite
def feedback(draw, gap):
    """Opinions as documented, and a little beside."""
    member = st.integers(0, 3).map(lambda number: f'<member id="{number}">x</member>')
    stamp = draw(st.sampled_from(["", ' timestamp="2023-06-01T12:48:14Z"', ' other="1"']))
    members = f"<members{stamp}>{gap}{''.join(draw(st.lists(member, max_size=3)))}</members>"
    reason = '<reason guid="0123" name="Example Reason 1" type="Sha1"/>'
    opinions = [
        "",
        f'<affirmativeFeedback type="Md5">{gap}{members}{members}</affirmativeFeedback>',
        f'<affirmativeFeedback type="Md5">{reason}</affirmativeFeedback>',
        f"<negativeFeedback><reasons>{reason}{gap}{members}</reasons></negativeFeedback>",
        "<negativeFeedback/>",
    ]
    inner = gap.join(draw(st.lists(st.sampled_from(opinions), max_size=3)))
    return draw(
        st.sampled_from(
            [
                "<feedback/>",
                "<feedback></feedback>",
                f'<feedback lastUpdateTimestamp="x">{inner}</feedback>',
                f"<feedback>{inner}</feedback>",
            ]
        )
    )


@st.composite
def entries(draw):
    """An entry: mostly plain, sometimes with what only the parser reads."""
    gap = draw(SPACES)
    kind = draw(st.sampled_from(["image", "image", "video", "deletedImage"]))
    size = draw(st.integers(0, 4))
    tags = [("md5", 16), ("sha1", 20), ("pdna", 144), ("pdq", 32)][:size]
    hashes = "".join(
        f"{gap}<{tag}>{draw(st.binary(min_size=count, max_size=count)).hex()}</{tag}>"
        for tag, count in tags
    )
    parts = [
        f'<member id="{draw(st.integers(0, 99))}">{escaped(draw(TEXTS))}</member>',
        f"<timestamp>{escaped(draw(TEXTS))}</timestamp>",
        f"<id>{escaped(draw(TEXTS))}</id>",
        f"<classification>{escaped(draw(TEXTS))}</classification>",
        f"<fingerprints>{hashes}{gap}</fingerprints>",
        draw(st.sampled_from(["", "<!-- </image> -->", "<x/>"]) | feedback(gap)),
    ]
    if draw(st.sampled_from([False, False, True])):
        parts = draw(st.permutations(parts))
    return f"{gap}<{kind}>{gap}{gap.join(parts)}{gap}</{kind}>"


@given(st.lists(entries(), max_size=6), st.sampled_from([1, 7, 100, 1000, 1 << 20]))
def test_entries_of_plain_shape_mean_what_the_parser_says(inner, block_bytes):
    data = (
        f'<queryResult xmlns="{ncmec.NAMESPACE}"><images count="{len(inner)}">{"".join(inner)}'
        "</images></queryResult>"
    ).encode()
    found = by_both_ways(data, ImportLimits(block_bytes=block_bytes))
    assert not isinstance(found, str)
    assert found == by_both_ways(data, ImportLimits())


def test_damaged_pages_mean_what_the_parser_says(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "fuzz"))
    fuzzer = importlib.import_module("fuzz_ncmec")
    shared = importlib.import_module("list_fuzzing")
    corpus = fuzzer.corpus()
    errors = 0
    for number in range(300):
        (data, _), limits = shared.mutated(corpus, fuzzer.TOKENS, 3, number)
        errors += isinstance(by_both_ways(data, limits), str)
    assert 0 < errors < 300
