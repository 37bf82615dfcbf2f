"""Makes the harmless codes that a plan of an import is screened against; for maintainers.

`python -m loadtest.harmless_codes` writes `matcher/demo_data/harmless-codes.json`: PDQ codes of
generated landscapes, of plain patterns such as are met everywhere, and of scikit-image's freely
licensed photographs. Codes alone, and no picture of any person that could be told from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from hashlists.model import HashKind
from hashlists.validate import why_degenerate
from loadtest.crops import PHOTOGRAPHS, codes, photographs
from matcher import demo, demo_data
from matcher.decode.pool import InProcessPool

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seeds of their own, so that the demo's list does not stand among them.
SEEDS = range(9_000, 9_064)
_SIDE = 256  # pixels


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures."""
    for seed in SEEDS:
        yield f"generated landscape {seed}", Image.fromarray(demo.paint(seed, 320, 240))
    yield from patterns()
    for name, picture in zip(PHOTOGRAPHS, photographs(), strict=True):
        yield f"scikit-image {name.partition('.')[0]}", picture


def patterns() -> Iterator[tuple[str, Image.Image]]:
    """What many harmless pictures are made of: boards, rings, stripes, pages, charts."""
    across, down = np.meshgrid(np.arange(_SIDE), np.arange(_SIDE))
    for cells in (4, 8, 16):
        board = (across * cells // _SIDE + down * cells // _SIDE) % 2 * 255
        yield f"checkerboard {cells} x {cells}", Image.fromarray(board.astype(np.uint8))
    radius = np.hypot(across - _SIDE / 2, down - _SIDE / 2)
    for rings in (4, 8, 16):
        waves = 127.5 + 127.5 * np.cos(radius * rings * 2 * np.pi / _SIDE)
        yield f"rings {rings}", Image.fromarray(waves.astype(np.uint8))
    for turn in (1, 2, 3):
        stripes = (across * turn + down * (4 - turn)) // 32 % 2 * 255
        yield f"slanted stripes {turn}", Image.fromarray(stripes.astype(np.uint8))
    for lines in (8, 16, 24):
        yield f"page of {lines} lines", _page(lines)
    for bars in (3, 5, 9):
        yield f"chart of {bars} bars", _chart(bars)


def _page(lines: int) -> Image.Image:
    page = Image.new("L", (_SIDE, _SIDE), 255)
    pen = ImageDraw.Draw(page)
    rng = np.random.default_rng(lines)
    for line in range(lines):
        x, y = 12, 10 + line * (_SIDE - 20) // lines
        while x < _SIDE - 24:
            width = int(rng.integers(6, 30))
            pen.rectangle((x, y, min(x + width, _SIDE - 12), y + 3), fill=30)
            x += width + 5
    return page


def _chart(bars: int) -> Image.Image:
    chart = Image.new("L", (_SIDE, _SIDE), 245)
    pen = ImageDraw.Draw(chart)
    rng = np.random.default_rng(bars)
    step = (_SIDE - 40) // bars
    for bar in range(bars):
        x, height = 24 + bar * step, int(rng.integers(30, _SIDE - 50))
        pen.rectangle((x, _SIDE - 20 - height, x + step * 2 // 3, _SIDE - 20), fill=60 + bar * 15)
    pen.line((18, 10, 18, _SIDE - 18, _SIDE - 10, _SIDE - 18), fill=0, width=2)
    return chart


def main() -> None:
    """Writes the file anew."""
    pool = InProcessPool()
    found = {name: codes(pool, picture) for name, picture in pictures()}
    pool.close()
    kept = {
        name: own[0].tobytes().hex()
        for name, own in found.items()
        if own and not why_degenerate(own[0].tobytes(), HashKind.PDQ)
    }
    file = Path(demo_data.__file__).with_name(demo_data.HARMLESS_CODES_NAME)
    file.write_text(json.dumps({"pdq": kept}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(kept)} of {len(found)} codes")


if __name__ == "__main__":
    main()
