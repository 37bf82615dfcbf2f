"""The page on settings names every setting with its variable and its true default."""

from __future__ import annotations

from pathlib import Path

import pytest

from matcher.settings import CONFIG_VARIABLE, DATA_VARIABLE, KNOBS, PREFIX, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def rows():
    """Cells of the table of all settings."""
    table = PAGE.read_text(encoding="utf-8").partition("## All settings")[2]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_is_on_the_page_once_and_no_other():
    assert [row[0].strip("`") for row in rows()] == list(KNOBS)
    text = PAGE.read_text(encoding="utf-8")
    assert DATA_VARIABLE in text
    assert CONFIG_VARIABLE in text


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip("`"))
def test_variable_and_default_are_what_they_are(row, tmp_path):
    name, variable, shown, unit, meaning = row
    name = name.strip("`")
    assert variable == f"`{PREFIX}{name.upper()}`"
    assert unit
    assert meaning
    true = getattr(load_settings(tmp_path, environ={}), name)
    if shown.endswith("in the data folder"):
        assert str(true).endswith(str(tmp_path / shown.split("`")[1]))
    elif not callable(KNOBS[name].metadata["default"]):
        environ = {f"{PREFIX}{name.upper()}": shown.strip("`")}
        assert getattr(load_settings(tmp_path, environ=environ), name) == true
