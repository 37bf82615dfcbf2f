"""Matches against the local catalog, at its newest revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher.cli.files import HashedFile, UnreadableFile, hash_files
from matcher.cli.results import Failure, Outcome
from matcher.pipeline import Generation, MatchOptions, match_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matcher.decode.pool import DecodePool
    from matcher.model import ImageHashes


class LocalMatcher:
    """Matches against one generation of index and policies.

    Args:
        generation: what is searched.
        pool: what decodes.
        options: what the user chose; checked beforehand with `generation.policy_for`.
        max_bytes: of one encoded file; a larger one is matched by its digests alone.
    """

    def __init__(
        self, generation: Generation, pool: DecodePool, options: MatchOptions, *, max_bytes: int
    ) -> None:
        self._generation = generation
        self._pool = pool
        self._options = options
        self._max_bytes = max_bytes

    def match_files(self, paths: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
        """The outcome for each file, in their order."""
        request = self._generation.policy_for(self._options).request
        for batch in hash_files(paths, self._pool, request, max_bytes=self._max_bytes):
            yield from self._match_batch(batch)

    def _match_batch(
        self, batch: Sequence[HashedFile | UnreadableFile]
    ) -> Iterator[tuple[str, Outcome]]:
        outcomes = iter(self.lookup([x.hashes for x in batch if isinstance(x, HashedFile)]))
        for file in batch:
            if isinstance(file, UnreadableFile):
                yield file.path, Failure("unreadable", file.detail)
            else:
                yield file.path, next(outcomes)

    def lookup(self, items: Sequence[ImageHashes]) -> list[Outcome]:
        """The outcome for each item, in their order."""
        if not items:
            return []
        return list(match_items(self._generation, items, [self._options] * len(items)))
