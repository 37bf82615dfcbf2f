"""Matches against the local catalog, at its newest revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher.cli.files import HashedFile, UnreadableFile, hash_files
from matcher.cli.matching import FileOutcome
from matcher.cli.results import Failure, Outcome
from matcher.gaps import NO_GAPS, Gaps
from matcher.model import QUALITY_FLOOR, DecodedImage
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

    def match_files(self, paths: Sequence[str]) -> Iterator[FileOutcome]:
        """The outcome for each file, in their order."""
        request = self._generation.policy_for(self._options).request
        for batch in hash_files(paths, self._pool, request, max_bytes=self._max_bytes):
            yield from self._match_batch(batch)

    def _match_batch(self, batch: Sequence[HashedFile | UnreadableFile]) -> Iterator[FileOutcome]:
        outcomes = iter(self.lookup([x.hashes for x in batch if isinstance(x, HashedFile)]))
        for file in batch:
            if isinstance(file, UnreadableFile):
                yield FileOutcome(file.path, Failure("unreadable", file.detail), NO_GAPS)
            else:
                yield FileOutcome(file.path, next(outcomes), _gaps(file))

    def lookup(self, items: Sequence[ImageHashes]) -> list[Outcome]:
        """The outcome for each item, in their order."""
        if not items:
            return []
        return list(match_items(self._generation, items, [self._options] * len(items)))


def _gaps(file: HashedFile) -> Gaps:
    image = file.decoded if isinstance(file.decoded, DecodedImage) else None
    hashed = (view.view for view in file.hashes.views if view.quality >= QUALITY_FLOOR)
    return Gaps.of(image, hashed, file.hashes.views_left_out)
