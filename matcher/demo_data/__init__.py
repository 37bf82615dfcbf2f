"""The published test image: one harmless, generated picture that every installation knows.

Whoever sends it must get a match from the built-in list: it proves, from outside and at any time,
that decoding, hashing, lookup and policy all work. It shows what `matcher.demo` paints and nobody's
likeness. Reads package data only; decodes nothing and needs no Pillow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

TEST_IMAGE_NAME = "hashwarden-test-image.png"
#: PDQ codes of harmless pictures by name, made by `loadtest.harmless_codes`.
HARMLESS_CODES_NAME = "harmless-codes.json"
_HASHES_NAME = "hashwarden-test-image.json"


@dataclass(frozen=True, slots=True)
class PublishedTestImage:
    """The image and the hashes it must give.

    Attributes:
        data: the PNG file, byte for byte.
        hashes: PDQ, MD5, SHA-1 and SHA-256 as raw bytes.
        quality: PDQ quality of the upright view.
    """

    data: bytes = field(repr=False)
    hashes: Mapping[HashKind, bytes] = field(repr=False)
    quality: int


@cache
def published_test_image() -> PublishedTestImage:
    """Loads the image and its hashes, as they were published with this version."""
    folder = resources.files(__name__)
    recorded = json.loads(folder.joinpath(_HASHES_NAME).read_text(encoding="utf-8"))
    kinds = (HashKind.PDQ, HashKind.MD5, HashKind.SHA1, HashKind.SHA256)
    return PublishedTestImage(
        data=folder.joinpath(TEST_IMAGE_NAME).read_bytes(),
        hashes={kind: bytes.fromhex(recorded[kind.value]) for kind in kinds},
        quality=recorded["quality"],
    )


@cache
def harmless_codes() -> Mapping[str, bytes]:
    """PDQ codes of harmless pictures by what they show: generated, or freely licensed."""
    text = resources.files(__name__).joinpath(HARMLESS_CODES_NAME).read_text(encoding="utf-8")
    return {name: bytes.fromhex(code) for name, code in json.loads(text)["pdq"].items()}
