"""Derived hashes in an export: sent marked where they are asked for, else counted and kept here.

Derived is what was confirmed here (see `derived`), and what a list's source itself marked as that.
Invariant: a code that was confirmed here goes out only where that holds at the revision that is
shown and holds still; none goes out with an entry that is told as withdrawn. Where kinds of hashes
choose the entries, an entry with a derived one of them is chosen as one that its source gave is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.catalog.derived import confirmed, entries_with_derived, has_derived
from hashlists.catalog.export_rows import AT, extra_hashes_of
from hashlists.model import DIGEST_KINDS, ExtraHash, HashKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from hashlists.catalog.export_rows import Version


_ENTRY, _VERSION = AT["entry_id"], AT["version_id"]


class DerivedHashes:
    """Adds derived hashes to the batches of an export, or takes them out.

    Attributes:
        entries: how many went out without theirs.
        wanted: whether they are asked for.
    """

    def __init__(self, connection: Connection, *, upto: int, wanted: bool) -> None:
        """Takes the revision that is shown, and whether they are wanted."""
        self.entries = 0
        self.wanted = wanted
        self._connection = connection
        self._upto = upto
        self._any = has_derived(connection)

    def apply(
        self,
        entry_ids: Sequence[int],
        hashes: Mapping[HashKind, Sequence[bytes | None]],
        extra: Sequence[ExtraHash],
        *,
        retracted: Sequence[bool],
        kinds: Collection[HashKind],
    ) -> list[ExtraHash]:
        """The further hashes of a batch as they go out.

        Args:
            entry_ids: of each row.
            hashes: all of each row, whatever kinds are chosen.
            extra: further ones likewise.
            retracted: rows that are told as withdrawn, which say nothing of hashes.
            kinds: that are chosen.
        """
        held = {(each.row, each.kind, each.value) for each in extra}
        made = [
            each
            for each in self._made_here(entry_ids, hashes, extra, retracted)
            if hashes[each.kind][each.row] != each.value
            and (each.row, each.kind, each.value) not in held
        ]
        chosen = [each for each in (*extra, *made) if each.kind in kinds]
        going = [each for each in chosen if each.derivation is None or self.wanted]
        if not self.wanted:
            self.entries += len({each.row for each in chosen if each.derivation is not None})
        return sorted(going, key=lambda each: each.row)  # stable: in their order within a row

    def holders(
        self,
        versions: Sequence[Version],
        *,
        kinds: Collection[HashKind],
        revision: int | None = None,
    ) -> set[int]:
        """The entries that have a derived hash of these kinds, wanted or not.

        Args:
            versions: of entries in force, one of each.
            kinds: that are chosen.
            revision: what was confirmed then counts alone; None: as for all that goes out.
        """
        rows = sorted(versions, key=lambda version: version[_ENTRY])
        entry_ids = [version[_ENTRY] for version in rows]
        extra = extra_hashes_of(self._connection, [version[_VERSION] for version in rows])
        digests = {kind: [version[AT[kind.value]] for version in rows] for kind in DIGEST_KINDS}
        retracted = [False] * len(rows)
        made = self._made_here(entry_ids, digests, extra, retracted, revision=revision)
        derived = (*(each for each in extra if each.derivation is not None), *made)
        return {entry_ids[each.row] for each in derived if each.kind in kinds}

    def _made_here(
        self,
        entry_ids: Sequence[int],
        hashes: Mapping[HashKind, Sequence[bytes | None]],
        extra: Sequence[ExtraHash],
        retracted: Sequence[bool],
        *,
        revision: int | None = None,
    ) -> list[ExtraHash]:
        rows = {each: row for row, each in enumerate(entry_ids) if not retracted[row]}
        if not (self._any and rows):
            return []
        chosen = entries_with_derived(self._connection, sorted(rows))
        digests = {
            entry_id: {
                (kind, value)
                for kind in DIGEST_KINDS
                if kind in hashes and (value := hashes[kind][rows[entry_id]]) is not None
            }
            for entry_id in chosen
        }
        for each in extra:
            if each.kind in DIGEST_KINDS and entry_ids[each.row] in digests:
                digests[entry_ids[each.row]].add((each.kind, each.value))
        then = confirmed(
            self._connection, digests, upto=self._upto if revision is None else revision
        )
        now = confirmed(self._connection, digests) if revision is None else then
        return [
            ExtraHash(rows[entry_id], each.kind, each.value, each.derivation)
            for entry_id, codes in then.items()
            for each in codes
            if each in now.get(entry_id, ())
        ]


__all__ = ["DerivedHashes"]
