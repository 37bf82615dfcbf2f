"""The hashes that a scan keeps: sealed, forgotten by prefix, erased when they have expired.

What is forgotten is gone from the file, too: deleted content is overwritten, the file written anew
and its log emptied. Until that is done the state says so, and whoever opens it next does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import delete, select, update

from hashlists.catalog.engine import rewrite_files
from matcher.scan.errors import StateError
from matcher.scan.model import Outcome
from matcher.scan.records import object_id_of, opened_hashes
from matcher.scan.state import packing, schema
from matcher.scan.state.database import reading, state_errors, writing
from matcher.scan.state.packing import KeptContent
from matcher.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Engine, Row

    from matcher.scan.document import ScanDocument
    from matcher.scan.model import BatchResult, KeptHashes, Record
    from matcher.sealing import KeySource

_PURPOSE: Final = b"scan hashes"
_KEPT = schema.kept.c
_FINISHED = schema.finished.c
_JOINED: Final = schema.kept.join(schema.finished)


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """The kept hashes of a finished batch.

    Attributes:
        number, source: of the batch.
        hashes: of objects, each followed by those of its members, in the order of the records.
        partly: ids of objects of which something has none: a member of the archive that they are.
    """

    number: int
    source: int
    hashes: tuple[KeptHashes, ...]
    partly: frozenset[str]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten.

    Attributes:
        objects: whose hashes were.
        traces: False when nothing is left in the file; else it could not be written anew, e.g. as
            the disk is full or a reader in the way, and that is done when it is next opened.
    """

    objects: int
    traces: bool


def scan_sealer(keys: KeySource) -> Sealer:
    """What seals the hashes of scans, with the keys of the setting `match_keys`."""
    return Sealer(keys, _PURPOSE)


def sealed(scan_id: str, result: BatchResult, sealer: Sealer) -> dict[str, Any] | None:
    """The row of a batch; None where it has no hashes. Those of what failed are not kept.

    Raises:
        SealingKeyError: there is no key.
    """
    records = {each.id: each for each in result.records}
    known = tuple(
        _with_outcome(each, records[each.id])
        for each in result.kept
        if records[each.id].outcome is not Outcome.FAILED
    )
    if not known:
        return None
    hashed = {each.id for each in known}
    without = {object_id_of(each) for each in records if each not in hashed}
    content = KeptContent(known, frozenset(without & hashed))
    return _row(content, sealer, _about(scan_id, result.number))


def _with_outcome(kept: KeptHashes, record: Record) -> KeptHashes:
    """With why there is nothing to look up but digests, where only the record says so.

    So an archive that could not be opened stays not hashable however often it is looked up.
    """
    if record.outcome is not Outcome.NOT_HASHABLE or kept.undecodable is not None:
        return kept
    if opened_hashes(kept)[1].views:
        return kept
    return msgspec.structs.replace(kept, undecodable=(record.reason, record.detail))


def each(
    engine: Engine,
    document: ScanDocument,
    sealer: Sealer,
    *,
    now: float,
    after: int = 0,
    source: int | None = None,
) -> Iterator[KeptBatch]:
    """The kept hashes, batch by batch; of those that have expired, none."""
    number = after
    while (row := _next(engine, number, source)) is not None and _counts(document, now):
        number = row.number
        yield _opened(row, document, sealer)


def of_batch(
    engine: Engine, document: ScanDocument, sealer: Sealer, number: int, *, now: float
) -> KeptBatch | None:
    """The kept hashes of one batch; None where there are none, or they have expired."""
    row = _next(engine, number - 1)
    if row is None or row.number != number or not _counts(document, now):
        return None
    return _opened(row, document, sealer)


def forget(
    engine: Engine, document: ScanDocument, sealer: Sealer | None, *, prefix: str
) -> Forgotten:
    """Erases the kept hashes of keys with that prefix, and every trace of them.

    Raises:
        StateError: a key that sealed them is not here, or the state cannot be written.
        SealingKeyError: no key can be read.
    """
    objects = 0
    if prefix and sealer is None:
        raise StateError("hashes are forgotten by prefix with the keys that sealed them alone")
    if prefix and sealer is not None:
        number = 0
        while (row := _next(engine, number)) is not None:
            number = row.number
            objects += _forget_some(engine, row, document, sealer, prefix)
    else:
        objects = _forget_all(engine)
    return Forgotten(objects, traces=not erase_traces(engine))


def erase_traces(engine: Engine) -> bool:
    """Writes the file anew where something was forgotten; whether nothing is left of it."""
    with reading(engine) as connection:
        if not connection.execute(select(schema.scan.c.traces)).scalar_one():
            return True
    with state_errors():
        done = rewrite_files(engine)
    if done:
        with writing(engine) as connection:
            connection.execute(update(schema.scan).values(traces=False))
    return done


def _forget_some(
    engine: Engine, row: Row[Any], document: ScanDocument, sealer: Sealer, prefix: str
) -> int:
    known = _opened(row, document, sealer)
    left = tuple(each for each in known.hashes if not each.listed.key.startswith(prefix))
    if len(left) == len(known.hashes):
        return 0
    ids = {each.id for each in left}
    with writing(engine) as connection:
        connection.execute(delete(schema.kept).where(_KEPT.number == row.number))
        if left:
            new = _row(
                KeptContent(left, known.partly & ids), sealer, _about(document.id, row.number)
            )
            connection.execute(schema.kept.insert().values(number=row.number, **new))
        gone = row.objects - _objects(left)
        _count(connection, -gone, traces=True)
    return int(gone)


def _forget_all(engine: Engine) -> int:
    with writing(engine) as connection:
        objects: int = connection.execute(select(schema.scan.c.kept)).scalar_one()
        if connection.execute(delete(schema.kept)).rowcount:
            _count(connection, -objects, traces=True)
    return objects


def add(connection: Connection, number: int, row: dict[str, Any]) -> None:
    """Keeps the hashes of a batch that is finished."""
    connection.execute(schema.kept.insert().values(number=number, **row))
    _count(connection, row["objects"])


def _count(connection: Connection, objects: int, *, traces: bool = False) -> None:
    values: dict[str, Any] = {"kept": schema.scan.c.kept + objects}
    if traces:
        values["traces"] = True
    connection.execute(update(schema.scan).values(values))


def _next(engine: Engine, number: int, source: int | None = None) -> Row[Any] | None:
    columns: list[Any] = [_KEPT.number, _KEPT.objects, _KEPT.sealed, _FINISHED.source]
    query = select(*columns)
    query = query.select_from(_JOINED).where(_KEPT.number > number).order_by(_KEPT.number)
    if source is not None:
        query = query.where(_FINISHED.source == source)
    with reading(engine) as connection:
        return connection.execute(query.limit(1)).one_or_none()


def _opened(row: Row[Any], document: ScanDocument, sealer: Sealer) -> KeptBatch:
    content = packing.open_kept(row.sealed, sealer, _about(document.id, row.number))
    return KeptBatch(row.number, row.source, content.hashes, content.partly)


def _row(content: KeptContent, sealer: Sealer, about: bytes) -> dict[str, Any]:
    return {
        "objects": _objects(content.hashes),
        "sealed": packing.seal_kept(content, sealer, about),
    }


def _objects(hashes: Iterable[KeptHashes]) -> int:
    return sum(not each.member for each in hashes)


def _counts(document: ScanDocument, now: float) -> bool:
    return not 0 < document.hashes_until <= now


def _about(scan_id: str, number: int) -> bytes:
    """What was sealed for another scan, or another batch, does not open."""
    return f"{scan_id} {number}".encode()


__all__ = [
    "Forgotten",
    "KeptBatch",
    "add",
    "each",
    "erase_traces",
    "forget",
    "of_batch",
    "scan_sealer",
    "sealed",
]
