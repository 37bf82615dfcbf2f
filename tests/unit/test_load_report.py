"""The report of a load test: drawn from whatever a run gave, and safe to open."""

from __future__ import annotations

import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from loadtest.openloop.latency import times_of
from loadtest.openloop.results import Cost, Counts, Look, PhaseResult, RunResult, Second, Verdict

pytest.importorskip("matplotlib", reason="installed by `make bench` and `make loadtest`")
pytest.importorskip("jinja2", reason="installed by `make bench` and `make loadtest`")

NAMES = {"throughput.png", "latency.png", "cpu.png", "memory.png", "cost.png"}


def phase(name: str, begin: float, **changes) -> PhaseResult:
    usual = {
        "name": name,
        "round": 1,
        "about": "some",
        "is_open": True,
        "begin": begin,
        "seconds": 2.0,
        "offered": 10.0,
        "goodput": 9.0,
        "counts": Counts(
            requests=20, answered=18, right=17, wrong=1, refused=1, failed=0, unsent=0, lost=1
        ),
        "codes": {"RESOURCE_EXHAUSTED": 1},
        "latency": times_of(np.linspace(0.001, 0.5, 2000)),
        "refusal": times_of(np.array([0.002])),
        "late": times_of(np.array([0.0005])),
        "cost": Cost(server=4.0, by_role={"server": 4.0}, luminance=2.0, digests=0.4, echo=0.3),
        "memory_growth": 1.0,
        "faults": ("<b>other.jpeg</b>: REVIEW for MATCH",),
        "timeline": (Second(offered=10, right=9, wrong=1, refused=0, failed=0),) * 2,
    }
    return PhaseResult(**(usual | changes))


def run(*phases: PhaseResult, looks: int = 8) -> RunResult:
    verdict = Verdict(
        phase="steady", what="wrong answers", value=1, low=0, high=1, limit="none", met=False
    )
    seen = [
        Look(at=float(n), cpu={"server": 0.9, "generator": 0.3}, memory={"server: worker": 90.0})
        for n in range(looks)
    ]
    return RunResult(
        scenario="some <script>",
        about="Some & other.",
        circumstances=("- machine: one", "- commit: abc"),
        service_ms=5.0,
        peak=100.0,
        phases=phases,
        looks=tuple(seen),
        verdicts=(verdict, msgspec.structs.replace(verdict, what="growth", limit="at most 1")),
    )


def test_all_pictures_are_drawn_and_the_page_has_them_and_escapes(tmp_path):
    from loadtest.report.page import write_report

    page = write_report(run(phase("alone", 0, is_open=False), phase("steady", 3)), tmp_path)
    assert {each.name for each in tmp_path.glob("*.png")} == NAMES
    for each in tmp_path.glob("*.png"):
        with Image.open(io.BytesIO(each.read_bytes())) as picture:
            assert picture.width > 1000
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(NAMES)
    assert "http" not in text.lower().split("<figure")[0]
    assert "<script>" not in text
    assert "some &lt;script&gt;" in text
    assert "<b>other" not in text
    assert "a budget is broken" in text


def test_what_was_not_measured_is_not_drawn():
    from loadtest.report.plots import plots

    nothing = phase("peak", 0, is_open=False, cost=None, latency=times_of(np.zeros(0)))
    assert plots(run(nothing, looks=0)).keys() == {"throughput.png"}
