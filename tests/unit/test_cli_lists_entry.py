"""`hashwarden lists entry`: all that is known of one entry, and no hash."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from hashlists.catalog import Catalog, DerivedAction, DerivedHash
from hashlists.model import Classification, Entry, EntryFlag, HashKind
from matcher import cli
from matcher.cli import lists_entry

NEW = ("--list", "demo", "--harm", "test", "--source", "Us")
COLUMNS = ("--column=md5=md5", "--column=source_id=id", "--column=series=series")
MD5 = hashlib.md5(b"made up").hexdigest()
SHORT = hashlib.md5(b"made up too").digest()[:8]


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), "lists", *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        assert MD5 not in captured.out + captured.err
        return captured

    return ran


@pytest.fixture
def bring(run, tmp_path):
    def brought(*rows):
        file = tmp_path / "list.csv"
        file.write_text("\n".join(["md5,id,series", *rows]) + "\n")
        run("import", str(file), *NEW, *COLUMNS)

    return brought


def test_everything_but_the_hashes_is_shown(run, bring):
    bring(f"{MD5},M-7,yes")
    run("retract", "demo", "1", "--reason", "a correction")
    told = run("entry", "#1", "--json").out
    shown = json.loads(told)
    history = shown.pop("history")
    assert shown == {
        "entry": 1,
        "list": "demo",
        "harm": "test",
        "list_state": "live",
        "in_force": False,
        "retracted_by": ["operator"],
        "expired": False,
        "source_id": "M-7",
        "source_key": None,
        "classification": None,
        "flags": {"series": True},
        "hashes": {"md5": 1},
        "derived": [],
        "size": None,
        "media_type": None,
        "verified_count": None,
        "source_updated_at": None,
        "handling": {"originator": "", "releasable_to": [], "expires_at": None},
    }
    assert [(each["revision"], each["what"], each["origin"]) for each in history] == [
        (2, "added", None),
        (3, "retracted", "operator"),
    ]
    assert history[1]["reason"] == "a correction"
    run("restore", "demo", "1", "--reason", "it was right")
    assert json.loads(run("entry", "1", "--json").out)["in_force"]
    assert "no longer retracted by an operator\t" in run("entry", "1").out
    run("retract", "demo", "1", "--reason", "it was wrong after all")
    lines = [line.split("\t") for line in run("entry", "1").out.splitlines()]
    facts = dict(line for line in lines if len(line) == 2)
    expected = {
        "entry": "1",
        "list": "demo (test, live)",
        "state": "retracted by an operator",
        "source id": "M-7",
        "flags": "series: yes",
        "hashes": "md5",
        "releasable to": "nobody",
    }
    assert facts == expected
    assert [line[2] for line in lines if len(line) == 5] == [
        "what",
        "added (import)",
        "retracted by an operator",
        "no longer retracted by an operator",
        "retracted by an operator",
    ]
    assert lines[-1][-1] == "it was wrong after all"


@pytest.mark.parametrize("given", ["x", "-1", "##1", "1" * 30, "md5:aa"])
def test_what_is_no_id_is_refused(run, bring, given):
    bring(f"{MD5},M-7,no")
    told = " ".join(run("entry", "--", given, status=2).err.split())
    assert "no entry's id" in told
    assert "--source-id" not in told  # which this command does not have
    assert "there is no entry 5" in run("entry", "5", status=2).err


@pytest.mark.parametrize(
    "text",
    [
        MD5,
        MD5.upper(),
        f"sha1-{'0' * 40}.jpg",
        base64.b64encode(bytes.fromhex(MD5)).decode(),
        base64.b64encode(SHORT).decode().rstrip("="),
        SHORT.hex(),
        f"No-{SHORT.hex().upper()}.jpg",
        f"{MD5[:8]}-{MD5[8:12]}-{MD5[12:16]}-{MD5[16:20]}-{MD5[20:]}",
    ],
    ids=[
        "hex",
        "upper case",
        "any hash",
        "base64",
        "a further value",
        "a short one",
        "within a name",
        "as a UUID",
    ],
)
def test_a_hash_that_a_source_took_for_an_id_is_not_shown(text):
    entry = Entry(
        entry_id=1,
        list_name="demo",
        key=b"\0" + text.encode(),
        hashes={HashKind.MD5: bytes.fromhex(MD5)},
        extra_hashes=((HashKind.PHASH, SHORT),),
        source_id=text,
        classification=Classification("vics", "", "1"),
        flags_known=EntryFlag.SERIES,
    )
    assert lists_entry._shown(entry, entry.source_id) == "(a hash; not shown)"
    assert lists_entry._shown(entry, lists_entry._text_key(entry)) == "(a hash; not shown)"
    assert lists_entry._shown(entry, "550e8400-e29b-41d4-a716-446655440000")[0] == "5"
    assert lists_entry._kinds(entry) == {"md5": 1, "phash": 1}
    assert lists_entry._flags(entry) == {"series": False}


def test_codes_that_were_made_here_are_told_apart(run, bring, tmp_path):
    bring(f"{MD5},M-7,yes")
    rows = [
        DerivedHash(1, HashKind.PDQ, bytes([number]) * 32, made, HashKind.MD5, bytes.fromhex(MD5))
        for number, made in ((3, "file"), (5, "crop:0.02"))
    ]
    with Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3") as catalog:
        catalog.add_derived("demo", rows, author="p", reason="r", action=DerivedAction.CONFIRM)
    shown = json.loads(run("entry", "1", "--json").out)
    assert shown["hashes"] == {"md5": 1}
    made = sorted((each["kind"], each["derivation"]) for each in shown["derived"])
    assert made == [("pdq", "crop:0.02"), ("pdq", "file")]
    told = run("entry", "1").out
    assert "pdq (crop:0.02)" in told
    assert "03" * 32 not in told
