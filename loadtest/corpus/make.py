"""Makes the sets of pictures once, each into a folder of its own, and reads them from there.

    python -m loadtest.corpus.make [--cache DIR]

Files on the list that load tests import are painted, so that no photograph is ever listed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import PIL
from PIL import Image

from loadtest import photographs
from loadtest.corpus import broken, pictures
from loadtest.corpus.model import CorpusFile, Manifest, Pictures, Sort
from matcher.model import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE: Final = Path("build/loadtest")
_MANIFEST: Final = "manifest.json"
#: Part of the folder's name: files of another version are made anew.
_VERSION: Final = 1
_KB, _MB = 1_000, 1_000_000
#: Format, bytes, and how often each is sent beside the others.
_UPLOADS: Final = (
    ("jpeg", 50 * _KB, 14.0),
    ("jpeg", 90 * _KB, 14.0),
    ("jpeg", 160 * _KB, 14.0),
    ("jpeg", 350 * _KB, 10.0),
    ("jpeg", 800 * _KB, 6.0),
    ("jpeg", 1_800 * _KB, 4.0),
    ("jpeg", 5 * _MB, 1.5),
    ("png", 120 * _KB, 5.0),
    ("png", 700 * _KB, 3.0),
    ("png", 3 * _MB, 1.0),
    ("webp", 60 * _KB, 7.0),
    ("webp", 300 * _KB, 4.0),
    ("gif", 150 * _KB, 2.0),
    ("gif", 900 * _KB, 1.0),
    ("avif", 80 * _KB, 2.0),
    ("avif", 400 * _KB, 1.0),
    ("heic", 150 * _KB, 3.0),
    ("heic", 1_200 * _KB, 2.0),
    ("tiff", 600 * _KB, 1.0),
    ("tiff", 4 * _MB, 0.5),
)
#: Format and bytes of the files of `UPLOADS` that are on the list.
_LISTED: Final = (
    ("jpeg", 60 * _KB),
    ("jpeg", 140 * _KB),
    ("jpeg", 400 * _KB),
    ("jpeg", 1 * _MB),
    ("png", 250 * _KB),
    ("webp", 120 * _KB),
    ("avif", 90 * _KB),
    ("gif", 200 * _KB),
)
_SIZED: Final = {Pictures.KB100: 100 * _KB, Pictures.MB1: 1 * _MB, Pictures.MB5: 5 * _MB}
_NEAR_QUALITY: Final = 60
_NEAR_SCALE: Final = 0.8
#: A picture that takes half a second to unfold is sent less often than the other bombs.
_HEAVY_WEIGHT: Final = 0.2


@dataclass(frozen=True, slots=True)
class Corpus:
    """A set of pictures in memory.

    Attributes:
        folder: where it lies.
        digest: over all files.
        files: what is known of each.
        contents: their bytes, in the same order.
    """

    folder: Path
    digest: str
    files: tuple[CorpusFile, ...]
    contents: Sequence[bytes] = field(repr=False)

    def listed(self) -> dict[str, bytes]:
        """The files that are to stand on a list, by name."""
        pairs = zip(self.files, self.contents, strict=True)
        return {file.name: content for file, content in pairs if file.sort is Sort.COPY}


class _Maker:
    """Writes files into a folder, and keeps what is known of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: set[tuple[int, int]] = set()
        self.files: list[CorpusFile] = []

    def add(
        self, name: str, content: bytes, sort: Sort, weight: float = 1.0, *, listed: str = ""
    ) -> bool:
        """Adds a picture; False where there is one of the same width and height."""
        with Image.open(io.BytesIO(content)) as opened:
            width, height = opened.size
        if (width, height) in self._sizes:
            return False
        self._sizes.add((width, height))
        known = Decision.NO_KNOWN_MATCH if sort is Sort.UNKNOWN else Decision.MATCH
        file = CorpusFile(
            name=name,
            sort=sort,
            weight=weight,
            decision=known.value,
            format=name.rpartition(".")[2],
            width=width,
            height=height,
            listed=listed,
        )
        self._write(file, content)
        return True

    def draw(
        self,
        name: str,
        source: int | str,
        nbytes: int,
        sort: Sort,
        weight: float = 1.0,
        *,
        listed: str = "",
    ) -> bytes:
        """Draws a picture of about so many bytes and adds it; gives its bytes."""
        while True:
            content = pictures.of_bytes(source, name.rpartition(".")[2], nbytes)
            if self.add(name, content, sort, weight, listed=listed):
                return content
            nbytes = nbytes * 51 // 50

    def add_near(self, number: int, content: bytes, *, listed: str) -> None:
        """Adds a smaller, recompressed copy of a listed file."""
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
        width, height = (round(side * _NEAR_SCALE) for side in picture.size)
        while True:
            resized = picture.resize((width, height))
            near = pictures.encode(resized, "jpeg", quality=_NEAR_QUALITY)
            if self.add(f"near-{number}.jpeg", near, Sort.NEAR, listed=listed):
                return
            width += 1

    def add_broken(self) -> None:
        """Adds what cannot be hashed."""
        found = {Sort.BAD: broken.bad_files(), Sort.BOMB: broken.bombs()}
        for sort, files in found.items():
            for name, content, decision, reason in files:
                file = CorpusFile(
                    name=name,
                    sort=sort,
                    weight=_HEAVY_WEIGHT if name.startswith("heavy") else 1.0,
                    decision=decision.value,
                    reason=reason.value,
                )
                self._write(file, content)

    def _write(self, file: CorpusFile, content: bytes) -> None:
        (self._folder / file.name).write_bytes(content)
        self.files.append(file)


def open_corpus(which: Pictures, cache: Path = CACHE) -> Corpus:
    """A set of pictures, made first where it is not there.

    Args:
        which: the set.
        cache: folder of everything that load tests keep; made where it is missing.
    """
    folder = cache / f"corpus-{_VERSION}-pillow-{PIL.__version__}" / which.value
    if not (folder / _MANIFEST).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix="being-made-"))
        try:
            _make(which, made)
            made.replace(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    contents = [(folder / each.name).read_bytes() for each in manifest.files]
    return Corpus(folder, manifest.digest, manifest.files, contents)


def _make(which: Pictures, folder: Path) -> None:
    maker = _Maker(folder)
    if which is Pictures.UPLOADS:
        _make_uploads(maker)
    elif which is Pictures.MEGAPIXEL:
        _make_megapixels(maker)
    else:
        sources: tuple[int | str, ...] = (*photographs.NAMES[:3], 200)
        for number, source in enumerate(sources):
            maker.draw(f"picture-{number}.jpeg", source, _SIZED[which], Sort.UNKNOWN)
    maker.add_broken()
    digest = hashlib.sha256()
    for file in maker.files:
        digest.update((folder / file.name).read_bytes())
    manifest = Manifest(digest=digest.hexdigest()[:16], files=tuple(maker.files))
    (folder / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))


def _make_uploads(maker: _Maker) -> None:
    sources = photographs.NAMES
    for number, (file_format, nbytes, weight) in enumerate(_UPLOADS):
        source: int | str = sources[number % len(sources)] if number % 3 else 100 + number
        maker.draw(f"upload-{number:02}.{file_format}", source, nbytes, Sort.UNKNOWN, weight)
    for number, path in enumerate(pictures.wallpapers()):
        with Image.open(path) as opened:
            content = pictures.encode(opened.convert("RGB"), "jpeg")
        maker.add(f"wallpaper-{number}.jpeg", content, Sort.UNKNOWN)
    for number, (file_format, nbytes) in enumerate(_LISTED):
        name = f"uploads-listed-{number}.{file_format}"
        content = maker.draw(name, 300 + number, nbytes, Sort.COPY, listed=name)
        maker.add_near(number, content, listed=name)


def _make_megapixels(maker: _Maker) -> None:
    for name in photographs.NAMES:  # two are squares: the second of them is left out
        maker.add(f"{name}.jpeg", photographs.jpeg_file(name), Sort.UNKNOWN)
    for number in range(3):
        name = f"megapixel-listed-{number}.jpeg"
        content = pictures.encode(pictures.painted(400 + number, (1155 + number, 866)), "jpeg")
        maker.add(name, content, Sort.COPY, listed=name)
        maker.add_near(number, content, listed=name)


def main() -> None:
    """Makes all sets and says what is in them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"default {CACHE}")
    cache = parser.parse_args().cache
    for which in Pictures:
        corpus = open_corpus(which, cache)
        print(f"{len(corpus.files)} files in {corpus.folder}")
        for file, content in zip(corpus.files, corpus.contents, strict=True):
            size = f"{file.width} x {file.height}" if file.width else file.reason
            print(f"  {file.name:20} {file.sort.value:8} {len(content):>9,} bytes  {size}")


if __name__ == "__main__":
    main()
