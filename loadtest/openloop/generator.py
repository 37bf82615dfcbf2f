"""The load generator, in a process of its own: sends one plan, judges the answers, writes records.

    python -m loadtest.openloop.generator ORDER.json

Says `ready` once it is connected and warm, begins when a line comes on standard input, and says
`over` with the moments of begin and end once all requests have ended. Records follow. A plan that
was sent late was not what was meant, so how late each request was is part of its record.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from loadtest.corpus.make import open_corpus
from loadtest.corpus.model import Pictures  # noqa: TC001 - msgspec reads the types
from loadtest.openloop.judging import fault_of
from loadtest.openloop.outcomes import RECORD, Outcome
from loadtest.openloop.plan import Plan
from loadtest.openloop.sending import Images, send
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb

if TYPE_CHECKING:
    from loadtest.corpus.make import Corpus
    from loadtest.openloop.outcomes import Records
    from loadtest.openloop.sending import Asked, Sent

_MOST_FAULTS = 20
#: What measures must not wait for what is measured, where both are on the same CPUs.
_NICENESS = -5


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a generator is to do.

    Attributes:
        target: `host:port`.
        plan: file of the plan.
        out: file that takes the records, beside which `.json` has faults in words.
        pictures, cache: where the files are.
        entries: the server's id of the entry of each listed file, by name.
        echo: the server gives back what it gets, so that there is nothing to judge.
        connections, timeout_seconds: as in a scenario.
        fresh_from: number of the first file with bytes of its own.
    """

    target: str
    plan: str
    out: str
    pictures: Pictures
    cache: str
    entries: dict[str, str]
    echo: bool
    connections: int
    timeout_seconds: float
    fresh_from: int


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """When a plan began and when all of it had ended, on the monotonic clock."""

    begin: float
    end: float


def records_of(
    sent: Sent, corpus: Corpus, entries: dict[str, str], *, echo: bool
) -> tuple[Records, list[str]]:
    """Records of all requests, and the first wrong answers and failures in words."""
    records = np.zeros(len(sent.asked), RECORD)
    faults: list[str] = []
    for row, each in enumerate(sent.asked):
        fault = ""
        if each.outcome is Outcome.ANSWERED and not echo:
            fault = fault_of(_result_of(each), corpus.files[each.file], entries)
        told = f"failed: {each.words}" if each.outcome is Outcome.FAILED else fault
        if told and len(faults) < _MOST_FAULTS:
            faults.append(f"{corpus.files[each.file].name}: {told}")
        records[row] = (
            each.file,
            each.streamed,
            each.intended,
            each.sent,
            each.done,
            each.outcome,
            each.code,
            each.outcome is Outcome.ANSWERED and not fault,
        )
    return records, faults


def _result_of(asked: Asked) -> pb.MatchResult:
    kind = pb.MatchImagesResponse if asked.streamed else pb.MatchImageResponse
    result: pb.MatchResult = kind.FromString(asked.response).result
    return result


def main() -> None:
    """Carries out an order."""
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    plan = Plan.load(Path(order.plan))
    corpus = open_corpus(order.pictures, Path(order.cache))
    images = Images(corpus.contents, order.fresh_from)
    with suppress(PermissionError):  # only root may
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    print("ready", flush=True)
    sys.stdin.readline()
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would keep requests waiting
    sent = asyncio.run(
        send(
            order.target,
            plan,
            images,
            connections=order.connections,
            timeout_seconds=order.timeout_seconds,
            echo=order.echo,
        )
    )
    moments = Moments(begin=sent.begin, end=sent.end)
    print(msgspec.json.encode(moments).decode(), flush=True)
    records, faults = records_of(sent, corpus, order.entries, echo=order.echo)
    np.save(order.out, records, allow_pickle=False)
    Path(order.out).with_suffix(".json").write_bytes(msgspec.json.encode(faults))
    print("done", flush=True)


if __name__ == "__main__":
    main()
