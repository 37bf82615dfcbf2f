"""The JSON object of a file says all that is known of it, and no more."""

from __future__ import annotations

import click
import pytest

from hashlists.model import HashKind
from matcher.cli.files import HashedFile
from matcher.cli.hash import to_record
from matcher.cli.views import split_views
from matcher.model import DecodedImage, Digests, ImageHashes, ViewHashes

DIGESTS = Digests(md5=b"m" * 16, sha1=b"s" * 20, sha256=b"S" * 32, size=5)
SMALL = ViewHashes("upright", 0, {HashKind.AHASH: b"\x01" * 8})


def record(*, truncated=False, left_out=(), frames=1):
    decoded = DecodedImage(3, 4, "png", frames, truncated, (), views_left_out=left_out)
    hashes = ImageHashes(digests={}, size=5, views=(SMALL,))
    return to_record(HashedFile("a.png", DIGESTS, decoded, hashes))


def test_a_hash_that_cannot_be_made_is_null():
    assert record()["views"] == [
        {
            "view": "upright",
            "pdq": None,
            "quality": 0,
            "phash": None,
            "dhash": None,
            "ahash": "01" * 8,
            "whash": None,
        }
    ]


def test_remarks_stand_only_where_there_is_something_to_tell():
    assert not {"truncated", "views_left_out", "frames"} & set(record())
    assert record(truncated=True)["truncated"] is True
    assert record(frames=2)["frames"] == 2
    assert record(left_out=("frame:7",))["views_left_out"] == ["frame:7"]


def test_views_are_split_at_commas():
    assert split_views("stored, mirrored,") == ("stored", "mirrored")
    with pytest.raises(click.BadParameter):
        split_views(" , ")
