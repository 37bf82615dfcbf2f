"""The samples on the page of the formats are what it says: each is cut out and imported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hashlists.formats.registry import FORMATS, format_names
from hashlists.inspection import inspect_file
from hashlists.model import Harm
from matcher import cli

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
SAMPLE = re.compile(
    r"^Sample of `(?P<name>[a-z-]+)`(?:, with (?P<options>[^:]*))?:"
    r" (?P<entries>\d+) entr(?:y|ies)(?:, (?P<withdrawn>\d+) withdrawn)?\.\n\n"
    r"```\w+\n(?P<text>.*?\n)```$",
    re.MULTILINE | re.DOTALL,
)
SAMPLES = {found["name"]: found for found in SAMPLE.finditer(PAGE.read_text(encoding="utf-8"))}
#: Formats that no page can show.
BINARY = {"encase", "nsrl-sqlite", "parquet", "tsk"}


def options_of(sample):
    return dict(each.split("=", 1) for each in re.findall(r"`([^`]+)`", sample["options"] or ""))


def test_every_format_of_text_has_one():
    assert SAMPLES.keys() | BINARY == set(format_names())
    assert PAGE.read_text(encoding="utf-8").count("Sample of `") == len(SAMPLES)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_it_is_imported_as_it_says(capsys, tmp_path, name):
    sample = SAMPLES[name]
    entries, withdrawn = int(sample["entries"]), int(sample["withdrawn"] or 0)
    path = tmp_path / "sample.dat"
    path.write_text(sample["text"], encoding="utf-8")
    given = [word for each in options_of(sample).items() for word in ("--option", "=".join(each))]
    harm = (FORMATS[name].harm or Harm.TEST).value
    words = ["--format", name, *given, "--list", "new", "--harm", harm, "--source", "us", "--json"]
    base = ["--data", str(tmp_path / "data"), "lists"]
    assert cli.main([*base, "import", str(path), *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["read"], report["added"]) == (entries + withdrawn, entries)
    assert (report["rejected"], report["unchanged"]) == (0, 0)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_it_is_taken_for_what_it_is(tmp_path, name):
    sample = SAMPLES[name]
    path = tmp_path / "sample.dat"
    path.write_text(sample["text"], encoding="utf-8")
    (part,) = inspect_file(path).parts
    assert part.candidates[0].format == name
    (part,) = inspect_file(path, format=name, options=options_of(sample)).parts
    assert part.reading.withdrawn == int(sample["withdrawn"] or 0)
    assert part.reading.coverage.entries == int(sample["entries"])
    assert not part.reading.refused
