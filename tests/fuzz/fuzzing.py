"""What all fuzzers share: the loop over their inputs, and their command line."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    #: The numbers of the inputs that ended in anything but a result or a typed error, and how often
    #: each kind of outcome came.
    Found = tuple[list[int], dict[str, int]]


def tried(attempt: Callable[[int], str], inputs: int, seed: int, only: int | None = None) -> Found:
    """Tries inputs; tells on standard error of each that is a finding.

    Args:
        attempt: tries the input of a number, and gives what came of it in a word.
        inputs: how many.
        seed: of the run.
        only: try this one alone.
    """
    findings: list[int] = []
    outcomes: dict[str, int] = {}
    for number in range(inputs) if only is None else [only]:
        try:
            outcome = attempt(number)
        except Exception:  # noqa: BLE001 - whatever it is, it is what this looks for
            findings.append(number)
            sys.stderr.write(f"input {number} of seed {seed}:\n{traceback.format_exc()}")
            continue
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return findings, outcomes


def command_line(name: str, description: str, fuzz: Callable[[int, int, int | None], Found]) -> int:
    """The command line; exit status 1 when anything was found.

    Args:
        name: what is fuzzed, in a word.
        description: in a sentence.
        fuzz: tries inputs; how many, the seed, and the one that alone is tried.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--inputs", type=int, default=1500, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="which run")
    parser.add_argument("--only", type=int, help="repeat this one input")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    started = time.monotonic()
    findings, outcomes = fuzz(arguments.inputs, arguments.seed, arguments.only)
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"{name}: {arguments.inputs} inputs in {seconds:.0f} s: {outcomes};"
        f" findings: {len(findings)}\n"
    )
    return 1 if findings else 0
