"""Throughput of the service beside plain `threatexchange` in two processes, on the same files.

    python -m loadtest.peers [--entries N] [--rounds N] [--seconds S] [--smoke]

Both hash JPEG files of 1 megapixel and look them up among the same made-up PDQ codes, threshold 31,
on the same CPUs. Ours is a server with all that it does for an upload, and its load generator
beside it; the peer is two processes that call `pdq_from_bytes` and `PDQIndex.query` on files in
memory, without a network, digests or a policy. They take turns, round by round. Ours is asked both
ways; whoever has many files to send sends them over streams. Exit status 1 where that does less
than 4 times as much as the peer with 1 million entries, or 7 times with 10 million.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import faiss
import numpy as np
from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_bytes
from threatexchange.signal_type.pdq.pdq_index import PDQIndex

from loadtest import catalogs, measure
from loadtest.corpus.make import CACHE, Corpus, open_corpus
from loadtest.corpus.model import Pictures, Sort
from loadtest.openloop import server
from loadtest.openloop.outcomes import Tally
from loadtest.openloop.phases import SERVER, Sender
from loadtest.openloop.plan import draw_plan
from loadtest.openloop.processes import Watch
from loadtest.openloop.scenario import Mix, Phase, Way

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

#: How many times as much ours must do, by entries.
_REQUIRED: Final = {1_000_000: 4.0, 10_000_000: 7.0}
_PROCESSES: Final = 2
_WAYS: Final = (Way.UNARY, Way.STREAM)
#: One caller alone may have 33 (`max_unary_rpcs`).
_IN_FLIGHT: Final = 28
_CONNECTIONS: Final = 4
_TIMEOUT_SECONDS: Final = 30.0
_ADDED: Final = 1_000_000  # codes given to the peer's index at a time
_WARM_SECONDS: Final = 2.0


class Peer:
    """Processes that hash and look up with `threatexchange` alone.

    Args:
        contents: the files.
        entries: made-up codes in the index, beside that of the first file, which must be found.

    Raises:
        RuntimeError: the index does not find that one.
    """

    def __init__(self, contents: Sequence[bytes], entries: int) -> None:
        faiss.omp_set_num_threads(1)  # what started threads before hangs in a forked process
        index: PDQIndex[int] = PDQIndex()
        for first in range(0, entries, _ADDED):
            codes = catalogs.codes(first, min(_ADDED, entries - first))
            index.add_all([(code.tobytes().hex(), first + n) for n, code in enumerate(codes)])
        known = pdq_from_bytes(contents[0])[0]
        index.add(known, entries)
        if entries not in {match.metadata for match in index.query(known)}:
            raise RuntimeError("the peer's index does not find what it holds")
        # Forked, so that both share one index; nothing here has a thread.
        context = multiprocessing.get_context("fork")
        self._pipes: list[Connection] = []
        self._children = []
        for _ in range(_PROCESSES):
            ours, theirs = context.Pipe()
            child = context.Process(target=_work, args=(theirs, index, contents), daemon=True)
            child.start()
            self._pipes.append(ours)
            self._children.append(child)

    def a_second(self, seconds: float) -> float:
        """Images a second of all processes together.

        Raises:
            RuntimeError: one does not answer.
        """
        for pipe in self._pipes:
            pipe.send_bytes(repr(seconds).encode())
        for pipe in self._pipes:
            if not pipe.poll(seconds + _TIMEOUT_SECONDS):
                raise RuntimeError("the peer does not answer")
        return sum(float(pipe.recv_bytes()) for pipe in self._pipes)

    def close(self) -> None:
        """Ends the processes."""
        for child in self._children:
            child.terminate()
            child.join()


def _work(pipe: Connection, index: PDQIndex[int], contents: Sequence[bytes]) -> None:
    """Works for as long as it is told, and says how many images a second it did; for ever."""
    while True:
        seconds = float(pipe.recv_bytes())
        begin, done = time.monotonic(), 0
        while (spent := time.monotonic() - begin) < seconds:
            index.query(pdq_from_bytes(contents[done % len(contents)])[0])
            done += 1
        pipe.send_bytes(repr(done / spent).encode())


class Ours:
    """A server under as much load as it takes."""

    def __init__(self, sender: Sender, corpus: Corpus, seed: int) -> None:
        self._sender = sender
        self._corpus = corpus
        self._rng = np.random.default_rng(seed)

    def a_second(self, seconds: float, way: Way) -> float:
        """Right answers a second.

        Raises:
            RuntimeError: a request was not answered, or not rightly.
        """
        phase = Phase(name="peak", seconds=seconds, in_flight=_IN_FLIGHT, way=way)
        mix = Mix(unknown=1.0)
        plan = draw_plan(phase, self._corpus.files, mix=mix, rate=0.0, rng=self._rng)
        sent = self._sender.send(plan, Pictures.MEGAPIXEL)
        tally = Tally.of(sent.records)
        if tally.right != tally.requests:
            raise RuntimeError(f"not all was answered, and rightly: {tally} {sent.faults}")
        return float((sent.records["done"] <= sent.moments.begin + seconds).sum()) / seconds


@contextlib.contextmanager
def ours(corpus: Corpus, cache: Path, entries: int) -> Iterator[Ours]:
    """A server with so many entries."""
    data = server.prepare_data(cache, [corpus], entries)
    with (
        server.hashwarden(data, {}) as started,
        Watch({SERVER: started.pid}) as watch,
        tempfile.TemporaryDirectory() as scratch,
    ):
        sender = Sender(
            address=started.address,
            entries={},
            cache=cache,
            scratch=Path(scratch),
            connections=_CONNECTIONS,
            timeout_seconds=_TIMEOUT_SECONDS,
            watch=watch,
        )
        yield Ours(sender, corpus, entries)


def main() -> int:
    """Prints the table; returns the exit status."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--entries", type=int, default=1_000_000, help="PDQ codes")
        parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
        parser.add_argument("--cache", type=Path, default=CACHE, help=f"default {CACHE}")

    options = measure.arguments("Throughput beside threatexchange.", rounds=5, add=add)
    if options.smoke:
        options.entries, options.seconds = min(options.entries, 20_000), 2.0
    corpus = open_corpus(Pictures.MEGAPIXEL, options.cache.resolve())
    pairs = zip(corpus.files, corpus.contents, strict=True)
    contents = [content for file, content in pairs if file.sort is Sort.UNKNOWN]
    # The peer first: its processes are forked, which gRPC in this one would not survive.
    with (
        contextlib.closing(Peer(contents, options.entries)) as peer,
        ours(corpus, options.cache.resolve(), options.entries) as service,
    ):
        for way in _WAYS:
            service.a_second(_WARM_SECONDS, way)
        peer.a_second(_WARM_SECONDS)
        turns = [
            (*(service.a_second(options.seconds, way) for way in _WAYS), peer.a_second(seconds))
            for seconds in [options.seconds] * options.rounds
        ]
    *own, theirs = zip(*turns, strict=True)
    ratios = [_ratio(each, theirs) for each in own]
    print(
        f"{options.entries:,} PDQ entries, {len(contents)} JPEG files of 1 megapixel, "
        f"{options.rounds} rounds of {options.seconds:g} s each\n"
    )
    print(measure.circumstances(("grpcio", "numpy", "threatexchange", "faiss-cpu")), end="\n\n")
    rows = (
        (f"threatexchange, {_PROCESSES} processes", f"{statistics.median(theirs):.1f}", "1.0"),
        *(
            (f"ours and its load generator, {way}", f"{statistics.median(each):.1f}", str(ratio))
            for way, each, ratio in zip(_WAYS, own, ratios, strict=True)
        ),
    )
    print(measure.markdown_table(("way", "images a second", "times as many"), rows))
    required = _REQUIRED.get(options.entries)
    if required is None:
        return 0
    streams = {"ours, stream": ratios[_WAYS.index(Way.STREAM)]}
    return measure.verdict(streams, required=required, aim=required, smoke=options.smoke)


def _ratio(own: Sequence[float], theirs: Sequence[float]) -> measure.Ratio:
    turns = [mine / other for mine, other in zip(own, theirs, strict=True)]
    low, _, high = statistics.quantiles(turns, n=4)
    return measure.Ratio(statistics.median(own) / statistics.median(theirs), low, high)


if __name__ == "__main__":
    raise SystemExit(main())
