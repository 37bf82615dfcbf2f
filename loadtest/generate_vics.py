"""Writes a VICS 2.0 file of any size with made-up records, the same for the same seed.

The values are random bytes: they are nobody's hashes. Every record has MD5, SHA-1, PhotoDNA, a PDQ
code among its alternative hashes, id, category, size and flags, some 700 bytes in all. Memory does
not grow with the number of records.

    python -m loadtest.generate_vics --records 1000000 list.json
"""

from __future__ import annotations

import argparse
import base64
import random
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = (
    '{"@odata.context":"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/'
    '%s/$metadata#Media","value":[\n'
)
_TAIL = "\n]}\n"
_SEPARATOR = ",\n"
_RECORDS_AT_A_TIME = 2048
_MD5, _SHA1, _PDQ, _PHOTODNA = 16, 20, 32, 144
_BYTES_EACH = _MD5 + _SHA1 + _PDQ + _PHOTODNA
_CATEGORIES = (1, 1, 2, 2, 3, 0, 5)
_BOOLEANS = ("false", "true")
_CHOICES = 1 << 16


def write_vics(out: BinaryIO, *, records: int, seed: int = 0, profile: str = "US") -> None:
    """Writes one file.

    Args:
        out: takes the bytes.
        records: how many records to write.
        seed: the same seed gives the same bytes.
        profile: profile that the file's context names.
    """
    rng = random.Random(seed)
    out.write((_HEAD % profile).encode())
    for first in range(0, records, _RECORDS_AT_A_TIME):
        count = min(_RECORDS_AT_A_TIME, records - first)
        if first:
            out.write(_SEPARATOR.encode())
        out.write(_SEPARATOR.join(_records(rng, first + 1, count)).encode())
    out.write(_TAIL.encode())


def _records(rng: random.Random, first_id: int, count: int) -> Iterator[str]:
    noise = rng.randbytes(_BYTES_EACH * count)
    choices = [rng.randrange(_CHOICES) for _ in range(count)]
    for row, choice in enumerate(choices):
        at = row * _BYTES_EACH
        md5 = noise[at : (at := at + _MD5)].hex().upper()
        sha1 = noise[at : (at := at + _SHA1)].hex().upper()
        pdq = noise[at : (at := at + _PDQ)].hex()
        photodna = base64.b64encode(noise[at : at + _PHOTODNA]).decode()
        media_id = first_id + row
        yield (
            f'{{"MediaID":{media_id},"Category":{_CATEGORIES[choice % 7]},"MD5":"{md5}",'
            f'"SHA1":"{sha1}","PhotoDNA":"{photodna}",'
            f'"AlternativeHashes":[{{"MD5":"{md5}","HashName":"PDQ","HashValue":"{pdq}"}}],'
            f'"MediaSize":{20_000 + 61 * choice},"MimeType":"image/jpeg",'
            f'"VictimIdentified":{_BOOLEANS[choice & 1]},'
            f'"OffenderIdentified":{_BOOLEANS[choice >> 1 & 1]},'
            f'"IsDistributed":{_BOOLEANS[choice >> 2 & 1]},"IsPrecategorized":true,'
            f'"SelfGenerated":null,"Series":null,"Comments":null,'
            f'"DateUpdated":"2023-06-07T02:{choice % 60:02}:49.8300Z"}}'
        )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--records", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", default="US", help="profile in the file's context")
    arguments = parser.parse_args()
    with arguments.out.open("wb") as out:
        write_vics(out, records=arguments.records, seed=arguments.seed, profile=arguments.profile)
    size = arguments.out.stat().st_size
    print(f"{arguments.records} records, {size} bytes: {arguments.out}")


if __name__ == "__main__":
    main()
