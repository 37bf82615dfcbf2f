"""What is known of a file of the corpus before any server is asked."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Pictures(StrEnum):
    """A set of files that are sent together.

    `UPLOADS` are of seven formats and 50 KB to 5 MB, many small and a few large, as platforms see
    them; the others are JPEG alone: of 1 megapixel, and of about 100 KB, 1 MB and 5 MB.
    """

    UPLOADS = "uploads"
    MEGAPIXEL = "megapixel"
    KB100 = "kb100"
    MB1 = "mb1"
    MB5 = "mb5"


class Sort(StrEnum):
    """Why a file is in the corpus."""

    UNKNOWN = "unknown"
    COPY = "copy"
    NEAR = "near"
    BAD = "bad"
    BOMB = "bomb"


class CorpusFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file, and what a server has to say of it.

    Attributes:
        name: of the file in the corpus's folder.
        sort: why it is there.
        weight: how often it is sent, beside others of its sort.
        decision: what a server decides.
        reason: why it could not be hashed; empty where it can.
        format: as a server names it; empty where nothing could be decoded.
        width, height: in pixels. No two files of a set share both, so that an answer that belongs
            to another file is noticed.
        listed: name of the listed file that it matches; empty for none.
    """

    name: str
    sort: Sort
    weight: float
    decision: str
    reason: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    listed: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A set of pictures as it lies in its folder.

    Attributes:
        digest: over all files, in hexadecimal.
        files: in the order in which plans count them.
    """

    digest: str
    files: tuple[CorpusFile, ...]
