"""The least that a service can do with a file: luminance by Pillow, three digests, a gRPC echo.

    python -m loadtest.openloop.floor --pictures megapixel --rounds 5

Luminance and digests are timed file by file, on a machine as busy as a server's is. The echo is
measured as servers are: by the same generator, with a plan of the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PIL import Image

from loadtest.corpus.make import CACHE, open_corpus
from loadtest.corpus.model import Pictures
from loadtest.openloop.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable


class FileFloor(msgspec.Struct, frozen=True, kw_only=True):
    """CPU seconds that one file takes at least.

    Attributes:
        luminance: decoding by Pillow to luminance; 0 for what is no picture.
        digests: MD5, SHA-1 and SHA-256.
    """

    luminance: float
    digests: float


def decode_luminance(content: bytes) -> None:
    """Decodes to luminance, as far as Pillow goes at full size: a JPEG skips its chroma."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("L", image.size)
        image.convert("L")


def digest(content: bytes) -> None:
    """The three digests that lists have."""
    for name in ("md5", "sha1", "sha256"):
        hashlib.new(name, content, usedforsecurity=False).digest()


def measure_files(pictures: Pictures, cache: Path, rounds: int) -> list[FileFloor]:
    """The floor of each file of a set, measured in several processes at once."""
    command = ["-m", "loadtest.openloop.floor", "--pictures", pictures.value]
    said = side_by_side([*command, "--cache", str(cache), "--rounds", str(rounds)])
    found = [msgspec.json.decode(each, type=list[FileFloor]) for each in said]
    return [
        FileFloor(
            luminance=statistics.mean(each.luminance for each in same),
            digests=statistics.mean(each.digests for each in same),
        )
        for same in zip(*found, strict=True)
    ]


def _timed(work: Callable[[bytes], None], content: bytes, rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work(content)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def main() -> None:
    """Measures every file of a set and prints the times as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=Pictures, required=True)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    corpus = open_corpus(options.pictures, options.cache)
    floors = []
    for file, content in zip(corpus.files, corpus.contents, strict=True):
        decoded = _timed(decode_luminance, content, options.rounds) if file.format else 0.0
        hashed = _timed(digest, content, options.rounds)
        floors.append({"luminance": decoded, "digests": hashed})
    print(json.dumps(floors))


if __name__ == "__main__":
    main()
