"""The values of which all generated lists are made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_A_TIME = 1024
_KINDS = (HashKind.MD5, HashKind.SHA1, HashKind.SHA256, HashKind.PDQ, HashKind.PHOTODNA)
_ENDS = tuple(sum(kind.nbytes for kind in _KINDS[:count]) for count in range(len(_KINDS) + 1))
_CHOICE_BYTES = 2
_WIDTH = _ENDS[-1] + _CHOICE_BYTES


class Record(NamedTuple):
    """One made-up file.

    Attributes:
        number: from 1 on.
        md5, sha1, sha256, pdq, photodna: 16, 20, 32, 32 and 144 random bytes.
        choice: 0..65535, to choose sizes, classes and flags by.
    """

    number: int
    md5: bytes
    sha1: bytes
    sha256: bytes
    pdq: bytes
    photodna: bytes
    choice: int


def made_up_records(records: int, seed: int) -> Iterator[Record]:
    """The first records of a seed, however many are asked for."""
    to_sha1, to_sha256, to_pdq, to_photodna, to_choice = _ENDS[1:]
    for first in range(0, records, _AT_A_TIME):
        noise = random.Random(f"{seed}/{first}").randbytes(_AT_A_TIME * _WIDTH)
        for row in range(min(_AT_A_TIME, records - first)):
            each = noise[row * _WIDTH : (row + 1) * _WIDTH]
            yield Record(
                first + row + 1,
                each[:to_sha1],
                each[to_sha1:to_sha256],
                each[to_sha256:to_pdq],
                each[to_pdq:to_photodna],
                each[to_photodna:to_choice],
                int.from_bytes(each[to_choice:], "big"),
            )
