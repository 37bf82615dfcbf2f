"""What was not looked at is counted from the views that were hashed."""

from __future__ import annotations

import pytest

from matcher.client import ImageInfo
from matcher.gaps import NO_GAPS, Gaps


def gaps(frames, *hashed, truncated=False):
    return Gaps.of(ImageInfo(4, 3, "gif", frames, truncated), hashed, ())


def test_a_whole_picture_leaves_no_gap():
    assert gaps(1, "upright", "stored") == NO_GAPS
    assert NO_GAPS.record() == {}
    assert NO_GAPS.remarks() == []


@pytest.mark.parametrize(
    ("frames", "hashed", "remark"),
    [
        (12, ["upright"], ["first of 12 frames"]),
        (12, ["upright", "stored", "mirrored:flipx"], ["first of 12 frames"]),
        (12, ["upright", "frame:4", "frame:11"], ["3 of 12 frames"]),
        (3, ["upright", "frame:1", "frame:2"], []),
        (3, [], ["0 of 3 frames"]),
        (1, [], []),
    ],
)
def test_frames_are_counted(frames, hashed, remark):
    found = gaps(frames, *hashed)
    assert found.remarks() == remark
    assert found.record() == ({"frames": frames} if remark else {})


def test_a_file_that_was_cut_off_says_so():
    assert gaps(1, "upright", truncated=True).record() == {"truncated": True}


def test_what_could_not_be_decoded_has_its_reason_instead():
    assert Gaps.of(None, (), ()) == NO_GAPS
