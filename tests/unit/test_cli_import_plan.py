"""`lists import --plan`: tells what would happen, screens the entries, and changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from PIL import Image

from matcher import cli, demo, demo_data


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *map(str, arguments)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


@pytest.fixture
def plan(run):
    def ran(*arguments, status=0):
        (line,) = run(
            "lists", "import", *arguments, "--plan", "--json", status=status
        ).out.splitlines()
        return json.loads(line)

    return ran


def write(path, rows):
    path.write_text("\n".join(["md5,pdq", *rows]) + "\n")
    return path


def md5(number):
    return hashlib.md5(b"%d" % number).hexdigest()


COLUMNS = ("--column", "md5=md5", "--column", "pdq=pdq")
NEW = ("--list", "new", "--harm", "csam", "--source", "Us", *COLUMNS)
HARMLESS = demo_data.harmless_codes()
CODE = HARMLESS["generated landscape 9003"].hex()


def test_a_first_list_is_planned_without_a_catalog(plan, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},{CODE}", f"{md5(2)},", f"{md5(3)},{'00' * 32}"])
    got = plan(file, *NEW, "--max-rejected-share", "1")
    assert got["plan"] is True
    assert got.items() >= {"read": 3, "added": 2, "rejected": 1, "revision": 0}.items()
    assert not list((tmp_path / "data").glob("catalog*"))
    near = got["screening"]["near_harmless"]
    assert near["entries"] == 1
    assert near["first"] == [
        {
            "place": near["first"][0]["place"],
            "kind": "pdq",
            "reference": "generated landscape 9003",
            "distance": 0,
        }
    ]
    assert near["first"][0]["place"].startswith("line 2")
    ((reason, number),) = got["rejected_by_reason"].items()
    assert number == 1
    assert "which would match what it must not" in reason
    (chance,) = got["chance_hits"]
    assert chance["before"] == 0 < chance["after"] < 1e-30
    assert CODE not in json.dumps(got)


def test_a_plan_that_would_be_refused_is_shown(run, plan, tmp_path):
    first = write(tmp_path / "a.csv", [f"{md5(number)}," for number in range(10)])
    run("lists", "import", first, *NEW)
    before = run("lists", "show", "--json").out
    second = write(tmp_path / "b.csv", [f"{md5(1)},", f"{md5(99)},"])
    order = (second, "--list", "new", *COLUMNS, "--full")
    got = plan(*order, status=2)
    assert got.items() >= {"added": 1, "unchanged": 1, "retracted": 9, "absent": 9}.items()
    (refusal,) = got["refusals"]
    assert refusal["reason"] == "FULL_LIST_REFUSED"
    assert "9 of 10 entries in force are not in the file, but that is 90.0%" in refusal["detail"]
    told = run("lists", "import", *order, "--plan", status=2)
    facts = dict(line.split("\t") for line in told.out.splitlines())
    assert facts["result"] == "a plan: nothing was imported; it would be refused"
    assert facts["would retract"] == "9 (9 not in the file)"
    assert "As it is, the import would be refused: 9 of 10 entries in force" in told.err
    assert told.err.splitlines()[-1] == "This was a plan: nothing was imported."
    assert plan(*order, "--force")["refusals"] == []
    assert run("lists", "show", "--json").out == before


def test_reasons_are_grouped_by_all_but_their_numbers(plan, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},", f"{md5(2)[:8]},", f"{md5(3)[:10]},"])
    got = plan(file, *NEW, "--max-rejected-share", "1")
    ((reason, number),) = got["rejected_by_reason"].items()
    assert number == 2
    assert reason.startswith("not an MD5 hash: expected N hexadecimal digits; the value has N")


def test_a_plan_with_too_many_rejects_is_shown(plan, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},", "wrong,"])
    got = plan(file, *NEW, status=2)
    assert got.items() >= {"read": 2, "added": 1, "rejected": 1}.items()
    assert [each["reason"] for each in got["refusals"]] == ["TOO_MANY_REJECTIONS"]
    assert "1 of 2 records was rejected" in got["refusals"][0]["detail"]
    assert plan(file, *NEW, "--max-rejected-share", "0.5")["refusals"] == []


def test_a_plan_changes_nothing_and_tells_what_differs(run, plan, tmp_path):
    first = write(tmp_path / "a.csv", [f"{md5(1)},{CODE}", f"{md5(2)},"])
    run("lists", "import", first, *NEW)
    second = write(tmp_path / "b.csv", [f"{md5(1)},{CODE}", f"{md5(3)},"])
    before = run("lists", "show", "--json").out
    got = plan(second, "--list", "new", *COLUMNS, "--full", "--force")
    assert got.items() >= {"added": 1, "unchanged": 1, "retracted": 1, "absent": 1}.items()
    assert run("lists", "show", "--json").out == before
    assert got["chance_hits"][0]["before"] == pytest.approx(got["chance_hits"][0]["after"])


def test_entries_of_known_good_lists_are_told(run, plan, tmp_path):
    good = tmp_path / "good.csv"
    good.write_text("MD5\n" + "\n".join(md5(n) for n in range(5)) + "\n")
    run(
        *("lists", "import", good, "--list", "os-files", "--harm", "known_good", "--source", "x"),
        *("--column", "md5=MD5"),
    )
    file = write(tmp_path / "a.csv", [f"{md5(4)},", f"{md5(9)},", f"{md5(0)},"])
    before = run("lists", "revisions", "--json").out
    screening = plan(file, *NEW)["screening"]
    assert run("lists", "revisions", "--json").out == before
    assert screening["known_good_lists"] == ["os-files"]
    assert screening["known_good"]["entries"] == 2
    assert screening["known_good"]["by_reference"] == {"os-files": 2}
    assert [each["place"].split()[1] for each in screening["known_good"]["first"]] == ["2", "4"]
    again = plan(good, "--list", "os-files", "--column", "md5=MD5")["screening"]
    assert again["known_good_lists"] == []


def test_what_stands_in_other_lists_is_not_told_as_known_good(run, plan, tmp_path):
    """Another list of abuse imagery names the entry, too; that is no reason to doubt either."""
    good = write(tmp_path / "good.csv", [f"{md5(1)},"])
    made = ("--harm", "known_good", "--source", "x")
    run("lists", "import", good, "--list", "os-files", *made, *COLUMNS)
    other = write(tmp_path / "other.csv", [f"{md5(2)},", f"{md5(3)},"])
    run("lists", "import", other, "--list", "other", "--harm", "csam", "--source", "y", *COLUMNS)
    file = write(tmp_path / "a.csv", [f"{md5(number)}," for number in range(1, 4)])
    screening = plan(file, *NEW)["screening"]
    assert screening["known_good"]["entries"] == 1
    assert screening["known_good"]["by_reference"] == {"os-files": 1}


def test_pictures_of_ones_own_are_references(run, plan, tmp_path):
    folder = tmp_path / "mine"
    (folder / "below").mkdir(parents=True)
    Image.fromarray(demo.paint(4321, 300, 240)).save(folder / "below" / "logo.png")
    (folder / "notes.txt").write_text("no picture")
    (line,) = run("hash", folder / "below" / "logo.png").out.splitlines()
    file = write(tmp_path / "a.csv", [f"{md5(1)},{json.loads(line)['views'][0]['pdq']}"])
    assert plan(file, *NEW)["screening"]["near_harmless"]["entries"] == 0
    got = plan(file, *NEW, "--reference", folder)["screening"]
    assert got["near_harmless"]["by_reference"] == {str(folder / "below" / "logo.png"): 1}
    assert got["references"]["pdq"] == len(HARMLESS) + 1


def test_a_policy_that_would_not_fit_is_told(plan, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "policies.toml").write_text(
        "[policies.default]\n\n[policies.wide.thresholds]\npdq = 110\n"
    )
    file = write(tmp_path / "a.csv", [f"{md5(1)},{CODE}"])
    default, wide = plan(file, *NEW)["chance_hits"]
    assert (default["policy"], default["problem"]) == ("default", "")
    assert wide["before"] == 0
    assert wide["after"] > 0.01
    assert "chance hits, above the limit" in wide["problem"]


def test_the_plan_for_people(run, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(n)},{CODE}" for n in range(25)])
    told = run("lists", "import", file, *NEW, "--plan")
    assert "entries near one of them\t25" in told.out
    assert "near: line 2" in told.err
    assert "0 bits away): generated landscape 9003" in told.err
    assert "... and 5 more entries" in told.err
    assert "This was a plan: nothing was imported." in told.err
    facts = dict(line.split("\t") for line in told.out.splitlines())
    assert facts["result"] == "a plan: nothing was imported; it would be one revision"
    assert (facts["list"], facts["would add"]) == ("would be created, live", "25")
    assert not facts.keys() & {"added", "updated", "retracted"}
    assert CODE not in told.err + told.out


def test_a_plan_for_a_list_that_is_there(run, plan, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    run("lists", "import", file, *NEW)
    told = run("lists", "import", file, "--list", "new", *COLUMNS, "--plan").out
    facts = dict(line.split("\t") for line in told.splitlines())
    assert facts["result"] == "a plan: nothing was imported; it would change nothing"
    assert (facts["list"], facts["would add"], facts["unchanged"]) == ("is there, live", "0", "1")
    assert plan(file, "--list", "new", *COLUMNS)["creates_list"] is False
    assert plan(file, *NEW[2:], "--list", "other")["creates_list"] is True


def test_a_dry_run_is_a_plan(run, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    told = run("lists", "import", file, *NEW, "--dry-run").err
    assert "This was a plan: nothing was imported." in told


def test_what_does_not_go_together_is_refused(run, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    assert "--plan" in run("lists", "import", file, *NEW, "--reference", tmp_path, status=2).err
    server = ("--server", "127.0.0.1:1")
    assert "--plan works" in run("lists", "import", file, *NEW, "--plan", *server, status=2).err
    assert (
        "no list is named"
        in run("lists", "import", file, "--list", "x", *COLUMNS, "--plan", status=2).err
    )


def test_a_plan_is_refused_as_the_import_would_be(run, tmp_path):
    """An empty list may be given another title by an import, and stays one of abuse."""
    run("lists", "create", "abuse", "--harm", "csam", "--source", "Us")
    file = tmp_path / "NSRLFile.txt"
    file.write_text(f'"SHA-1","MD5","FileName"\n"{"ab" * 20}","{md5(1)}","x"\n')
    order = (file, "--list", "abuse", "--format", "nsrl-csv", "--title", "Other")
    refused = [
        run("lists", "import", *order, *more, status=2).err.splitlines()[-1]
        for more in ((), ("--plan",))
    ]
    assert "they are kept apart" in refused[0]
    assert refused[0] == refused[1]
    assert json.loads(run("lists", "show", "abuse", "--json").out)["title"] == ""


def test_reports_tell_of_a_list_in_shadow(run, plan, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    told = "in shadow: it is matched and counted, and decides nothing until `lists promote`"
    assert plan(file, *NEW, "--shadow")["list_state"] == "shadow"
    assert plan(file, *NEW)["list_state"] == "live"
    assert f"would be {told}" in run("lists", "import", file, *NEW, "--shadow", "--plan").err
    assert told in run("lists", "import", file, *NEW, "--shadow").err
    again = ("lists", "import", file, "--list", "new", *COLUMNS)
    assert json.loads(run(*again, "--json").out)["list_state"] == "shadow"
    assert plan(file, "--list", "new", *COLUMNS)["list_state"] == "shadow"
    added = ("lists", "add", file, "--list", "new")
    assert json.loads(run(*added, "--json", status=2).out)["list_state"] == "shadow"
    run("lists", "promote", "new", "--reason", "looked at")
    live = run(*again)
    assert "shadow" not in live.err + live.out
    assert json.loads(run(*again, "--json").out)["list_state"] == "live"


def test_a_list_of_another_harm_is_not_even_made(run, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    made = ("--list", "adults", "--harm", "ncii", "--source", "Us", *COLUMNS)
    run("lists", "import", file, *made)
    out = tmp_path / "out.jsonl"
    run("lists", "export", "--list", "adults", "--format", "jsonl", "--to", out, "--own-copy")
    order = (out, "--list", "new", "--harm", "csam", "--source", "Us", "--format", "jsonl")
    for more in ((), ("--plan",)):
        told = run("lists", "import", *order, *more, status=2).err
        assert "entries of harm ncii, but the list 'new' would be of harm csam" in told
        assert "Say --harm ncii, or import into another list" in told
    assert "new" not in run("lists", "show", "--json").out


def test_a_plan_makes_no_data_folder(plan, tmp_path):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    assert plan(file, *NEW)["added"] == 1
    assert not (tmp_path / "data").exists()


def test_an_import_makes_the_data_folder_for_its_owner_alone(run, tmp_path, monkeypatch):
    file = write(tmp_path / "a.csv", [f"{md5(1)},"])
    monkeypatch.setenv("HASHWARDEN_CATALOG_URL", f"sqlite:///{tmp_path / 'other' / 'catalog.db'}")
    run("lists", "import", file, *NEW)
    shutil.rmtree(tmp_path / "data")
    run("lists", "import", file, "--list", "new", *COLUMNS)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
