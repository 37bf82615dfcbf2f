"""PDQ of decoded pictures against the `pdqhash` package, in CPU time.

    python -m loadtest.hashing [--rounds N] [--smoke]

Ours takes what a decoder gives, luminance (and, for comparison, RGB); `pdqhash` takes RGB, since
its interface takes nothing else. Both go all the way from pixels to code and quality. Exit status 1
when ours is less than 15 times as fast at 1 or 4 megapixels.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pdqhash

from loadtest import measure
from matcher.hashing.pdq import luma_block, pdq_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REQUIRED: Final = 15
_AIM: Final = 30
#: Name, height and width; the ratio is promised for the last two.
_SIZES: Final = (("0.25", 433, 577), ("1", 866, 1155), ("4", 1733, 2309))
_PROMISED: Final = ("1", "4")
_LUMINANCE: Final = np.array([0.299, 0.587, 0.114])
#: A picture rounded to 8-bit luminance is not quite the picture: so many bits may turn.
_ROUNDED_BITS: Final = 4


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """A generated picture with structure at all scales, `(height, width, 3) uint8`."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width] / max(height, width)
    planes = np.stack([np.sin(a * x + b * y * y) for a, b in rng.uniform(4, 60, (3, 2))], axis=2)
    noise = rng.normal(0, 12, (height, width, 3))
    return np.clip(128 + 90 * planes + noise, 0, 255).astype(np.uint8)


def pdq(pixels: NDArray[np.uint8]) -> bytes:
    """Our code of one picture."""
    codes, _ = pdq_codes(luma_block(pixels)[None])
    code: bytes = codes[0].tobytes()
    return code


def distance(code: bytes, other: bytes) -> int:
    """Bits in which two codes differ."""
    return (int.from_bytes(code) ^ int.from_bytes(other)).bit_count()


def main() -> int:
    """Prints the table; returns the exit status."""
    options = measure.arguments("PDQ of decoded pictures, beside pdqhash.", rounds=41)
    rows, ratios = [], {}
    for name, height, width in _SIZES:
        rgb = picture(height, width)
        luminance = np.rint(rgb @ _LUMINANCE).astype(np.uint8)
        reference = np.packbits(pdqhash.compute(rgb)[0]).tobytes()
        if distance(pdq(rgb), reference) or distance(pdq(luminance), reference) > _ROUNDED_BITS:
            print(f"at {name} megapixels the codes differ from the reference", file=sys.stderr)
            return 1
        took = measure.interleaved(
            {
                "pdqhash": partial(pdqhash.compute, rgb),
                "rgb": partial(pdq, rgb),
                "luminance": partial(pdq, luminance),
            },
            rounds=options.rounds,
        )
        from_rgb = measure.times_as_fast(took["rgb"], took["pdqhash"])
        ratio = measure.times_as_fast(took["luminance"], took["pdqhash"])
        if name in _PROMISED:
            ratios[name] = ratio
        milliseconds = [f"{timing.cpu_median * 1e3:.2f}" for timing in took.values()]
        rows.append((name, *milliseconds, str(from_rgb), str(ratio)))
    header = (
        "megapixels",
        "pdqhash, RGB (ms)",
        "ours, RGB (ms)",
        "ours, luminance (ms)",
        "ratio, RGB",
        "ratio, luminance",
    )
    print(f"PDQ from pixels to code, median of {options.rounds} rounds, CPU time\n")
    print(measure.circumstances(("numpy", "pdqhash")), end="\n\n")
    print(measure.markdown_table(header, rows))
    return measure.verdict(ratios, required=_REQUIRED, aim=_AIM, smoke=options.smoke)


if __name__ == "__main__":
    sys.exit(main())
