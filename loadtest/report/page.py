"""One HTML page for a run, with all pictures in it, and the pictures as files beside it.

    python -m loadtest.report.page RESULTS.json

It needs nothing from elsewhere, so it can be sent to anybody and opened anywhere.
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from loadtest.openloop.results import RunResult
from loadtest.openloop.scenario import ALONE
from loadtest.report.plots import plots
from loadtest.report.summary import late_phases

PAGE: Final = "report.html"
_CAPTIONS: Final = {
    "throughput.png": "Arrivals of open phases wait for nobody: the line is what was offered, the"
    " areas are what became of it.",
    "latency.png": "Latency counts from the moment at which a request was meant to start, so that"
    " all that had to wait is charged. Refusals are left out; what never ended counts up to the"
    " end of its phase. Of the last round.",
    "cpu.png": "The load generator has a process of its own, on the same machine.",
    "memory.png": "Anonymous memory: what a leak would grow. Mapped lists and libraries are left"
    " out.",
    "cost.png": "The floor is what the same files take at least: decoding to luminance by Pillow,"
    " three digests, and a gRPC server that sends the bytes back. Of the last round.",
}


def write_report(result: RunResult, folder: Path) -> Path:
    """Writes the page and the pictures; gives the page's path."""
    drawn = plots(result)
    for name, content in drawn.items():
        (folder / name).write_bytes(content)
    page = folder / PAGE
    page.write_text(render(result, drawn), encoding="utf-8")
    return page


def render(result: RunResult, drawn: dict[str, bytes]) -> str:
    """The page.

    Args:
        result: of a run.
        drawn: pictures by file name, as PNG.
    """
    environment = Environment(
        loader=PackageLoader("loadtest.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [
        (base64.b64encode(content).decode(), _CAPTIONS[name]) for name, content in drawn.items()
    ]
    circumstances = [line.removeprefix("- ").partition(": ")[::2] for line in result.circumstances]
    page: str = environment.get_template("page.html.jinja").render(
        result=result,
        pictures=pictures,
        circumstances=circumstances,
        alone=ALONE,
        late=late_phases(result),
        faults=[(each.name, fault) for each in result.phases for fault in each.faults],
    )
    return page


def main() -> None:
    """Makes the report anew from the results of a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, metavar="RESULTS.json")
    results: Path = parser.parse_args().results
    result = msgspec.json.decode(results.read_bytes(), type=RunResult)
    print(write_report(result, results.parent))


if __name__ == "__main__":
    main()
