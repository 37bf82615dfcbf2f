"""Fuzzes the reader of ThreatExchange texts: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_threatexchange_text.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b'"', b",", b" ", b"  ", b"\t", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf",
    b"pdq ", b"md5 ", b"PDQ ", b"url x\n", b"word\n", b"\x80\x04", b"{", b"0" * 64, b'"open',
)  # fmt: skip


def corpus():
    """Small whole files of each layout."""
    chance = random.Random(7)
    values = [chance.randbytes(32).hex() for _ in range(8)]
    typed = "".join(f"pdq {value}\n" for value in values) + f"md5 {values[0][:32]}\n"
    bare = "\r\n".join(values) + "\r\n"
    rows = "".join(f'{value},12,2020-07-01T18:31:15+0000,"a b"\n' for value in values)
    simple = {"layout": "simple", "type": "HASH_PDQ", "tags": "b"}
    return [(typed.encode(), {}), (bare.encode(), {"type": "pdq"}), (rows.encode(), simple)]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("threatexchange-text", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("threatexchange-text", corpus(), TOKENS))
