"""What a file looks like is told, with reasons, and nothing that stands in it."""

from __future__ import annotations

import gzip
import hashlib
import json
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hashlists.errors import FormatError, UnknownFormatError
from hashlists.formats.own_layout import COLUMNS
from hashlists.formats.shown_text import without_values
from hashlists.inspection import inspect_file, likeliest
from hashlists.model import HashKind
from matcher import cli
from tests.archive_support import zipped
from tests.list_samples import SAMPLES, Record, raw

CONTEXT = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/UK/$metadata#Media"
SECRET = "SECRETCELL"


def md5(number):
    return hashlib.md5(f"made up {number}".encode(), usedforsecurity=False).hexdigest()


def vics(*numbers, bad=0, **members):
    records = [{"MD5": md5(n), "MediaID": n, "PDQ": md5(n) + md5(-n)} for n in numbers]
    records += [{"MD5": SECRET, "MediaID": SECRET}] * bad
    return json.dumps({"@odata.context": CONTEXT, "value": records, **members}).encode()


@pytest.fixture
def write(tmp_path):
    def written(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return written


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_each_format_is_told_by_a_file_of_it(write, name):
    """And by no other as surely; packed too, since that is how lists come."""
    data = SAMPLES[name].file()
    for path in (write("x", data), write("x.gz", gzip.compress(data))):
        best, *others = inspect_file(path).parts[0].candidates
        assert best.format == name
        assert best.score >= 50
        assert all(each.score < best.score for each in others)
        assert not any(raw(kind, 1).hex() in repr(best) for kind in SAMPLES[name].kinds)


def test_lines_of_signals_are_told_whatever_their_values(write):
    numbers = ",".join(map(str, raw(HashKind.PHOTODNA, 1)))
    lines = SAMPLES["threatexchange-text"].make([Record(1, {HashKind.PHOTODNA: numbers})])
    best = inspect_file(write("x", lines)).parts[0].candidates[0]
    assert best.format == "threatexchange-text"


class TestFiles:
    def test_a_file_that_names_its_format(self, write):
        found = inspect_file(write("x.bin", vics(1, 2, 3, bad=2)))
        (part,) = found.parts
        assert (found.compression, found.problem, part.name) == ("", "", "x.bin")
        best, reading = part.candidates[0], part.reading
        assert (best.format, best.score >= 90) == ("vics", True)
        assert "VICS 2.0" in best.why
        assert (reading.header.version, reading.header.profile) == ("2.0", "UK")
        assert (reading.records, reading.whole, reading.rejected) == (5, True, 2)
        assert reading.refused
        assert reading.coverage.entries == reading.coverage.near_matchable == 3
        assert {str(k): n for k, n in reading.coverage.by_kind.items()} == {"md5": 3, "pdq": 3}
        assert not reading.tells_retractions
        assert len(reading.problems) == 3
        assert "record 4" in reading.problems[0]
        assert "2 of 5 records were rejected" in reading.problems[2]

    def test_some_records_or_all(self, write):
        path = write("x.json", vics(*range(1, 5000)))
        some = inspect_file(path, max_records=100).parts[0].reading
        assert 100 <= some.records < 4999
        assert not some.whole
        assert 4000 < some.estimate < 6000
        every = inspect_file(path, max_records=None).parts[0].reading
        assert (every.records, every.estimate, every.whole) == (4999, 4999, True)

    def test_a_packed_file_and_an_archive(self, write):
        found = inspect_file(write("x.gz", gzip.compress(vics(1))))
        assert (found.compression, found.parts[0].reading.records) == ("gzip", 1)
        members = {"a.json": vics(1), "readme.txt": b"Dear colleague,\n", "__MACOSX/a": b"x"}
        found = inspect_file(write("x.zip", zipped(members)))
        assert [part.name for part in found.parts] == ["x.zip/a.json", "x.zip/readme.txt"]
        assert found.parts[0].reading.records == 1
        assert not found.parts[1].candidates or found.parts[1].candidates[0].score < 50
        assert found.notes == {"resource fork in the archive left aside": 1}

    def test_what_cannot_be_opened_says_why(self, write):
        assert "packed with xz" in inspect_file(write("x", b"\xfd7zXZ\x00")).problem
        members = {"a.json": vics(1), "b.zip": zipped({"x": b"1"}), "c.json": vics(2)}
        found = inspect_file(write("x.zip", zipped(members)))
        assert "itself packed" in found.problem
        assert [part.name for part in found.parts] == ["x.zip/a.json", "x.zip/c.json"]

    def test_a_cut_file_says_so(self, write):
        reading = inspect_file(write("x.json", vics(1, 2)[:-20])).parts[0].reading
        assert not reading.whole
        assert "cut off" in reading.problems[-1]

    def test_pages_and_case_files(self, write):
        page = vics(1, **{"@odata.nextLink": "http://localhost/next"})
        reading = inspect_file(write("p.json", page)).parts[0].reading
        assert "one page of several" in reading.problems[0]
        assert "localhost" not in repr(reading)
        page = b'{"results": [], "next": "http://localhost/next"}'
        reading = inspect_file(write("t.json", page), format="tat").parts[0].reading
        assert [note for note in reading.notes if "one page of several" in note]
        assert "localhost" not in repr(reading)
        case = vics(1).replace(b"#Media", b"#Cases")
        reading = inspect_file(write("c.json", case)).parts[0].reading
        assert reading.options == {"cases": "media"}

    def test_a_named_format_and_options(self, write):
        path = write("x.txt", f"a;b\n{md5(1)};x\n".encode())
        options = {"columns.md5": "a", "delimiter": ";"}
        reading = inspect_file(path, format="csv", options=options).parts[0].reading
        assert (reading.records, reading.problems) == (1, ())
        with pytest.raises(UnknownFormatError):
            inspect_file(path, format="odd")
        with pytest.raises(FormatError, match="cannot be read"):
            inspect_file(path.with_name("missing"))

    def test_files_that_no_reader_takes_come_with_advice(self, write):
        (part,) = inspect_file(write("set.hke", b"x")).parts
        assert (part.reading, part.candidates) == (None, ())
        assert part.advice

    def test_no_format_fits(self, write):
        found = inspect_file(write("x", b"\x00\x01\x02" * 100))
        assert found.parts[0].reading is None
        assert likeliest(write("y", b"\x00\x01")) is None
        with pytest.raises(FormatError, match="packed with RAR"):
            likeliest(write("z", b"Rar!\x1a\x07\x00"))


def test_no_value_of_a_file_is_told(write):
    files = [
        vics(1, bad=3),
        f"{SECRET},{md5(1)}\n{SECRET}1,{md5(2)}\n".encode(),
        f"md5,note\n{SECRET},{md5(2)}\n".encode(),
        f"md5,note\n{md5(2)},{SECRET}\n{md5(1)},{SECRET}\n".encode(),
        f'{{"md5": "{md5(1)}", "note": "{SECRET}"}}\n{{"md5": "{md5(2)}"}}\n'.encode(),
        vics(1, 2).replace(b'"MediaID": 1', b'"MediaID": "' + b"x" * 300 + b'"'),
    ]
    for number, data in enumerate(files):
        found = inspect_file(write(f"{number}", data))
        assert SECRET not in repr(found)
        assert not any(md5(each) in repr(found) for each in (1, 2))


def test_values_are_taken_out_of_words():
    assert without_values("names 'a cell' and \"it's\" here") == "names ... and ... here"
    assert without_values(f"of {md5(1)}") == "of (hash)"


class TestCommand:
    def run(self, capsys, *arguments):
        status = cli.main(["lists", "inspect", *map(str, arguments)])
        return status, capsys.readouterr()

    def test_as_json(self, capsys, write):
        path = write("x.json.gz", gzip.compress(vics(*range(1, 31), bad=1)))
        status, told = self.run(capsys, path, "--json")
        record = json.loads(told.out)
        assert status == 0
        assert (record["compression"], record["problem"]) == ("gzip", None)
        (part,) = record["parts"]
        assert part["candidates"][0]["format"] == "vics"
        assert part["reading"]["profile"] == "UK"
        assert part["reading"]["coverage"]["by_kind"]["md5"] == 30
        assert (part["reading"]["rejected"], part["reading"]["whole"]) == (1, True)

    def test_for_a_person(self, capsys, write):
        path = write("a list.json", vics(*range(1, 31), bad=1))
        status, told = self.run(capsys, path, "--count")
        facts = dict(line.split("\t", 1) for line in told.out.splitlines())
        assert status == 0
        assert facts["looks like vics"].startswith("98 of 100")
        assert facts["withdrawn"] == "the format cannot say"
        assert facts["records"] == "31"
        assert "record 31 (byte " in told.err
        suggestion = next(line for line in told.err.splitlines() if "To import" in line)
        words = shlex.split(suggestion.partition(": ")[2])
        assert words[:4] == ["hashwarden", "lists", "import", str(path)]
        assert words[-2:] == ["--format", "vics"]

    def test_columns_are_suggested(self, capsys, write):
        rows = "".join(f"{md5(at)},x{at}\n" for at in range(10))
        path = write("x.csv", f"MD5,note\n{rows}".encode())
        status, told = self.run(capsys, path)
        assert status == 0
        assert "--column md5=MD5" in told.err

    def test_columns_are_given_as_for_an_import(self, capsys, write):
        path = write("x.csv", f"Wert,MD5\n{md5(1)},x\n".encode())
        assert self.run(capsys, path)[0] == 2
        status, told = self.run(capsys, path, "--column", "md5=Wert", "--option", "scheme=a b")
        assert status == 0
        assert "--format csv --column md5=Wert --option 'scheme=a b'" in told.err
        assert "MD5" not in told.err.partition("--format")[2]
        lines = write("x.txt", f'{{"a": "{md5(1)}"}}\n{{"a": "{md5(2)}"}}\n'.encode())
        assert "--format jsonl" in self.run(capsys, lines, "--column", "md5=a")[1].err

    def test_columns_of_parquet_are_named(self, capsys, tmp_path):
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table({"Wert": [md5(1)], md5(2): ["x"]}), path)
        status, told = self.run(capsys, path)
        assert status == 2
        assert "its columns are: 'Wert'" in told.err
        assert md5(2) not in told.err
        assert "records\tnone" in told.out
        assert "To import" not in told.err
        assert self.run(capsys, path, "--column", "md5=Wert")[0] == 0

    @pytest.mark.parametrize("name", ["x.tsv", "x.txt", "x.tsv.gz"])
    def test_a_table_of_tabs_is_read_as_one(self, capsys, write, name):
        rows = [f"{md5(n)}\t{('active', 'removed')[n % 2]}\tA" for n in range(30)]
        data = "\n".join(["MD5\tStatus\tClass", *rows, ""]).encode()
        path = write(name, gzip.compress(data) if name.endswith("gz") else data)
        status, told = self.run(capsys, path)
        assert status == 2
        assert "read as\tcsv" in told.out
        assert "--column retracted=Status" in told.err
        assert "--format digests" not in told.err

    def test_lists_of_digests_may_be_named_tsv(self, capsys, write):
        path = write("x.tsv", f"{md5(1)}  a.jpg\n{md5(2)}  b.jpg\n".encode())
        status, told = self.run(capsys, path)
        assert status == 0
        assert "--format digests" in told.err
        assert "delimiter" not in told.err
        assert self.run(capsys, path, "--format", "digests")[0] == 0

    def test_a_mapping_is_given_as_for_an_import(self, capsys, write):
        mapping = write("map.toml", b'scheme = "x"\n[columns]\nmd5 = "Wert"\n')
        path = write("x.tsv", f"Wert\tb\n{md5(1)}\tx\n".encode())
        status, told = self.run(capsys, path, "--mapping", mapping, "--column", "source_id=b")
        assert status == 0
        suggestion = next(line for line in told.err.splitlines() if "To import" in line)
        words = shlex.split(suggestion.partition(": ")[2])
        options = ["--mapping", str(mapping), "--column", "source_id=b", "--option"]
        assert words[-6:] == [*options, "delimiter=tab"]

    def test_what_is_wrong_with_a_file_is_said_once(self, capsys, write):
        path = write("cut.csv.gz", gzip.compress(b"md5\n" * 10_000)[:-9])
        status, told = self.run(capsys, path)
        assert status == 2
        assert told.err.count("cut.csv.gz") == 1
        assert "cut off" in told.err

    @pytest.mark.parametrize("name", ["missing.csv", "folder", ""])
    @pytest.mark.parametrize(
        "words",
        [["lists", "inspect"], ["lists", "import", "--list", "x"]],
        ids=lambda each: each[1],
    )
    def test_a_file_that_is_not_there_is_told_in_a_line(self, capsys, tmp_path, words, name):
        (tmp_path / "folder").mkdir()
        path = str(tmp_path / name) if name else ""
        assert cli.main([*words, path]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.count("\n") == 1

    def test_the_harm_that_a_format_is_bound_to(self, capsys, write):
        answer = {"count": 0, "nextPageToken": "", "hasMoreRecords": False, "hashRecords": []}
        path = write("x.json", json.dumps({**answer, "nextSetTimestamp": 1}).encode())
        assert "--harm ncii and --source" in self.run(capsys, path, "--format", "stopncii")[1].err

    @pytest.mark.parametrize(
        ("words", "told"), [(["ncii"], "ncii"), (["ncii", "csam"], "not told"), (["x"], "not told")]
    )
    def test_the_harm_that_a_file_says_its_entries_are_about(self, capsys, write, words, told):
        rows = [{"md5": md5(n), "harm": word, "list": "a"} for n, word in enumerate(words)]
        lines = [COLUMNS, *([row.get(name, "") for name in COLUMNS] for row in rows)]
        path = write("x.csv", "".join(f"{','.join(line)}\r\n" for line in lines).encode())
        status, shown = self.run(capsys, path, "--option", "columns=hashwarden")
        assert status == 0, shown.err
        facts = dict(line.split("\t")[:2] for line in shown.out.splitlines())
        assert facts["harm"] == told
        assert ("--harm ncii and" in shown.err) == (told == "ncii")

    def test_files_of_two_formats_are_not_imported_together(self, capsys, write):
        paths = [write("a.json", vics(1)), write("b.csv", f"md5\n{md5(1)}\n".encode())]
        told = self.run(capsys, *paths)[1]
        commands = [line for line in told.err.splitlines() if line.startswith("To import")]
        assert [shlex.split(each)[5] for each in commands] == [str(path) for path in paths]
        assert len(commands) == 2

    def test_exit_status(self, capsys, write):
        good, odd = write("a.json", vics(1)), write("b", bytes(20))
        assert self.run(capsys, good, odd)[0] == 2
        assert self.run(capsys, write("c", b"BZh91AY&SY"))[0] == 2
        code, told = self.run(capsys, write("cut.json", vics(1, 2)[:-20]))
        assert code == 2
        assert "To import" not in told.err
        assert self.run(capsys, good, "--option", "x")[0] == 2
        assert self.run(capsys, good, "--format", "odd")[0] == 2

    def test_an_import_without_a_format_says_what_the_file_looks_like(
        self, capsys, write, tmp_path
    ):
        path = write("x.json", vics(1))
        arguments = ["--data", str(tmp_path / "data"), "lists", "import", str(path)]
        assert cli.main([*arguments, "--list", "demo"]) == 2
        told = capsys.readouterr().err
        assert "looks like vics" in told
        assert "lists inspect" in told


def test_several_files_are_one_import(capsys, write, tmp_path):
    paths = [
        write("a.csv", f"md5\n{md5(1)}\n".encode()),
        write("b.csv.gz", gzip.compress(b"md5\n")),
    ]
    base = ["--data", str(tmp_path / "data"), "lists", "import"]
    new = ["--list", "demo", "--harm", "test", "--source", "us", "--column", "md5=md5", "--json"]
    assert cli.main([*base, *map(str, paths), *new]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["added"], report["retracted"]) == (1, 0)
    assert cli.main([*base, str(paths[0]), "-", *new]) == 2
    assert "alone" in capsys.readouterr().err
    assert cli.main([*base, *map(str, paths), *new, "--server", "127.0.0.1:1"]) == 2
    assert "ZIP archive" in capsys.readouterr().err
