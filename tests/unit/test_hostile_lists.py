"""Files that are cut, foreign, swollen or made to mislead, given to every reader.

Each must end in a typed error whose words say what is wrong, where it stands as far as there is a
place, and what to do; or in rejections of the records at fault. No word may repeat a hash of the
file, and neither time nor memory may grow with what the file claims.
"""

from __future__ import annotations

import gzip
import io
import re
import time
import tracemalloc

import pytest

from hashlists.errors import FormatError, HashlistsError, OptionsError, TooManyRejectionsError
from hashlists.formats.registry import find_format, format_names, open_reader
from hashlists.importer import check_beginning
from hashlists.limits import ImportLimits
from hashlists.model import NO_ONWARD_SHARING, Harm
from hashlists.validate import validate
from tests import list_samples
from tests.archive_support import overlapping_zip, zipped
from tests.list_samples import SAMPLES, Record

FORMATS = sorted(SAMPLES)
JSON = ("misp", "stix", "stopncii", "tat", "threatexchange", "vics")
JSON_LINES = ("hashlookup", "jsonl")
TABLES = ("csv", "icse")
LINES = (*JSON_LINES, *TABLES, "digests", "nsrl-csv", "threatexchange-text")
SQLITE = ("nsrl-sqlite", "tsk")
TEXTS = (*JSON, *LINES, "ncmec")
REFUSALS = (FormatError, OptionsError, TooManyRejectionsError)
#: A record, line, row or byte that an editor can find.
PLACE = re.compile(r"\b(?:record|line|row|byte) [0-9]+|inside its head|has [0-9]+ bytes")
#: What to do.
ADVICE = re.compile(
    r"\bget |inspect|import|export|expected|option|its columns are|write|written|copy|must|at most"
)
LONGEST_MESSAGE = 700
HASH_LIKE = re.compile(r"[0-9A-Fa-f]{16}")
_MIB = 1024 * 1024


def read(data, name, options=None, limits=None):
    """Reads a file to its end: how many entries there are, and the reasons of rejections."""
    limits = limits or ImportLimits()
    options = SAMPLES[name].options if options is None else options
    reader = open_reader(io.BytesIO(data), format=name, options=options, limits=limits)
    entries, problems = 0, []
    for batch in reader:
        result = validate(batch, default_handling=NO_ONWARD_SHARING, limits=limits)
        entries += len(result.entries)
        problems += [f"{each.place}: {each.field}: {each.reason}" for each in result.rejections]
    return entries, problems


def refused(data, name, options=None, limits=None, error=FormatError):
    """The words with which a file is refused."""
    with pytest.raises(error) as caught:
        read(data, name, options, limits)
    return checked(str(caught.value))


def checked(message):
    """A message that may be shown: short, and without any value of the file."""
    assert message
    assert len(message) <= LONGEST_MESSAGE
    assert not HASH_LIKE.search(message), "a message repeats what may be a hash"
    assert message.isprintable()
    return message


def refused_or_rejected(data, name, limits=None):
    """The words about a file that may be refused as a whole or record by record."""
    try:
        _, problems = read(data, name, limits=limits)
    except HashlistsError as error:
        return checked(str(error))
    assert problems
    return checked(problems[0])


def check_file(path, name, data, limits=None):
    """Reads a file as an import does before anything is written."""
    path.write_bytes(data)
    check_beginning(
        path,
        format=name,
        list_name="a-list",
        harm=find_format(name).harm or Harm.TEST,
        options=SAMPLES[name].options,
        limits=limits or ImportLimits(),
    )


def test_every_reader_takes_part():
    assert set(format_names()) == SAMPLES.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_the_honest_file_is_read(name):
    assert read(SAMPLES[name].file(), name) == (3, [])


class TestCutFiles:
    @pytest.mark.parametrize("name", FORMATS)
    def test_inside_a_record(self, name):
        """Wherever the last record is cut, but for where what is left is a whole one."""
        sample = SAMPLES[name]
        shorter, whole = sample.file(2), sample.file(3)
        start = min(len(shorter), len(whole) - 1) if name in LINES else len(whole) * 2 // 3
        # Behind a whole value the rest of a line, such as a file's name, is not looked at.
        value = list_samples.raw(sample.kinds[-1], 3).hex().encode()
        stop = whole.rfind(value) + len(value) - 1 if name in LINES else len(whole) - 1
        places = range(start + 1, stop, max(1, (stop - start) // 9))
        assert places
        for at in places:
            message = refused(whole[:at], name)
            assert "cut off" in message or "damaged" in message
            assert ADVICE.search(message), message
            if name not in (*SQLITE, "parquet"):
                assert PLACE.search(message), message

    @pytest.mark.parametrize("name", FORMATS)
    def test_to_nothing(self, name):
        message = refused(b"", name)
        assert re.search("empty|ends|cut off|no header|neither|not ", message)


class TestWrongFormats:
    @pytest.mark.parametrize("name", FORMATS)
    def test_a_file_of_each_other_format(self, name, tmp_path):
        taken, unhelpful = [], []
        for other in FORMATS:
            if other == name:
                continue
            try:
                check_file(tmp_path / "file", name, SAMPLES[other].file())
            except REFUSALS as error:
                if not ADVICE.search(checked(str(error))):
                    unhelpful.append((other, str(error)))
            else:
                taken.append(other)
        assert (taken, unhelpful) == ([], [])

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize(
        "data",
        [
            b"\x00" * 4096,
            b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\x01" * 500,
            b"%PDF-1.7\n" + b"x" * 500,
            b"<!DOCTYPE html><html><body>Please sign in</body></html>\n",
            b'{"error": "unauthorized"}\n',
            b"[]\n",
            b"Dear colleague,\nhere is the list.\n",
            b"\x80\x04\x95" + b"x" * 100,
        ],
        ids=["zeros", "jpeg", "pdf", "login page", "error", "array", "letter", "pickle"],
    )
    def test_what_is_no_list_at_all(self, name, data, tmp_path):
        with pytest.raises(REFUSALS) as caught:
            check_file(tmp_path / "file", name, data)
        checked(str(caught.value))


class TestByteOrderMarks:
    @pytest.mark.parametrize("name", TEXTS)
    def test_utf_8_with_a_mark_is_read(self, name):
        assert read(b"\xef\xbb\xbf" + SAMPLES[name].file(), name) == (3, [])

    @pytest.mark.parametrize("name", TEXTS)
    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_utf_16_is_read_or_named(self, name, encoding):
        mark = "\ufeff".encode(encoding)
        data = mark + SAMPLES[name].file().decode().encode(encoding)
        if name in ("digests", "hashlookup", "nsrl-csv"):
            assert read(data, name) == (3, [])
            return
        message = refused(data, name, error=(FormatError, OptionsError))
        assert "UTF-16" in message or "UTF-8" in message or "utf-16" in message
        if name in TABLES:
            assert read(data, name, {**SAMPLES[name].options, "encoding": "utf-16"}) == (3, [])


class TestAbsurdLengths:
    @pytest.mark.parametrize("name", [name for name in FORMATS if name != "encase"])
    @pytest.mark.parametrize("size", [1_000, 300_000, 5 * _MIB])
    def test_a_hash_of_any_length_is_told_and_not_shown(self, name, size):
        sample = SAMPLES[name]
        good = sample.records(2)
        kind = sample.kinds[0]
        swollen = Record(3, {**sample.record(3).hashes, kind: "ab" * (size // 2)}, good[0].word)
        data = sample.make([good[0], swollen, good[1]])
        seconds, peak = time.process_time(), 0
        tracemalloc.start()
        try:
            message = refused_or_rejected(data, name)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert PLACE.search(message), message
        assert peak < 64 * _MIB
        assert time.process_time() - seconds < 30

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet", "ncmec", "vics", "tat"])
    def test_an_id_or_class_of_any_length(self, name):
        sample = SAMPLES[name]
        good = sample.records(1)[0]
        for changed in (
            Record("9" * 400, sample.record(3).hashes, good.word),
            Record(3, sample.record(3).hashes, "7" * 400),
        ):
            if name == "vics" and changed.number == 3:
                continue  # a category of 400 digits is no JSON that Python would make
            entries, problems = read(sample.make([good, changed]), name)
            assert entries == 1
            (problem,) = problems
            assert PLACE.search(checked(problem))


NESTED = 20_000


class TestDeepNesting:
    @pytest.mark.parametrize("name", JSON)
    @pytest.mark.parametrize("opening", [b"[", b'{"a":'])
    def test_beside_the_records(self, name, opening):
        """Cut at that, so that no reader gets by with counting brackets."""
        data = b'{"x": ' + opening * NESTED
        message = refused(data, name)
        assert re.search("nested|cut off", message), message

    @pytest.mark.parametrize("name", [*JSON, *JSON_LINES])
    def test_inside_a_record(self, name):
        sample = SAMPLES[name]
        whole = sample.make(sample.records(2))
        deep = b"[" * NESTED + b"]" * NESTED
        at = whole.index(b"{", whole.index(sample.record(1).hashes[sample.kinds[0]].encode()))
        data = whole[: at + 1] + b'"deep": ' + deep + b", " + whole[at + 1 :]
        message = refused_or_rejected(data, name)
        assert re.search("nest|deep", message), message
        assert PLACE.search(message)

    def test_in_xml(self):
        whole = SAMPLES["ncmec"].file()
        at = whole.index(b"<fingerprints>")
        data = whole[:at] + b"<a>" * NESTED + b"</a>" * NESTED + whole[at:]
        message = refused_or_rejected(data, "ncmec")
        assert re.search("nest|deep", message), message


#: Each entity is ten of the one before it.
LAUGHS = '<!ENTITY l0 "ha">' + "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12)
)


class TestXml:
    @pytest.mark.parametrize(
        "document_type",
        [
            f"<!DOCTYPE queryResult [{LAUGHS}]>",
            '<!DOCTYPE queryResult SYSTEM "http://127.0.0.1:9/x.dtd">',
            '<!DOCTYPE queryResult [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
            '<!DOCTYPE queryResult [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]>',
            f'<!DOCTYPE queryResult [<!ENTITY x "{"ha" * 100_000}">]>',
        ],
        ids=["billion laughs", "external subset", "external entity", "parameter", "quadratic"],
    )
    def test_a_document_type_is_refused_by_the_reader_of_xml(self, document_type):
        whole = SAMPLES["ncmec"].file().decode()
        data = whole.replace("<queryResult", document_type + "<queryResult", 1)
        data = data.replace("image1", "&l11;&x;")
        seconds = time.process_time()
        message = refused(data.encode(), "ncmec")
        assert "document type" in message
        assert PLACE.search(message)
        assert time.process_time() - seconds < 10

    @pytest.mark.parametrize("name", [name for name in FORMATS if name != "ncmec"])
    def test_and_is_xml_to_nobody_else(self, name, tmp_path):
        data = f'<?xml version="1.0"?>\n<!DOCTYPE a [{LAUGHS}]>\n<a>&l11;</a>\n'.encode()
        with pytest.raises((FormatError, OptionsError)) as caught:
            check_file(tmp_path / "file", name, data)
        checked(str(caught.value))


class TestBombs:
    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize(
        "pack", [gzip.compress, lambda data: zipped({"a": data})], ids=["gzip", "zip"]
    )
    def test_what_unpacks_to_too_much_is_refused_by_every_reader(self, name, pack, tmp_path):
        data = SAMPLES[name].file(400)
        limits = ImportLimits(max_unpacked_bytes=len(data) // 2)
        with pytest.raises(FormatError) as caught:
            check_file(tmp_path / "file", name, pack(data), limits)
        message = checked(str(caught.value))
        assert "unpack" in message
        check_file(tmp_path / "file", name, pack(data), ImportLimits(max_unpacked_bytes=len(data)))

    @pytest.mark.parametrize("name", FORMATS)
    def test_members_that_overlap(self, name, tmp_path):
        with pytest.raises(FormatError, match=r"overlap|same") as caught:
            check_file(tmp_path / "file", name, overlapping_zip())
        checked(str(caught.value))


class TestDatabases:
    @pytest.mark.parametrize("name", SQLITE)
    @pytest.mark.parametrize("event", ["INSERT ON", "UPDATE ON", "DELETE ON"])
    def test_triggers_are_refused(self, name, event):
        table = {"nsrl-sqlite": "FILE", "tsk": "hashes"}[name]
        trigger = f"CREATE TRIGGER t AFTER {event} {table} BEGIN DELETE FROM {table}; END"
        make = {"nsrl-sqlite": list_samples.nsrl_sqlite, "tsk": list_samples.tsk}[name]
        data = make([], trigger)
        message = refused(data, name)
        assert "1 trigger" in message
        assert "nothing of it was run" in message
        assert "copy the tables" in message

    @pytest.mark.parametrize("name", SQLITE)
    def test_views_beside_the_table_do_nothing(self, name):
        """A view that would never end is never begun."""
        endless = (
            "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c)"
            " SELECT * FROM c"
        )
        make = {"nsrl-sqlite": list_samples.nsrl_sqlite, "tsk": list_samples.tsk}[name]
        assert read(make(SAMPLES[name].records(3), endless), name) == (3, [])

    @pytest.mark.parametrize("name", SQLITE)
    def test_a_view_in_the_place_of_the_table_is_never_run(self, name):
        table = {"nsrl-sqlite": "FILE", "tsk": "hashes"}[name]
        endless = (
            f"CREATE VIEW {table} AS WITH RECURSIVE c(md5) AS"
            " (SELECT 'x' UNION ALL SELECT md5 FROM c) SELECT md5 FROM c"
        )
        statements = [
            *list_samples.TSK_TABLES[: 2 * (name == "tsk")],
            endless,
            "CREATE TABLE x (a)",
        ]
        data = list_samples.database(statements, "INSERT INTO x VALUES (?)", [(1,)])
        message = refused(data, name)
        assert ADVICE.search(message) or "no " in message

    @pytest.mark.parametrize("name", SQLITE)
    def test_a_damaged_page_is_told(self, name):
        data = bytearray(SAMPLES[name].file(400))
        data[-4096:] = b"\xff" * 4096
        message = refused_or_rejected(bytes(data), name)
        assert "damaged" in message
        assert "get the file again" in message
