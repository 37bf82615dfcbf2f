"""What the catalog's tests share: made-up entries, and a plain model of what must be in force."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from hashlists.catalog import ImportSource
from hashlists.catalog.schema import entries
from hashlists.model import (
    NO_ONWARD_SHARING,
    Classification,
    EntryBatch,
    ExtraHash,
    Handling,
    Harm,
    HashKind,
    HashList,
    Place,
    Retraction,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from hashlists.catalog import Catalog, EntryColumns, StageResult
    from hashlists.model import Revision

CLASS_1 = Classification("vics", "US", "1")
CLASS_2 = Classification("vics", "US", "2")
DEMO = HashList("demo", Harm.TEST, "a source", title="Demo", legal_basis="made up")


def untimed(retractions):
    """Withdrawals, whenever they were made."""
    return [replace(each, told_at=None) for each in retractions]


def value(kind: HashKind, seed: object) -> bytes:
    """Made-up bytes of a hash: nobody's, and the same for the same seed."""
    out = b""
    while len(out) < kind.nbytes:
        out += hashlib.sha256(f"{kind} {seed} {len(out)}".encode()).digest()
    return out[: kind.nbytes]


@dataclass(frozen=True)
class Item:
    """One made-up record."""

    name: str
    kinds: tuple[HashKind, ...] = (HashKind.MD5, HashKind.PDQ)
    version: int = 0
    extra: tuple[tuple[HashKind, bytes], ...] = ()
    size: int | None = 100
    classification: Classification | None = CLASS_1
    handling: Handling = NO_ONWARD_SHARING
    flags: int = 1
    flags_known: int = 3
    source_id: str | None = None
    verified_count: int | None = None

    @property
    def key(self) -> bytes:
        return b"\x00" + self.name.encode()

    @property
    def hashes(self) -> dict[HashKind, bytes]:
        return {kind: value(kind, (self.name, self.version)) for kind in self.kinds}

    @property
    def digest(self) -> bytes:
        return hashlib.blake2b(repr(replace(self, name="")).encode(), digest_size=16).digest()

    def next(self, **changes: object) -> Item:
        return replace(self, version=self.version + 1, **changes)


def items(*names: str, **fields: object) -> list[Item]:
    return [Item(name, **fields) for name in names]


def batch(records: Sequence[Item], *, first_place: int = 1) -> EntryBatch:
    """The records as validation hands them on."""
    kinds = [kind for kind in HashKind if any(kind in record.kinds for record in records)]
    return EntryBatch(
        keys=[record.key for record in records],
        hashes={kind: [record.hashes.get(kind) for record in records] for kind in kinds},
        extra_hashes=[
            ExtraHash(row, kind, extra)
            for row, record in enumerate(records)
            for kind, extra in record.extra
        ],
        sizes=[record.size for record in records],
        classifications=[record.classification for record in records],
        handlings=[record.handling for record in records],
        flags=[record.flags for record in records],
        flags_known=[record.flags_known for record in records],
        verified_counts=[record.verified_count for record in records],
        media_types=["image/jpeg"] * len(records),
        source_ids=[record.source_id for record in records],
        source_updated_at=["2026-01-01"] * len(records),
        content_digests=[record.digest for record in records],
        place_at=lambda row: Place("record", first_place + row),
    )


def source(
    key: str | None = None,
    *,
    sha256: bytes = bytes(32),
    reason: str = "",
    exchange_id: int | None = None,
) -> ImportSource:
    return ImportSource("made-up", sha256, 10, "an importer", reason, key, exchange_id=exchange_id)


@dataclass
class Imported:
    """What importing some batches gave."""

    results: list[StageResult] = field(default_factory=list)
    revision: Revision | None = None

    @property
    def counts(self) -> tuple[int, int, int]:
        return (
            sum(result.added for result in self.results),
            sum(result.updated for result in self.results),
            sum(result.unchanged for result in self.results),
        )

    @property
    def rejections(self) -> list[object]:
        return [rejection for result in self.results for rejection in result.rejections]

    @property
    def barred(self) -> list[str]:
        return [str(each.place) for result in self.results for each in result.barred]

    @property
    def left_out(self) -> int:
        return sum(result.left_out for result in self.results)

    @property
    def kept_retracted(self) -> int:
        return sum(result.kept_retracted for result in self.results)


def bring(
    catalog: Catalog,
    *batches: Sequence[Item],
    gone: Iterable[Item] = (),
    list_name: str = "demo",
) -> Imported:
    """Imports batches of records, and retracts `gone` in the source's name, as one change."""
    imported = Imported()
    with catalog.begin_import(list_name, source()) as staged:
        imported.results += [staged.stage(batch(records)) for records in batches if records]
        withdrawn = [Retraction(item.key, "withdrawn") for item in gone]
        if withdrawn:
            imported.results.append(staged.stage_retractions(withdrawn))
        imported.revision = staged.commit()
    return imported


def in_force(
    catalog: Catalog, *, batch_size: int = 65_536
) -> dict[int, set[tuple[HashKind, bytes]]]:
    """Entry id -> all its values, as a snapshot would get them."""
    found: dict[int, set[tuple[HashKind, bytes]]] = {}
    with catalog.read() as reader:
        for columns in reader.entry_columns(batch_size=batch_size):
            ids, wanted = columns.entry_ids.tolist(), living(columns)
            found.update({ids[row]: set() for row in np.flatnonzero(wanted).tolist()})
            for kind, (rows, values) in columns.codes.items():
                for row, code in zip(rows.tolist(), values, strict=True):
                    if wanted[row]:
                        found[ids[row]].add((kind, code.tobytes()))
    return found


def living(columns: EntryColumns) -> NDArray[np.bool_]:
    """Which entries have not expired: `(M,)`."""
    return (columns.expires == 0) | (columns.expires > time.time())


def names_in_force(catalog: Catalog) -> dict[str, int]:
    """Record name -> entry id of what is in force."""
    with catalog._engine.connect() as connection:
        keys = dict(
            map(tuple, connection.exec_driver_sql("SELECT entry_id, source_key FROM entries"))
        )
    return {bytes(keys[entry_id])[1:].decode(): entry_id for entry_id in in_force(catalog)}


def ids_by_name(catalog: Catalog) -> dict[str, int]:
    """Record name -> entry id, in force or not: for many, where one look at each takes long."""
    query = select(entries.c.source_key, entries.c.entry_id)
    with catalog._engine.connect() as connection:
        return {key[1:].decode(): entry_id for key, entry_id in connection.execute(query)}


def ids_of(catalog: Catalog, *names: str) -> list[int]:
    known = names_in_force(catalog)
    return [known[name] for name in names]


def require_counted_uses(catalog: Catalog) -> None:
    """What is counted of each text is what versions have of it, and each of those is there."""
    with catalog._engine.connect() as connection:
        for text in ("classification", "handling"):
            counted, had, texts = (
                {tuple(row) for row in connection.exec_driver_sql(query)}
                for query in (
                    f"SELECT {text}_id, change_id, versions FROM change_{text}s",
                    f"SELECT {text}_id, change_id, COUNT(*) FROM entry_versions WHERE"  # noqa: ISC004
                    f" {text}_id IS NOT NULL GROUP BY {text}_id, change_id",
                    f"SELECT {text}_id FROM {text}s",
                )
            )
            assert counted == had
            assert {each[:1] for each in had} <= texts


def require_coverage(catalog: Catalog, list_name: str = "demo") -> None:
    """The sums that the catalog keeps equal a count of everything that is in force."""
    require_counted_uses(catalog)
    record = catalog.get_list(list_name)
    with catalog.read() as reader:
        entries, by_kind, near = 0, dict.fromkeys(HashKind, 0), 0
        for columns in reader.entry_columns():
            mine = (columns.list_ids == record.list_id) & living(columns)
            entries += int(mine.sum())
            near_rows: set[int] = set()
            for kind, (rows, _) in columns.codes.items():
                chosen = {row for row in rows.tolist() if mine[row]}
                by_kind[kind] += len(chosen)
                near_rows |= chosen if kind.is_perceptual_code else set()
            near += len(near_rows)
    assert record.coverage.entries == entries
    assert {kind: record.coverage.by_kind.get(kind, 0) for kind in HashKind} == by_kind
    assert record.coverage.near_matchable == near
