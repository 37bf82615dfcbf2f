"""Which roles may call which method: the one table, and whoever is not in it may not.

A method that is added to a service and not here is refused to everybody, and fails a test.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hashlists.access.model import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

Roles = frozenset[Role]

_MATCH: Final = "/hashwarden.match.v1.MatchService/"
_RECORDS: Final = "/hashwarden.match.v1.MatchRecordService/"
_LISTS: Final = "/hashwarden.lists.v1.HashListService/"
_HEALTH: Final = "/grpc.health.v1.Health/"
_REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/"

_MATCHING = frozenset({Role.MATCH, Role.MATCH_EXACT_DISTANCE})
_ANY: Roles = frozenset(Role)
#: Whoever has to do with lists; matching alone tells nobody which there are.
_READING = frozenset({Role.IMPORT, Role.EXPORT, Role.REVIEW, Role.ADMIN})
_IMPORTING = frozenset({Role.IMPORT})
_FILLING = frozenset({Role.IMPORT, Role.ADMIN})
_EXPORTING = frozenset({Role.EXPORT})
#: What is wrong is taken out of force by whoever finds it, and may be put back.
_CORRECTING = frozenset({Role.REVIEW, Role.ADMIN})
#: Whoever matches sees and reports on what is their own; who reviews, all.
_LOOKING_BACK = _MATCHING | {Role.REVIEW}
_REVIEWING = frozenset({Role.REVIEW})
_RULING = frozenset({Role.ADMIN})
#: What gRPC's own servicer declares and does not have.
_NOBODY: Roles = frozenset()

#: Whoever reaches the port, without credentials: probes have none.
EVERYBODY: Final = None

ROLES_OF: Mapping[str, Roles | None] = MappingProxyType(
    {
        _MATCH + "MatchImage": _MATCHING,
        _MATCH + "MatchImages": _MATCHING,
        _MATCH + "LookupHashes": _MATCHING,
        _MATCH + "HashImage": _MATCHING,
        _MATCH + "LookupTokens": _MATCHING,
        _RECORDS + "GetMatchRecord": _LOOKING_BACK,
        _RECORDS + "ListMatchRecords": _LOOKING_BACK,
        _RECORDS + "ReplayMatch": _REVIEWING,
        _RECORDS + "ReportOutcome": _LOOKING_BACK,
        _RECORDS + "ListUndoneMatches": _LOOKING_BACK,
        _LISTS + "CreateHashList": _FILLING,
        _LISTS + "GetHashList": _READING,
        _LISTS + "ListHashLists": _READING,
        _LISTS + "ListStats": _READING,
        _LISTS + "ListRevisions": _READING,
        _LISTS + "ImportHashList": _IMPORTING,
        _LISTS + "ExportHashList": _EXPORTING,
        _LISTS + "PromoteHashList": _RULING,
        _LISTS + "DemoteHashList": _RULING,
        _LISTS + "ChangeHandling": _RULING,
        _LISTS + "RetractEntries": _CORRECTING,
        _LISTS + "RestoreEntries": _CORRECTING,
        _LISTS + "RollBackHashList": _RULING,
        _LISTS + "PurgeEntries": _RULING,
        _HEALTH + "Check": EVERYBODY,
        # A watch holds one of the calls that may be open.
        _HEALTH + "Watch": _ANY,
        _HEALTH + "List": _NOBODY,
        _REFLECTION + "ServerReflectionInfo": _ANY,
    }
)


__all__ = ["EVERYBODY", "ROLES_OF", "Roles"]
