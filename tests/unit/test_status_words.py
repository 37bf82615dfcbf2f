"""Words of a status: where no record has one that means withdrawn, that does not pass unseen."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from hashlists.formats.mapped_batch import NO_SUCH_WORD_NOTE
from hashlists.model import HashKind
from matcher import cli
from tests.export_support import read, value

OPTIONS = {
    "columns.md5": "md5",
    "columns.retracted": "status",
    "retracted_values": "deleted",
}


def md5(number=1):
    return value(HashKind.MD5, number).hex()


def table(*words):
    rows = "".join(f"{md5(at)},{word}\n" for at, word in enumerate(words, start=1))
    return f"md5,status\n{rows}".encode()


def notes(*words, **options):
    return read(table(*words), "csv", {**OPTIONS, **options}).notes


def test_words_that_never_occur_are_noted_once():
    assert notes("active", "removed") == {NO_SUCH_WORD_NOTE: 1}


def test_a_word_that_occurs_or_words_for_both_need_no_note():
    assert notes("active", " Deleted") == {}
    assert notes("active", "active", listed_values="active") == {}
    assert notes() == {}


def test_members_of_json_lines_and_columns_of_parquet():
    record = {"md5": md5(), "status": "removed"}
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([record]), sink)
    assert NO_SUCH_WORD_NOTE in read(sink.getvalue(), "parquet", OPTIONS).notes
    assert NO_SUCH_WORD_NOTE in read(json.dumps(record).encode() + b"\n", "jsonl", OPTIONS).notes


def test_a_word_that_is_not_known_is_told_with_the_options_that_name_it(tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_bytes(table("removed"))
    taken = ["--column", "md5=md5", "--column", "retracted=status"]
    assert cli.main(["lists", "inspect", str(path), *taken]) == 2
    told = capsys.readouterr().err
    assert "--option retracted_values=WORD,WORD and --option listed_values=WORD,WORD" in told
    assert cli.main(["lists", "inspect", str(path), *taken, "--option", "retracted_values=x"]) == 0
    assert NO_SUCH_WORD_NOTE in capsys.readouterr().err
