"""Columns that nobody declared are told, and what may count in them is asked, never guessed."""

from __future__ import annotations

import io
import json
import shlex
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hashlists.errors import OptionsError
from hashlists.formats.registry import open_reader
from hashlists.formats.table_columns import Column, MaySay, may_be_status
from hashlists.inspection import inspect_file
from matcher import cli
from tests.archive_support import zipped
from tests.unit.test_format_samples import SAMPLES
from tests.unit.test_inspection import md5

READY = "To import: "
ASKS = "To import, once what they say is filled in, or left out: "


@pytest.fixture
def write(tmp_path):
    def written(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return written


@pytest.fixture
def inspect(capsys):
    def run(*arguments):
        status = cli.main(["lists", "inspect", *map(str, arguments)])
        return status, capsys.readouterr()

    return run


def table(header, *rows):
    return "\n".join([header, *rows]) + "\n"


def command(told, start):
    (line,) = (each for each in told.err.splitlines() if each.startswith(start))
    return shlex.split(line.removeprefix(start))


class TestWhatIsNotRead:
    @pytest.mark.parametrize("name", ["bytes", "File_Size", "mediasize"])
    def test_a_column_of_sizes_is_told(self, inspect, write, name):
        path = write("a.csv", table(f"md5,{name}", *(f"{md5(n)},{n}" for n in range(20))))
        _, told = inspect(path)
        assert f"where '{name}' is the size in bytes: --column 'size={name}'" in told.out
        _, told = inspect(path, "--column", "md5=md5", "--column", f"size={name}")
        assert "is the size in bytes" not in told.out

    def test_the_sample_of_the_docs_is_asked_about(self, inspect, write):
        path = write("hashes.csv", SAMPLES["csv"]["text"])
        status, told = inspect(path)
        assert status == 2
        assert READY not in told.err
        words = command(told, ASKS)
        assert words[: words.index("--list")] == ["hashwarden", "lists", "import", str(path)]
        pairs = set(map(" ".join, pairwise(words)))
        assert {
            "--column md5=MD5 Hash",
            "--column retracted=Status",
            "--option retracted_values=...",
            "--column category=Class",
            "--option scheme=...",
        } <= pairs
        assert "'Status', 'Class'" in told.err
        facts = dict(line.split("\t", 1) for line in told.out.splitlines())
        assert facts["withdrawn"] == "not known: no column is named for it"
        assert facts["columns not read"] == "'Status', 'Class'"

    def test_a_time_of_expiry_is_no_word_of_withdrawal(self, inspect, write):
        rows = [f"{md5(n)},31.12.2026" for n in range(20)]
        status, told = inspect(write("dates.csv", table("md5,expires", *rows)))
        words = command(told, ASKS)
        assert (status, "FIELD=..." in words) == (2, True)
        assert "retracted=expires" not in words
        assert "--column expires_at=COLUMN" in told.err

    def test_the_command_that_asks_imports_nothing(self, inspect, write, tmp_path, capsys):
        path = write("hashes.csv", SAMPLES["csv"]["text"])
        words = command(inspect(path)[1], ASKS)
        new = ["--harm", "test", "--source", "x"]
        named = ["demo" if word == "NAME" else word for word in words[1:]]
        run = ["--data", str(tmp_path / "data"), *named, *new]
        assert cli.main(run) == 2
        assert "a place to fill in" in capsys.readouterr().err
        filled = {"retracted_values=...": "retracted_values=removed", "scheme=...": "scheme=iwf"}
        assert cli.main([*(filled.get(word, word) for word in run), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["added"], report["coverage"]["entries"], report["read"]) == (1, 1, 2)

    def test_declared_columns_are_ones_word_and_the_rest_is_named(self, inspect, write):
        path = write("hashes.csv", SAMPLES["csv"]["text"])
        status, told = inspect(path, "--column", "md5=MD5 Hash")
        assert status == 0
        assert "retracted" not in " ".join(command(told, READY))
        assert "Not read, and may say that a record is withdrawn" in told.err
        taken = ("--column", "md5=MD5 Hash", "--column", "retracted=Status")
        category = ("--column", "category=Class", "--option", "scheme=iwf")
        status, told = inspect(path, *taken, *category, "--option", "retracted_values=removed")
        assert (status, "Not read" in told.err) == (0, False)
        facts = dict(line.split("\t", 1) for line in told.out.splitlines())
        assert facts["withdrawn"] == "1 here"
        assert "columns not read" not in facts

    @pytest.mark.parametrize(
        ("name", "may_say"),
        [
            *((each, "withdrawn") for each in ("Status", "is_removed", "isDeleted", "ACTIVE")),
            *((each, "withdrawn") for each in ("Gelöscht", "Supprimé", "zustand", "RevokedOn")),
            *((each, "class") for each in ("Class", "Kategorie", "Catégorie", "severity_level")),
            *((each, "nothing") for each in ("File name", "note", "SHA-1", "md5_hex", "url")),
        ],
    )
    def test_names_that_may_say_it(self, name, may_say):
        assert Column(name).may_say == may_say

    def test_the_same_few_values_may_say_it_whatever_the_name(self, inspect, write):
        rows = [f"{md5(n)},{'xy'[n % 5 == 0]},{n},same.jpg" for n in range(30)]
        status, told = inspect(write("x.csv", table("md5,q,note,filename", *rows)), "--json")
        (part,) = json.loads(told.out)["parts"]
        assert part["reading"]["unread"] == [
            {"column": "q", "may_say": "withdrawn or class"},
            {"column": "note", "may_say": "nothing"},
            {"column": "filename", "may_say": "nothing"},
        ]
        assert (status, part["reading"]["unsettled"]) == (2, True)
        told = inspect(write("y.csv", table("md5,q,note,filename", *rows)))[1]
        assert "FIELD=..." in command(told, ASKS)

    def test_values_that_may_be_those_of_a_status(self):
        assert may_be_status(["x", "", "", ""])
        assert may_be_status(["yes"] * 20)
        assert may_be_status([*map(str, range(99)), ""])
        assert may_be_status(["a", "b", "c"])
        assert not may_be_status(["", "", ""])
        assert not may_be_status([*map(str, range(10))])
        assert not may_be_status([str(n % 30) for n in range(300)])

    @pytest.mark.parametrize(
        "name", ["удалено", "ДатаУдаления", "Löschdatum", "date_suppression", "dropped_on"]
    )
    @pytest.mark.parametrize("count", [1, 100])
    def test_a_date_that_only_withdrawn_records_have_is_asked_about(
        self, inspect, write, name, count
    ):
        rows = [f"{md5(n)},{f'2026-01-{n:03}' if 3 * n >= count - 1 else ''}" for n in range(count)]
        status, told = inspect(write("x.csv", table(f"md5,{name}", *rows)))
        assert status == 2
        assert f"retracted={name}" in command(told, ASKS)

    @pytest.mark.parametrize("count", [3, 100])
    def test_so_is_a_column_of_any_name_by_its_values(self, inspect, write, count):
        rows = [f"{md5(n)},{n if n % 3 else ''},{n}" for n in range(count)]
        status, told = inspect(write("x.csv", table("md5,q,id", *rows)))
        assert (status, "FIELD=..." in command(told, ASKS)) == (2, True)
        assert "'q'. Look" in told.err

    def test_members_of_json_lines(self, inspect, write):
        record = {"md5": md5(1), "meta": {"state": "gone", "note": "x"}}
        lines = f"{json.dumps(record)}\n{json.dumps({**record, 'md5': md5(2)})}\n"
        status, told = inspect(write("x.jsonl", lines))
        assert status == 2
        assert "retracted=meta.state" in command(told, ASKS)
        declared = inspect(write("x.jsonl", lines), "--column", "md5=md5")
        assert declared[0] == 0

    def test_members_of_nested_objects_are_taken_for_hashes_by_their_names(self, inspect, write):
        lines = "".join(f'{{"h":{{"md5":"{md5(n)}"}},"no":{n}}}\n' for n in range(30))
        words = command(inspect(write("x.jsonl", lines))[1], READY)
        assert "md5=h.md5" in words

    def test_every_column_that_may_say_something_has_a_place(self, inspect, write):
        rows = [f"{md5(n)},ok,{'xy'[n % 2]}" for n in range(30)]
        words = command(inspect(write("x.csv", table("MD5-Summe,Zustand,q", *rows)))[1], ASKS)
        assert {"retracted=Zustand", "FIELD=..."} <= set(words)
        assert Column("Einstufung").may_say is MaySay.CLASS

    def test_columns_of_parquet(self, inspect, tmp_path):
        path = tmp_path / "x.parquet"
        columns = {
            "md5": [md5(n) for n in range(30)],
            "gone": [True, False, True] * 10,
            "kind": pa.array(["a", "b", "a"] * 10).dictionary_encode(),
            "note": list(map(str, range(30))),
            "more": pa.array([{"status": "x", "q": n % 2, "no": n} for n in range(30)]),
            "q": [" x", "y", "x"] * 10,
            "some": [None if n else n for n in range(30)],
            "on": [datetime(2026, 1, 1 + n % 2) for n in range(30)],  # noqa: DTZ001
            "raw": [b"x"] * 30,
            "names": [["x"]] * 30,
            "text": [f"{n % 2}" * 2000 for n in range(30)],
            "none": pa.array([None] * 30, pa.null()),
        }
        pq.write_table(
            pa.table(columns), path, row_group_size=7, use_dictionary=False, compression="none"
        )
        (part,) = inspect_file(path, options={"columns.md5": "md5"}).parts
        assert {each.name: each.may_say for each in part.reading.unread} == {
            "gone": MaySay.EITHER,
            "kind": MaySay.EITHER,
            "note": MaySay.NOTHING,
            "more.status": MaySay.WITHDRAWN,
            "more.q": MaySay.EITHER,
            "more.no": MaySay.NOTHING,
            "q": MaySay.EITHER,
            "some": MaySay.EITHER,
            "on": MaySay.EITHER,
            "raw": MaySay.NOTHING,
            "names": MaySay.NOTHING,
            "text": MaySay.NOTHING,
            "none": MaySay.NOTHING,
        }
        assert inspect(path, "--column", "md5=md5")[0] == 0

    def test_tables_of_every_format_are_judged_alike(self, write, tmp_path):
        """By the same values, however they are written."""
        taken = {"columns.md5": "md5"}
        shapes = {
            "few": lambda n: "ab"[n % 2],
            "sparse": lambda n: "" if n % 3 else str(n),
            "other": str,
            "empty": lambda _: "",
            "flag": lambda n: str(n % 2),
        }
        for count in (3, 9, 10, 40, 5_000):
            rows = [{"md5": md5(n), **{k: f(n) for k, f in shapes.items()}} for n in range(count)]
            parquet = tmp_path / "t.parquet"
            typed = [
                {k: v or None for k, v in row.items()} | {"flag": int(row["flag"])} for row in rows
            ]
            pq.write_table(pa.Table.from_pylist(typed), parquet)
            files = [
                write("t.csv", table(",".join(rows[0]), *(",".join(x.values()) for x in rows))),
                write("t.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
                parquet,
            ]
            first, *others = (
                {
                    x.name: x.may_say
                    for x in inspect_file(path, options=taken).parts[0].reading.unread
                }
                for path in files
            )
            assert all(each == first for each in others)
            expected = MaySay.EITHER if count < 10 else MaySay.NOTHING
            assert (first["other"], first["few"], first["empty"]) == (
                expected,
                MaySay.EITHER,
                MaySay.NOTHING,
            )

    def test_a_column_of_parquet_that_cannot_be_read_harms_no_other(self, tmp_path):
        path = tmp_path / "x.parquet"
        columns = {"md5": [md5(n) for n in range(30)], "q": ["x", "y"] * 15, "note": ["z"] * 30}
        pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
        data = path.read_bytes()
        at = data.index(b"\x01\x00\x00\x00x")
        path.write_bytes(data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :])
        reading = inspect_file(path, options={"columns.md5": "md5"}).parts[0].reading
        assert (reading.records, reading.refused) == (30, False)
        found = {each.name: each.may_say for each in reading.unread}
        assert found == {"q": MaySay.NOTHING, "note": MaySay.EITHER}

    def test_our_own_layout_has_nothing_that_is_not_read(self, inspect, write, tmp_path, capsys):
        data = ["--data", str(tmp_path / "data"), "lists"]
        new = ["--list", "demo", "--harm", "test", "--source", "x"]
        path = write("x.csv", table("md5", md5(1)))
        assert cli.main([*data, "import", str(path), *new, "--column", "md5=md5"]) == 0
        own = tmp_path / "own.csv"
        words = ["export", "--list", "demo", "--format", "csv", "--own-copy", "--to", str(own)]
        assert cli.main([*data, *words]) == 0
        capsys.readouterr()
        status, told = inspect(own)
        assert status == 0
        assert "columns=hashwarden" in command(told, READY)
        assert cli.main([*data, "import", str(own), "--list", "demo"]) == 2
        assert "say --option columns=hashwarden" in capsys.readouterr().err


class TestNamesOfColumns:
    def test_a_table_without_known_names_says_its_columns(self, inspect, write):
        told = inspect(write("x.csv", table("Wert,Art", f"{md5(1)},x")))[1]
        assert "its columns are: 'Wert', 'Art'" in told.err
        told = inspect(write("x.jsonl", f'{{"Wert": "{md5(1)}"}}\n{{"Wert": "{md5(2)}"}}\n'))[1]
        assert "its columns are: 'Wert'" in told.err

    def test_a_mapping_that_does_not_fit_is_told_with_names(self, inspect, write):
        path = write("x.csv", table("Wert,Art", f"{md5(1)},x"))
        told = inspect(path, "--column", "md5=MD5 Hash")[1]
        assert "names the column 'MD5 Hash', which the file does not have" in told.err
        assert "its columns are: 'Wert', 'Art'" in told.err

    def test_a_record_in_place_of_names_is_not_shown(self, inspect, write):
        path = write("x.csv", table(f"case-17,{md5(1)}", f"case-18,{md5(2)}"))
        told = inspect(path)[1]
        assert "the header line may be missing" in told.err
        assert "case-17" not in told.err + told.out
        assert inspect(path, "--column", "md5=x", "--json")[1].out.count("case-17") == 0

    def test_an_import_without_columns_says_them(self):
        with pytest.raises(OptionsError, match=r"md5=NAME.*its columns are: 'Wert', 'Art'"):
            _open(table("Wert,Art", f"{md5(1)},x"))


class TestEncodings:
    LATIN = table("Größe\tWert", f"1\t{md5(1)}", f"2\t{md5(2)}").encode("latin-1")

    def test_a_table_that_is_not_utf_8_is_read_as_it_is_said(self, inspect, write):
        mapping = write("odd.toml", '[columns]\nmd5 = "Wert"\nsize = "Größe"\n')
        path = write("odd_latin.tsv", self.LATIN)
        status, told = inspect(path, "--mapping", mapping, "--option", "encoding=latin-1")
        assert status == 0
        assert "encoding=latin-1" in command(told, READY)
        assert inspect(path, "--mapping", mapping)[0] == 0
        status, told = inspect(path, "--mapping", mapping, "--option", "encoding=utf-8")
        assert status == 2
        assert "say its encoding, e.g. --option encoding=cp1252" in told.err

    def test_which_encoding_is_said_to_be_a_guess(self, write):
        (part,) = inspect_file(write("x.tsv", self.LATIN.replace(b"Wert", b"MD5"))).parts
        assert "it is not UTF-8" in part.candidates[0].why
        assert part.reading.options["encoding"] == "latin-1"
        assert not part.reading.refused
        windows = table("„MD5“,MD5", f"1,{md5(1)}").encode("cp1252")
        assert (
            inspect_file(write("w.csv", windows)).parts[0].reading.options["encoding"] == "cp1252"
        )
        damaged = table("MD5,ö", f"{md5(1)},ö").encode() + f"{md5(2)},\xff\n".encode("latin-1")
        (part,) = inspect_file(write("d.csv", damaged)).parts
        assert "encoding" not in part.reading.options

    def test_an_import_names_the_option(self):
        with pytest.raises(OptionsError, match="encoding=cp1252"):
            _open(
                self.LATIN, **{"columns.md5": "Wert", "columns.size": "Größe", "delimiter": "tab"}
            )


class TestWhatAnImportWouldReject:
    def test_records_of_one_key_that_differ(self, inspect, write):
        rows = [f"{md5(1)},1", f"{md5(1)},2", f"{md5(1)},1", f"{md5(2)},1"]
        options = ("--column", "md5=md5", "--column", "size=size")
        path = write("x.csv", table("md5,size", *rows))
        status, told = inspect(path, *options)
        assert status == 2
        assert "line 3: another record has the same key and other content" in told.err
        assert "1 of 4 records was rejected" in told.err
        assert "To import" not in told.err
        many = [*rows, *(f"{md5(n)},1" for n in range(3, 40))]
        status, told = inspect(write("y.csv", table("md5,size", *many)), *options, "--json")
        (part,) = json.loads(told.out)["parts"]
        assert (status, part["reading"]["rejected"]) == (0, 1)

    def test_across_files_that_would_be_one_import(self, inspect, write):
        options = ("--column", "md5=md5", "--column", "size=size")
        first = write("a.csv", table("md5,size", f"{md5(1)},1"))
        second = write("b.csv", table("md5,size", f"{md5(1)},2"))
        status, told = inspect(first, second, *options)
        assert status == 2
        assert "b.csv: line 2: another record has the same key" in told.err
        assert str(first) in command(told, READY)
        assert str(second) not in command(told, READY)

    def test_an_entry_that_is_listed_and_withdrawn(self, write):
        rows = [f"{md5(1)},no", f"{md5(1)},yes", f"{md5(2)},yes"]
        options = {"columns.md5": "md5", "columns.retracted": "gone"}
        (part,) = inspect_file(write("x.csv", table("md5,gone", *rows)), options=options).parts
        assert (part.reading.withdrawn, part.reading.rejected) == (1, 1)
        assert "a record withdraws an entry that another lists" in part.reading.problems[0]


class TestSeveralFiles:
    def test_those_that_are_ready_get_their_command(self, inspect, write):
        good = write("a.csv", table("md5", md5(1)))
        bad = write("b.csv", table("md5", "nothing"))
        odd = write("c.bin", bytes(range(20)))
        status, told = inspect(good, bad, odd)
        assert status == 2
        words = command(told, READY)
        assert words[3 : words.index("--list")] == [str(good)]
        assert "b.csv: line 2" in told.err
        assert "c.bin: no format that is read here; ask its source" in told.err

    def test_what_lies_beside_the_events_of_a_feed_is_left_aside(self, inspect, write):
        uuid = "00000000-0000-4000-8000-000000000004"
        paths = [
            write("hashes.csv", f"{md5(1)},{uuid}\n"),
            write("manifest.json", json.dumps({uuid: {"info": "x", "Orgc": {}}})),
            write(f"{uuid}.json", SAMPLES["misp"]["text"]),
        ]
        assert inspect(*paths[:2])[0] == 2
        status, told = inspect(*paths)
        assert status == 0
        assert {str(path) for path in paths} < set(command(told, READY))

    def test_a_readme_in_an_archive_is_named(self, inspect, write, tmp_path):
        path = write(
            "x.zip", zipped({"a.csv": table("md5", md5(1)).encode(), "readme.txt": b"Dear all,\n"})
        )
        status, told = inspect(path)
        assert status == 2
        assert "x.zip/readme.txt: " in told.err
        assert "leave it out: zip --delete x.zip readme.txt" in told.err
        assert "To import" not in told.err

    def test_a_folder_is_told_how_to_name_its_files(self, inspect, tmp_path):
        (tmp_path / "a feed").mkdir()
        status, told = inspect(tmp_path / "a feed")
        assert status == 2
        assert f"'{tmp_path}/a feed'/*" in told.err
        assert told.err.count("\n") == 1


def test_standard_input(inspect, write, monkeypatch):
    path = write("x.csv", table("md5", md5(1)))
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        status, told = inspect("-")
    assert status == 0
    assert "standard input" in told.out
    words = command(told, READY)
    assert words[3] == "-"
    assert inspect("-", "-")[0] == 2


def test_no_advice_to_do_what_is_being_done(inspect, write):
    for name, data in (("a.json", "<x/>"), ("b.xml", "{}"), ("c", "no hash\n")):
        for form in ("vics", "ncmec", "threatexchange-text", "tsk", "parquet", "misp", "icse"):
            told = inspect(write(name, data), "--format", form)[1]
            assert "lists inspect" not in told.err, (name, form)


def _open(data, **options):
    content = data if isinstance(data, bytes) else data.encode()
    return open_reader(io.BytesIO(content), format="csv", options=options)


def test_docs_name_the_places_to_fill_in():
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    assert "places to fill in, `...`" in page.read_text(encoding="utf-8")
