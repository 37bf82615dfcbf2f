"""What the catalog's callers see of its rows, and the moments in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hashlists.catalog.schema import CATALOG_ID_NAME, meta
from hashlists.errors import OtherCatalogError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from hashlists.model import Coverage, Handling, HashList

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ListRecord:
    """A list as the catalog holds it.

    Attributes:
        revision: the newest revision that changed it.
        coverage: of its entries in force: committed, not retracted, not expired.
        first_handling: the handling with which it was made, over which contents are compared.
    """

    hash_list: HashList
    list_id: int
    created_at: datetime
    revision: int
    coverage: Coverage
    first_handling: Handling


@dataclass(frozen=True, slots=True)
class ImportSource:
    """Where an import's entries come from.

    Attributes:
        format: name of the reader.
        sha256: digest of the file, 32 raw bytes.
        length: bytes of the file.
        importer: who imports.
        reason: why, in the importer's words.
        idempotency_key: names this import, so that a repetition is recognised; None for none.
        request_sha256: digest of how the file was to be imported, so that another request under
            the same key is recognised.
        exchange_id: the exchange that the entries come from; None for any other source.
    """

    format: str
    sha256: bytes = field(repr=False)
    length: int
    importer: str
    reason: str = ""
    idempotency_key: str | None = None
    request_sha256: bytes = field(default=b"", repr=False)
    exchange_id: int | None = None


@dataclass(frozen=True, slots=True)
class FinishedImport:
    """An import that has ended well.

    Attributes:
        revision: the revision that it made; 0 where nothing had changed.
        report: what the importer stored with it.
    """

    list_name: str
    source: ImportSource
    revision: int
    report: Mapping[str, Any]


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a moment without a time zone counts as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The way back, in UTC."""
    return _EPOCH + value * _MICROSECOND


def now_microseconds() -> int:
    """The present."""
    return to_microseconds(datetime.now(UTC))


def read_catalog_id(connection: Connection) -> str:
    """The catalog's own identity, drawn when it was made."""
    query = select(meta.c.value).where(meta.c.name == CATALOG_ID_NAME)
    return bytes(connection.execute(query).scalar_one()).hex()


def require_id(catalog_id: str, other_id: str) -> None:
    """Refuses a catalog of another identity than it should have; where that is empty, none.

    Raises:
        OtherCatalogError: it is another one.
    """
    if other_id and catalog_id != other_id:
        raise OtherCatalogError(
            "another catalog is in the place of the one that was there before, so it is not used: "
            "put the right one back, or restore it from a backup; docs/deploy/operating.md tells "
            "how to begin anew"
        )
