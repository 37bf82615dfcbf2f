"""Text files of digests: each family's lines, ambiguous values, encodings, cut files."""

from __future__ import annotations

import codecs
import hashlib

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.registry import find_format
from hashlists.limits import ImportLimits
from hashlists.model import HashKind
from hashlists.validate import KEY_TAGS
from tests.known_files_support import likeness, md5, read, sha1, sha256, value

NAMED = {HashKind.MD5: md5, HashKind.SHA1: sha1, HashKind.SHA256: sha256}
HASHKEEPER = (
    '"file_id","hashset_id","file_name","directory","hash","file_size","date_modified",'
    '"time_modified","time_zone","comments","date_accessed","time_accessed"'
)


def text(*lines, end="\n"):
    return (end.join(lines) + end).encode()


@pytest.mark.parametrize("kind", list(NAMED))
@pytest.mark.parametrize(
    "form",
    ["{0}  SECRET", "{0} *SECRET x", "\\{0}  SEC\\nRET", "{1}  SECRET",
     "{2} (SECRET) = {0}", "{2}(SEC) = RET)= {1}", "{2} () = {0}"],
)  # fmt: skip
def test_lines_of_checksum_tools(kind, form):
    name = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA2-256"}[kind]
    digits = [NAMED[kind](seed) for seed in (1, 2)]
    outcome = read(text(*(form.format(d, d.upper(), name) for d in digits)), "digests")
    assert outcome.rejections == []
    assert outcome.column(kind) == [value(kind, 1), value(kind, 2)]
    assert outcome.keys == [KEY_TAGS[kind] + value(kind, seed) for seed in (1, 2)]
    assert outcome.places == ["line 1", "line 2"]
    assert "SEC" not in repr(outcome)


@pytest.mark.parametrize("make", [md5, sha1])
def test_bare_values(make):
    outcome = read(text(make(1), "", make(2) + " "), "digests")
    assert outcome.places == ["line 1", "line 3"]
    assert outcome.rejections == []


def test_kinds_may_be_mixed():
    data = text(f"{md5()}  a", f"{sha1()}  b", f"{sha256()}  c", f"MD5 (d) = {md5(2)}")
    outcome = read(data, "digests")
    assert [bool(each) for each in outcome.column(HashKind.MD5)] == [True, False, False, True]
    assert outcome.column(HashKind.SHA256)[2] == value(HashKind.SHA256)


def test_bare_values_of_64_digits_need_the_option():
    data = text(sha256(1), sha256(2))
    with pytest.raises(OptionsError, match=r"line 1: .* SHA-256 or a PDQ code; say --option"):
        read(data, "digests")
    for said in ("sha256", "by_length"):
        outcome = read(data, "digests", {"kind": said})
        assert outcome.column(HashKind.SHA256) == [value(HashKind.SHA256, seed) for seed in (1, 2)]


def test_a_bare_value_of_64_digits_among_others_needs_the_option():
    for data in (text(md5(), sha256()), text(f"{sha256(1)}  a", sha256(2))):
        with pytest.raises(OptionsError, match=r"line 2"):
            read(data, "digests")
        assert len(read(data, "digests", {"kind": "by_length"}).keys) == 2


def test_other_kinds_than_the_option_says_are_rejected():
    outcome = read(text(*(md5(n) for n in range(1, 9)), sha1()), "digests", {"kind": "md5"})
    assert outcome.faults == [(9, "value", "SHA-1 where all values are said to be of another kind")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "pdq"}, "must be md5, sha1, sha256 or by_length"),
        ({"form": "md5"}, "unknown option 'form' of format digests; known options: behind, kind"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(OptionsError, match=words):
        read(text(md5()), "digests", options)


@pytest.mark.parametrize(
    ("word", "kind"),
    [("MD5", HashKind.MD5), ("md5", HashKind.MD5), ("SHA-1", HashKind.SHA1),
     ("SHA-256", HashKind.SHA256), ("SHA256", HashKind.SHA256)],
)  # fmt: skip
def test_hash_sets_of_xways(word, kind):
    data = text(word, NAMED[kind](1).upper(), NAMED[kind](2).upper(), end="\r\n")
    outcome = read(data, "digests")
    assert outcome.column(kind) == [value(kind, 1), value(kind, 2)]
    assert outcome.places == ["line 2", "line 3"]
    assert likeness(data, "digests").score == 80


def test_the_first_line_and_the_option_must_agree():
    with pytest.raises(OptionsError, match="first line names another kind"):
        read(text("MD5", md5()), "digests", {"kind": "sha1"})
    assert len(read(text("MD5", md5()), "digests", {"kind": "md5"}).keys) == 1


@pytest.mark.parametrize("make", [md5, sha1])
def test_indexes_of_the_sleuth_kit(make):
    data = text(
        "0" * 41 + "|md5sum",
        "0" * 40 + "1|SECRET",
        f"{make(1).upper()}|0000000000000042",
        "0" * len(make()) + "|0000000000000001",
        f"{make(2).upper()}|0000000000001152",
    )
    outcome = read(data, "digests")
    assert outcome.places == ["line 3", "line 5"]
    assert outcome.rejections == []
    assert outcome.notes == {"all-zero value of an index left aside": 1}
    assert likeness(data, "digests").score == 95
    assert "SECRET" not in repr(outcome)


def test_all_zero_values_are_left_aside_wherever_they_stand():
    rows = [f"{md5(n)}|{n:016d}" for n in range(1, 5)]
    rows.insert(3, "0" * 32 + "|0000000000000009")
    data = text("0" * 41 + "|md5sum", "0" * 40 + "1|x", *rows)
    outcome = read(data, "digests", limits=ImportLimits(max_batch_rows=2))
    assert outcome.rejections == []
    assert len(outcome.keys) == 4
    assert sum(outcome.notes.values()) == 1


def test_an_index_of_known_good_files_is_refused():
    data = text("0" * 41 + "|nsrl", "0" * 40 + "1|x", f"{md5()}|0000000000000042")
    with pytest.raises(FormatError, match=r"line 1: .*made of an NSRL set.*as nsrl-csv"):
        read(data, "digests")


def hashkeeper(*rows):
    return (HASHKEEPER + "\r\n" + "".join(row + "\r\n" for row in rows)).encode("latin-1")


def hashkeeper_row(seed, name="SECRET"):
    return f'{seed},7,"{name}","C:\\","{md5(seed)}",{480 + seed},"","","","été","",""'


def test_hashkeeper():
    data = hashkeeper(hashkeeper_row(1), hashkeeper_row(2, 'a, ""b""'))
    outcome = read(data, "digests")
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, 1), value(HashKind.MD5, 2)]
    assert outcome.sizes == [481, 482]
    assert "SECRET" not in repr(outcome)
    assert likeness(data, "digests").score == 95
    for codec in ("utf-8-sig", "utf-16"):
        assert read(data.decode("latin-1").encode(codec), "digests").sizes == [481, 482]


def test_hashkeeper_is_of_md5_alone():
    with pytest.raises(OptionsError, match="values are MD5"):
        read(hashkeeper(hashkeeper_row(1)), "digests", {"kind": "sha1"})


def test_a_cut_hashkeeper_file_is_refused():
    with pytest.raises(FormatError, match="cut off"):
        read(hashkeeper(hashkeeper_row(1))[:-20], "digests")


def test_comments_are_left_aside():
    outcome = read(text("# made by SECRET", md5()), "digests")
    assert outcome.notes == {"comment left aside": 1}
    assert outcome.places == ["line 2"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (hashlib.sha512(b"x").hexdigest() + "  a", "128 hexadecimal digits, which is SHA-512"),
        ("0123456789", "10 hexadecimal digits;"),
        ("nothing at all", "no digest"),
        (f"SHA512 (a) = {hashlib.sha512(b'x').hexdigest()}", "kind that lists do not hold"),
        (f"MD5 (a) = {'1' * 40}", "names one kind of digest, but its value has 40 digits"),
        (md5() + "x", "no digest"),
        (md5() + "|12", "no digest"),
        ("0" * 32, "bits are all equal"),
        (hashlib.md5(b"", usedforsecurity=False).hexdigest(), "MD5 of the empty file"),
    ],
)
def test_wrong_lines_are_rejected_alone(line, words):
    outcome = read(text(md5(1), line, md5(2)), "digests")
    ((place, name, reason),) = outcome.faults
    assert (place, name) == (2, "value")
    assert words in reason
    assert outcome.places == ["line 1", "line 3"]
    assert md5()[:8] not in reason


@pytest.mark.parametrize(
    "data",
    [b"hello\nworld\n", b"{}\n", b"MD5\n", b"PK\x03\x04", b"# only a comment\n", b"\n",
     b"md5,name\n", b"x" * 70_000],
)  # fmt: skip
def test_another_file_is_refused(data):
    with pytest.raises(FormatError, match="none of the first lines holds a digest"):
        read(data, "digests")
    assert likeness(data, "digests") is None


@pytest.mark.parametrize("kept", [5, 10, 31])
def test_a_value_that_was_cut_is_refused(kept):
    with pytest.raises(FormatError, match=r"line 2.*cut off"):
        read(text(md5(1)) + md5(2)[:kept].encode(), "digests")


@pytest.mark.parametrize("kept", [32, 40])
def test_a_value_cut_to_the_length_of_another_kind_is_refused(kept):
    data = text(f"{sha256(1)}  a") + sha256(2)[:kept].encode()
    with pytest.raises(FormatError, match=r"line 2.*another length than all others"):
        read(data, "digests")


def test_a_whole_last_line_without_end_is_taken_with_a_note():
    outcome = read(text(md5(1)) + md5(2).encode(), "digests")
    assert len(outcome.keys) == 2
    assert outcome.notes == {"last line without line end taken as whole": 1}
    assert len(read(md5().encode(), "digests").keys) == 1


@pytest.mark.parametrize(
    "encode",
    [
        lambda data: codecs.BOM_UTF8 + data,
        lambda data: data.decode().encode("utf-16"),
        lambda data: data.decode().encode("utf-16-le"),
        lambda data: data.decode().encode("utf-16-be"),
        lambda data: codecs.BOM_UTF16_BE + data.decode().encode("utf-16-be"),
        lambda data: data.replace(b"name", b"n\xe9me"),
        lambda data: data.replace(b"name", "ñame\x85\u2028".encode()),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: data.replace(b"\n", b"\r\n"),
    ],
)
def test_encodings_and_line_ends(encode):
    data = encode(text(f"{md5(1)}  name", f"{md5(2)} *name"))
    for size in (1, 5, 1 << 19):
        outcome = read(data, "digests", limits=ImportLimits(block_bytes=size))
        assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, 1), value(HashKind.MD5, 2)]
        assert outcome.rejections == []
        assert outcome.places == ["line 1", "line 2"]


def test_lists_with_zeros_for_line_ends_are_refused():
    data = f"{md5(1)}  a\0{md5(2)}  b\0".encode()
    with pytest.raises(FormatError, match=r"line 1: .*md5sum --zero"):
        read(data, "digests")


def test_an_absurd_line_is_refused():
    with pytest.raises(FormatError, match=r"line 2: the line exceeds 262144 characters"):
        read(text(md5(), md5() + "  " + "x" * 300_000), "digests")


@pytest.mark.parametrize(
    ("name", "words"),
    [("set.hke", "HashKeeper's CSV"), ("001.XHD", "text .its first line is MD5"),
     ("RHDB", "PhotoDNA"), ("photos.rhdb", "PhotoDNA")],
)  # fmt: skip
def test_files_that_are_never_read_are_named(tmp_path, name, words):
    path = tmp_path / name
    path.write_bytes(b"\x01\x02\x00\xff" * 50)
    with path.open("rb") as stream, pytest.raises(FormatError, match=words):
        read(stream, "digests")
    assert likeness(b"\x01\x02", "digests", name) is None


@pytest.mark.parametrize(
    ("data", "score", "words"),
    [
        (text(f"{md5()}  a", f"{sha1()} *b"), 70, "SHA-1, MD5"),
        (text(md5(1), md5(2)), 50, "one value on each line"),
        (text(sha256(1)), 40, "or PDQ codes"),
        (text(f"SHA256 (a) = {sha256()}"), 70, "SHA-256"),
    ],
)
def test_likeness(data, score, words):
    seen = likeness(data, "digests")
    assert seen.score == score
    assert words in seen.why


def test_the_format_says_nothing_of_harm():
    assert find_format("digests").harm is None
    assert not find_format("digests").known_good


class TestTables:
    """Rows of a table are never taken for lines of a digest and a name."""

    HEADER = "MD5\tStatus\tClass"
    ROWS = tuple(f"{md5(n)}\t{('active', 'removed')[n % 2]}\tA" for n in range(30))

    @pytest.mark.parametrize("header", [HEADER, "Prüfsumme\tKategorie\tZustand", None])
    @pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
    def test_a_table_of_tabs_is_refused_and_looks_like_none(self, header, codec):
        lines = [*([header] if header else []), *self.ROWS]
        data = "\n".join([*lines, ""]).encode(codec)
        assert likeness(data, "digests") is None
        with pytest.raises(FormatError, match=r"row of a table: import it as csv"):
            read(data, "digests")

    def test_a_row_of_a_table_among_lists_is_rejected(self):
        outcome = read(
            text(*(f"{md5(n)}  a{n}" for n in range(9)), f"{md5(9)}\tremoved"), "digests"
        )
        assert [(line, field) for line, field, _ in outcome.faults] == [(10, "value")]
        assert "row of a table" in outcome.faults[0][2]

    @pytest.mark.parametrize("between", [" ", "  "])
    def test_few_words_behind_the_values_are_asked_about(self, between):
        data = text(*(f"{md5(n)}{between}{('active', 'removed')[n % 2]}" for n in range(8)))
        with pytest.raises(OptionsError, match=r"come again and again behind the values"):
            read(data, "digests")
        assert len(read(data, "digests", {"behind": "names"}).keys) == 8

    @pytest.mark.parametrize("name", [" *removed", "  a/removed", "  IMG_1.JPG", "  C:\\removed"])
    def test_the_same_names_of_files_are_names(self, name):
        assert len(read(text(*(md5(n) + name for n in range(9))), "digests").keys) == 9

    def test_names_that_come_again_here_and_there_are_names(self):
        data = text(*(f"{md5(n)}  {n % 6}.jpg" for n in range(9)))
        assert len(read(data, "digests").keys) == 9

    def test_what_was_read_from_standard_input_has_no_name(self):
        data = text(*(f"{md5(n)}  -" for n in range(9)))
        assert len(read(data, "digests").keys) == 9

    def test_names_behind_tabs_are_read_where_whoever_imports_says_so(self):
        data = text(*(f"{md5(n)}\tSECRET {n}" for n in range(9)))
        outcome = read(data, "digests", {"behind": "names"})
        assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, n) for n in range(9)]
        with pytest.raises(OptionsError, match="behind must be names"):
            read(data, "digests", {"behind": "status"})

    def test_a_tab_at_the_end_of_a_line_is_no_cell(self):
        assert len(read(text(md5(1) + "\t", md5(2) + " \t"), "digests").keys) == 2
