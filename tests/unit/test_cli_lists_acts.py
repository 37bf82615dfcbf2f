"""Acts on entries from the command line: what is named is changed, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import sys

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import SnapshotError
from matcher import cli
from matcher.cli import asking, lists_acts, selecting

LIST = ("--list", "demo", "--harm", "test", "--source", "Us")
COLUMNS = ("--column=md5=md5", "--column=sha1=sha1", "--column=source_id=id")
WHY = ("--reason", "a correction")


def md5(number):
    return hashlib.md5(b"%d" % number).hexdigest()


def sha1(number):
    return hashlib.sha1(b"%d" % number).hexdigest()


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    return ran


@pytest.fixture
def act(run):
    def ran(what, *arguments, status=0):
        out = run("lists", what, "demo", *arguments, *WHY, "--json", status=status).out
        return json.loads(out) if out else None

    return ran


@pytest.fixture
def import_rows(run, tmp_path):
    def ran(*numbers, more="", options=()):
        rows = [f"{md5(n)},{sha1(n)},M-{n}{more}" for n in numbers]
        file = tmp_path / "list.csv"
        file.write_text("\n".join(["md5,sha1,id", *rows]) + "\n")
        return json.loads(
            run("lists", "import", str(file), *LIST, *COLUMNS, *options, "--json").out
        )

    return ran


@pytest.fixture
def filled(import_rows):
    return import_rows(*range(6))


def numbers_in_force(catalog):
    with catalog.read() as reader:
        return [number for part in reader.entry_columns() for number in part.entry_ids.tolist()]


@pytest.fixture
def opened(tmp_path):
    return lambda: Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3")


@pytest.fixture
def ids(opened):
    """Source id -> entry id of what is in force."""

    def read():
        with opened() as catalog:
            return {catalog.entry(number).source_id: number for number in numbers_in_force(catalog)}

    return read


@pytest.fixture
def typed(monkeypatch):
    def given(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return given


def test_retract_and_restore(filled, act, ids):
    known = ids()
    done = act("retract", str(known["M-0"]), str(known["M-1"]), str(known["M-1"]))
    counts = {"entries": 2, "changed": 2, "unchanged": 0}
    assert done == {"list": "demo", "act": "retract", "dry_run": False, "revision": 3, **counts}
    assert set(ids()) == {"M-2", "M-3", "M-4", "M-5"}
    again = act("retract", str(known["M-0"]), str(known["M-2"]))
    assert (again["revision"], again["changed"], again["unchanged"]) == (4, 1, 1)
    nothing = act("retract", str(known["M-0"]))
    assert (nothing["revision"], nothing["changed"], nothing["unchanged"]) == (0, 0, 1)
    back = act("restore", *(str(known[name]) for name in ("M-0", "M-1", "M-5")))
    assert (back["act"], back["changed"], back["unchanged"]) == ("restore", 2, 1)
    assert set(ids()) == {"M-0", "M-1", "M-3", "M-4", "M-5"}


def test_a_person_is_told_what_changed_nothing(filled, run, ids):
    entry = str(ids()["M-0"])
    facts = run("lists", "retract", "demo", entry, *WHY).out
    assert "result\trevision 3" in facts
    assert "retracted\t1" in facts
    facts = run("lists", "retract", "demo", entry, *WHY).out
    assert "result\tnothing changed: all of them had been retracted already" in facts
    facts = run("lists", "restore", "demo", entry, *WHY, "--dry-run").out
    assert "result\tnothing was changed: a dry run" in facts
    assert "would be restored\t1" in facts
    run("lists", "restore", "demo", entry, *WHY)
    facts = run("lists", "restore", "demo", entry, *WHY, "--dry-run").out
    assert "nothing changed: all of them were in force already" in facts


def test_the_record_says_who_and_why(filled, run, act, ids):
    act("retract", str(ids()["M-0"]))
    newest = json.loads(run("lists", "revisions", "demo", "--json").out.splitlines()[0])
    assert (newest["kind"], newest["reason"], newest["retracted"]) == ("retract", "a correction", 1)
    assert newest["author"]
    header, first, *_ = run("lists", "revisions", "demo").out.splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (row["what"], row["retracted"], row["reason"]) == ("retract", "1", "a correction")
    assert row["by"] == newest["author"]


def test_entries_are_named_in_every_way(filled, act, ids, tmp_path, typed):
    known = ids()
    (tmp_path / "ids").write_text(f"\ufeff{known['M-0']}\r\n\r\n {known['M-1']} \n")
    (tmp_path / "sources").write_text("M-2\nM-0\n")
    typed(f"md5:{md5(3)}\n\nSHA1: {sha1(4).upper()}\n{sha1(3)}\n")
    done = act(
        "retract",
        *("--entries", str(tmp_path / "ids"), "--source-ids", str(tmp_path / "sources")),
        *("--digests", "-"),
    )
    assert (done["entries"], done["changed"]) == (5, 5)
    assert set(ids()) == {"M-5"}
    done = act("restore", "--source-id", "M-2", "--source-id", "M-4")
    assert done["changed"] == 2
    assert set(ids()) == {"M-2", "M-4", "M-5"}


CHECKSUM_LINES = {
    "GNU": lambda hashed: f"{hashed}  a file: of mine.jpg",
    "GNU, binary": lambda hashed: f"{hashed} *a (copy) = of mine.jpg",
    "GNU, an escaped name": lambda hashed: f"\\{hashed}  two\\nlines",
    "GNU, standard input": lambda hashed: f"{hashed.upper()}  -",
    "a tab": lambda hashed: f"{hashed}\tname",
    "BSD": lambda hashed: f"MD5 (a) = b (c).jpg) = {hashed}",
    "openssl": lambda hashed: f"MD5(a.jpg)= {hashed}",
}


@pytest.mark.parametrize("line", CHECKSUM_LINES.values(), ids=CHECKSUM_LINES)
def test_digests_are_read_as_checksum_tools_print_them(line):
    assert selecting.parse_digest(line(md5(3))) == bytes.fromhex(md5(3))


@pytest.mark.parametrize("name", ["SHA1", "sha-1", "SHA256", "SHA2-256", "SHA512", "MD5"])
def test_the_kind_that_a_checksum_tool_names_counts(name):
    right = {"SHA1": 20, "sha-1": 20, "SHA256": 32, "SHA2-256": 32, "MD5": 16}
    for length in (16, 20, 32):
        line = f"{name} (f) = {'5a' * length}"
        if right.get(name) == length:
            assert selecting.parse_digest(line) == b"\x5a" * length
        else:
            with pytest.raises(ValueError, match="no digest of a known kind"):
                selecting.parse_digest(line)


def test_a_digest_in_groups_is_one_value():
    assert selecting.parse_digest(f"{'5a' * 16} {'a5' * 16}") == b"\x5a" * 16 + b"\xa5" * 16


def test_a_checksum_file_names_entries(filled, act, ids, tmp_path):
    (tmp_path / "sums").write_text(f"{md5(3)}  a.jpg\n{sha1(4)} *b.jpg\nSHA1 (c) = {sha1(5)}\n")
    assert act("retract", "--digests", str(tmp_path / "sums"))["changed"] == 3
    assert set(ids()) == {"M-0", "M-1", "M-2"}


def test_many_entries_are_one_revision(import_rows, act, run, opened, tmp_path):
    import_rows(*range(3000))
    with opened() as catalog:
        (tmp_path / "ids").write_text("\n".join(map(str, numbers_in_force(catalog))))
    done = act("retract", "--entries", str(tmp_path / "ids"))
    assert (done["entries"], done["changed"], done["revision"]) == (3000, 3000, 3)
    assert len(run("lists", "revisions", "demo", "--json").out.splitlines()) == 3


UNKNOWN = {
    "an id": (("999", "1000"), "", "has no entry 999 (nor 1 more of those given)"),
    "a source id": (("--source-id", "M-77"), "", "has no entry with the source id M-77;"),
    "digests": (
        ("--digests", "-"),
        f"{md5(1)}\n{md5(70)}\n{md5(71)}\n{sha1(72)}\n",
        "with the digest that stands at place 2 of those given (nor 2 more",
    ),
    "an id like a hash": (
        ("--source-id", "M-1", "--source-id", md5(70)),
        "",
        "with the source id that stands at place 2 of those given;",
    ),
}


@pytest.mark.parametrize("act_name", ["retract", "restore", "purge"])
@pytest.mark.parametrize("case", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.usefixtures("filled")
def test_what_is_unknown_changes_nothing(run, ids, typed, act_name, case):
    given, text, told = case
    typed(text)
    yes = ("--yes",) if act_name == "purge" else ()
    before = ids()
    first = str(before["M-0"])
    error = run("lists", act_name, "demo", first, *given, *WHY, *yes, status=2).err
    assert told in error
    assert "nothing was changed" in error
    assert md5(70) not in error
    assert ids() == before


WRONG = {
    "no entry": ((), "", "no entry is named"),
    "a digest as an argument": ((f"md5:{md5(1)}",), "", "argument 1: no entry's id"),
    "a negative id": (("--", "-5"), "", "argument 1: no entry's id"),
    "a long id": (("9" * 19,), "", "argument 1: no entry's id"),
    "a source id without end": (("--source-id", "x" * 257), "", "longer than the 256"),
    "a source id that paints": (("--source-id", "a\x1b[2J"), "", "control characters"),
    "no hex": (("--digests", "-"), f"\n{md5(1)}\nzz\n", "standard input, line 3: no digest in hex"),
    "a short digest": (("--digests", "-"), "abcd", "line 1: no digest of a known kind"),
    "another kind": (("--digests", "-"), f"sha1:{md5(1)}", "line 1: no digest of a known kind"),
    "a checksum line cut off": (("--digests", "-"), f"{md5(1)[1:]}  a.jpg", "line 1: no digest"),
    "ids in a file": (("--entries", "-"), "12\nM-1\n", "standard input, line 2: no entry's id"),
    "stdin twice": (("--entries", "-", "--digests", "-"), "", "once only"),
    "no file": (("--entries", "/nowhere/ids"), "", "/nowhere/ids: No such file"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_names_no_entry_is_refused(filled, run, typed, case):
    given, text, told = case
    typed(text)
    error = run("lists", "retract", "demo", *WHY, *given, status=2).err
    assert told in " ".join(error.split())
    assert md5(1) not in error
    in_a_file = {"--digests", "--entries"} & set(given) and told != "once only"
    assert ("Usage:" not in error) == bool(in_a_file)


def test_a_file_without_an_entry_is_told_by_name(filled, run, tmp_path):
    (tmp_path / "ids").write_text("\n \n")
    error = run("lists", "retract", "demo", *WHY, "--entries", str(tmp_path / "ids"), status=2).err
    assert error == f"error: no entry is named in {tmp_path / 'ids'}\n"


def test_a_file_that_is_no_text_is_refused(filled, run, tmp_path):
    (tmp_path / "ids").write_bytes(b"\xff\xfe1")
    told = run("lists", "retract", "demo", "--entries", str(tmp_path / "ids"), *WHY, status=2).err
    assert "is no text in UTF-8" in told


def test_a_reason_is_required(filled, run):
    for act_name in ("retract", "restore", "purge"):
        assert "--reason" in run("lists", act_name, "demo", "1", status=2).err
    assert "--reason" in run("lists", "rollback", "demo", "--to", "1", status=2).err
    told = run("lists", "retract", "demo", "1", "--reason", "  ", status=2).err
    assert "the reason is empty" in told


def test_an_unknown_list_is_an_error(filled, run):
    told = run("lists", "retract", "other", "1", *WHY, status=2).err
    assert "other" in told


def test_what_a_source_calls_by_a_key_is_found(run, act, tmp_path):
    file = tmp_path / "list.csv"
    file.write_text(f"md5,key\n{md5(1)},K1\n{md5(2)},K2\n")
    run("lists", "import", str(file), *LIST, "--column=md5=md5", "--column=key=key")
    assert act("retract", "--source-id", "K2")["changed"] == 1


def test_a_source_id_of_several_entries_means_all(run, act, tmp_path):
    file = tmp_path / "list.csv"
    file.write_text(f"md5,id\n{md5(1)},S\n{md5(2)},S\n{md5(3)},T\n")
    run("lists", "import", str(file), *LIST, "--column=md5=md5", "--column=source_id=id")
    done = act("retract", "--source-id", "S")
    assert (done["entries"], done["changed"]) == (2, 2)


def test_only_the_newest_version_and_its_own_list_count(import_rows, run, act, tmp_path):
    import_rows(0, 1)
    import_rows(0, 1, more="-new")
    run("lists", "retract", "demo", "--source-id", "M-0", *WHY, status=2)
    assert act("retract", "--source-id", "M-0-new")["changed"] == 1
    other = ("--list", "other", "--harm", "test", "--source", "Us")
    run("lists", "import", str(tmp_path / "list.csv"), *other, *COLUMNS)
    run("lists", "retract", "other", "--source-id", "M-0", *WHY, status=2)
    entry = str(act("restore", "--source-id", "M-0-new")["entries"])
    assert entry == "1"


def rollback(*more):
    return ("lists", "rollback", "demo", *WHY, *more)


def test_rollback_tells_what_it_changes(filled, import_rows, run, act, ids):
    known = ids()
    act("retract", str(known["M-0"]))
    import_rows(1, more="-new")
    import_rows(7, 8)
    act("retract", str(known["M-2"]))
    wanted = {"withdrawn": 2, "reverted": 0, "retracted": 0, "restored": 2, "purged": 0}
    would = json.loads(run(*rollback("--to", "2", "--dry-run", "--json")).out)
    assert would["revision"] == 0
    assert would["dry_run"]
    done = json.loads(run(*rollback("--to", "2", "--yes", "--json")).out)
    assert done["act"] == "rollback"
    assert done["to_revision"] == 2
    for report in (would, done):
        assert report["withdrawn"] == wanted["withdrawn"]
        assert report["reverted"] == 1
        assert report["restored"] == wanted["restored"]
        assert (report["retracted"], report["purged"]) == (0, 0)
    assert done["revision"] == 7
    assert set(ids()) == {f"M-{n}" for n in range(6)}
    facts = run(*rollback("--to", "2")[:-2], "--to", "2", "--yes").out
    assert "the entries are those of revision 2 already" in facts
    back = json.loads(run(*rollback("--to", "6", "--yes", "--json")).out)
    assert (back["retracted"], back["reverted"]) == (2, 1)
    assert set(ids()) == {"M-1-new", "M-3", "M-4", "M-5", "M-7", "M-8"}


def test_rollback_names_the_exchange_that_is_fetched_anew(filled, import_rows, run, tmp_path):
    import_rows(7)
    with Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3") as catalog:
        catalog.add_exchange("a-feed", kind="csv", list_name="demo", settings={})
    would = run(*rollback("--to", "2", "--dry-run")).out
    assert "fetched anew as a whole next, with what it lists\ta-feed" in would
    for exchange in ("a-feed", None):
        assert (
            json.loads(run(*rollback("--to", "2", "--yes", "--json")).out)["exchange"] == exchange
        )


def test_rollback_needs_a_revision_of_the_list(filled, run):
    assert "--to" in run(*rollback(), status=2).err
    assert "no revision 99" in run(*rollback("--to", "99", "--yes"), status=2).err
    run(*rollback("--to", "0", "--yes"), status=2)


@pytest.fixture
def somebody(monkeypatch):
    """A person at the terminal, who gives an answer."""
    asked = []

    def answers(answer):
        monkeypatch.setattr(lists_acts, "require_someone_to_ask", lambda **_: None)
        monkeypatch.setattr(asking.click, "confirm", lambda text, **_: asked.append(text) or answer)
        return asked

    return answers


def test_rollback_shows_what_would_change_and_asks(filled, act, run, ids, somebody):
    act("retract", str(ids()["M-0"]))
    before = ids()
    assert somebody(False) == []
    told = run(*rollback("--to", "2"), status=2)
    assert "retracted later, come back in force: 1" in told.err
    assert "Nothing was changed." in told.err
    assert told.out == ""
    assert ids() == before
    asked = somebody(True)
    told = run(*rollback("--to", "2"))
    assert asked[-1] == "Roll back?"
    assert "result\trevision 4" in told.out
    assert len(ids()) == 6


def test_nobody_to_ask_is_an_error(filled, run, typed, ids):
    typed("")
    for arguments in (rollback("--to", "2"), ("lists", "purge", "demo", "1", *WHY)):
        error = run(*arguments, status=2).err
        assert error.startswith("error: nobody can be asked here: add --yes, or --dry-run")


@pytest.mark.usefixtures("filled")
def test_purge_erases_and_says_so(import_rows, act, run, ids, tmp_path):
    import_rows(0, more="-new")
    known = ids()
    would = act("purge", str(known["M-0-new"]), "--dry-run")
    assert (would["entries"], would["versions"], would["revision"]) == (1, 2, 0)
    done = act("purge", str(known["M-0-new"]), "--yes")
    counts = {"entries": 1, "in_force": 1, "versions": 2, "values": 4, "tombstones": 3}
    assert done.items() >= counts.items()
    assert done["traces_wiped"] is True
    assert done["snapshots"].startswith("none on this machine")
    assert set(ids()) == {f"M-{n}" for n in range(1, 6)}
    stored = b"".join(each.read_bytes() for each in (tmp_path / "data").glob("catalog*"))
    assert bytes.fromhex(md5(0)) not in stored
    assert bytes.fromhex(md5(1)) in stored
    report = import_rows(0, 1)
    assert (report["added"], report["rejected"]) == (0, 0)
    assert "purged" in json.dumps(report["notes"])
    told = run("lists", "purge", "demo", str(known["M-0-new"]), *WHY, "--yes", status=2).err
    assert "has no entry" in told


def test_purge_shows_how_many_and_asks(filled, run, act, ids, somebody):
    act("retract", str(ids()["M-5"]))
    before = ids()
    named = ("--source-id", "M-0", "--source-id", "M-5")
    somebody(False)
    told = run("lists", "purge", "demo", *named, *WHY, status=2).err
    assert "From the list demo would be erased for good:\n  entries: 2\n" in told
    assert "  of them in force: 1\n" in told
    assert ids() == before
    asked = somebody(True)
    told = run("lists", "purge", "demo", *named, *WHY)
    assert asked[-1] == "Erase them for good?"
    assert "entries erased\t2" in told.out
    assert "in force until now\t1" in told.out
    assert "catalog's file\trewritten, no trace left" in told.out
    assert "Not reached: backups" in told.err
    facts = run("lists", "purge", "demo", "--source-id", "M-1", *WHY, "--dry-run").out
    assert "entries to erase\t1" in facts


def test_purged_entries_stay_gone_in_a_rollback(filled, act, run, ids):
    act("purge", str(ids()["M-0"]), "--yes")
    act("retract", str(ids()["M-1"]))
    facts = run(*rollback("--to", "2", "--yes")).out
    assert "purged since, stay erased\t1" in facts
    assert len(ids()) == 5


def test_traces_that_are_left_are_told_and_can_be_wiped(filled, act, run, ids, monkeypatch):
    monkeypatch.setattr("hashlists.catalog.purge.wipe_deleted", lambda _: False)
    monkeypatch.setattr(Catalog, "wipe_deleted", lambda _: False)
    entry = str(ids()["M-0"])
    told = run("lists", "purge", "demo", entry, *WHY, "--yes", status=2)
    assert "catalog's file\ttraces left" in told.out
    assert "hashwarden lists wipe" in told.err
    assert "Traces are left" in run("lists", "wipe", status=2).err
    monkeypatch.undo()
    assert "no trace" in run("lists", "wipe").err


def test_snapshots_that_cannot_be_built_are_told(filled, run, ids, monkeypatch):
    def fails(_session, _done):
        raise SnapshotError("the disk is full")

    monkeypatch.setattr(lists_acts, "forget_purged", fails)
    told = run("lists", "purge", "demo", str(ids()["M-0"]), *WHY, "--yes", status=2)
    assert "snapshots\tstill there" in told.out
    assert "hashwarden index build" in told.err
    assert "the disk is full" in told.err
    assert "M-0" not in ids()
