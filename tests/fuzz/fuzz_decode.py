"""Fuzzes the decoder: mutated files of every format must end in an image or a reason.

A deterministic mutator over small seed files (every allow-listed format, animations and odd modes
included). Any exception, any answer that the parent's contract check refuses, and any input that
costs too much time or memory is a finding: it is printed with the number that reproduces it, and
the exit status is 1.

    python tests/fuzz/fuzz_decode.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import sys
import time
import traceback
import warnings
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import Decoded, checked, out_of_memory
from matcher.model import ALL_VIEWS, CODE64_KINDS, DecodedImage, DecodeRequest, HashKind

if TYPE_CHECKING:
    from collections.abc import Callable

#: Small, so that a hostile size costs little before it is refused or rendered.
LIMITS = DecodeLimits(
    encoded_bytes=2**20, pixels=2**20, jpeg_pixels=2**22, memory_bytes=2**26, frame_pixels=2**22
)
REQUESTS = (
    DecodeRequest(),
    DecodeRequest(ALL_VIEWS, frozenset({HashKind.WHASH})),
    DecodeRequest(ALL_VIEWS, frozenset(CODE64_KINDS)),
)
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
_SIDE = 24  # pixels
_MOST_SECONDS = 5.0  # of processor time for one input
_MOST_GROWTH = 2**30  # bytes by which one input may raise the most memory ever taken
#: Of the figure for the most memory: kilobytes on Linux, bytes on macOS.
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024


def seeds() -> list[bytes]:
    """Small whole files of every format and of the odd modes."""
    picture = _picture()
    orientation = Image.Exif()
    orientation[0x0112] = 6
    second = picture.rotate(90)
    animation = {"save_all": True, "append_images": [second, picture.rotate(180)]}
    half_clear = picture.convert("RGBA")
    half_clear.putalpha(picture.convert("L"))
    palette = picture.quantize(16)
    found = [
        _encoded(picture, "JPEG", exif=orientation.tobytes()),
        _encoded(picture, "JPEG", progressive=True),
        _encoded(picture.convert("CMYK"), "JPEG"),
        _encoded(picture.convert("L"), "JPEG"),
        _encoded(picture, "MPO", save_all=True, append_images=[second.copy()]),
        _encoded(picture, "PNG", exif=orientation.tobytes()),
        _encoded(palette, "PNG", transparency=3),
        _encoded(half_clear, "PNG", save_all=True, append_images=[half_clear.rotate(90)]),
        _encoded(picture, "PNG", default_image=True, **animation),
        _encoded(
            Image.fromarray(np.arange(_SIDE * _SIDE, dtype=np.uint16).reshape(_SIDE, -1)), "PNG"
        ),
        _encoded(picture.convert("1"), "PNG"),
        _encoded(palette, "GIF", **animation),
        _encoded(palette, "GIF", transparency=0, disposal=2, **animation),
        _encoded(picture, "WEBP"),
        _encoded(half_clear, "WEBP", lossless=True),
        _encoded(picture, "WEBP", **animation),
        _encoded(picture, "AVIF"),
        _encoded(half_clear, "AVIF", save_all=True, append_images=[half_clear.rotate(90)]),
        _encoded(picture, "BMP"),
        _encoded(palette, "BMP"),
        _encoded(picture, "ICO", sizes=[(16, 16), (24, 24)]),
        _encoded(picture, "ICO", sizes=[(16, 16)], bitmap_format="bmp"),
        _encoded(picture, "JPEG2000"),
        _encoded(half_clear, "JPEG2000", no_jp2=True),
        _encoded(picture, "TIFF", exif=orientation, **animation),
        _encoded(picture.convert("F"), "TIFF"),
        _encoded(picture.convert("YCbCr"), "TIFF"),
        (files("matcher.decode.worker") / "sample.heic").read_bytes(),
    ]
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found.append(_encoded(picture, "TIFF", compression=compression))
    if not worker.supported_formats()["jpegxl"]:
        found.append(_encoded(picture, "JXL"))
    return found


def _picture() -> Image.Image:
    """Gradients and a disc: something in every coefficient, and harmless."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    disc = ((x - 9) ** 2 + (y - 14) ** 2 < 40) * 90
    levels = np.dstack([x * 10, y * 10, (x + y) * 5]) + disc[..., None]
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.copy().save(stream, image_format, **options)  # saving leaves traces in the image
    return stream.getvalue()


def mutated(corpus: list[bytes], seed: int, number: int) -> bytes:
    """Input `number` of a run: always the same for the same corpus and seed."""
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        chance.choice(_MUTATIONS)(data, chance, corpus)
    return bytes(data)


def _flip_bit(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set_byte(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_INTERESTING)


def _set_header_byte(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    if data:
        data[chance.randrange(min(len(data), 64))] = chance.randrange(256)


def _set_number(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    size = chance.choice((2, 4))
    at = chance.randrange(max(1, len(data) - size))
    value = chance.choice((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, chance.randrange(2**16)))
    order = chance.choice(("little", "big"))
    data[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, order)


def _cut(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.randrange(1, 32)]


def _repeat(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    part = data[at : at + chance.randrange(1, 64)]
    data[at:at] = part * chance.randrange(1, 4)


def _splice(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    other = chance.choice(corpus)
    at, there = chance.randrange(len(data) + 1), chance.randrange(len(other))
    data[at : at + 64] = other[there : there + chance.randrange(1, 128)]


def _append_noise(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    data += chance.randbytes(chance.randrange(1, 64))


_MUTATIONS: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    _flip_bit,
    _set_byte,
    _set_header_byte,
    _set_number,
    _cut,
    _remove,
    _repeat,
    _splice,
    _append_noise,
)


class TooCostlyError(Exception):
    """An input took more time or memory than its size can account for."""


class Cost:
    """Time and memory that this process has taken since the last call."""

    def __init__(self) -> None:
        self._seconds, self._memory = self._taken()

    def check(self) -> None:
        """Judges what was taken, and begins anew.

        Raises:
            TooCostlyError: it was too much.
        """
        seconds, memory = self._taken()
        took, grew = seconds - self._seconds, memory - self._memory
        self._seconds, self._memory = seconds, memory
        if took > _MOST_SECONDS or grew > _MOST_GROWTH:
            raise TooCostlyError(f"{took:.1f} s of processor time, {grew >> 20} MiB more memory")

    @staticmethod
    def _taken() -> tuple[float, int]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return time.process_time(), peak * _MEMORY_UNIT


def _decoded(data: bytes, request: DecodeRequest) -> Decoded:
    try:
        return worker.decode(data, request, LIMITS)
    except MemoryError:
        return out_of_memory()


def run(inputs: int, seed: int, only: int | None = None) -> tuple[list[int], dict[str, int]]:
    """Decodes mutated inputs.

    Returns:
        The numbers of the inputs that ended in anything but a result, and how often each kind of
        result came.
    """
    corpus = seeds()
    findings: list[int] = []
    outcomes: dict[str, int] = {}
    cost = Cost()
    for number in range(inputs) if only is None else [only]:
        data = mutated(corpus, seed, number)
        request = REQUESTS[number % len(REQUESTS)]
        try:
            result = checked(_decoded(data, request), request, LIMITS)
            cost.check()
        except Exception:  # noqa: BLE001 - whatever it is, it is what this looks for
            findings.append(number)
            cost = Cost()
            sys.stderr.write(f"input {number} of seed {seed}:\n{traceback.format_exc()}")
            continue
        if isinstance(result, DecodedImage):
            outcome = "truncated" if result.truncated else "decoded"
        else:
            outcome = result.reason.value
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return findings, outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=1500, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="which run")
    parser.add_argument("--only", type=int, help="repeat this one input")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    started = time.monotonic()
    findings, outcomes = run(arguments.inputs, arguments.seed, arguments.only)
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"decode: {arguments.inputs} inputs in {seconds:.0f} s: {outcomes};"
        f" findings: {len(findings)}\n"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
