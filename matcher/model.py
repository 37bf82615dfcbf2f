"""The words of the image side as types; the lowest layer, so it imports nothing of `matcher`.

Arrays have fixed shapes (architecture, section 5). Nothing here holds an image: the largest thing
that leaves the decoder is a 64 x 64 luminance block, and that is never stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hashlists.model import CODE64_KINDS, Classification, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Float32Array = NDArray[np.float32]
    Float64Array = NDArray[np.float64]
    UInt8Array = NDArray[np.uint8]

#: Perceptual codes below this PDQ quality are not used (PDQ README: discard 49 and below).
QUALITY_FLOOR = 50
#: Of the formats of the allow-list, by their names.
MEDIA_TYPES: Mapping[str, str] = {
    **{name: f"image/{name}" for name in ("jpeg", "png", "gif", "webp", "avif", "bmp", "tiff")},
    "heic": "image/heic",
    "mpo": "image/jpeg",
    "ico": "image/vnd.microsoft.icon",
    "jpeg2000": "image/jp2",
    "jpegxl": "image/jxl",
}


class Decision(StrEnum):
    """What Hashwarden answers. What could not be hashed is never "no match"."""

    NO_KNOWN_MATCH = "NO_KNOWN_MATCH"
    MATCH = "MATCH"
    REVIEW = "REVIEW"
    NOT_HASHABLE = "NOT_HASHABLE"


class Basis(StrEnum):
    """How a match came about: same bytes, or a code within a threshold."""

    EXACT = "exact"
    NEAR = "near"


class Closeness(StrEnum):
    """How near a match is, coarsely: an exact distance would help an attacker climb."""

    EQUAL = "equal"
    CLOSE = "close"
    LOOSE = "loose"

    @classmethod
    def of(cls, distance: int, threshold: int) -> Closeness:
        """`EQUAL` at distance 0, `CLOSE` within half of the threshold, else `LOOSE`."""
        if distance == 0:
            return cls.EQUAL
        return cls.CLOSE if 2 * distance <= threshold else cls.LOOSE


class NotHashableReason(StrEnum):
    """Why an upload could not be hashed; each has its own policy outcome and metric."""

    UNSUPPORTED = "unsupported"
    MALFORMED = "malformed"
    OVER_LIMIT = "over_limit"
    FEATURELESS = "featureless"
    ENCRYPTED = "encrypted"
    DECODER_FAILED = "decoder_failed"


class View:
    """Names of views (architecture, section 6). `frame:k` counts frames from 0."""

    UPRIGHT = "upright"
    STORED = "stored"
    COMPOSITED_WHITE = "composited"
    COMPOSITED_BLACK = "composited:black"
    TRIMMED = "trimmed"
    #: In the order of `matcher.hashing.pdq.DIHEDRAL_FORMS` after the original.
    MIRRORED: tuple[str, ...] = (
        "mirrored:rotate90",
        "mirrored:rotate180",
        "mirrored:rotate270",
        "mirrored:flipx",
        "mirrored:flipy",
        "mirrored:flipplus",
        "mirrored:flipminus",
    )

    @staticmethod
    def frame(k: int) -> str:
        """The view of animation frame or page `k`, counted from 0."""
        return f"frame:{k}"

    @staticmethod
    def crop(share: float) -> str:
        """The middle of `upright`, less this share of its width, or height, on every side."""
        return f"crop:{share:g}"

    @staticmethod
    def family(name: str) -> str:
        """The part before the colon: what policies and `--views` name."""
        return name.partition(":")[0]


class Outcome(StrEnum):
    """Whether a match was right, as a person found."""

    CONFIRMED = "confirmed"
    WRONG = "wrong"


class EntryStanding(StrEnum):
    """How the entry of a recorded match stands now."""

    UNCHANGED = "unchanged"
    RECLASSIFIED = "reclassified"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ViewSelection:
    """Which views beyond `upright` an upload is hashed in.

    Attributes:
        stored: as stored, where EXIF says otherwise.
        composited: over white, where transparency matters.
        composited_black: over black as well.
        frames: animation frames and pages beyond the first, at most this many, spread evenly.
        trimmed: with uniform borders cut.
        mirrored: the seven mirrored and rotated forms of `upright`.
    """

    stored: bool = True
    composited: bool = True
    composited_black: bool = False
    frames: int = 0
    trimmed: bool = False
    mirrored: bool = False


DEFAULT_VIEWS = ViewSelection()
ALL_VIEWS = ViewSelection(composited_black=True, frames=16, trimmed=True, mirrored=True)


@dataclass(frozen=True, slots=True)
class Digests:
    """Digests of the bytes as received, whatever they are.

    Attributes:
        md5, sha1, sha256: raw bytes (16, 20, 32).
        size: bytes received.
    """

    md5: bytes = field(repr=False)
    sha1: bytes = field(repr=False)
    sha256: bytes = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """What the decoder is asked for.

    Attributes:
        views: which views to render.
        kinds64: the 64-bit kinds whose inputs are wanted (a subset of `CODE64_KINDS`).
        crops: shares to cut from every side, 0 to 0.5, exclusive: one more view for each. They
            serve to describe a file for a list; no upload is hashed in them.
    """

    views: ViewSelection = DEFAULT_VIEWS
    kinds64: frozenset[HashKind] = frozenset()
    crops: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewBlocks:
    """One view of an upload as the hashers take it.

    Attributes:
        view: its name.
        luma: `(64, 64) float32`, luminance 0..255, or None under 5 pixels on a side.
        inputs64: for each 64-bit kind asked for: phash `(32, 32) uint8`, dhash `(8, 9) uint8`,
            ahash `(8, 8) uint8`, whash `(8, 8) float64`.
    """

    view: str
    luma: Float32Array | None = field(repr=False)
    inputs64: Mapping[HashKind, UInt8Array | Float64Array] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """What the decoder gives back for a file it could read.

    Attributes:
        width, height: pixels of `upright`.
        format: lower-case name from the allow-list, e.g. "jpeg".
        frames: frames or pages in the file.
        truncated: the file was cut off; what still renders was hashed.
        views: `upright` first.
        views_left_out: names of asked-for views that limits left out.
    """

    width: int
    height: int
    format: str
    frames: int
    truncated: bool
    views: tuple[ViewBlocks, ...]
    views_left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undecodable:
    """What the decoder gives back for a file it could not read.

    Attributes:
        reason: never `FEATURELESS`, which only hashing can tell.
        detail: one line for a person; holds nothing of the file but sizes and format names.
        fatal: the file took its decoder down with it, or kept it busy until it was killed.
    """

    reason: NotHashableReason
    detail: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ViewHashes:
    """The codes of one view.

    Attributes:
        quality: PDQ quality 0..100; 0 where the view is too small for PDQ.
        codes: raw bytes by kind; a kind that could not be computed is absent.
    """

    view: str
    quality: int
    codes: Mapping[HashKind, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImageHashes:
    """All that is known of an upload once it is hashed; the input of matching.

    Exactly one of `views` and `undecodable` says something of the pixels: `views` is empty where
    the bytes could not be decoded, or where a caller sent digests alone.

    Attributes:
        digests: by kind, raw bytes; callers of a hash lookup may send a part of them.
        size: bytes of the file; None where a caller did not say.
        photodna: 144 bytes, only ever from a caller.
    """

    digests: Mapping[HashKind, bytes] = field(repr=False)
    size: int | None
    views: tuple[ViewHashes, ...] = ()
    photodna: bytes | None = field(default=None, repr=False)
    undecodable: Undecodable | None = None
    views_left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A hit joined with its entry and judged by the caller's policy.

    Attributes:
        list_name, harm: the list and its kind of harm.
        entry_id: the catalog's id of the entry; opaque.
        kind, basis, view: which hash matched, how, and in which view (empty for exact matches).
        distance: Hamming distance in bits (PhotoDNA: squared L2); 0 for exact matches; None where
            a server does not tell.
        closeness: how near, coarsely.
        classification: as its source issued it.
        severity: what the operator's table makes of it; "unmapped" means review.
        derivation: how the entry's hash was made that the upload met: "" where the list's source
            gave it, e.g. `crop:0.02` or `file` where it was derived from the entry's own file;
            None where that is not known. It says nothing of what is decided.
    """

    list_name: str
    harm: str
    entry_id: int
    kind: HashKind
    basis: Basis
    view: str
    distance: int | None
    closeness: Closeness
    classification: Classification | None
    severity: str
    derivation: str | None = None


@dataclass(frozen=True, slots=True)
class MatchResult:
    """The answer for one upload or lookup.

    Attributes:
        decision: the answer.
        reason: set with `NOT_HASHABLE`, or beside another decision where the pixels could not be
            hashed but digests matched.
        detail: one line for any caller: what the decision rests on.
        match_id: set with `MATCH` and `REVIEW`; unique, opaque.
        matches: the strongest first, at most the caller's `max_matches`.
        total_matches: how many there were.
        shadow_matches: matches in lists that decide nothing yet; counted, never listed.
        kinds_tried: the kinds that were looked up; "no known match" is about these.
        views_tried, views_left_out: names of views.
        revision: the catalog revision that was searched.
        policy, policy_version: name and digest of the policy that judged.
        detail_for_operator: `detail` in full, entries' flags and what the allow-list took out
            included: never for platforms. Empty where a server answered.
        hit_lists: each list, in shadow or live, that holds a match, and whether that one was
            exact; for counting, never for callers. Empty where a server answered.
        counted_lists: all that counted for the policy; as `hit_lists`.
        ignored: beside `matches`, and only there: entries that were met as well and whose class
            decides nothing, the strongest first, at most as many. Lists disagree about them.
        recorded: as `matches`, but as many as a record of the match holds; never for callers.
            Empty where a server answered.
        flagged: `REVIEW` in place of `MATCH`, as all that it rests on is entries that are flagged.
    """

    decision: Decision
    reason: NotHashableReason | None
    detail: str
    match_id: str
    matches: tuple[Match, ...]
    total_matches: int
    shadow_matches: int
    kinds_tried: tuple[HashKind, ...]
    views_tried: tuple[str, ...]
    views_left_out: tuple[str, ...]
    revision: int
    policy: str
    policy_version: str
    detail_for_operator: str = ""
    hit_lists: frozenset[tuple[str, bool]] = frozenset()
    counted_lists: tuple[str, ...] = ()
    ignored: tuple[Match, ...] = ()
    recorded: tuple[Match, ...] = ()
    flagged: bool = False

    @property
    def truncated(self) -> bool:
        """True when more matched than are listed."""
        return self.total_matches > len(self.matches)


__all__ = [
    "ALL_VIEWS",
    "CODE64_KINDS",
    "DEFAULT_VIEWS",
    "MEDIA_TYPES",
    "QUALITY_FLOOR",
    "Basis",
    "Classification",
    "Closeness",
    "Decision",
    "DecodeRequest",
    "DecodedImage",
    "Digests",
    "EntryStanding",
    "HashKind",
    "ImageHashes",
    "Match",
    "MatchResult",
    "NotHashableReason",
    "Outcome",
    "Undecodable",
    "View",
    "ViewBlocks",
    "ViewHashes",
    "ViewSelection",
]
