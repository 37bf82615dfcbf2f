"""Fuzzes the NCMEC reader and validation: mutated pages end in a result or a typed error.

    python tests/fuzz/fuzz_ncmec.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import base64
import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b"<", b">", b"/", b"&", b";", b'"', b"'", b"=", b" ", b"\n", b"\x00", b"\xff", b"\xef\xbb\xbf",
    b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?x", b"?>", b"&amp;", b"&#0;", b"&#x41;", b"&x;",
    b'<!DOCTYPE x [<!ENTITY a "aaaa">]>', b"</image>", b"<image>", b"</images>", b"<images>",
    b"<videos>", b"</queryResult>", b"<x>", b"</x>", b"<x/>", b'<n:image xmlns:n="urn:x">',
    b'<member id="7">', b"<deletedImage>", b"<md5>", b"</md5>", b"\xc3\xa9", b'xmlns="urn:y"',
    b'<tmk-pdqf rel="self" href="/v2/x"/>', b"<feedback/>", b'count="9"', b"0" * 64,
)  # fmt: skip
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"


def entry(number, chance, *, kind="image", extra="", layout="\n  "):
    pdna = chance.randbytes(144)
    written = chance.choice((pdna.hex(), base64.b64encode(pdna).decode(), ",".join(map(str, pdna))))
    hashes = (
        f"<md5>{chance.randbytes(16).hex()}</md5><sha1>{chance.randbytes(20).hex()}</sha1>"
        f"<pdna>{written}</pdna><pdq>{chance.randbytes(32).hex()}</pdq>"
    )
    parts = (
        '<member id="42">Example Member</member>',
        "<timestamp>2017-10-24T15:00:00Z</timestamp>",
        f"<id>{kind}{number}</id>",
        "<classification>A1</classification>",
        f"<fingerprints>{hashes}</fingerprints>",
    )
    return f"<{kind}>" + "".join(layout + part for part in (*parts, extra)) + f"</{kind}>"


def corpus():
    """Small whole pages: plain ones, and one with everything that the parser has to read."""
    chance = random.Random(7)
    plain = "\n".join(entry(number, chance) for number in range(3))
    feedback = (
        '<feedback><affirmativeFeedback type="Md5"><members><member id="7">x</member></members>'
        '</affirmativeFeedback><negativeFeedback type="Sha1"><reasons><reason guid="x"/>'
        "</reasons></negativeFeedback></feedback>"
    )
    rich = "".join(
        (
            entry(7, chance, extra=feedback, layout=""),
            '<deletedImage><member id="43">a</member><id>image4</id></deletedImage>',
            entry(8, chance, extra="<!-- </image> --><categorizations><x/></categorizations>"),
            entry(9, chance),
        )
    )
    pages = []
    for images, prefix in ((plain, ""), (rich, ""), (plain, "\ufeff")):
        pages.append(
            f'{prefix}<?xml version="1.0" encoding="UTF-8"?>\n<queryResult xmlns="{NAMESPACE}">'
            f'<images maxTimestamp="2017-10-24T15:10:00Z">{images}</images>'
            f'<videos count="1">{entry(1, chance, kind="video")}</videos>'
            "<paging><next>/v2/entries?from=x&amp;start=2001</next></paging></queryResult>"
        )
    return [(page.encode(), {}) for page in pages]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("ncmec", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("ncmec", corpus(), TOKENS))
