"""`lists enrich`: codes from an entry's very own file, which match once they are confirmed."""

from __future__ import annotations

import hashlib
import json

import pytest
from PIL import Image

from matcher import cli, demo
from matcher.cli import derived_codes, lists_enrich


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *map(str, arguments)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


@pytest.fixture
def enrich(run):
    def ran(*arguments, status=0):
        told = run("lists", "enrich", *arguments, "--list", "own", "--json", status=status)
        return json.loads(told.out)

    return ran


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(demo.paint(800 + number, 200, 160)).save(folder / f"{number}.png")
    return folder


def fill(run, tmp_path, rows):
    file = tmp_path / "list.csv"
    file.write_text("md5,sha1,sha256,pdq\n" + "\n".join(rows) + "\n")
    columns = [
        text for kind in ("md5", "sha1", "sha256", "pdq") for text in ("--column", f"{kind}={kind}")
    ]
    run("lists", "import", file, "--list", "own", "--harm", "test", "--source", "x", *columns)


def digest(name, file):
    return hashlib.new(name, file.read_bytes()).hexdigest()


def test_codes_are_proposed_and_match_once_confirmed(run, enrich, pictures, tmp_path):
    zero, one, two = sorted(pictures.iterdir())
    fill(
        run,
        tmp_path,
        [f",{digest('sha1', zero)},,", f",,{digest('sha256', one)},", f"{digest('md5', two)},,,"],
    )
    with Image.open(one) as opened:
        opened.resize((150, 120)).save(tmp_path / "smaller.png")
    got = enrich(pictures)
    assert (
        got.items()
        >= {
            "files": 3,
            "named": 2,
            "proposed": 2,
            "confirmed": 0,
            "pending": 2,
            "not_hashed": 0,
        }.items()
    )
    assert len(got["revisions"]) == 1
    run("match", tmp_path / "smaller.png", status=0)
    got = enrich("--confirm", "--all", "--reason", "looked at")
    assert got.items() >= {"confirmed": 2, "pending": 0, "stale": 0}.items()
    (line,) = run("match", tmp_path / "smaller.png", "--json", status=1).out.splitlines()
    match = json.loads(line)["matches"][0]
    assert (match["kind"], match["basis"]) == ("pdq", "near")
    shown = run("lists", "entry", match["entry"], "--json").out
    assert json.loads(shown)["derived"]
    again = enrich(pictures)
    assert again.items() >= {"named": 0, "proposed": 0, "revisions": []}.items()


def test_crops_are_made_where_asked(run, enrich, pictures, tmp_path):
    fill(run, tmp_path, [f",,{digest('sha256', pictures / '0.png')},"])
    assert enrich(pictures / "0.png", "--crops", "0.02,0.05")["proposed"] == 3


def test_an_entry_with_a_code_is_left_as_it_is(run, enrich, pictures, tmp_path):
    (line,) = run("hash", pictures / "0.png").out.splitlines()
    code = json.loads(line)["views"][0]["pdq"]
    fill(run, tmp_path, [f",,{digest('sha256', pictures / '0.png')},{code}"])
    assert enrich(pictures)["named"] == 0


def test_what_cannot_be_hashed_is_told(run, enrich, tmp_path):
    text = tmp_path / "some.txt"
    text.write_text("words")
    fill(run, tmp_path, [f",,{digest('sha256', text)},"])
    got = enrich(text, tmp_path / "missing", status=lists_enrich.EXIT_NOT_HASHED)
    assert got.items() >= {"files": 2, "named": 1, "proposed": 0, "not_hashed": 2}.items()


def test_the_report_for_people(run, pictures, tmp_path):
    fill(run, tmp_path, [f",,{digest('sha256', pictures / '0.png')},"])
    told = run("lists", "enrich", pictures, "--list", "own")
    assert "proposed\t1" in told.out
    assert "1 code waits" in told.err


def test_what_does_not_go_together_is_refused(run, enrich, pictures, tmp_path):
    fill(run, tmp_path, [f",,{digest('sha256', pictures / '0.png')},"])
    own = ("lists", "enrich", "--list", "own")
    why = ("--reason", "x")
    assert "is no entry" in run(*own, pictures, "--confirm", *why, status=2).err
    assert "is no entry" in run(*own, "\u0663", "--confirm", *why, status=2).err
    assert "is no entry" in run(*own, "1" * 19, "--confirm", *why, status=2).err
    assert "name the entries" in run(*own, "--confirm", *why, status=2).err
    assert "name the entries" in run(*own, "1", "--all", "--withdraw", *why, status=2).err
    assert "either" in run(*own, "1", "--confirm", "--withdraw", *why, status=2).err
    assert "--all goes with" in run(*own, "--all", status=2).err
    assert "--reason" in run(*own, "--confirm", "1", status=2).err
    assert "--reason" in run(*own, "--withdraw", "--all", status=2).err
    assert "no list" in run("lists", "enrich", "--list", "nobody", pictures, status=2).err


def test_a_code_of_a_file_that_the_entry_names_no_longer_is_not_confirmed(
    run, enrich, pictures, tmp_path
):
    own, other = pictures / "0.png", pictures / "1.png"
    md5 = digest("md5", own)
    columns = [text for kind in ("key", "md5", "sha1") for text in ("--column", f"{kind}={kind}")]

    def state(sha1):
        file = tmp_path / "keyed.csv"
        file.write_text(f"key,md5,sha1\nk1,{md5},{sha1}\n")
        made = ("--list", "own", "--harm", "test", "--source", "x")
        run("lists", "import", file, *made, *columns)

    state(digest("sha1", own))
    assert enrich(own)["proposed"] == 1
    state(digest("sha1", other))
    (shown,) = proposed(run)
    assert shown["fits"] is False
    got = enrich("--confirm", "--all", "--reason", "looked at")
    assert got.items() >= {"confirmed": 0, "stale": 1, "revisions": []}.items()
    told = run("lists", "enrich", "--list", "own", "--confirm", "--all", "--reason", "looked at")
    assert "1 code was left: the entry names another file by now" in told.err
    got = enrich("--withdraw", "--all", "--reason", "another file")
    assert got.items() >= {"withdrawn": 1, "stale": 0, "pending": 0}.items()


def proposed(run):
    return list(map(json.loads, run("lists", "enrich", "--list", "own", "--json").out.splitlines()))


@pytest.fixture
def two(run, enrich, pictures, tmp_path):
    """Two entries, each with a code of its picture and of a crop proposed; their ids."""
    rows = [f",,{digest('sha256', pictures / name)}," for name in ("0.png", "1.png")]
    fill(run, tmp_path, rows)
    assert enrich(pictures, "--crops", "0.05")["proposed"] == 4
    return sorted({each["entry"] for each in proposed(run)})


def test_what_is_proposed_is_shown_without_a_hash(run, two, pictures):
    shown = proposed(run)
    assert {(each["entry"], each["derivation"]) for each in shown} == {
        (entry, made) for entry in two for made in ("file", "crop:0.05")
    }
    for each in shown:
        assert each.items() >= {"kind": "pdq", "named_by": "sha256", "fits": True}.items()
        assert each["author"]
        assert each["at"].startswith("20")
    told = run("lists", "enrich", "--list", "own")
    assert told.out.splitlines()[0].split("\t")[:3] == ["entry", "kind", "derivation"]
    assert len(told.out.splitlines()) == 5
    assert "--withdraw refuses them" in told.err
    (line,) = run("hash", pictures / "0.png").out.splitlines()
    assert json.loads(line)["views"][0]["pdq"] not in told.out + json.dumps(shown)


def test_a_long_table_is_cut(run, two, monkeypatch):
    monkeypatch.setattr(derived_codes, "_SHOWN", 3)
    told = run("lists", "enrich", "--list", "own")
    assert len(told.out.splitlines()) == 4
    assert "1 more code;" in told.err


def test_one_entry_is_confirmed_and_another_refused(run, enrich, two, pictures):
    first, second = two
    got = enrich("--confirm", first, "--reason", "looked at")
    assert got.items() >= {"confirmed": 2, "withdrawn": 0, "pending": 2}.items()
    assert {each["entry"] for each in proposed(run)} == {second}
    got = enrich("--withdraw", second, "--reason", "another picture")
    assert got.items() >= {"confirmed": 0, "withdrawn": 2, "pending": 0}.items()
    told = run("lists", "enrich", "--list", "own")
    assert "No code waits" in told.err
    why = ("--reason", "x", "--list", "own")
    told = run("lists", "enrich", "--confirm", second, *why, status=2)
    assert "no code that is proposed; nothing was changed" in told.err


def test_a_confirmed_code_is_withdrawn_by_its_entry_alone(run, enrich, two, pictures, tmp_path):
    with Image.open(pictures / "0.png") as opened:
        opened.resize((150, 120)).save(tmp_path / "smaller.png")
    enrich("--confirm", "--all", "--reason", "looked at")
    run("match", tmp_path / "smaller.png", status=1)
    got = enrich("--withdraw", "--all", "--reason", "nothing waits")
    assert got.items() >= {"withdrawn": 0, "revisions": []}.items()
    run("match", tmp_path / "smaller.png", status=1)
    got = enrich("--withdraw", *two, "--reason", "wrong")
    assert got["withdrawn"] == 4
    run("match", tmp_path / "smaller.png", status=0)
    told = run("lists", "enrich", "--withdraw", *two, "--list", "own", "--reason", "x", status=2)
    assert "proposed or confirmed" in told.err


CONFIRM_ALL = ("--confirm", "--all", "--reason", "looked at")
WITHDRAW_ALL = ("--withdraw", "--all", "--reason", "wrong")
OWN = ("lists", "enrich", "--list", "own")


def test_what_is_confirmed_is_shown(run, enrich, two):
    assert run(*OWN, "--confirmed", "--json").out == ""
    assert "No code is confirmed." in run(*OWN, "--confirmed").err
    waiting = proposed(run)
    enrich("--confirm", two[0], "--reason", "looked at")
    shown = list(map(json.loads, run(*OWN, "--confirmed", "--json").out.splitlines()))
    assert {each["entry"] for each in shown} == {two[0]}
    assert [each["derivation"] for each in shown] == [
        each["derivation"] for each in waiting if each["entry"] == two[0]
    ]
    told = run(*OWN, "--confirmed")
    assert len(told.out.splitlines()) == 3
    assert "--withdraw ENTRY... --reason ...` has them matched no longer" in told.err
    enrich("--confirm", two[1], "--reason", "looked at")
    told = run(*OWN)
    assert "No code waits to be confirmed." in told.err
    assert "4 codes are confirmed; `lists enrich --list own --confirmed` shows them" in told.err


def test_where_nothing_is_left_to_do_it_is_said(run, enrich, two):
    assert "is confirmed" not in run(*OWN, *WITHDRAW_ALL).err
    assert "No code is proposed, so nothing was changed." in run(*OWN, *CONFIRM_ALL).err
    told = run(*OWN, *WITHDRAW_ALL, "--confirmed").err
    assert "No code is confirmed, so nothing was changed." in told


def test_all_that_is_confirmed_is_withdrawn_where_that_is_asked_for(run, enrich, two):
    enrich("--confirm", two[0], "--reason", "looked at")
    told = run(*OWN, *WITHDRAW_ALL)
    assert "withdrawn\t2" in told.out
    assert "2 codes are confirmed; `lists enrich --list own --confirmed` shows them" in told.err
    told = run(*OWN, *WITHDRAW_ALL).err
    assert "No code is proposed, so nothing was changed." in told
    assert "--withdraw with --all --confirmed" in told
    got = enrich(*WITHDRAW_ALL, "--confirmed")
    assert got.items() >= {"withdrawn": 2, "confirmed": 0, "pending": 0}.items()
    assert run(*OWN, "--confirmed", "--json").out == ""


@pytest.mark.parametrize(
    "more", [("1",), CONFIRM_ALL, ("--withdraw", "1", "--reason", "x")], ids=lambda more: more[0]
)
def test_confirmed_goes_with_little(run, two, more):
    told = run(*OWN, "--confirmed", *more, status=2).err
    assert "--confirmed goes alone, or with --withdraw --all" in told


def test_an_entry_without_codes_keeps_its_neighbours_as_they_were(run, enrich, two):
    told = run(
        *("lists", "enrich", "--confirm", two[0], 999_999, "--list", "own", "--reason", "x"),
        status=2,
    )
    assert "entry 999999" in told.err
    assert len(proposed(run)) == 4


def test_many_are_decided_on_a_page_at_a_time(run, enrich, two, monkeypatch):
    monkeypatch.setattr(derived_codes, "MAX_DERIVED", 1)
    got = enrich("--confirm", "--all", "--reason", "looked at")
    assert (got["confirmed"], len(got["revisions"])) == (4, 4)
