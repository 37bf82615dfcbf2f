"""Hashed files as entries of a list: what is kept of each, and why something is not.

Kept are digests, size, media type and codes. No pixel, no name and no path of a file goes into a
list, so nothing of a file can be told from it but what its hashes tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.catalog import FileCode
from hashlists.formats.base import Encoding, FileHeader, HashColumn, RawBatch
from hashlists.model import DIGEST_KINDS, Classification, HashKind, Place
from hashlists.validate import why_degenerate
from matcher.cli.files import HashedFile, UnreadableFile
from matcher.cli.media_signs import is_picture_or_video
from matcher.model import (
    MEDIA_TYPES,
    QUALITY_FLOOR,
    DecodedImage,
    NotHashableReason,
    Undecodable,
    View,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matcher.model import ViewHashes

_NO_MEDIA = "neither a picture nor a video by its first bytes; --all-files takes it by its digests"
_NO_CLASS = Classification("", "", "")


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What could not be told of a file, or kept of it.

    Attributes:
        path: as the user gave it.
        reason: one word, as in `hash` and `match`; `rejected` for an entry that no list may hold,
            `skipped` for a file that is neither a picture nor a video.
        detail: in words.
        added: whether the file was added all the same, by its digests alone.
    """

    path: str
    reason: str
    detail: str
    added: bool


@dataclass(slots=True)
class FileEntries:
    """Makes the batches of a list out of hashed files.

    Attributes:
        classification: of all of them; None for none.
        kinds64: 64-bit kinds to keep beside PDQ.
        crops: shares cut from every side, whose PDQ codes are kept as derived ones.
        all_files: take files that are neither pictures nor videos as well.
        skipped: how many were not taken for that.
        files: how many were seen so far.
        codes: how many of them have a perceptual code.
    """

    classification: Classification | None = None
    kinds64: frozenset[HashKind] = frozenset()
    crops: tuple[float, ...] = ()
    all_files: bool = False
    skipped: int = 0
    files: int = 0
    codes: int = 0

    def batch(
        self, files: Sequence[HashedFile | UnreadableFile]
    ) -> tuple[RawBatch, list[FileCode], list[FileProblem]]:
        """The files as raw columns, the codes of their crops, and what is to be said of them."""
        first = self.files + 1
        self.files += len(files)
        problems = [
            FileProblem(each.path, "unreadable", each.detail, added=False)
            for each in files
            if isinstance(each, UnreadableFile)
        ]
        hashed, places = [], []
        for place, each in enumerate(files, first):
            if isinstance(each, HashedFile) and self._is_taken(each, problems):
                hashed.append(each)
                places.append(place)
        codes = [self._codes(each, problems) for each in hashed]
        derived = [
            code
            for each, own in zip(hashed, codes, strict=True)
            for code in self._derived(each, own.get(HashKind.PDQ))
        ]
        self.codes += sum(map(bool, codes))
        label = self.classification or _NO_CLASS
        batch = RawBatch(
            rows=len(hashed),
            header=FileHeader("files", "", label.scheme, label.profile),
            hashes=[
                *(_column(kind, [each.hashes.digests[kind] for each in hashed]) for kind in _KEYS),
                *(
                    _column(kind, [each.get(kind) for each in codes])
                    for kind in (HashKind.PDQ, *sorted(self.kinds64))
                ),
            ],
            codes=[label.code] * len(hashed) if self.classification else None,
            sizes=[each.digests.size for each in hashed],
            media_types=[_media_type(each) for each in hashed],
            place_at=lambda row: Place("file", places[row], part=hashed[row].path),
        )
        return batch, derived, problems

    def _is_taken(self, file: HashedFile, problems: list[FileProblem]) -> bool:
        """Whether it belongs on a list; a text that lay beside pictures stands on many machines.

        The empty file has no first bytes: that no list holds it is told by whoever judges entries.
        """
        undecodable = isinstance(file.decoded, Undecodable)
        if self.all_files or not undecodable or not file.head or is_picture_or_video(file.head):
            return True
        self.skipped += 1
        problems.append(FileProblem(file.path, "skipped", _NO_MEDIA, added=False))
        return False

    def _codes(self, file: HashedFile, problems: list[FileProblem]) -> Mapping[HashKind, bytes]:
        """The codes of `upright` that a list may hold; where there is none, says why."""
        if isinstance(file.decoded, Undecodable):
            reason, detail = file.decoded.reason.value, file.decoded.detail
            problems.append(FileProblem(file.path, reason, detail, added=True))
            return {}
        (upright,) = (view for view in file.hashes.views if view.view == View.UPRIGHT)
        kept = usable_codes(upright)
        if HashKind.PDQ not in kept:
            detail = (
                f"of PDQ quality {upright.quality}, where {QUALITY_FLOOR} is needed; a picture that"
                " shows nothing may stand on many machines, and its digests match there, too: look"
                " at it, and retract it where it does not belong on the list"
            )
            reason = NotHashableReason.FEATURELESS.value
            problems.append(FileProblem(file.path, reason, detail, added=True))
        return kept

    def _derived(self, file: HashedFile, own: bytes | None) -> list[FileCode]:
        """The codes of crops, each once, but for the whole picture's own."""
        wanted = {View.crop(share) for share in self.crops}
        found: dict[bytes, str] = {}
        for view in file.hashes.views:
            code = usable_codes(view).get(HashKind.PDQ) if view.view in wanted else None
            if code is not None and code != own:
                found.setdefault(code, view.view)
        digest = file.hashes.digests[HashKind.SHA256]
        return [
            FileCode(HashKind.PDQ, code, name, HashKind.SHA256, digest)
            for code, name in found.items()
        ]


_KEYS = DIGEST_KINDS


def usable_codes(view: ViewHashes) -> Mapping[HashKind, bytes]:
    """Codes that tell something: of a picture with detail, and none that lists refuse."""
    if view.quality < QUALITY_FLOOR:
        return {}
    return {kind: code for kind, code in view.codes.items() if not why_degenerate(code, kind)}


def _column(kind: HashKind, values: Sequence[bytes | None]) -> HashColumn:
    return HashColumn(kind, values, Encoding.RAW, kind.value)


def _media_type(file: HashedFile) -> str | None:
    decoded = file.decoded
    return MEDIA_TYPES.get(decoded.format) if isinstance(decoded, DecodedImage) else None


__all__ = ["FileEntries", "FileProblem", "usable_codes"]
