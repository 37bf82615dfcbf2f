"""Mapping files: TOML as options, and the examples that the docs ship."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hashlists.model import HashKind
from matcher import cli
from matcher.errors import SettingsError
from matcher.settings import load_mapping
from tests.export_support import value

EXAMPLES = Path(__file__).parents[2] / "docs" / "mappings"


def text(kind, number=1):
    return value(kind, number).hex()


def mapping(tmp_path, content):
    path = tmp_path / "mapping.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_tables_become_prefixes(tmp_path):
    path = mapping(
        tmp_path,
        'scheme = "x"\nmultiline = true\nlisted_values = ["a", "b"]\n'
        '[columns]\nmd5 = "MD5 Hash"\npdq = ["one", "two", "three"]\nsize = 7\n'
        '[hash_encoding]\nmd5 = "hex"\n',
    )
    assert load_mapping(path) == {
        "scheme": "x",
        "multiline": "yes",
        "listed_values": "a,b",
        "columns.md5": "MD5 Hash",
        "columns.pdq": "one",
        "columns.pdq.2": "two",
        "columns.pdq.3": "three",
        "columns.size": "7",
        "hash_encoding.md5": "hex",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = 2026-01-01", "a: must be a text"),
        ("[b]\na = []", "b.a: must be a text"),
        ("a = [[1]]", "a: must be a text"),
        ("a =", "is not TOML"),
    ],
)
def test_what_can_be_no_option_is_refused(tmp_path, content, message):
    with pytest.raises(SettingsError, match=message):
        load_mapping(mapping(tmp_path, content))
    with pytest.raises(SettingsError, match="no such file"):
        load_mapping(tmp_path / "missing.toml")


@pytest.fixture
def imported(tmp_path, capsys):
    """Imports a file with a mapping; returns the report."""

    def run(file, *arguments, status=0):
        described = ("--list", "a-list", "--harm", "test", "--source", "nobody", "--json")
        got = cli.main(
            ["--data", str(tmp_path / "data"), "lists", "import", str(file), *described, *arguments]
        )
        captured = capsys.readouterr()
        assert got == status, captured.err
        return json.loads(captured.out) if captured.out else captured.err

    return run


def example(name):
    return ("--mapping", str(EXAMPLES / f"{name}.toml"))


def test_the_example_for_the_iwf(tmp_path, imported):
    names = ["ID", "MD5", "SHA1", "SHA256", "PhotoDNA", "Category", "Updated", "Status"]
    kinds = (HashKind.MD5, HashKind.SHA1, HashKind.SHA256, HashKind.PHOTODNA)
    file = tmp_path / "hashes.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(names)
        for number in range(3):
            hashes = [text(kind, number) for kind in kinds]
            writer.writerow([f"id-{number}", *hashes, "ABC"[number], "2026-01-01", "Active"])
        writer.writerow(["id-9", "", "", "", "", "", "", "Removed"])
        writer.writerow(["id-8", *[text(kind, 8) for kind in kinds], "A", "", "Pending"])
    report = imported(file, *example("iwf"), "--max-rejected-share", "0.5")
    assert (report["added"], report["rejected"]) == (3, 1)
    assert report["rejections"][0]["field"] == "Status"


def test_the_example_for_digests(tmp_path, imported):
    file = tmp_path / "hashes.csv"
    md5, sha256 = text(HashKind.MD5), text(HashKind.SHA256, 2)
    file.write_text(f"md5,sha1,sha256,size\n{md5},,,5\n,,{sha256},\n")
    assert imported(file, *example("digests"))["added"] == 2


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_example_for_pdq_and_md5(tmp_path, imported, suffix):
    records = [
        {
            "id": f"id-{number}",
            "md5": text(HashKind.MD5, number),
            "label": "1",
            "updated": "2026-01-01",
            "deleted": number == 2,
            "hashes": {"pdq": [text(HashKind.PDQ, (number, at)) for at in range(2)]},
        }
        for number in range(3)
    ]
    file = tmp_path / f"hashes.{suffix}"
    if suffix == "jsonl":
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        pq.write_table(pa.Table.from_pylist(records), file)
    report = imported(file, *example("pdq_md5"))
    assert (report["format"], report["read"], report["added"]) == (suffix, 3, 2)


def test_the_command_line_goes_before_the_mapping(tmp_path, imported):
    file = tmp_path / "hashes.tsv"
    file.write_text(f"other\tsize\n{text(HashKind.MD5)}\tx\n")
    path = mapping(tmp_path, '[columns]\nmd5 = "md5"\n')
    report = imported(file, "--mapping", str(path), "--column", "md5=other")
    assert report["added"] == 1
    assert "'md5', which the file does not have" in imported(file, "--mapping", str(path), status=2)


def test_every_example_says_what_it_assumes():
    examples = sorted(EXAMPLES.glob("*.toml"))
    assert len(examples) == 3
    for path in examples:
        assert load_mapping(path)
        assert "# ASSUMED" in path.read_text(encoding="utf-8")
