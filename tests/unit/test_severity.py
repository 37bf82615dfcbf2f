"""The table from classifications to severities."""

from __future__ import annotations

import pytest

from hashlists.model import Classification, EntryFlag
from matcher.policy.severity import (
    BUILT_IN_ORDER,
    BUILT_IN_ROWS,
    DEFAULT_VERDICTS,
    SeverityTable,
    Verdict,
)


@pytest.mark.parametrize(
    ("scheme", "profile", "code", "severity"),
    [
        ("vics", "US", "0", "not_abuse"),
        ("vics", "Default", "1", "abuse"),
        ("vics", "US", "2", "jurisdiction"),
        ("vics", "US", "3", "jurisdiction"),
        ("vics", "Default", "4", "not_abuse"),
        ("vics", "US", "5", "unmapped"),
        ("vics", "", "0", "unmapped"),
        ("vics", "", "1", "unmapped"),
        ("vics", "UK", "1", "unmapped"),
        ("VICS", " us ", "1", "abuse"),
        ("uk", "", "A", "severe"),
        ("uk", "CAID", "b", "abuse"),
        ("iwf", "", "C", "abuse"),
        ("ncmec", "industry", "A1", "severe"),
        ("ncmec", "", "b2", "abuse"),
        ("ncmec", "", "C1", "unmapped"),
        ("interpol", "", "baseline", "severe"),
        ("copine", "", "7", "unmapped"),
        ("", "", "", "unmapped"),
    ],
)
def test_built_in_rows(scheme: str, profile: str, code: str, severity: str) -> None:
    assert SeverityTable().severity_of(Classification(scheme, profile, code)) == severity


def test_no_class_is_unmapped() -> None:
    assert SeverityTable().severity_of(None) == "unmapped"


def test_own_row_goes_before_the_built_in_one() -> None:
    row = (Classification("vics", "US", "3"), "abuse")
    table = SeverityTable((row,))
    assert table.severity_of(Classification("vics", "US", "3")) == "abuse"
    assert table.severity_of(Classification("vics", "Default", "3")) == "jurisdiction"


def test_named_profile_goes_before_any_profile() -> None:
    rows = (
        (Classification("x", "*", "1"), "abuse"),
        (Classification("x", "North", "1"), "unmapped"),
    )
    table = SeverityTable(rows)
    assert table.severity_of(Classification("x", "south", "1")) == "abuse"
    assert table.severity_of(Classification("x", "north", "1")) == "unmapped"


def test_baseline_flag_speaks_only_where_the_class_does_not() -> None:
    table = SeverityTable()
    harmless = Classification("vics", "US", "0")
    assert table.severity_of(None, EntryFlag.BASELINE) == "severe"
    assert table.severity_of(None, EntryFlag.SERIES) == "unmapped"
    assert table.severity_of(harmless, EntryFlag.BASELINE) == "not_abuse"


def test_ranks_follow_the_given_order_then_the_built_in_one() -> None:
    table = SeverityTable(
        rows=((Classification("x", "*", "1"), "own"), (Classification("x", "*", "2"), "first")),
        order=("first", "abuse"),
    )
    assert table.names == (
        "first",
        "abuse",
        "severe",
        "jurisdiction",
        "own",
        "unmapped",
        "not_abuse",
    )
    assert [table.rank(name) for name in table.names] == list(range(7))
    assert table.rank("never heard of") == 7


def test_no_built_in_class_is_ignored_but_by_its_issuers_word() -> None:
    ignored = {
        (c.scheme, c.code)
        for c, severity in BUILT_IN_ROWS.items()
        if DEFAULT_VERDICTS[severity] is Verdict.IGNORE
    }
    assert ignored == {("vics", "0"), ("vics", "4")}
    assert set(DEFAULT_VERDICTS) == set(BUILT_IN_ORDER)
    assert DEFAULT_VERDICTS["unmapped"] is Verdict.REVIEW
