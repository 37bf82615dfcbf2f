"""`lists enrich`: codes from an entry's very own file, which match once they are confirmed."""

from __future__ import annotations

import hashlib
import json

import pytest
from PIL import Image

from matcher import cli, demo
from matcher.cli import lists_enrich


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
    got = enrich("--confirm", "--reason", "looked at")
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
    assert "--confirm" in told.err


def test_what_does_not_go_together_is_refused(run, enrich, pictures, tmp_path):
    fill(run, tmp_path, [f",,{digest('sha256', pictures / '0.png')},"])
    own = ("lists", "enrich", "--list", "own")
    assert "name files" in run(*own, status=2).err
    assert "name files" in run(*own, pictures, "--confirm", "--reason", "x", status=2).err
    assert "--reason" in run(*own, "--confirm", status=2).err
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
    got = enrich("--confirm", "--reason", "looked at")
    assert got.items() >= {"confirmed": 0, "stale": 1, "revisions": []}.items()
