"""What is known of exchanges, as those who fetch them give and take it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as settled
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class ExchangeState(StrEnum):
    """Only `ACTIVE` exchanges are fetched."""

    ACTIVE = "active"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class ExchangeRecord:
    """An exchange as the catalog holds it.

    Attributes:
        kind: which client fetches it.
        list_name: the list that it fills.
        settings: of the client; no credential is among them.
        full_at: when all of it was last fetched anew; None where it never was.
        full_due_at: since when all of it must be fetched anew, as its list was rolled back, or an
            earlier catalog's records set aside were forgotten; None where it need not.
        checkpoint: how far it was fetched, in the client's words; None where it never was.
        number: of the checkpoint; the next one says that it comes after it. 0 where there is none.
        saved_at: when the checkpoint last moved.
        set_aside: how many of its records are set aside.
    """

    exchange_id: int
    name: str
    kind: str
    list_name: str
    settings: Mapping[str, Any]
    state: ExchangeState
    created_at: datetime
    full_at: datetime | None
    full_due_at: datetime | None
    checkpoint: Mapping[str, Any] | None
    number: int
    saved_at: datetime | None
    set_aside: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far an exchange was fetched.

    Attributes:
        exchange_id: the exchange.
        document: in the client's words, as JSON-able values.
        after: number of the checkpoint that the fetch went on from; 0 where there was none.
        full_at: set where all of the exchange has now been fetched anew; None leaves it as it is.
    """

    exchange_id: int
    document: Mapping[str, Any]
    after: int
    full_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record of an exchange that could not be taken. Nothing here repeats it, or a hash.

    Attributes:
        page: which page it came in, in words.
        place: where in it, e.g. "record 17".
        field: the field at fault; empty when the record as a whole is.
        reason: what is wrong and what would be right.
        record_sha256: 32 bytes that tell the record from others, to recognise it when it comes
            again or comes mended. The catalog keeps and gives back their HMAC under its own key.
    """

    page: str
    place: str
    field: str
    reason: str
    record_sha256: bytes = settled(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SetAsideRecord:
    """A record that was set aside, and when it last came."""

    record: SetAside
    seen_at: datetime
