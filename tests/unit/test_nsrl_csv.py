"""NSRLFile.txt: both published headers, odd names, encodings, cut files."""

from __future__ import annotations

import codecs

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.registry import find_format, open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Harm, HashKind
from hashlists.validate import KEY_TAGS
from tests.known_files_support import likeness, md5, read, sha1, sha256, value

V2 = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"'
V1 = '"SHA-1","FileName","FileSize","ProductCode","OpSystemCode","MD4","MD5","CRC32","SpecialCode"'


def line(seed=1, name="SECRET.txt", size=488):
    return f'"{sha1(seed).upper()}","{md5(seed).upper()}","0F1E2D3C","{name}",{size},3095,"WIN",""'


def document(*lines, header=V2, end="\r\n"):
    return (end.join([header, *lines]) + end).encode("latin-1")


def test_digests_and_size_are_taken_and_nothing_else():
    outcome = read(document(line(1), line(2, size=7)), "nsrl-csv")
    assert outcome.rejections == []
    assert outcome.column(HashKind.SHA1) == [value(HashKind.SHA1, seed) for seed in (1, 2)]
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, seed) for seed in (1, 2)]
    assert outcome.sizes == [488, 7]
    assert outcome.keys[0] == KEY_TAGS[HashKind.SHA1] + value(HashKind.SHA1)
    assert outcome.places == ["line 2", "line 3"]
    assert "SECRET" not in repr(outcome)
    assert all(batch.classifications == [None, None] for batch in outcome.batches)


def test_the_first_version_has_its_own_order():
    text = f'"{sha1()}","SECRET, a.txt",488,103,"NT","{"1" * 32}","{md5()}","0F1E2D3C",""'
    data = document(text, header=V1)
    assert open_reader_version(data) == "1"
    outcome = read(data, "nsrl-csv")
    assert outcome.column(HashKind.SHA1) == [value(HashKind.SHA1)]
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5)]
    assert outcome.sizes == [488]


def open_reader_version(data):
    import io

    return open_reader(io.BytesIO(data), format="nsrl-csv").header.version


def test_a_column_of_sha256_is_taken():
    header = '"SHA-256","SHA-1","MD5","FileName","FileSize"'
    data = document(f'"{sha256()}","{sha1()}","{md5()}","x","12"', header=header)
    outcome = read(data, "nsrl-csv")
    assert outcome.column(HashKind.SHA256) == [value(HashKind.SHA256)]
    assert outcome.sizes == [12]
    assert open_reader_version(data) == "2"


@pytest.mark.parametrize("end", ["", "\r\n"])
@pytest.mark.parametrize("code", ['"M"', "M", '"m "'])
def test_malicious_files_are_no_known_good(code, end):
    bad = line(2).removesuffix('""') + code
    for lines, kept in (([line(1), bad, line(3)], [1, 3]), ([line(1), bad], [1]), ([bad], [])):
        outcome = read(document(*lines, end="\n").rstrip() + end.encode(), "nsrl-csv")
        assert outcome.keys == [
            KEY_TAGS[HashKind.SHA1] + value(HashKind.SHA1, seed) for seed in kept
        ]
        assert outcome.rejections == []
        assert outcome.notes["record of a known malicious file left aside"] == 1


@pytest.mark.parametrize(
    "name",
    ['a "quoted" name', "a,b", '","', "été.txt", "", '"', "a\x85b\x1cc", '",123,"'],
)
def test_names_may_hold_anything(name):
    outcome = read(document(line(name=name)), "nsrl-csv")
    assert outcome.rejections == []
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5)]
    assert outcome.sizes == [488]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_line_ends_and_marks(end, mark):
    outcome = read(mark + document(line(1), "", line(2), end=end), "nsrl-csv")
    assert outcome.places == ["line 2", "line 4"]
    assert outcome.rejections == []


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16(codec):
    data = document(line(name="été")).decode("latin-1").encode(codec)
    assert read(data, "nsrl-csv").sizes == [488]


def test_a_line_that_does_not_fit_is_rejected_alone():
    wrong = '"short","x"'
    outcome = read(document(line(1), wrong, line(2)), "nsrl-csv")
    assert [place for place, _, _ in outcome.faults] == [3]
    assert "columns" in outcome.faults[0][2]
    assert outcome.places == ["line 2", "line 4"]


def test_digests_of_the_empty_file_and_wrong_lengths_are_rejected():
    empty = line().replace(sha1().upper(), "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709")
    short = line().replace(md5().upper(), "ABC")
    outcome = read(document(empty, short), "nsrl-csv")
    assert [(place, name) for place, name, _ in outcome.faults] == [(2, "SHA-1"), (3, "MD5")]
    assert "ABC" not in repr(outcome.rejections)


@pytest.mark.parametrize("kept", [20, 60, 80, 110])
def test_a_cut_last_line_is_refused(kept):
    data = document(line(1)) + line(2).encode()[:kept]
    with pytest.raises(FormatError, match=r"line 3.*cut off"):
        read(data, "nsrl-csv")


def test_a_whole_last_line_without_end_is_taken_with_a_note():
    outcome = read(document(line(1))[:-2], "nsrl-csv")
    assert len(outcome.keys) == 1
    assert outcome.notes == {"last line without line end taken as whole": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf",
        b"\n\n",
        b"md5,sha1\n1,2\n",
        b'"MfgCode","MfgName"\n',
        b'"FileName","FileSize","ProductCode"\n',
        b'"SHA-1","SHA-1","FileName"\n',
        b"x" * 100_000,
    ],
)
def test_another_file_is_refused(data):
    with pytest.raises(FormatError, match="first line does not name the columns"):
        read(data, "nsrl-csv")


def test_an_empty_file_is_refused():
    with pytest.raises(FormatError, match="the file is empty"):
        read(b"", "nsrl-csv")


@pytest.mark.parametrize(
    "start",
    [b"INSERT INTO METADATA VALUES", b"-- delta\nBEGIN TRANSACTION;", b"update FILE set x",
     b"\xef\xbb\xbf/* x */ DELETE FROM FILE", b"PRAGMA foreign_keys=off;", b"DROP TABLE FILE"],
)  # fmt: skip
@pytest.mark.parametrize("format_name", ["nsrl-csv", "nsrl-sqlite", "digests", "hashlookup"])
def test_quarterly_changes_are_refused_with_the_reason(start, format_name):
    with pytest.raises(FormatError, match="statements of a foreign file are never run"):
        read(start + b" (1);\n", format_name)


def test_options_are_refused():
    with pytest.raises(OptionsError, match="unknown option 'x' of format nsrl-csv; it has none"):
        read(document(line()), "nsrl-csv", {"x": "1"})


def test_an_endless_line_is_refused():
    limits = ImportLimits(max_line_chars=200, block_bytes=64)
    with pytest.raises(FormatError, match=r"line 2: the line exceeds 200 characters"):
        read(document(line(name="x" * 300)), "nsrl-csv", limits=limits)


def test_zero_characters_are_refused():
    with pytest.raises(FormatError, match=r"line 3: the line holds zero characters"):
        read(document(line(1), line(2, name="a\0b")), "nsrl-csv")


def test_small_blocks_give_the_same():
    data = document(*(line(seed, name='a,"b') for seed in range(1, 8)))
    whole = read(data, "nsrl-csv")
    for size in (1, 7, 100):
        limits = ImportLimits(block_bytes=size, max_batch_rows=2)
        parts = read(data, "nsrl-csv", limits=limits)
        assert parts.keys == whole.keys
        assert parts.places == whole.places


def test_progress_reaches_the_end():
    import io

    data = document(line(1), line(2))
    reader = open_reader(io.BytesIO(data), format="nsrl-csv")
    assert reader.bytes_read <= len(data)
    list(reader)
    assert reader.bytes_read == len(data)
    assert iter(reader) is reader


def test_it_is_told_by_its_header_and_is_known_good():
    seen = likeness(document(line()), "nsrl-csv")
    assert seen.score == 95
    assert "SHA-1" in seen.why
    assert likeness(b"md5,sha1\n", "nsrl-csv") is None
    assert find_format("nsrl-csv").harm is Harm.KNOWN_GOOD
