"""What each view of an upload costs, and how often it matches harmless photographs falsely.

`python -m loadtest.views [--entries 1000000] [--smoke]`. Cost: CPU of decoding, hashing and looking
up one upload in this process, with and without a view, in turns, on files that have such a view:
photographs of 1 megapixel. False matches: scikit-image's photographs, and ninths of them, are the
list; the same pictures in that view are the uploads, and whatever lies within 31 bits of a code of
another photograph is false. Parts of one photograph are not compared with one another.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps

from hashlists.model import HashKind
from loadtest import generate_codes, index_ways, measure
from loadtest.crops import THRESHOLD, ninths, photographs
from loadtest.photographs import NAMES, QUALITY, jpeg_file
from matcher.decode.pool import InProcessPool
from matcher.hashing.views import hash_views
from matcher.model import (
    ALL_VIEWS,
    DEFAULT_VIEWS,
    QUALITY_FLOOR,
    DecodedImage,
    DecodeRequest,
    View,
    ViewSelection,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from loadtest.index_ways import Search
    from matcher.model import ViewHashes

_UPRIGHT: Final = ViewSelection(stored=False, composited=False)
_FRAMES: Final = 16
_BORDER: Final = 0.1  # of the width, on every side
_ROUNDS: Final = 15
_ENTRIES: Final = 1_000_000
_SMOKE_ENTRIES: Final = 10_000
_SMOKE_PICTURES: Final = 4
_COSTS: Final = ("view", "more views", "CPU ms without", "CPU ms with", "times")
_FALSE: Final = ("view", "codes", "pairs", "false pairs", "uploads with one", "nearest, bits")
_ORIENTATION, _ROTATED = 0x0112, 6  # EXIF 2.3, 4.6.4


def plain(picture: Image.Image) -> bytes:
    """A JPEG file."""
    return _encoded(picture, "JPEG", quality=QUALITY)


def turned(picture: Image.Image) -> bytes:
    """A JPEG file that its EXIF turns upright."""
    exif = Image.Exif()
    exif[_ORIENTATION] = _ROTATED
    stored = picture.transpose(Image.Transpose.ROTATE_90)
    return _encoded(stored, "JPEG", quality=QUALITY, exif=exif)


def transparent(picture: Image.Image) -> bytes:
    """A PNG file whose lower part fades away."""
    fading = np.linspace(511, 0, picture.height).clip(0, 255).astype(np.uint8)
    alpha = np.repeat(fading[:, np.newaxis], picture.width, axis=1)
    whole = picture.convert("RGBA")
    whole.putalpha(Image.fromarray(alpha))
    return _encoded(whole, "PNG", compress_level=1)


def animated(picture: Image.Image) -> bytes:
    """An animated WebP file that pans over the picture."""
    small = picture.resize((640, 480))
    shift = small.width // (4 * _FRAMES)
    frames = [small.crop((k * shift, 0, k * shift + 480, 480)) for k in range(_FRAMES)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 100}
    return _encoded(frames[0], "WEBP", quality=QUALITY, **more)


def bordered(picture: Image.Image) -> bytes:
    """A JPEG file with a black border."""
    border = round(picture.width * _BORDER)
    return _encoded(ImageOps.expand(picture, border), "JPEG", quality=QUALITY)


def _encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Way:
    """A view as it is measured.

    Attributes:
        name: of the view, or of several.
        views: what is asked for.
        file: makes a file that has the view.
        without: what it is compared with.
    """

    name: str
    views: ViewSelection
    file: Callable[[Image.Image], bytes]
    without: ViewSelection = field(default=DEFAULT_VIEWS)


WAYS: Final = (
    Way("stored", replace(_UPRIGHT, stored=True), turned, _UPRIGHT),
    Way("composited", replace(_UPRIGHT, composited=True), transparent, _UPRIGHT),
    Way("composited:black", replace(DEFAULT_VIEWS, composited_black=True), transparent),
    Way(f"frame, {_FRAMES} frames", replace(DEFAULT_VIEWS, frames=_FRAMES), animated),
    Way("trimmed", replace(DEFAULT_VIEWS, trimmed=True), bordered),
    Way("trimmed, no border", replace(DEFAULT_VIEWS, trimmed=True), plain),
    Way("mirrored", replace(DEFAULT_VIEWS, mirrored=True), plain),
    Way("all", ALL_VIEWS, plain),
)


class Matcher:
    """Decodes, hashes and looks up, one upload at a time, in this process."""

    def __init__(self, search: Search | None = None) -> None:
        """Takes what looks codes up; without, nothing is looked up."""
        self._search = search
        self._pool = InProcessPool()

    def views(self, file: bytes, views: ViewSelection) -> Sequence[ViewHashes]:
        """The views of a file, those of too little quality included."""
        request = DecodeRequest(views)
        decoded = self._pool.submit(file, request).result()
        assert isinstance(decoded, DecodedImage)
        (hashed,) = hash_views([decoded], [request])
        if self._search is not None:
            self._search(np.array([each[1] for each in _codes(hashed)]))
        return hashed

    def close(self) -> None:
        """Ends the decoder."""
        self._pool.close()


def _codes(views: Sequence[ViewHashes]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Names and PDQ codes of the views of enough quality."""
    for view in views:
        if HashKind.PDQ in view.codes and view.quality >= QUALITY_FLOOR:
            yield view.view, np.frombuffer(view.codes[HashKind.PDQ], np.uint8)


def costs(matcher: Matcher, rounds: int) -> Iterator[tuple[str, ...]]:
    """A row for each view: CPU ms of an upload without it and with it, and the ratio."""
    pictures = [Image.open(io.BytesIO(jpeg_file(name))) for name in NAMES]
    for way in WAYS:
        files = [way.file(picture) for picture in pictures]

        def run(views: ViewSelection, files: Sequence[bytes] = files) -> int:
            return sum(len(matcher.views(file, views)) for file in files)

        timed = measure.interleaved(
            {"without": lambda: run(way.without), "with": lambda: run(way.views)},  # noqa: B023
            rounds=rounds,
        )
        more = run(way.views) - run(way.without)
        ratio = measure.times_as_fast(timed["without"], timed["with"])
        yield (
            way.name,
            f"{more / len(files):.1f}",
            *(f"{1e3 * timed[each].cpu_median / len(files):.2f}" for each in ("without", "with")),
            f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A picture, and which photograph it is of."""

    picture: Image.Image
    photograph: int


def parts(*, few: bool) -> list[Part]:
    """scikit-image's photographs, and ninths of them."""
    whole = photographs()[: _SMOKE_PICTURES if few else None]
    return [
        Part(picture, number)
        for number, photograph in enumerate(whole)
        for picture in (photograph, *ninths(photograph))
    ]


def false_matches(matcher: Matcher, pictures: Sequence[Part]) -> Iterator[tuple[str, ...]]:
    """A row for each family of views: codes, pairs, false matches and the nearest."""
    listed: list[tuple[int, NDArray[np.uint8]]] = []
    asked: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {}
    for part in pictures:
        for _, code in _codes(matcher.views(plain(part.picture), _UPRIGHT)):
            listed.append((part.photograph, code))
            asked.setdefault(View.UPRIGHT, []).append((part.photograph, code))
        for way in WAYS[:-1]:
            for view, code in _codes(matcher.views(way.file(part.picture), way.views)):
                if view != View.UPRIGHT:
                    family = View.family(view) if view != View.COMPOSITED_BLACK else view
                    asked.setdefault(family, []).append((part.photograph, code))
    of_listed = np.array([number for number, _ in listed])
    codes = np.array([code for _, code in listed])
    for family, uploads in asked.items():
        distances: Mapping[int, NDArray[np.intp]] = {
            row: np.bitwise_count(codes[of_listed != number] ^ code).sum(axis=1, dtype=np.intp)
            for row, (number, code) in enumerate(uploads)
        }
        yield (
            family,
            f"{len(uploads):,}",
            f"{sum(map(len, distances.values())):,}",
            f"{sum(int((each <= THRESHOLD).sum()) for each in distances.values()):,}",
            f"{sum(bool((each <= THRESHOLD).any()) for each in distances.values()):,}",
            str(min((int(each.min()) for each in distances.values() if len(each)), default="")),
        )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=int, help=f"of the index (default {_ENTRIES:,})")


def main() -> None:
    """Prints both tables."""
    options = measure.arguments(
        (__doc__ or "").partition("\n")[0], rounds=_ROUNDS, add=_add_arguments
    )
    entries = options.entries or (_SMOKE_ENTRIES if options.smoke else _ENTRIES)
    codes = generate_codes.uniform_codes(entries)
    with tempfile.TemporaryDirectory() as folder:
        index = index_ways.ours(HashKind.PDQ, codes, THRESHOLD, Path(folder))
        matcher = Matcher(index.search)
        print(measure.circumstances(["pillow", "numpy", "scikit-image"]), end="\n\n")
        print(measure.markdown_table(_COSTS, costs(matcher, options.rounds)), end="\n\n")
        matcher.close()
    alone = Matcher()
    print(measure.markdown_table(_FALSE, false_matches(alone, parts(few=options.smoke))))
    alone.close()


if __name__ == "__main__":
    main()
