"""The measurement of listing runs, and judges what it measures."""

from __future__ import annotations

import sys

from loadtest import scan_listing


def test_few_objects_are_measured(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["scan_listing", "--smoke", "--folder"])
    assert scan_listing.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == [
        "bucket: 1000 objects",
        "bucket: 5000 objects",
        "folder: 1000 objects",
        "folder: 5000 objects",
    ]


def test_what_is_not_listed_or_grows_fails(monkeypatch) -> None:
    def measured(growth: int, missing: int):
        return lambda objects: {
            "objects": objects - missing, "seconds": 1.0, "before": 0, "peak": growth * objects,
        }  # fmt: skip

    monkeypatch.setattr(sys, "argv", ["scan_listing", "--objects", "1", "1000000"])
    for growth, missing, status in ((0, 0, 0), (100, 0, 1), (0, 1, 1)):
        monkeypatch.setattr(scan_listing, "_bucket", measured(growth, missing))
        assert scan_listing.main() == status
