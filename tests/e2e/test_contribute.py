"""A unit's way with a list: planned, imported, enriched and added to, and found in the end."""

from __future__ import annotations

import hashlib
import json

from PIL import Image

from matcher import cli, demo


def run(data, capsys, *arguments, status=0):
    assert cli.main(["--data", str(data), *map(str, arguments)]) == status
    out, told = capsys.readouterr()
    assert "this is a bug" not in told
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def test_from_a_plan_to_a_match(tmp_path, capsys):
    data, evidence = tmp_path / "data", tmp_path / "evidence"
    evidence.mkdir()
    for number in range(2):
        Image.fromarray(demo.paint(900 + number, 400, 320)).save(evidence / f"{number}.png")
    received = tmp_path / "received.csv"
    sha1 = hashlib.sha1((evidence / "0.png").read_bytes()).hexdigest()
    received.write_text(f"sha1\n{sha1}\n")
    order = ("--list", "received", "--column", "sha1=sha1", "--harm", "test", "--source", "x")
    (plan,) = run(data, capsys, "lists", "import", received, *order, "--plan", "--json")
    assert plan.items() >= {"added": 1, "revision": 0}.items()
    assert plan["screening"]["near_harmless"]["entries"] == 0
    assert not (data / "catalog.sqlite3").exists()
    run(data, capsys, "lists", "import", received, *order)

    run(data, capsys, "lists", "create", "ours", "--harm", "test", "--source", "Us")
    own = (evidence / "1.png", "--list", "ours", "--classification", "vics/UK/1")
    (added,) = run(data, capsys, "lists", "add", *own, "--crops", "0.05", "--json")
    assert added.items() >= {"added": 1, "derived": 1}.items()

    uploads = []
    for number, share in ((0, 0), (1, 0.05)):
        with Image.open(evidence / f"{number}.png") as picture:
            width, height = picture.size
            box = (width * share, height * share, width * (1 - share), height * (1 - share))
            uploads.append(tmp_path / f"upload-{number}.jpg")
            picture.crop(tuple(map(round, box))).save(uploads[-1])
    before = run(data, capsys, "match", *uploads, "--json", status=1)
    assert [len(each["matches"]) for each in before] == [0, 1]
    run(data, capsys, "lists", "enrich", evidence, "--list", "received")
    run(
        data,
        capsys,
        "lists",
        "enrich",
        "--list",
        "received",
        "--confirm",
        "--all",
        "--reason",
        "our own copy",
    )
    after = run(data, capsys, "match", *uploads, "--json", status=1)
    assert [each["matches"][0]["list"] for each in after] == ["received", "ours"]
    assert {each["matches"][0]["basis"] for each in after} == {"near"}
