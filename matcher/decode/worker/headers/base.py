"""The shape of what header readers give back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        width, height: pixels of the largest picture that opening the file will bring about.
        later_pixels: pixels of the largest picture that going on to further frames brings about,
            where that is told by the header (GIF, whose frames may enlarge the canvas).
        frames: frames or pages, counted up to the limit.
        truncated: the file ends before its structure does.
        stored_pixels: pixels of a JPEG as stored; 0 for formats that cannot be rendered smaller.
        scans: passes over all pixels that decoding takes.
        extra_bytes: memory that the codec needs beside the picture itself.
        orientation: 1..8 as EXIF numbers them, where this reader looks for it.
        sample_bits: significant bits of grey samples that are stored in 16.
        white_is_zero: grey samples count downwards (TIFF).
        transformed: the container itself turns or mirrors the picture (HEIC, AVIF).
        plain: one picture of 8-bit samples in one or three channels, with nothing to it that a
            simple decoder would get wrong (JPEG).
        encrypted: the container says that pictures in it are encrypted.
    """

    width: int
    height: int
    later_pixels: int = 0
    frames: int = 1
    truncated: bool = False
    stored_pixels: int = 0
    scans: int = 1
    extra_bytes: int = 0
    orientation: int = 1
    sample_bits: int = 16
    white_is_zero: bool = False
    transformed: bool = False
    plain: bool = False
    encrypted: bool = False
