"""Reports of what a scan has really written down: whole, half done, killed, and sealed."""

from __future__ import annotations

import io
import json

import pyrage
import pytest

from hashlists.formats.unpacking.age_files import identities_in
from matcher.scan.reports import write_reports
from matcher.scan.state import RunEnd, ScanState
from tests import scan_state_support as support


def scanned(folder, *, recipients=(), finished=3):
    """A scan of three batches, so many of them finished, in a run of its own each."""
    document = support.document(recipients=recipients)
    with ScanState.create(folder, document) as state:
        batches = support.batches(range(10))
        state.begin_run(**support.RUN)
        state.plan(0, "c1", batches, done=True, not_selected=2, skipped={"link": 3})
        for batch in batches[:finished]:
            state.finish(support.result(batch))
            state.begin_run(**{**support.RUN, "revision": 4 + batch.number})
        state.end_run(RunEnd.DONE)
    return folder


def totals(folder):
    return json.loads((folder / "summary.json").read_bytes())


@pytest.mark.parametrize("finished", [0, 2, 3])
def test_each_object_that_is_finished_is_there_once_and_the_rest_waits(tmp_path, finished):
    folder = scanned(tmp_path / "out", finished=finished)
    with ScanState.open(folder, writing=False) as state:
        write_reports(folder, state.summary(), state.records(), ["jsonl", "html"])
    rows = [json.loads(line) for line in (folder / "report.jsonl").read_bytes().splitlines()]
    done = min(4 * finished, 10)
    assert [row["address"] for row in rows] == [f"/data/k{number:05}" for number in range(done)]
    assert totals(folder)["totals"]["waiting"] == 10 - done
    assert totals(folder)["scan"]["adds_up"]
    assert totals(folder)["scan"]["done"] is (done == 10)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert ("It has not ended." in page) is (done < 10)
    assert "It adds up." in page
    assert "killed" in page or not finished


def test_sealed_records_are_reported_by_who_holds_the_key(tmp_path):
    identity = pyrage.x25519.Identity.generate()
    folder = scanned(tmp_path / "out", recipients=(str(identity.to_public()),))
    keys = identities_in(io.BytesIO(str(identity).encode()))
    with ScanState.open(folder, writing=False) as state:
        write_reports(folder, state.summary(), None, ["html"])
        assert "/data" not in (folder / "report.html").read_text(encoding="utf-8")
        write_reports(tmp_path, state.summary(), state.records(keys), ["jsonl"])
    assert len((tmp_path / "report.jsonl").read_bytes().splitlines()) == 10
    assert totals(tmp_path) == totals(folder)
