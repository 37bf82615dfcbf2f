"""The hashlookup format: records, malicious and little trusted ones, what is no record."""

from __future__ import annotations

import io
import json

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.registry import find_format, open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Harm, HashKind
from hashlists.validate import KEY_TAGS
from tests.known_files_support import likeness, md5, read, sha1, sha256, value


def record(seed=1, **members):
    made = {
        "CRC32": "0F1E2D3C",
        "FileName": "./SECRET",
        "FileSize": "1234",
        "MD5": md5(seed).upper(),
        "SHA-1": sha1(seed).upper(),
        "SHA-256": sha256(seed).upper(),
        "ProductCode": {"ProductName": "SECRET", "MD5": md5(99)},
        "parents": [{"MD5": md5(98), "SHA-1": sha1(98)}],
        "hashlookup:trust": 55,
    }
    made.update(members)
    return {name: each for name, each in made.items() if each is not ...}


def lines(*records):
    return "".join(json.dumps(each) + "\n" for each in records).encode()


def test_digests_and_size_are_taken_and_nothing_else():
    outcome = read(lines(record(1), record(2, FileSize=7)), "hashlookup")
    for kind in (HashKind.MD5, HashKind.SHA1, HashKind.SHA256):
        assert outcome.column(kind) == [value(kind, 1), value(kind, 2)]
    assert outcome.sizes == [1234, 7]
    assert outcome.keys[0] == KEY_TAGS[HashKind.SHA1] + value(HashKind.SHA1)
    assert outcome.rejections == []
    assert "SECRET" not in repr(outcome)


def test_one_digest_is_enough_and_lower_case_is_taken():
    outcome = read(lines({"SHA-256": sha256()}), "hashlookup")
    assert outcome.column(HashKind.SHA256) == [value(HashKind.SHA256)]
    assert outcome.keys == [KEY_TAGS[HashKind.SHA256] + value(HashKind.SHA256)]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_with_a_member_twice_is_rejected_alone(end):
    data = lines(record(1), record(2), record(3, PLACE=0)).rstrip() + end
    data = data.replace(b'"PLACE"', b'"KnownMalicious": "x", "KnownMaliciou\\u0073"')
    outcome = read(data, "hashlookup")
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, 1), value(HashKind.MD5, 2)]
    assert [(each.place.number, each.field) for each in outcome.rejections] == [
        (3, "KnownMalicious")
    ]
    assert outcome.notes == {}


@pytest.mark.parametrize("said", ["malshare.com", "", None, False, ["x"], {"a": 1}])
def test_known_malicious_files_are_never_good(said):
    outcome = read(lines(record(1), record(2, KnownMalicious=said)), "hashlookup")
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, 1)]
    assert outcome.places == ["line 1"]
    assert outcome.notes == {"record of a known malicious file left aside": 1}


def test_min_trust():
    data = lines(
        record(1, **{"hashlookup:trust": 80}),
        record(2, **{"hashlookup:trust": 20}),
        record(3, **{"hashlookup:trust": ...}),
        record(4, **{"hashlookup:trust": "50"}),
        record(5, **{"hashlookup:trust": "much"}),
    )
    assert len(read(data, "hashlookup").keys) == 5
    outcome = read(data, "hashlookup", {"min_trust": "50"})
    assert outcome.places == ["line 1", "line 4"]
    assert outcome.notes == {"record of too little trust left aside": 3}


@pytest.mark.parametrize("text", ["101", "-1", "x", "", "5.5"])
def test_min_trust_is_a_number(text):
    with pytest.raises(OptionsError, match="min_trust must be a number of 0 to 100"):
        read(lines(record()), "hashlookup", {"min_trust": text})


def test_unknown_options():
    with pytest.raises(OptionsError, match="known options: min_trust"):
        read(lines(record()), "hashlookup", {"x": "1"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[1]", "another type"),
        (b'{"MD5": 5}', "another type"),
        (b"{", "no JSON object"),
        (b'{"MD5": "\xff"}', "no JSON object"),
        (b"text", "no JSON object"),
        (b'{"FileName": "a"}', "no hash"),
        (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (json.dumps(record(3, MD5="AB")).encode(), "not an MD5"),
    ],
)
def test_wrong_lines_are_rejected_alone(line, words):
    outcome = read(lines(record(1)) + line + b"\n\n" + lines(record(2)), "hashlookup")
    ((place, _, reason),) = outcome.faults
    assert place == 2
    assert words in reason
    assert outcome.places == ["line 1", "line 4"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"[" + lines(record()).strip() + b"]", "one on a line .jq -c '"),
        (json.dumps(record(), indent=2).encode(), "spread over several lines"),
        (b"md5,sha1\n", "no JSON object"),
        (b"\n\n", "no JSON object"),
    ],
)
def test_another_file_is_refused(data, words):
    with pytest.raises(FormatError, match=words):
        read(data, "hashlookup")


@pytest.mark.parametrize("kept", [1, 30, 100])
def test_a_cut_record_is_refused(kept):
    with pytest.raises(FormatError, match=r"line 2.*cut off"):
        read(lines(record(1)) + lines(record(2))[:kept], "hashlookup")


def test_a_whole_last_line_without_end_is_taken_with_a_note():
    outcome = read(lines(record(1), record(2))[:-1], "hashlookup")
    assert len(outcome.keys) == 2
    assert outcome.notes == {"last line without line end taken as whole": 1}


def test_marks_utf16_and_small_blocks():
    data = lines(record(1, FileName="été"), record(2))
    whole = read(data, "hashlookup").keys
    assert read(b"\xef\xbb\xbf" + data, "hashlookup").keys == whole
    assert read(data.decode().encode("utf-16"), "hashlookup").keys == whole
    limits = ImportLimits(block_bytes=11, max_batch_rows=1)
    assert read(data, "hashlookup", limits=limits).keys == whole


def test_a_record_with_thousands_of_children_is_read():
    outcome = read(lines(record(children=[sha1(9)] * 20_000)), "hashlookup")
    assert len(outcome.keys) == 1


def test_likeness_progress_and_harm():
    data = lines(record())
    assert likeness(data, "hashlookup").score == 90
    plain = lines(record(**{"hashlookup:trust": ...}))
    assert likeness(plain, "hashlookup").score == 65
    for other in (b"[]", b'{"value": 1}\n', b"{x\n", b'{"MD5": "x"}\n'):
        assert likeness(other, "hashlookup") is None
    reader = open_reader(io.BytesIO(data), format="hashlookup")
    list(reader)
    assert reader.bytes_read == len(data)
    assert reader.header.format == "hashlookup"
    assert iter(reader) is reader
    assert find_format("hashlookup").harm is Harm.KNOWN_GOOD
