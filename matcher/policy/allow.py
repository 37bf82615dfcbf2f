"""The allow-list: what an operator has looked at and decided not to be told of again.

A rule names one upload by its SHA-256, or one pair of upload code and entry; never a radius. So it
can never hide another file's exact match: a file rule speaks of that file's bytes alone, and a
pair rule suppresses only near matches. Every rule has a reason and an end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from matcher.model import ImageHashes

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class AllowFile:
    """All matches, exact ones included, of the upload with exactly this SHA-256.

    Attributes:
        sha256: 32 bytes.
        reason: why, in the operator's words.
        expires_at: aware; from then on the rule is ignored.
    """

    sha256: bytes = field(repr=False)
    reason: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AllowPair:
    """Near matches of one entry by exactly one upload code.

    Attributes:
        kind: a perceptual kind.
        code: `kind.nbytes` bytes; the upload's code, not the list's.
        entry_id: the catalog's id of the entry.
        reason, expires_at: as in `AllowFile`.
    """

    kind: HashKind
    code: bytes = field(repr=False)
    entry_id: int
    reason: str
    expires_at: datetime


AllowRule = AllowFile | AllowPair


def sort_key(rule: AllowRule) -> tuple[str, bytes, int, datetime, str]:
    """An order of rules that rests on their content alone."""
    if isinstance(rule, AllowFile):
        return ("", rule.sha256, 0, rule.expires_at, rule.reason)
    return (rule.kind.value, rule.code, rule.entry_id, rule.expires_at, rule.reason)


class AllowList:
    """Rules arranged for lookup."""

    def __init__(self, rules: Iterable[AllowRule]) -> None:
        self._files: dict[bytes, datetime] = {}
        self._pairs: dict[tuple[HashKind, bytes, int], datetime] = {}
        self._entries: dict[tuple[HashKind, bytes], set[int]] = {}
        for rule in rules:
            if isinstance(rule, AllowFile):
                _extend(self._files, rule.sha256, rule.expires_at)
            else:
                _extend(self._pairs, (rule.kind, rule.code, rule.entry_id), rule.expires_at)
                self._entries.setdefault((rule.kind, rule.code), set()).add(rule.entry_id)

    def allows_file(self, hashes: ImageHashes, now: datetime) -> bool:
        """True when a rule in force names this very upload."""
        sha256 = hashes.digests.get(HashKind.SHA256)
        return sha256 is not None and _in_force(self._files.get(sha256), now)

    @property
    def has_pairs(self) -> bool:
        """True when any rule names a pair, in force or not."""
        return bool(self._pairs)

    def allowed_entries(
        self, hashes: ImageHashes, kind: HashKind, view: str, now: datetime
    ) -> frozenset[int]:
        """Every entry for which `allows_pair` says yes."""
        if kind.is_digest or not self._pairs:
            return frozenset()
        named = {
            e for code in _codes(hashes, kind, view) for e in self._entries.get((kind, code), ())
        }
        return frozenset(e for e in named if self.allows_pair(hashes, kind, view, e, now))

    def allows_pair(
        self, hashes: ImageHashes, kind: HashKind, view: str, entry_id: int, now: datetime
    ) -> bool:
        """True when a rule in force names the upload's code of that view together with the entry.

        Digests are never pair-listed, so exact matches are out of its reach.
        """
        if kind.is_digest or not self._pairs:
            return False
        codes = _codes(hashes, kind, view)
        return bool(codes) and all(
            _in_force(self._pairs.get((kind, code, entry_id)), now) for code in codes
        )


def _codes(hashes: ImageHashes, kind: HashKind, view: str) -> set[bytes]:
    if kind is HashKind.PHOTODNA:
        return set() if hashes.photodna is None else {hashes.photodna}
    return {each.codes[kind] for each in hashes.views if each.view == view and kind in each.codes}


def _extend(rules: dict[_Key, datetime], key: _Key, expires_at: datetime) -> None:
    rules[key] = max(expires_at, rules.get(key, expires_at))


def _in_force(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is not None and now < expires_at


__all__ = ["AllowFile", "AllowList", "AllowPair", "AllowRule", "sort_key"]
