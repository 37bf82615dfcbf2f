"""Mapping files: TOML as options, and the examples that the docs ship."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hashlists.errors import OptionsError
from hashlists.model import HashKind
from matcher import cli
from matcher.cli import reading
from matcher.errors import ServerError, SettingsError
from matcher.settings import load_mapping
from tests.export_support import value

EXAMPLES = Path(__file__).parents[2] / "docs" / "mappings"


#: What is said of `delimeter`.
ALLOWED = (
    "unknown option 'delimeter'; did you mean delimiter? allowed: delimiter, encoding, "
    "listed_values, multiline, profile, retracted_values, scheme, columns.FIELD, "
    "hash_encoding.KIND, separator.KIND"
)


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


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('[colums]\nmd5 = "md5"\n', "unknown option 'colums.md5'; did you mean columns.md5? "),
        ('delimeter = ";"\n[columns]\nmd5 = "md5"\n', ALLOWED),
        (
            '[columns]\nmd5 = "md5"\ndelimiter = ";"\n',
            "unknown option 'columns.delimiter'; did you mean delimiter? allowed: columns.pdq, ",
        ),
        (
            '[columns]\nmd5 = "md5"\nretractd = "x"\n',
            "unknown option 'columns.retractd'; did you mean columns.retracted? ",
        ),
    ],
)
def test_a_mistake_is_told_with_the_file_and_what_was_meant(tmp_path, run, content, told):
    file = tmp_path / "hashes.csv"
    file.write_text(f"md5,size\n{text(HashKind.MD5)},5\n")
    path = mapping(tmp_path, content)
    order = (file, "--mapping", path)
    described = ("--list", "a-list", "--harm", "test", "--source", "nobody")
    for more in ((), ("--plan",)):
        error = run("import", *order, *described, *more)
        assert error.startswith(f"error: {path}: {told}")
    assert f"{path}: {told}" in run("inspect", *order)
    beside = run("import", *order, *described, "--option", "encoding=latin-1")
    assert beside.startswith(f"error: {path} and --option: {told}")


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a command on lists that fails; gives what it told."""

    def ran(*arguments):
        data = ("--data", str(tmp_path / "data"))
        assert cli.main([*data, "lists", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    return ran


def test_without_a_mapping_no_file_is_named(tmp_path, run):
    file = tmp_path / "hashes.csv"
    file.write_text(f"md5\n{text(HashKind.MD5)}\n")
    described = ("--list", "a-list", "--harm", "test", "--source", "nobody")
    error = run("import", file, *described, "--column", "md6=md5")
    assert error.startswith("error: unknown option 'columns.md6'; did you mean columns.md5? ")


def test_a_servers_word_on_options_names_the_file_too(tmp_path):
    where = reading.where_options_stand(tmp_path / "m.toml", ["md5=a"], ["scheme=x"])
    wrong = ServerError("INVALID_ARGUMENT: unknown option", reason=OptionsError.reason)
    with (
        pytest.raises(OptionsError, match=r"m.toml and --column and --option: INVALID_ARGUMENT: u"),
        reading.telling_where_options_stand(where),
    ):
        raise wrong
    other = ServerError("gone", reason="UNAVAILABLE", retryable=True)
    with pytest.raises(ServerError) as raised, reading.telling_where_options_stand(where):
        raise other
    assert raised.value is other
    with pytest.raises(ServerError) as raised, reading.telling_where_options_stand(""):
        raise wrong
    assert raised.value is wrong


def test_every_example_says_what_it_assumes():
    examples = sorted(EXAMPLES.glob("*.toml"))
    assert len(examples) == 3
    for path in examples:
        assert load_mapping(path)
        assert "# ASSUMED" in path.read_text(encoding="utf-8")
