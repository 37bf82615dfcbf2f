"""What of a file was not looked at; told beside its hashes and its decision.

An answer about the first of twelve frames is no answer about the other eleven, and one about a
file that was cut off says nothing of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from matcher.model import View

if TYPE_CHECKING:
    from collections.abc import Iterable

_FRAME = View.family(View.frame(0))


class SeenImage(Protocol):
    """What a decoder, here or at a server, saw of a file."""

    @property
    def frames(self) -> int:
        """Frames or pages in the file."""
        ...

    @property
    def truncated(self) -> bool:
        """The file was cut off."""
        ...


@dataclass(frozen=True, slots=True)
class Gaps:
    """What was not looked at.

    Attributes:
        truncated: the file was cut off; what still renders was hashed.
        frames: frames or pages in the file.
        frames_hashed: how many of them were hashed.
        views_left_out: names of asked-for views that limits left out.
    """

    truncated: bool = False
    frames: int = 1
    frames_hashed: int = 1
    views_left_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, image: SeenImage | None, hashed: Iterable[str], views_left_out: Iterable[str]
    ) -> Gaps:
        """What `image` held beyond the views that were hashed.

        Args:
            image: None where nothing could be decoded; what was not looked at is then all of it,
                and told by the reason.
            hashed: names of views.
            views_left_out: names of views.
        """
        left_out = tuple(views_left_out)
        if image is None:
            return cls(views_left_out=left_out)
        names = set(hashed)
        later = {name for name in names if View.family(name) == _FRAME}
        return cls(image.truncated, image.frames, len(later) + bool(names - later), left_out)

    @property
    def has_unhashed_frames(self) -> bool:
        """Whether there is a frame or page that was not hashed."""
        return self.frames > max(1, self.frames_hashed)

    def record(self) -> dict[str, Any]:
        """The keys of a JSON object; each only where there is something to tell."""
        keys: dict[str, Any] = {}
        if self.truncated:
            keys["truncated"] = True
        if self.has_unhashed_frames:
            keys["frames"] = self.frames
        if self.views_left_out:
            keys["views_left_out"] = list(self.views_left_out)
        return keys

    def remarks(self) -> list[str]:
        """The same for a person, who reads it beside the evidence."""
        told = []
        if self.truncated:
            told.append("cut off: what still renders was hashed")
        if self.has_unhashed_frames:
            which = "first" if self.frames_hashed == 1 else f"{self.frames_hashed}"
            told.append(f"{which} of {self.frames} frames")
        if self.views_left_out:
            told.append(f"left out: {', '.join(self.views_left_out)}")
        return told


NO_GAPS = Gaps()

__all__ = ["NO_GAPS", "Gaps", "SeenImage"]
