"""Servers to be measured: Hashwarden over a catalog of its own, and the bare echo."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from hashlists.catalog import Catalog, ImportSource
from hashlists.model import NO_ONWARD_SHARING, EntryBatch, Harm, HashKind, HashList, Place
from loadtest import catalogs
from matcher.client import Client, HashQuery
from matcher.errors import ServerError
from matcher.hashing import pdq
from matcher.hashing.digests import digest_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from loadtest.corpus.make import Corpus

_ROOT: Final = Path(__file__).parents[2]
_READY: Final = "ready"
_BATCH: Final = 1_000_000
_STOP_SECONDS: Final = 60.0
#: A setting's environment variable is this and its name in capitals.
_PREFIX: Final = "HASHWARDEN_"
#: No port that another server may have taken, and no line for each import.
_USUAL: Final = {"admin_listen": "off", "lists_listen": "same", "log_level": "warning"}


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves.

    Attributes:
        pid: of its first process.
        address: `host:port`.
    """

    pid: int
    address: str


@contextlib.contextmanager
def hashwarden(data: Path, settings: Mapping[str, str | float | bool]) -> Iterator[Server]:
    """Hashwarden over a data folder.

    Args:
        data: made by `prepare_data`.
        settings: by name, over the defaults.

    Raises:
        RuntimeError: it did not start; it has said why.
    """
    environment = {name: each for name, each in os.environ.items() if not name.startswith(_PREFIX)}
    for name, value in {**_USUAL, **settings}.items():
        said = str(value).lower() if isinstance(value, bool) else str(value)
        environment[_PREFIX + name.upper()] = said
    command = [sys.executable, "-m", "matcher.cli", "--data", str(data)]
    with _started([*command, "serve", "--listen", "127.0.0.1:0"], environment) as server:
        yield server


@contextlib.contextmanager
def echo() -> Iterator[Server]:
    """The bare echo.

    Raises:
        RuntimeError: it did not start; it has said why.
    """
    command = [sys.executable, "-m", "loadtest.openloop.echo"]
    with _started(command, dict(os.environ)) as server:
        yield server


@contextlib.contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    process = subprocess.Popen(
        command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        if not words:
            raise RuntimeError("the server did not start")
        yield Server(process.pid, words[-1])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            process.stdout.close()


def prepare_data(cache: Path, corpora: Iterable[Corpus], entries: int) -> Path:
    """A data folder with so many made-up entries and the listed files of some sets of pictures.

    Args:
        cache: takes it, for the next run too: what is missing is added.
        corpora: whose listed files stand on a list each.
        entries: of a PDQ code each.

    Raises:
        ValueError: two sets have a listed file of one name.
    """
    listed_in(corpora)
    folder = cache / f"data-{entries}"
    if not (folder / _READY).exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=cache, prefix="data-being-made-"))
        try:
            _make_up(made, entries)
            (made / _READY).touch()
            made.replace(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    with Catalog.open(_url(folder)) as catalog:
        changed = [_import(catalog, each) for each in corpora if each.listed()]
    if any(changed):
        _build(folder)
    return folder


def listed_in(corpora: Iterable[Corpus]) -> dict[str, bytes]:
    """The files of all sets that are to stand on a list, by name.

    Raises:
        ValueError: two sets have a listed file of one name.
    """
    listed: dict[str, bytes] = {}
    for corpus in corpora:
        mine = corpus.listed()
        if both := listed.keys() & mine.keys():
            raise ValueError(f"two sets of pictures have a listed file {min(both)}")
        listed |= mine
    return listed


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/catalog.sqlite3"


def _make_up(folder: Path, entries: int) -> None:
    with Catalog.open(_url(folder)) as catalog:
        catalogs.create_list(catalog)
        for first in range(0, entries, _BATCH):
            catalogs.add(catalog, first, min(_BATCH, entries - first))
    _build(folder)


def _build(folder: Path) -> None:
    command = [sys.executable, "-m", "matcher.cli", "--data", str(folder), "index", "build"]
    subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)


def _import(catalog: Catalog, corpus: Corpus) -> bool:
    """Has the listed files of a set on a list of their own; False where they were there."""
    name = f"{corpus.folder.name}-{corpus.digest}"
    if name not in {each.hash_list.name for each in catalog.list_lists()}:
        catalog.create_list(HashList(name, Harm.TEST, "nobody"), author="loadtest")
    source = ImportSource(name, hashlib.sha256(name.encode()).digest(), 1, "loadtest")
    with catalog.begin_import(name, source) as staged:
        staged.stage(_entries_of(corpus.listed()))
        return staged.commit() is not None


def _entries_of(listed: Mapping[str, bytes]) -> EntryBatch:
    """An entry for each file: PDQ, MD5, SHA-1 and SHA-256."""
    count = len(listed)
    digests = [digest_bytes(each) for each in listed.values()]
    return EntryBatch(
        keys=[b"\x01" + name.encode() for name in listed],
        hashes={
            HashKind.PDQ: [_pdq_of(each) for each in listed.values()],
            HashKind.MD5: [each.md5 for each in digests],
            HashKind.SHA1: [each.sha1 for each in digests],
            HashKind.SHA256: [each.sha256 for each in digests],
        },
        extra_hashes=(),
        sizes=[each.size for each in digests],
        classifications=[None] * count,
        handlings=[NO_ONWARD_SHARING] * count,
        flags=[0] * count,
        flags_known=[0] * count,
        verified_counts=[None] * count,
        media_types=[None] * count,
        source_ids=[*listed],
        source_updated_at=[None] * count,
        content_digests=[each.sha256[:16] for each in digests],
        place_at=lambda row: Place("record", row),
    )


def _pdq_of(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    codes, _ = pdq.pdq_codes(pdq.luma_block(pixels)[None])
    code: bytes = codes[0].tobytes()
    return code


def entry_ids(address: str, listed: Mapping[str, bytes]) -> dict[str, str]:
    """The server's id of the entry of each listed file, by name; found by SHA-256.

    Raises:
        RuntimeError: the server knows one of them not at all.
    """
    if not listed:
        return {}
    queries = [HashQuery({HashKind.SHA256: digest_bytes(each).sha256}) for each in listed.values()]
    with Client(address) as client:
        answers = client.lookup_hashes(queries)
    found = {}
    for name, answer in zip(listed, answers, strict=True):
        if isinstance(answer, ServerError) or not answer.result.matches:
            raise RuntimeError(f"the server does not know the listed file {name}")
        found[name] = str(answer.result.matches[0].entry_id)
    return found
