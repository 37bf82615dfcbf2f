"""A small honest file of every format that can be read, for tests that hold of all of them.

Values are made up and mean nothing. What a test does to such a file is its own; that no format is
left out, `SAMPLES` says by its keys.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.formats.icse_columns import COLUMNS
from hashlists.model import Harm, HashKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MD5, SHA1, SHA256 = HashKind.MD5, HashKind.SHA1, HashKind.SHA256
PDQ, PHOTODNA = HashKind.PDQ, HashKind.PHOTODNA
_NSRL = ("SHA-1", "MD5", "CRC32", "FileName", "FileSize", "ProductCode", "OpSystemCode")
TSK_TABLES = (
    "CREATE TABLE db_properties (name TEXT NOT NULL, value TEXT)",
    "INSERT INTO db_properties VALUES ('Schema Version', '1')",
    "CREATE TABLE hashes (id INTEGER PRIMARY KEY, md5 BINARY(16), sha1, sha2_256)",
)
_RDS = ("CREATE TABLE FILE (sha256 TEXT, sha1 TEXT, md5 TEXT, file_name TEXT, file_size INTEGER)",)


def raw(kind: HashKind, number: int) -> bytes:
    """Bytes of a hash, nobody's: the same for the same number."""
    out = b""
    while len(out) < kind.nbytes:
        out += hashlib.sha256(f"sample {kind} {number} {len(out)}".encode()).digest()
    return out[: kind.nbytes]


@dataclass(frozen=True)
class Record:
    """One record of a file.

    Attributes:
        number: the source's own id, where the format has one.
        hashes: by kind, as text; kinds that the format cannot hold are left out by its maker.
        word: the class; what a format writes for it, its maker says.
    """

    number: int
    hashes: Mapping[HashKind, str]
    word: str = "1"

    def get(self, kind: HashKind) -> str | None:
        return self.hashes.get(kind)


@dataclass(frozen=True)
class Sample:
    """How files of a format are made and read.

    Attributes:
        make: records as a file.
        kinds: of hashes that a record holds.
        words: two classes that its records may have; none where the format has no classes.
        conflict: what makes a second record of the same key say something else: "word", a kind
            whose value is not the key, or None where records of one key are always equal.
        options: to read it with.
        harm: of a list that takes it.
        suffix: of a file's name.
    """

    make: Callable[[Sequence[Record]], bytes]
    kinds: tuple[HashKind, ...]
    words: tuple[str, str] | None = None
    conflict: str | HashKind | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    harm: Harm = Harm.CSAM
    suffix: str = ".json"

    def record(self, number: int, **changes: object) -> Record:
        """An honest record."""
        hashes = {kind: raw(kind, number).hex() for kind in self.kinds}
        word = self.words[0] if self.words else ""
        return Record(**{"number": number, "hashes": hashes, "word": word} | changes)  # type: ignore[arg-type]

    def records(self, count: int, first: int = 1) -> list[Record]:
        return [self.record(number) for number in range(first, first + count)]

    def file(self, count: int = 3) -> bytes:
        return self.make(self.records(count))

    def contradicting(self, number: int) -> Record:
        """A record of the same key that says something else."""
        if self.conflict == "word":
            assert self.words is not None
            return self.record(number, word=self.words[1])
        assert isinstance(self.conflict, HashKind)
        hashes = {**self.record(number).hashes, self.conflict: raw(self.conflict, 10**6).hex()}
        return self.record(number, hashes=hashes)


def uuid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def _named(record: Record, **names: HashKind) -> dict[str, str]:
    return {name: text for name, kind in names.items() if (text := record.get(kind)) is not None}


def vics(
    records: Sequence[Record], context: str = "2.0.xml/US/$metadata#Media", **members: object
) -> bytes:
    value = [
        {
            "MediaID": each.number,
            "Category": int(each.word),
            **_named(each, MD5=MD5, SHA1=SHA1, SHA256=SHA256, PDQ=PDQ, PhotoDNA=PHOTODNA),
        }
        for each in records
    ]
    name = f"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/{context}"
    return _json({"@odata.context": name, **members, "value": value})


def _cells(records: Sequence[Record]) -> list[dict[str, str]]:
    return [
        {"id": str(each.number), "class": each.word, **{str(k): t for k, t in each.hashes.items()}}
        for each in records
    ]


def _table(
    columns: Sequence[str], rows: Sequence[Mapping[str, str]], delimiter: str = ","
) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def csv_file(records: Sequence[Record]) -> bytes:
    kinds = list(dict.fromkeys(str(kind) for each in records for kind in each.hashes))
    return _table(["id", "class", *kinds], _cells(records))


def jsonl(records: Sequence[Record]) -> bytes:
    return b"".join(json.dumps(cells).encode() + b"\n" for cells in _cells(records))


def parquet(records: Sequence[Record]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_cells(records)), out)
    return out.getvalue()


def icse(records: Sequence[Record]) -> bytes:
    rows = [
        dict.fromkeys(COLUMNS, "")
        | _named(each, MD5=MD5, SHA1=SHA1, PhotoDNA=PHOTODNA)
        | {"Image ID": f"ID-{each.number}", "Baseline": each.word}
        for each in records
    ]
    return _table(COLUMNS, rows, ";")


def ncmec(records: Sequence[Record]) -> bytes:
    tags = {"md5": MD5, "sha1": SHA1, "pdna": PHOTODNA, "pdq": PDQ}
    entries = "\n".join(
        f'<image><member id="42">Example</member><timestamp>2017-10-24T15:00:00Z</timestamp>'
        f"<id>image{each.number}</id><classification>{each.word}</classification><fingerprints>"
        + "".join(f"<{tag}>{text}</{tag}>" for tag, text in _named(each, **tags).items())
        + "</fingerprints></image>"
        for each in records
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">'
        f'<images count="{len(records)}">{entries}</images></queryResult>\n'
    ).encode()


def stopncii(records: Sequence[Record]) -> bytes:
    value = [
        {
            "lastModtimestamp": 1625167804,
            "signalType": {PDQ: "ImagePDQ", MD5: "VideoMD5"}[kind],
            "hashValue": text,
            "hashStatus": each.word,
        }
        for each in records
        for kind, text in each.hashes.items()
    ]
    return _json({"count": len(value), "hasMoreRecords": False, "hashRecords": value})


def threatexchange(records: Sequence[Record]) -> bytes:
    return _json(
        {
            "data": [
                {
                    "id": str(each.number),
                    "indicator": text,
                    "type": f"HASH_{kind.upper()}",
                    "last_updated": 1595000000,
                    "should_delete": False,
                    "descriptors": {"data": [{"owner": {"id": "1"}, "status": each.word}]},
                }
                for each in records
                for kind, text in each.hashes.items()
            ]
        }
    )


def threatexchange_text(records: Sequence[Record]) -> bytes:
    return "".join(f"{k} {text}\n" for each in records for k, text in each.hashes.items()).encode()


def tat(records: Sequence[Record]) -> bytes:
    results = [
        {
            "hash_digest": text,
            "algorithm": kind.upper(),
            "ideology": each.word,
            "file_type": "jpg",
            "deleted": False,
            "updated_on": 1704085200.5,
            "id": each.number,
        }
        for each in records
        for kind, text in each.hashes.items()
    ]
    return _json({"count": len(results), "next": None, "results": results})


def stix(records: Sequence[Record]) -> bytes:
    names = {"MD5": MD5, "SHA-1": SHA1, "SHA-256": SHA256, "PDQ": PDQ, "x_photodna": PHOTODNA}
    objects = [
        {
            "type": "file",
            "spec_version": "2.1",
            "id": f"file--{uuid(each.number)}",
            "labels": [each.word],
            "hashes": _named(each, **names),
        }
        for each in records
    ]
    return _json({"type": "bundle", "id": f"bundle--{uuid(0)}", "objects": objects})


def misp(records: Sequence[Record]) -> bytes:
    objects = [
        {
            "uuid": uuid(each.number),
            "name": "hashwarden-image",
            "Attribute": [
                {
                    "uuid": uuid(1000 * each.number + row),
                    "type": str(kind) if kind.is_digest else "text",
                    "object_relation": str(kind),
                    "value": text,
                    "to_ids": True,
                    "Tag": [{"name": f"copine-scale:{each.word}"}],
                }
                for row, (kind, text) in enumerate(each.hashes.items())
            ],
        }
        for each in records
    ]
    return _json({"Event": {"uuid": uuid(0), "info": "x", "Object": objects}})


def nsrl_csv(records: Sequence[Record]) -> bytes:
    lines = [",".join(f'"{name}"' for name in _NSRL)]
    lines += [
        f'"{each.get(SHA1)}","{each.get(MD5)}","0F1E2D3C","a ""b"", c",{each.number},1,"WIN"'
        for each in records
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def database(statements: Sequence[str], insert: str, rows: Sequence[tuple[object, ...]]) -> bytes:
    """The bytes of a SQLite file."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.executemany(insert, rows)
    data = connection.serialize()
    connection.close()
    return data


def nsrl_sqlite(records: Sequence[Record], *more: str) -> bytes:
    rows = [(None, each.get(SHA1), each.get(MD5), "x", each.number) for each in records]
    return database((*_RDS, *more), "INSERT INTO FILE VALUES (?, ?, ?, ?, ?)", rows)


def tsk(records: Sequence[Record], *more: str) -> bytes:
    rows = [
        tuple(text and bytes.fromhex(text) for text in map(each.get, (MD5, SHA1, SHA256)))
        for each in records
    ]
    return database((*TSK_TABLES, *more), "INSERT INTO hashes VALUES (NULL, ?, ?, ?)", rows)


def hashlookup(records: Sequence[Record]) -> bytes:
    return b"".join(
        json.dumps(
            {**_named(each, **{"MD5": MD5, "SHA-1": SHA1}), "FileName": "x", "FileSize": "7"}
        ).encode()
        + b"\n"
        for each in records
    )


def encase(records: Sequence[Record]) -> bytes:
    head = (b"HASH\r\n\xff\x00".ljust(1032, b"\x00") + "a set".encode("utf-16-le")).ljust(
        1152, b"\0"
    )
    return head + b"".join(bytes.fromhex(each.hashes[MD5]) + b"\x00\x00" for each in records)


def digests(records: Sequence[Record]) -> bytes:
    return "".join(f"{each.get(MD5)} *a{each.number}.jpg\n" for each in records).encode()


_COLUMNS = {"columns.key": "id", "columns.category": "class", "scheme": "x"}
_MAPPED = {**_COLUMNS, "columns.md5": "md5", "columns.sha1": "sha1"}

SAMPLES: Mapping[str, Sample] = {
    "csv": Sample(csv_file, (MD5, SHA1), ("a", "b"), "word", _MAPPED, suffix=".csv"),
    "digests": Sample(digests, (MD5,), suffix=".md5"),
    "encase": Sample(encase, (MD5,), suffix=".hash"),
    "hashlookup": Sample(hashlookup, (SHA1, MD5), None, MD5, harm=Harm.KNOWN_GOOD, suffix=".jsonl"),
    "icse": Sample(icse, (MD5, SHA1), ("Yes", "No"), "word", suffix=".csv"),
    "jsonl": Sample(jsonl, (MD5, SHA1), ("a", "b"), "word", _MAPPED, suffix=".jsonl"),
    "misp": Sample(misp, (MD5, SHA1), ("level-1", "level-2"), "word"),
    "ncmec": Sample(ncmec, (MD5, SHA1), ("A1", "B2"), "word", suffix=".xml"),
    "nsrl-csv": Sample(nsrl_csv, (SHA1, MD5), None, MD5, harm=Harm.KNOWN_GOOD, suffix=".txt"),
    "nsrl-sqlite": Sample(nsrl_sqlite, (SHA1, MD5), None, MD5, harm=Harm.KNOWN_GOOD, suffix=".db"),
    "parquet": Sample(parquet, (MD5, SHA1), ("a", "b"), "word", _MAPPED, suffix=".parquet"),
    "stix": Sample(stix, (MD5, SHA1), ("a", "b"), "word", {"classification": "labels"}),
    "stopncii": Sample(stopncii, (PDQ,), ("Active", "Received"), "word", harm=Harm.NCII),
    "tat": Sample(tat, (PDQ,), ("islamist", "far-right"), "word", harm=Harm.TERRORISM),
    "threatexchange": Sample(threatexchange, (PDQ,), ("MALICIOUS", "SUSPICIOUS"), "word"),
    "threatexchange-text": Sample(threatexchange_text, (PDQ,), suffix=".txt"),
    "tsk": Sample(tsk, (MD5, SHA1), None, SHA1, suffix=".kdb"),
    "vics": Sample(vics, (MD5, SHA1), ("1", "2"), "word"),
}
