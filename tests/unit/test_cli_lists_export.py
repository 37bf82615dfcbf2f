"""`hashwarden lists export`: what the user asks for and is told."""

from __future__ import annotations

import json
import re
import stat
import sys

import pyrage
import pytest

from hashlists.catalog import Catalog
from hashlists.model import Handling, HashKind
from matcher import cli
from matcher.cli import lists_export, output
from tests.catalog_support import CLASS_2, DEMO, bring, items

FOR_A = Handling("us", ("unit-a",))
EXPORT = ("lists", "export", "--list", "demo")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder whose list has two entries for nobody and three for A, one retracted later."""
    folder = tmp_path_factory.mktemp("data")
    with Catalog.open(f"sqlite:///{folder / 'catalog.sqlite3'}") as catalog:
        catalog.create_list(DEMO, author="a person")
        later = items("gone", handling=FOR_A)
        bring(
            catalog,
            items("n1", "n2", classification=CLASS_2)
            + items("a1", handling=FOR_A, classification=None)
            + items("a2", handling=FOR_A, kinds=(HashKind.PDQ,)),
            later,
        )
        bring(catalog, gone=later)
    return folder


@pytest.fixture
def run(data, capsysbinary):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(data), *map(str, arguments)])
        captured = capsysbinary.readouterr()
        assert got == status, captured.err.decode()
        return captured.out, captured.err.decode()

    return ran


def names(content):
    return {each["key"][3:] for each in map(json.loads, content.splitlines()) if "key" in each}


def test_the_report_for_people(run, tmp_path):
    target = tmp_path / "out.csv"
    out, told = run(*EXPORT, "--format", "icse", "--recipient", "unit-a", "--to", target)
    shown = dict(line.split("\t") for line in out.decode().splitlines())
    assert shown["export"] == "demo"
    assert shown["shows"] == "revision 3"
    assert shown["for"] == "unit-a"
    assert shown["format"] == "icse, not encrypted"
    assert [shown[x] for x in ("entries", "withdrawals", "held back", "left out")] == list("1021")
    assert "held back: 2 entries are not released to unit-a" in told
    assert "not carried by icse: releasable to (1 entry)" in told
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_why_nothing_went_out(run, tmp_path):
    for number, (more, why) in enumerate(
        (
            (
                ("--format", "csv", "--classification", "uk//B"),
                "have none in force, of the classes",
            ),
            (("--format", "vics", "--option", "profile=US", "--kind", "pdq"), "no hash that vics"),
        )
    ):
        _, told = run(*EXPORT, *more, "--own-copy", "--to", tmp_path / str(number))
        assert "nothing went out; the file holds no entry: " in told
        assert why in told


def test_a_list_that_is_nearly_named(run, tmp_path):
    _, told = run(
        "lists", "export", "--list", "dmeo", "--format", "csv", "--own-copy",
        "--to", tmp_path / "out", status=2,
    )  # fmt: skip
    assert "no list named 'dmeo'; did you mean demo? `lists show` names those there are" in told


def test_a_recipients_name_is_one_name(run):
    words = ("lists", "handling", "demo", "--releasable-to", "unit-b;unit-d", "--reason", "r")
    _, told = run(*words, status=2)
    assert "give each name by itself, as --releasable-to ONE --releasable-to OTHER" in told


def test_a_recipient_whom_no_entry_names(run, tmp_path):
    target = tmp_path / "out.csv"
    _, told = run(*EXPORT, "--format", "csv", "--recipient", "unit-A", "--to", target)
    assert "warning: nothing went out; the file holds no entry: names are compared" in told
    assert "`hashwarden lists handling LIST --releasable-to NAME`" in told


@pytest.mark.parametrize(
    ("name", "why"), [("pdf", "unknown list format 'pdf'"), ("misp", "misp is only read")]
)
def test_a_format_that_is_not_written(run, tmp_path, name, why):
    target = tmp_path / "out"
    _, told = run(*EXPORT, "--format", name, "--own-copy", "--to", target, status=2)
    written = "csv, icse, jsonl, ncmec, parquet, stix, vics"
    assert f"{why}; formats that are written: {written}\n" in told


def test_the_report_for_programs(run, tmp_path):
    target = tmp_path / "out.jsonl"
    out, told = run(*EXPORT, "--format", "jsonl", "--own-copy", "--to", target, "--json")
    report = json.loads(out)
    assert (report["own_copy"], report["entries"], told) == (True, 4, "")
    assert report["bytes"] == target.stat().st_size
    assert names(target.read_bytes()) == {"n1", "n2", "a1", "a2"}


def test_filters(run, tmp_path):
    def exported(*arguments):
        target = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        run(*EXPORT, "--format", "jsonl", "--own-copy", "--to", target, *arguments)
        return names(target.read_bytes())

    assert exported("--classification", "vics/US/2") == {"n1", "n2"}
    assert exported("--classification", "none") == {"a1"}
    assert exported("--classification", "none", "--classification", "vics/US/1") == {"a1", "a2"}
    assert exported("--kind", "md5") == {"n1", "n2", "a1"}
    assert exported("--up-to", "2") == {"n1", "n2", "a1", "a2", "gone"}
    assert exported("--since", "2") == {"gone"}


def test_options_of_the_format(run, tmp_path):
    target = tmp_path / "out.json"
    vics = (*EXPORT, "--format", "vics", "--own-copy", "--to", target)
    _, told = run(*vics, status=2)
    assert "VICS needs the option profile" in told
    assert not target.exists()
    run(*vics, "--option", "profile=US")
    assert [each["Category"] for each in json.loads(target.read_bytes())["value"]].count(2) == 2


def test_a_delta_of_nothing_is_no_fault(run, tmp_path):
    target = tmp_path / "out.csv"
    _, told = run(*EXPORT, "--format", "csv", "--since", "3", "--own-copy", "--to", target)
    assert "nothing to tell: no entry changed after revision 3" in told
    assert "warning" not in told


def test_a_delta_that_cannot_be_told_is_told_loudly(run, tmp_path):
    arguments = ("--format", "vics", "--option", "profile=US", "--since", "2", "--own-copy")
    out, told = run(*EXPORT, *arguments, "--to", tmp_path / "out.json")
    assert "shows\trevision 3, what changed since revision 2" in out.decode()
    assert told.startswith("warning: 1 entry is withdrawn, or has no hash left for vics")
    assert "so tell them" in told
    assert "warning: nothing went out; the file holds no entry" in told


def test_encrypted_to_keys_and_to_a_file_of_keys(run, tmp_path):
    identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
    first, second = (str(each.to_public()) for each in identities)
    keys = tmp_path / "keys"
    keys.write_text(f"# unit B\n{second}\n")
    target = tmp_path / "out.jsonl.gz.age"
    arguments = ("--encrypt-to", first, "--encrypt-to-file", keys, "--to", target)
    out, _ = run(*EXPORT, "--format", "jsonl", "--own-copy", *arguments)
    assert "jsonl, packed with gzip, encrypted to 2 public keys" in out.decode()
    sealed = target.read_bytes()
    assert pyrage.decrypt(sealed, [identities[0]]) == pyrage.decrypt(sealed, [identities[1]])


def test_standard_output(run):
    out, told = run(*EXPORT, "--format", "jsonl", "--recipient", "unit-a", "--to", "-")
    assert names(out) == {"a1", "a2"}
    assert "held back: 2" in told
    out, told = run(*EXPORT, "--format", "jsonl", "--own-copy", "--to", "-", "--json")
    assert (names(out), json.loads(told)["entries"]) == ({"n1", "n2", "a1", "a2"}, 4)


def test_no_list_is_shown_on_a_terminal(run, monkeypatch):
    monkeypatch.setattr(lists_export, "is_terminal", lambda: True)
    out, told = run(*EXPORT, "--format", "jsonl", "--own-copy", "--to", "-", status=2)
    assert (out, "standard output is a terminal" in told) == (b"", True)


def test_a_table_of_80_columns(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(output, "is_terminal", lambda *, error=False: not error)
    arguments = ("--format", "csv", "--own-copy", "--to", str(tmp_path / "out.csv"))
    assert cli.main(["--data", str(data), *EXPORT, *arguments]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("a copy of your own" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "say who gets the file"),
        (("--own-copy", "--recipient", "unit-a"), "say who gets the file"),
        (("--own-copy", "--since", "3", "--up-to", "2"), "--up-to is before --since"),
        (("--own-copy", "--classification", "1"), "is not SCHEME/PROFILE/CODE"),
        (("--own-copy", "--classification", "vics/US/"), "is not SCHEME/PROFILE/CODE"),
        (("--own-copy", "--option", "profile"), "is not of the form KEY=VALUE"),
        (("--own-copy", "--encrypt-to", "age1"), "recipient 1 is no public key"),
        (("--own-copy", "--since", "99"), "there is no 99 yet"),
        (("--recipient", ""), "name at least one recipient"),
    ],
)
def test_what_is_refused(run, tmp_path, arguments, why):
    target = tmp_path / "out.csv"
    _, told = run(*EXPORT, "--format", "csv", "--to", target, *arguments, status=2)
    assert why in told
    assert not target.exists()


def test_a_file_that_is_there_stays_without_force(run, tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("mine")
    arguments = (*EXPORT, "--format", "csv", "--own-copy", "--to", target)
    _, told = run(*arguments, status=2)
    assert ("--force" in told, target.read_text()) == (True, "mine")
    run(*arguments, "--force")
    assert target.read_bytes().startswith(b"key,")
