"""The table of the formats says of each what its reader and writer do."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from hashlists.errors import OptionsError
from hashlists.formats.registry import FORMATS, open_reader, open_writer
from tests.unit.test_format_samples import SAMPLES

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
#: Their columns are declared, and their own section has the options.
TABLES = {"csv", "jsonl", "parquet"}
NOT_TOLD = "not at all"


def table():
    """Format -> heading -> cell."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(next(line for line in lines if line.startswith("| format | read |")))
    heads = [cell.strip() for cell in lines[start].strip("|").split("|")]
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return found
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[cells[0].strip("`")] = dict(zip(heads, cells, strict=True))
    return found


TABLE = table()


def named(text):
    return set(re.findall(r"`([a-z_.*]+)`", text))


def known(open_):
    """The options that whoever is asked for another one names; `tlp.green` as `tlp.*`."""
    with pytest.raises(OptionsError) as caught:
        open_({"no-such": "x"})
    told = re.search(r"(?:known options|allowed): (.*)", str(caught.value))
    names = told[1].split(", ") if told else []
    return {re.sub(r"\..*", ".*", name) for name in names}


def test_every_format_has_a_row():
    assert set(TABLE) == set(FORMATS)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_read_and_written_and_what_tells_retractions(name):
    row, found = TABLE[name], FORMATS[name]
    assert (row["read"] == "yes") == (found.open_reader is not None)
    assert (row["write"] == "no") == (found.open_writer is None)
    assert (row["how retractions are told"] == NOT_TOLD) == (not found.tells_retractions)
    assert all(row.values())


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - TABLES))
def test_the_options(name):
    to_read, _, to_write = TABLE[name]["options"].partition("to write:")
    sample = SAMPLES[name]["text"].encode() if name in SAMPLES else b""
    assert named(to_read) == known(
        lambda options: open_reader(io.BytesIO(sample), format=name, options=options)
    )
    if FORMATS[name].open_writer is not None:
        of_writer = known(lambda options: open_writer(io.BytesIO(), format=name, options=options))
        assert of_writer <= named(to_write) | named(to_read)
        assert named(to_write) <= of_writer
