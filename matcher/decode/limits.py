"""What one upload may cost to decode, and what a process that decodes may use up.

Every limit is a field with its unit, and is a setting.

A file past a limit is `over_limit`, never "no match". Limits are judged from the file's header,
before memory for pixels is taken; `frame_pixels`, `seconds` and `codes` never refuse a file, they
only leave out views, which are then named.

This module measures nothing; `matcher.decode.worker` does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

_MOST_NICENESS = 19


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Ceilings for one upload.

    Raises:
        ValueError: a limit is not positive.
    """

    encoded_bytes: int = 25 * 1024**2  # bytes of the file as received
    pixels: int = 2**27  # pixels of one picture as rendered (134 million; a 108 Mpx photo fits)
    jpeg_pixels: int = 400_000_000  # pixels stored in a JPEG, which is rendered scaled down
    jpeg_scan_pixels: int = 4_000_000_000  # pixels times scans of a JPEG that has several scans
    memory_bytes: int = 3 * 2**29  # bytes that decoding one picture may take, as estimated
    frames: int = 1_000  # frames or pages that are counted and can be reached
    frame_pixels: int = 2**30  # pixels summed over the frames that have to be rendered
    seconds: float = 10.0  # seconds of wall-clock time after which no further view is begun
    codes: int = 64  # views of one upload, each of which yields one code of each kind

    def __post_init__(self) -> None:
        _require_positive(self)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Ceilings for one process that decodes, whatever its files say of themselves.

    Past `memory_bytes` it gets no more, past `seconds` it is killed: these are for decoders that
    do what `DecodeLimits` did not foresee, and should leave room above `memory_bytes` and `seconds`
    of those.

    Raises:
        ValueError: a limit is not positive, or the niceness is none.
    """

    memory_bytes: int = 7 * 2**28  # bytes of address space beyond what it begins with
    seconds: float = 16.0  # seconds of wall-clock time for one file
    files: int = 10_000  # after so many it is replaced, so that what codecs leak does not add up
    niceness: int = 10  # by how much it stands back for whoever answers callers, 0..19

    def __post_init__(self) -> None:
        _require_positive(self)
        if not 0 <= self.niceness <= _MOST_NICENESS:
            raise ValueError(f"the niceness of decoders is 0 to 19, not {self.niceness!r}")


def _require_positive(limits: DecodeLimits | WorkerLimits) -> None:
    for limit in fields(limits):
        value = getattr(limits, limit.name)
        if limit.name != "niceness" and not value > 0:
            raise ValueError(f"decode limit {limit.name} must be positive, not {value!r}")
