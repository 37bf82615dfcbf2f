"""Where an image's CPU time goes: the server's, stage by stage, beside the floor.

    python -m loadtest.stages [--entries N] [--pictures kb100,mb1,mb5] [--turns N] [--smoke]

The whole is measured at a server, a few images at a time, and the echo and the files' floor in the
same turn; medians of several turns, since what a machine gives changes by the minute. The stages
are the server's own functions, called here one after the other with the same files and the same
lists, in batches of eight where the server gathers batches. What is left of the whole is gRPC,
handing over between threads and processes, and waiting that costs. The largest is to be taken
first.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hashlists.snapshot import open_current
from loadtest import measure
from loadtest.corpus.make import CACHE, Corpus, open_corpus
from loadtest.corpus.model import Pictures, Sort
from loadtest.openloop import floor, server
from loadtest.openloop.phases import SERVER, Sender, cost_of
from loadtest.openloop.plan import draw_plan
from loadtest.openloop.processes import Watch
from loadtest.openloop.results import Cost  # noqa: TC001  msgspec reads it
from loadtest.openloop.scenario import Mix, Phase, Way
from loadtest.openloop.side_by_side import side_by_side
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.hashing.digests import digest_bytes
from matcher.index.match_index import MatchIndex
from matcher.model import DecodeRequest
from matcher.pipeline import DEFAULT_OPTIONS, Generation, hash_items, match_items
from matcher.policy.rules import policies_from_dict
from matcher.service.convert import result_to_proto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loadtest.openloop.server import Server

_BATCH: Final = 8
_IN_FLIGHT: Final = 16  # as at the peak
_CONNECTIONS: Final = 4
_TIMEOUT_SECONDS: Final = 60.0
_WARM_SECONDS: Final = 2.0


def generation_of(data: Path) -> Generation:
    """What a server over a data folder searches."""
    snapshot = open_current(data / "snapshots")
    if snapshot is None:
        raise FileNotFoundError(data / "snapshots")
    return Generation(MatchIndex.open(snapshot), policies_from_dict({}, origin="built-in policy"))


def stages_of(contents: Sequence[bytes], generation: Generation, rounds: int) -> dict[str, float]:
    """CPU milliseconds for an image, of each of the server's own functions; medians of rounds.

    Args:
        contents: files that can be decoded.
        generation: what is searched.
        rounds: at least 1; one more is not counted.
    """
    request, limits = DecodeRequest(), DecodeLimits()
    files = [contents[row % len(contents)] for row in range(max(_BATCH, len(contents)))][:_BATCH]
    taken: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[[], object]) -> object:
        start = time.process_time()
        result = work()
        taken.setdefault(stage, []).append(1e3 * (time.process_time() - start) / len(files))
        return result

    for _ in range(rounds + 1):
        digests = [digest_bytes(each) for each in files]
        timed("digests", lambda: [digest_bytes(each) for each in files])
        decoded = [worker.decode(each, request, limits) for each in files]
        timed("decoding to blocks", lambda: [worker.decode(e, request, limits) for e in files])
        requests, options = [request] * len(files), [DEFAULT_OPTIONS] * len(files)
        hashed = hash_items(digests, decoded, requests)
        timed("hashing", lambda: hash_items(digests, decoded, requests))  # noqa: B023 - at once
        results = match_items(generation, hashed, options)
        timed("looking up and judging", lambda: match_items(generation, hashed, options))  # noqa: B023
        pairs = [*zip(results, decoded, strict=True)]
        timed(
            "the answer's message",
            lambda: [
                result_to_proto(
                    result, provenance=pb.Provenance(), decoded=seen
                ).SerializeToString()
                for result, seen in pairs  # noqa: B023
            ],
        )
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def cost_at(
    started: Server, corpus: Corpus, options: argparse.Namespace, *, way: Way, echo: bool
) -> Cost:
    """CPU milliseconds of a server for an image, a few at a time."""
    phase = Phase(name="cost", seconds=options.seconds, in_flight=options.in_flight, way=way)
    warming = Phase(name="cost", seconds=_WARM_SECONDS, in_flight=options.in_flight, way=way)
    rng = np.random.default_rng(1)
    with Watch({SERVER: started.pid}) as watch, tempfile.TemporaryDirectory() as scratch:
        sender = Sender(
            address=started.address,
            entries={},
            cache=options.cache,
            scratch=Path(scratch),
            connections=_CONNECTIONS,
            timeout_seconds=_TIMEOUT_SECONDS,
            watch=watch,
            echo=echo,
        )
        plans = [
            draw_plan(each, corpus.files, mix=Mix(unknown=1.0), rate=0.0, rng=rng)
            for each in (warming, phase)
        ]
        _, cost = (
            cost_of(sender.send(plan, Pictures(corpus.folder.name)), (), 0.0) for plan in plans
        )
    if cost is None:
        raise RuntimeError("nothing was answered")
    return cost


def main() -> int:
    """Prints a table for each set of pictures."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--entries", type=int, default=1_000_000, help="PDQ codes")
        parser.add_argument("--pictures", default="kb100,mb1,mb5", help="sets, between commas")
        parser.add_argument("--seconds", type=float, default=10.0, help="at the server")
        parser.add_argument(
            "--in-flight", type=int, default=_IN_FLIGHT, help=f"at the server; default {_IN_FLIGHT}"
        )
        parser.add_argument("--turns", type=int, default=5, help="of floor and server")
        parser.add_argument("--cache", type=Path, default=CACHE, help=f"default {CACHE}")
        parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)

    options = measure.arguments("Where an image's CPU time goes.", rounds=9, add=add)
    options.cache = options.cache.resolve()
    if options.child is not None:
        corpus = open_corpus(Pictures(options.pictures), options.cache)
        taken = stages_of(_unknown(corpus), generation_of(options.child), options.rounds)
        print(msgspec.json.encode(taken).decode())
        return 0
    if options.smoke:
        options.entries, options.pictures, options.seconds = 20_000, "kb100", 2.0
        options.turns = 1
    corpora = [open_corpus(Pictures(name), options.cache) for name in options.pictures.split(",")]
    data = server.prepare_data(options.cache, (), options.entries)
    print(f"{options.entries:,} PDQ entries, medians of {options.rounds} rounds\n")
    print(measure.circumstances(("grpcio", "pillow", "numpy")))
    for corpus in corpora:
        _print_table(corpus, data, options)
    return 0


def _stages_side_by_side(
    corpus: Corpus, data: Path, options: argparse.Namespace
) -> dict[str, float]:
    command = ["-m", "loadtest.stages", "--pictures", corpus.folder.name, "--child", str(data)]
    said = side_by_side([*command, "--cache", str(options.cache), "--rounds", str(options.rounds)])
    found = [msgspec.json.decode(each, type=dict[str, float]) for each in said]
    return {name: statistics.mean(each[name] for each in found) for name in found[0]}


def _unknown(corpus: Corpus) -> list[bytes]:
    pairs = zip(corpus.files, corpus.contents, strict=True)
    return [content for file, content in pairs if file.sort is Sort.UNKNOWN]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """CPU milliseconds for an image, all measured within a minute.

    Attributes:
        luminance, digests: of the files' floor.
        echo: of a bare server, by way.
        cost: of ours, by way.
    """

    luminance: float
    digests: float
    echo: dict[Way, float]
    cost: dict[Way, Cost]

    def ratio(self, way: Way) -> float:
        """Ours over the floor."""
        return self.cost[way].server / (self.luminance + self.digests + self.echo[way])


def _take_turn(corpus: Corpus, servers: tuple[Server, Server], options: argparse.Namespace) -> Turn:
    echo, ours = servers
    found = floor.measure_files(Pictures(corpus.folder.name), options.cache, options.rounds)
    floors = [f for f, file in zip(found, corpus.files, strict=True) if file.sort is Sort.UNKNOWN]
    ways = (Way.UNARY, Way.STREAM)
    return Turn(
        luminance=1e3 * statistics.mean(each.luminance for each in floors),
        digests=1e3 * statistics.mean(each.digests for each in floors),
        echo={way: cost_at(echo, corpus, options, way=way, echo=True).server for way in ways},
        cost={way: cost_at(ours, corpus, options, way=way, echo=False) for way in ways},
    )


def _print_table(corpus: Corpus, data: Path, options: argparse.Namespace) -> None:
    contents = _unknown(corpus)
    stages = _stages_side_by_side(corpus, data, options)
    with contextlib.ExitStack() as stack:
        servers = (
            stack.enter_context(server.echo()),
            stack.enter_context(server.hashwarden(data, {})),
        )
        turns = [_take_turn(corpus, servers, options) for _ in range(options.turns)]
    rows = [(f"stage: {name}", f"{taken:.3f}") for name, taken in stages.items()]
    rows += [
        ("floor: luminance", _middle(each.luminance for each in turns)),
        ("floor: digests", _middle(each.digests for each in turns)),
    ]
    for way in (Way.UNARY, Way.STREAM):
        costs = [each.cost[way] for each in turns]
        beyond = [each.server - sum(stages.values()) for each in costs]
        ratios = sorted(each.ratio(way) for each in turns)
        rows += [
            (f"floor: echo, {way}", _middle(each.echo[way] for each in turns)),
            (f"server, {way}", _middle(each.server for each in costs)),
            *(
                (f"of it {name}, {way}", _middle(each.by_role.get(name, 0.0) for each in costs))
                for name in costs[0].by_role
            ),
            (f"of it beyond the stages, {way}", _middle(beyond)),
            (
                f"server over floor, {way}",
                f"**{statistics.median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            ),
        ]
    mean = sum(map(len, contents)) / len(contents) / 1e3
    print(f"\n{corpus.folder.name}: JPEG of {mean:,.0f} kB on average\n")
    print(measure.markdown_table(("CPU milliseconds an image", ""), rows))


def _middle(taken: Iterable[float]) -> str:
    return f"{statistics.median(taken):.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
