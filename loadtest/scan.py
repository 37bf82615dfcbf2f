"""A scan of a folder, and of a bucket of an S3 server, beside a bare loop that decodes and hashes.

    python -m loadtest.scan [--objects N] [--entries N] [--rounds N] [--no-s3] [--smoke]

The loop is the least that anybody could do: as many processes as CPUs, which read, digest, decode
and hash, without a sandbox, a list or a word written down. The scan does all that a scan does. The
files are the uploads of load tests, as often as they weigh, each with a tail of its own, so that
none is a repeat. Each way is a process of its own in each round; the S3 server (rclone) takes its
CPU time on the same machine. Exit status 1 where a scan is slower than it must be.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hashlists import snapshot
from hashlists.model import Harm, HashKind, ListState
from loadtest import measure
from loadtest.corpus.make import open_corpus
from loadtest.corpus.model import Pictures, Sort
from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.decode.sandbox.pool import SandboxPool
from matcher.decode.worker import decode
from matcher.hashing.digests import digest_bytes
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.entries import COLUMNS
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.write import write_index
from matcher.model import DecodeRequest, Undecodable
from matcher.pipeline import Generation, MatchOptions, hash_items
from matcher.policy.rules import default_policy
from matcher.scan.document import Place, ScanDocument
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.judging.local import LocalJudge
from matcher.scan.model import Outcome
from matcher.scan.run import run_scan
from matcher.scan.sources import open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import ScanState

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from matcher.decode.pool import Decoded
    from matcher.model import Digests

_REQUIRED: Final = {"scan of the folder": 0.85, "scan of the bucket": 0.60}
_BARE: Final = "bare loop"
_REQUEST: Final = DecodeRequest()
_LIMITS: Final = DecodeLimits()
_MAX_BYTES: Final = 25 << 20
_BATCH: Final = 64
_TAIL_BYTES: Final = 16
#: Of these formats decoders do not look at what lies behind the picture.
_TAILED: Final = ("jpeg", "png", "gif", "webp")
_KEY, _SECRET = "load-test", "of-no-worth-anywhere"

Told = dict[str, Any]


def make_files(folder: Path, count: int) -> int:
    """Files for the scan, about as many folders as a tree of uploads has; their bytes."""
    corpus = open_corpus(Pictures.UPLOADS)
    pairs = [
        (file, content)
        for file, content in zip(corpus.files, corpus.contents, strict=True)
        if file.sort is Sort.UNKNOWN and file.name.endswith(_TAILED)
    ]
    chance = random.Random(count)
    chosen = chance.choices(pairs, [file.weight for file, _ in pairs], k=count)
    total = 0
    for number, (file, content) in enumerate(chosen):
        path = folder / f"{number % 31:02}" / f"{number:06}-{file.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + chance.randbytes(_TAIL_BYTES))
        total += len(content) + _TAIL_BYTES
    return total


def make_index(root: Path, entries: int) -> None:
    """A snapshot of one list with so many entries by chance."""
    chance, rows = np.random.default_rng(entries), np.arange(entries)
    builder = IndexBuilder()
    builder.add(
        IndexRows(
            catalog_ids=rows.astype(np.int64),
            list_rows=np.zeros(entries, np.uint16),
            classification_rows=np.zeros(entries, COLUMNS["classification_rows"]),
            flags=np.zeros(entries, np.uint16),
            sizes=np.full(entries, -1, np.int64),
            expires=np.zeros(entries, np.uint32),
            codes={
                kind: (rows, chance.integers(0, 256, (entries, kind.nbytes), np.uint8))
                for kind in (HashKind.PDQ, HashKind.MD5, HashKind.SHA1)
            },
        )
    )
    counts = dict.fromkeys((HashKind.PDQ, HashKind.MD5, HashKind.SHA1), entries)
    lists = [IndexedList("chance", Harm.CSAM, ListState.LIVE, entries, counts)]
    with snapshot.SnapshotWriter(root, revision=1) as writer:
        write_index(writer, lists=lists, classifications=[None], base=builder)
        writer.publish(parameters={})


# The bare loop


def bare_loop(paths: Sequence[Path]) -> Told:
    """What so many processes as CPUs make of the files; each takes the next as it is done."""
    take, give = os.pipe()
    ended, end = os.pipe()
    begun = time.perf_counter()
    for _ in range(os.cpu_count() or 1):
        if os.fork() == 0:
            os.close(give)
            os.write(end, json.dumps(_bare_process(paths, take)).encode().ljust(64))
            os._exit(0)
    for row in range(len(paths)):
        os.write(give, row.to_bytes(4, "little"))
    os.close(give)
    for _ in range(os.cpu_count() or 1):
        os.wait()
    wall = time.perf_counter() - begun
    told = [json.loads(os.read(ended, 64)) for _ in range(os.cpu_count() or 1)]
    for each in (take, ended, end):
        os.close(each)
    return {"wall": wall, "hashed": sum(each["hashed"] for each in told)}


def _bare_process(paths: Sequence[Path], take: int) -> dict[str, int]:
    os.nice(WorkerLimits().niceness)  # as decoders are, so that a busy machine hinders both alike
    hashed = 0
    waiting: list[tuple[Digests, Decoded]] = []
    while row := os.read(take, 4):
        data = paths[int.from_bytes(row, "little")].read_bytes()
        waiting.append((digest_bytes(data), decode(data, _REQUEST, _LIMITS)))
        if len(waiting) == _BATCH:
            hashed, waiting = hashed + _hash(waiting), []
    return {"hashed": hashed + _hash(waiting)}


def _hash(items: Sequence[tuple[Digests, Decoded]]) -> int:
    digests, decoded = [each for each, _ in items], [each for _, each in items]
    hash_items(digests, decoded, [_REQUEST] * len(items))
    return sum(not isinstance(each, Undecodable) for each in decoded)


# The scan


async def scan(place: Place, index: Path) -> Told:
    """A whole scan of a place, with a state of its own."""
    generation = Generation(
        MatchIndex.open(snapshot.open_snapshot(index)), {"default": default_policy()}
    )
    out = Path(tempfile.mkdtemp(prefix="scan-", dir=index.parent.parent))
    pool = SandboxPool(_LIMITS)
    pool.protection()  # a decoder is there
    try:
        with ScanState.create(out / "out", ScanDocument("s", 0.0, "load test", (place,))) as state:
            state.begin_run(revision=1, policy="default", policy_version="v")
            judge = LocalJudge(generation, pool, MatchOptions(within=None), max_bytes=_MAX_BYTES)
            source = open_source(place)
            engine = LocalEngine([source], judge, LocalOptions())
            begun = time.perf_counter()
            done = await run_scan(state, [source], Selector(state.document.selection), engine)
            wall = time.perf_counter() - begun
            for each in (engine, judge, source):
                await each.close()
            outcomes = state.summary().tally.outcomes
    finally:
        pool.close()
        shutil.rmtree(out)
    if not done or outcomes.get(Outcome.FAILED):
        raise RuntimeError(f"the scan did not go well: {outcomes}")
    return {"wall": wall, "hashed": outcomes[Outcome.NO_KNOWN_MATCH]}


# Processes


def in_process(way: Callable[[], Told]) -> Told:
    """What a way tells, of a process of its own: with its CPU seconds and its memory."""
    ended, end = os.pipe()
    child = os.fork()
    if child == 0:
        told = way()
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
        told["peak_mb"] = int(sizes["VmHWM"]) / 1000
        told["mapped_mb"] = int(sizes["RssFile"]) / 1000
        used = resource.getrusage(resource.RUSAGE_SELF)
        told["own_cpu"] = used.ru_utime + used.ru_stime
        os.write(end, json.dumps(told).encode())
        os._exit(0)
    os.close(end)
    _, status, used = os.wait4(child, 0)
    with os.fdopen(ended, "rb") as file:
        content = file.read()
    if status:
        raise RuntimeError("a way has failed")
    told = json.loads(content)
    told["cpu"] = used.ru_utime + used.ru_stime
    return dict(told)


@contextmanager
def s3_server(root: Path) -> Iterator[str]:
    """An S3 server over a folder whose folders are buckets; gives its endpoint."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{chosen.getsockname()[1]}"
    rclone = Path(sys.executable).with_name("rclone")
    server = subprocess.Popen(
        [rclone, "serve", "s3", root, "--addr", address, "--auth-key", f"{_KEY},{_SECRET}",
         "--config", os.devnull, "--vfs-cache-mode", "off", "--log-level", "ERROR"],
    )  # fmt: skip
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise
                time.sleep(0.05)
        os.environ |= {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait()


def report(told: dict[str, list[Told]], objects: int) -> dict[str, float]:
    """Prints the table; gives how fast each scan is beside the loop, by rounds' medians."""

    def middle(way: str, what: str) -> float:
        return float(statistics.median(each.get(what, 0.0) for each in told[way]))

    shares = {
        way: statistics.median(
            bare["wall"] / each["wall"] for bare, each in zip(told[_BARE], of, strict=True)
        )
        for way, of in told.items()
    }
    rows = [
        (
            way,
            f"{objects / middle(way, 'wall'):.0f}",
            f"{shares[way]:.2f}",
            f"{middle(way, 'wall'):.2f}",
            f"{middle(way, 'cpu'):.2f}",
            f"{1e3 * middle(way, 'own_cpu') / objects:.2f}",
            f"{middle(way, 'peak_mb'):.0f}",
            f"{middle(way, 'mapped_mb'):.0f}",
        )
        for way in told
    ]
    header = (
        *("way", "objects/s", "of the loop", "s", "CPU s"),
        *("own CPU ms an object", "peak MB", "of it mapped files MB"),
    )
    print(measure.markdown_table(header, rows))
    return {way: share for way, share in shares.items() if way != _BARE}


def main() -> int:
    """Prints the table; returns the exit status."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--objects", type=int, help="files to scan (default 1500)")
        parser.add_argument("--entries", type=int, default=100_000, help="of the list")
        parser.add_argument("--no-s3", action="store_true", help="the folder alone")

    options = measure.arguments("A scan beside a bare loop.", rounds=5, add=add)
    objects = options.objects or (100 if options.smoke else 1500)
    with tempfile.TemporaryDirectory(prefix="scan-load-") as name:
        work = Path(name)
        files = work / "buckets" / "bucket"
        total = make_files(files, objects)
        make_index(work / "snapshots", options.entries)
        (index,) = (each for each in (work / "snapshots").iterdir() if each.is_dir())
        paths = sorted(path for path in files.rglob("*") if path.is_file())
        ways: dict[str, Callable[[], Told]] = {
            _BARE: lambda: bare_loop(paths),
            "scan of the folder": lambda: asyncio.run(scan(Place(str(files)), index)),
        }
        with s3_server(work / "buckets") as endpoint:
            if not options.no_s3:
                place = Place("s3://bucket/", endpoint=endpoint)
                ways["scan of the bucket"] = lambda: asyncio.run(scan(place, index))
            told: dict[str, list[Told]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, act in ways.items():
                    told[way].append(in_process(act))
    hashed = {each["hashed"] for of in told.values() for each in of}
    print(f"{objects} files, {total / 1e6:.0f} MB; medians of {options.rounds} rounds\n")
    print(measure.circumstances(("numpy", "pillow", "obstore")), end="\n\n")
    shares = report(told, objects)
    if len(hashed) != 1:
        print(f"the ways have hashed different numbers of files: {hashed}", file=sys.stderr)
        return 1
    slow = [way for way, share in shares.items() if share < _REQUIRED[way]]
    wanted = ", ".join(f"{way} {share:.2f}" for way, share in _REQUIRED.items())
    print(f"\nRequired: {wanted}: {'missed' if slow else 'met'}.")
    return int(bool(slow) and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
