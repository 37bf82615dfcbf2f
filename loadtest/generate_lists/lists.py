"""Every list that can be generated, by name: that of its format, mostly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from hashlists.model import HashKind
from loadtest.generate_lists import digest_sets, exchanged, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MD5, _SHA1, _SHA256 = HashKind.MD5, HashKind.SHA1, HashKind.SHA256
_PDQ, _PHOTODNA = HashKind.PDQ, HashKind.PHOTODNA


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list as it is generated.

    Attributes:
        format: in which it is written, where its name is another one.
        write: takes where to, how many records, and the seed.
        suffix: of such files.
        kinds: of the hashes that every record has; none where records differ.
        options: with which the file is read.
    """

    write: Callable[[BinaryIO, int, int], None]
    suffix: str
    kinds: tuple[HashKind, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None


_TABLE_KINDS = (_MD5, _SHA1, _PDQ)
LISTS: Mapping[str, ListFile] = {
    "vics": ListFile(exchanged.VICS.write, ".json", (_MD5, _SHA1, _PHOTODNA, _PDQ)),
    "ncmec": ListFile(exchanged.NCMEC.write, ".xml", (_MD5, _SHA1, _PHOTODNA, _PDQ)),
    "csv": ListFile(tables.CSV.write, ".csv", _TABLE_KINDS, tables.OPTIONS),
    "csv-own-ends": ListFile(
        tables.CSV_WITH_ENDS.write, ".csv", _TABLE_KINDS, tables.OPTIONS_WITH_ENDS, "csv"
    ),
    "parquet": ListFile(tables.write_parquet, ".parquet", _TABLE_KINDS, tables.OPTIONS),
    "jsonl": ListFile(tables.JSONL.write, ".jsonl", _TABLE_KINDS, tables.OPTIONS),
    "icse": ListFile(exchanged.ICSE.write, ".csv", (_MD5, _SHA1, _PHOTODNA)),
    "stix": ListFile(exchanged.STIX.write, ".json", (_MD5, _SHA1, _SHA256, _PDQ)),
    "misp": ListFile(exchanged.MISP.write, ".json", (_MD5, _SHA1, _SHA256)),
    "threatexchange": ListFile(exchanged.THREATEXCHANGE.write, ".json", (_PDQ,)),
    "stopncii": ListFile(exchanged.STOPNCII.write, ".json", (_PDQ,)),
    "tat": ListFile(exchanged.TAT.write, ".json"),
    "digests": ListFile(digest_sets.DIGESTS.write, ".md5", (_MD5,)),
    "nsrl-csv": ListFile(digest_sets.NSRL_CSV.write, ".txt", (_MD5, _SHA1)),
    "nsrl-sqlite": ListFile(digest_sets.NSRL_SQLITE.write, ".db", (_MD5, _SHA1, _SHA256)),
    "encase": ListFile(digest_sets.write_encase, ".hash", (_MD5,)),
    "tsk": ListFile(digest_sets.TSK.write, ".kdb", (_MD5,)),
    "hashlookup": ListFile(digest_sets.HASHLOOKUP.write, ".jsonl", (_MD5, _SHA1, _SHA256)),
}


def format_of(name: str) -> str:
    """The format of a generated list."""
    return LISTS[name].format or name


def write_list(name: str, out: BinaryIO, *, records: int, seed: int = 0) -> None:
    """Writes one file.

    Args:
        name: one of `LISTS`.
        out: takes the bytes.
        records: how many to write.
        seed: the same seed gives the same values.
    """
    LISTS[name].write(out, records, seed)
