"""Known-good files stay apart, and never cancel a match, from the command line to the answer."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
import zipfile

import pytest

from matcher import cli
from tests.known_files_support import database, md5, sha1

HEADER = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"'


def run(data, *arguments):
    """Standard output, standard error and exit status of a command."""
    out, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", told)
        status = cli.main(["--data", str(data), *arguments])
    return out.getvalue(), told.getvalue(), status


def records(data, *arguments):
    out, _, _ = run(data, *arguments, "--json")
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def nsrl(tmp_path_factory):
    """NSRLFile.txt with two files, packed as NIST does."""
    lines = [f'"{sha1(n)}","{md5(n)}","0F1E2D3C","x",{n},1,"WIN",""' for n in (1, 2)]
    path = tmp_path_factory.mktemp("nsrl") / "NSRLFile.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("NSRLFile.txt", "\r\n".join([HEADER, *lines, ""]))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory, nsrl):
    """A list of known-good files 1 and 2, and a list of abuse with files 1 and 3."""
    folder = tmp_path_factory.mktemp("good")
    made = folder / "data"
    abuse = folder / "abuse.csv"
    abuse.write_text(f"sha1,class\n{sha1(1)},A1\n{sha1(3)},A1\n")
    described = ("--harm", "csam", "--source", "Us", "--option", "scheme=ncmec")
    columns = ("--column=sha1=sha1", "--column=category=class")
    for arguments in (
        (str(nsrl), "--format", "nsrl-csv", "--list", "nsrl", "--harm", "known_good",
         "--source", "NIST"),
        (str(abuse), "--list", "abuse", *described, *columns),
    ):  # fmt: skip
        (report,) = records(made, "lists", "import", *arguments)
        assert (report["added"], report["rejected"]) == (2, 0)
    return made


def test_a_known_good_file_never_cancels_a_match(data):
    found = records(data, "lookup", *(f"sha1:{sha1(n)}" for n in (1, 2, 3)))
    assert [each["decision"] for each in found] == ["MATCH", "NO_KNOWN_MATCH", "MATCH"]
    assert [[match["list"] for match in each["matches"]] for each in found] == [
        ["abuse"], [], ["abuse"],
    ]  # fmt: skip


def test_known_good_files_are_refused_by_a_list_of_abuse(data, nsrl):
    before = records(data, "lists", "show", "abuse")
    out, told, status = run(
        data, "lists", "import", str(nsrl), "--format", "nsrl-csv", "--list", "abuse"
    )
    assert (out, status) == ("", 2)
    assert "holds entries of harm known_good, but the list 'abuse' is of harm csam" in told
    assert "mport into another list; --harm known_good and --source" in told
    assert records(data, "lists", "show", "abuse") == before


def test_a_new_list_of_another_harm_is_not_even_created(data, nsrl):
    described = ("--list", "wrong", "--harm", "csam", "--source", "NIST")
    _, told, status = run(data, "lists", "import", str(nsrl), "--format", "nsrl-csv", *described)
    assert status == 2
    assert "they are kept apart" in told
    _, told, status = run(data, "lists", "show", "wrong")
    assert status == 2
    assert "wrong" in told


def test_importing_the_same_file_again_changes_nothing(data, nsrl):
    (report,) = records(
        data, "lists", "import", str(nsrl), "--format", "nsrl-csv", "--list", "nsrl"
    )
    assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 2)
    assert report["revision"] == 0


def test_a_database_of_the_same_files_changes_them_and_adds_none(data, tmp_path):
    """RDS 2 and 3 agree on what an entry is."""
    path = tmp_path / "RDS.db"
    definition = "CREATE TABLE FILE (sha1 TEXT, md5 TEXT, file_name TEXT, file_size INTEGER)"
    rows = [(sha1(n).upper(), md5(n).upper(), "y", n) for n in (1, 2)]
    database(path, definition, rows=[("INSERT INTO FILE VALUES (?, ?, ?, ?)", rows)])
    packed = tmp_path / "RDS.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "RDS.db")
    (report,) = records(
        data, "lists", "import", str(packed), "--format", "nsrl-sqlite", "--list", "nsrl"
    )
    assert (report["added"], report["unchanged"], report["rejected"]) == (0, 2, 0)


def test_a_checksum_file_fills_a_known_good_list_that_the_operator_made(data, tmp_path):
    path = tmp_path / "clean.md5"
    path.write_text(f"{md5(7)}  a.jpg\n")
    described = ("--list", "ours", "--harm", "known_good", "--source", "Us")
    (report,) = records(data, "lists", "import", str(path), "--format", "digests", *described)
    assert report["added"] == 1
    assert records(data, "lookup", f"md5:{md5(7)}")[0]["decision"] == "NO_KNOWN_MATCH"


def test_a_database_with_triggers_is_refused_in_words(data, tmp_path):
    path = tmp_path / "trap.db"
    database(path, "CREATE TABLE FILE (sha1 TEXT)")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON FILE BEGIN DELETE FROM FILE; END")
    connection.close()
    _, told, status = run(
        data, "lists", "import", str(path), "--format", "nsrl-sqlite", "--list", "nsrl"
    )
    assert status == 2
    assert "holds 1 trigger, which no published set of hashes has" in told
