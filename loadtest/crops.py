"""How many pictures are found again once they were cut, with and without codes of crops stored.

`python -m loadtest.crops`: scikit-image's photographs, and ninths of them, each cut by a share on
every side and hashed as `hash` would; found is what lies within 31 bits of a stored code.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import skimage
from PIL import Image

from hashlists.model import HashKind
from matcher.decode.pool import InProcessPool
from matcher.hashing.views import hash_views
from matcher.model import QUALITY_FLOOR, DecodedImage, DecodeRequest, ViewSelection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png"),
    *("coffee.png", "coins.png", "color.png", "grass.png", "gravel.png", "hubble_deep_field.jpg"),
    *("ihc.png", "microaneurysms.png", "moon.png", "motorcycle_left.png", "motorcycle_right.png"),
    *("page.png", "retina.jpg", "rocket.jpg", "text.png"),
)
STORED = ((), (0.02,), (0.02, 0.05), (0.015, 0.03, 0.05))
CUTS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
THRESHOLD = 31  # bits
_LEAST_SIDE = 240  # pixels of a picture that is cut in nine
_UPRIGHT = ViewSelection(stored=False, composited=False)


def photographs() -> list[Image.Image]:
    """scikit-image's bundled photographs."""
    folder = Path(skimage.__path__[0]) / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS]


def ninths(picture: Image.Image) -> Iterator[Image.Image]:
    """The nine parts of a picture that is large enough."""
    width, height = picture.size
    if min(width, height) < _LEAST_SIDE:
        return
    for row in range(3):
        for column in range(3):
            left, top = column * width // 3, row * height // 3
            yield picture.crop((left, top, left + width // 3, top + height // 3))


def cut(picture: Image.Image, share: float) -> Image.Image:
    """The picture less a share of its sides on each of them."""
    width, height = picture.size
    across, down = round(width * share), round(height * share)
    return picture.crop((across, down, width - across, height - down))


def codes(
    pool: InProcessPool, picture: Image.Image, crops: tuple[float, ...] = ()
) -> list[NDArray[np.uint8]]:
    """The PDQ codes of a picture and its crops, those of enough quality."""
    request = DecodeRequest(_UPRIGHT, crops=crops)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    decoded = pool.submit(stream.getvalue(), request).result()
    assert isinstance(decoded, DecodedImage)
    (views,) = hash_views([decoded], [request])
    good = [view.codes[HashKind.PDQ] for view in views if view.quality >= QUALITY_FLOOR]
    return [np.frombuffer(code, np.uint8) for code in good]


def share_found(
    queries: Sequence[list[NDArray[np.uint8]]], stored: Sequence[list[NDArray[np.uint8]]]
) -> float:
    """The share of queries within the threshold of a code of their own picture."""
    found = sum(
        any(np.bitwise_count(query[0] ^ code).sum() <= THRESHOLD for code in own) if query else 0
        for query, own in zip(queries, stored, strict=True)
    )
    return found / len(queries)


def main() -> None:
    """Prints a table for the photographs, and one for them and their ninths."""
    whole = photographs()
    for pictures in (whole, [*whole, *(part for each in whole for part in ninths(each))]):
        _print_table(pictures)


def _print_table(pictures: Sequence[Image.Image]) -> None:
    pool = InProcessPool()
    pictures = [each for each in pictures if codes(pool, each)]
    queries = {share: [codes(pool, cut(each, share)) for each in pictures] for share in CUTS}
    print(f"\n{len(pictures)} pictures\n")
    print("| stored crops |", " | ".join(f"{share:.0%}" for share in CUTS), "|")
    print("| --- |", " | ".join("---:" for _ in CUTS), "|")
    for crops in STORED:
        stored = [codes(pool, each, crops) for each in pictures]
        shares = [f"{share_found(queries[share], stored):.0%}" for share in CUTS]
        print("|", " | ".join([", ".join(f"{each:g}" for each in crops) or "none", *shares]), "|")
    pool.close()


if __name__ == "__main__":
    main()
