"""The enums of the core and their numbers on the wire, both ways; used by service and client.

A number of a later version, or the unspecified one, has no counterpart: `.get` gives None, and
`known_or_later` passes it on as such, so that one new word never costs the rest of an answer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hashlists.model import Harm, HashKind, ListState
from matcher._proto.hashwarden.lists.v1 import lists_pb2
from matcher._proto.hashwarden.match.v1 import match_pb2, match_records_pb2
from matcher.model import (
    Basis,
    Closeness,
    Decision,
    EntryStanding,
    NotHashableReason,
    Outcome,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

_Enum = TypeVar("_Enum", bound="StrEnum")

KINDS: Final[Mapping[HashKind, match_pb2.HashKind.ValueType]] = {
    kind: match_pb2.HashKind.Value(f"HASH_KIND_{kind.name}") for kind in HashKind
}
DECISIONS: Final[Mapping[Decision, match_pb2.Decision.ValueType]] = {
    each: match_pb2.Decision.Value(f"DECISION_{each.name}") for each in Decision
}
REASONS: Final[Mapping[NotHashableReason, match_pb2.NotHashableReason.ValueType]] = {
    each: match_pb2.NotHashableReason.Value(f"NOT_HASHABLE_REASON_{each.name}")
    for each in NotHashableReason
}
BASES: Final[Mapping[Basis, match_pb2.MatchBasis.ValueType]] = {
    each: match_pb2.MatchBasis.Value(f"MATCH_BASIS_{each.name}") for each in Basis
}
CLOSENESS: Final[Mapping[Closeness, match_pb2.Closeness.ValueType]] = {
    each: match_pb2.Closeness.Value(f"CLOSENESS_{each.name}") for each in Closeness
}
HARMS: Final[Mapping[Harm, lists_pb2.Harm.ValueType]] = {
    each: lists_pb2.Harm.Value(f"HARM_{each.name}") for each in Harm
}
STATES: Final[Mapping[ListState, lists_pb2.ListState.ValueType]] = {
    each: lists_pb2.ListState.Value(f"LIST_STATE_{each.name}") for each in ListState
}

OUTCOMES: Final[Mapping[Outcome, match_records_pb2.Outcome.ValueType]] = {
    each: match_records_pb2.Outcome.Value(f"OUTCOME_{each.name}") for each in Outcome
}
STANDINGS: Final[Mapping[EntryStanding, match_records_pb2.EntryStanding.ValueType]] = {
    each: match_records_pb2.EntryStanding.Value(f"ENTRY_STANDING_{each.name}")
    for each in EntryStanding
}

KIND_OF: Final = {number: kind for kind, number in KINDS.items()}
DECISION_OF: Final = {number: each for each, number in DECISIONS.items()}
REASON_OF: Final = {number: each for each, number in REASONS.items()}
BASIS_OF: Final = {number: each for each, number in BASES.items()}
CLOSENESS_OF: Final = {number: each for each, number in CLOSENESS.items()}
HARM_OF: Final = {number: each for each, number in HARMS.items()}
STATE_OF: Final = {number: each for each, number in STATES.items()}
OUTCOME_OF: Final = {number: each for each, number in OUTCOMES.items()}
STANDING_OF: Final = {number: each for each, number in STANDINGS.items()}

#: Collection of list resources (AIP-122): `hashLists/{hash_list}`.
LIST_COLLECTION: Final = "hashLists/"


def known_or_later(enum: type[_Enum], value: str) -> _Enum:
    """The member of that value; of a value that only a later version knows, something like one.

    That has the value, equals its text and is of the enum's type, but is none of its members.
    """
    with suppress(ValueError):
        return enum(value)
    later = str.__new__(enum, value)
    later._name_ = later._value_ = value
    return later


def number_or_later(members: Mapping[Any, _Enum], enum: type[_Enum], number: int) -> _Enum:
    """The same of a number, by one of the tables above; one that is not in it is told in words."""
    known = members.get(number)
    return known_or_later(enum, f"unknown ({number})") if known is None else known
