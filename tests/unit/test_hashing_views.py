"""Hashing of views in batches, mirrored forms, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from hashlists.model import CODE64_KINDS, HashKind
from matcher.hashing import pdq, views
from matcher.hashing.classical import INPUTS, codes64
from matcher.hashing.pdq import pdq_codes, pdq_dihedral_codes
from matcher.hashing.views import hash_views
from matcher.model import DecodedImage, DecodeRequest, View, ViewBlocks, ViewSelection

PLAIN = DecodeRequest()
MIRRORED = DecodeRequest(views=ViewSelection(mirrored=True))


def view_blocks(rng, name=View.UPRIGHT, *, luma=True, kinds=()):
    return ViewBlocks(
        view=name,
        luma=(rng.random((64, 64)) * 255).astype(np.float32) if luma else None,
        inputs64={
            kind: rng.integers(0, 256, INPUTS[kind][0]).astype(INPUTS[kind][1]) for kind in kinds
        },
    )


def decoded(*blocks, left_out=()):
    return DecodedImage(
        width=100,
        height=80,
        format="png",
        frames=1,
        truncated=False,
        views=blocks,
        views_left_out=left_out,
    )


def test_no_images():
    assert hash_views([], []) == []


def test_as_many_requests_as_images(rng):
    with pytest.raises(ValueError, match="1 images need as many requests, not 0"):
        hash_views([decoded(view_blocks(rng))], [])


def test_every_view_has_the_codes_it_would_have_alone(rng):
    images = [
        decoded(view_blocks(rng, kinds=CODE64_KINDS), view_blocks(rng, View.STORED)),
        decoded(view_blocks(rng, luma=False)),
        decoded(view_blocks(rng, kinds=[HashKind.DHASH]), view_blocks(rng, View.frame(1))),
    ]
    hashed = hash_views(images, [PLAIN] * 3)
    for image, found in zip(images, hashed, strict=True):
        assert [view.view for view in found] == [block.view for block in image.views]
        for block, view in zip(image.views, found, strict=True):
            expected = {
                kind: codes64(kind, np.asarray(pixels)[None]).tobytes()
                for kind, pixels in block.inputs64.items()
            }
            quality = 0
            if block.luma is not None:
                codes, qualities = pdq_codes(block.luma[None])
                expected[HashKind.PDQ] = codes.tobytes()
                quality = qualities[0]
            assert view.codes == expected
            assert view.quality == quality
            assert type(view.quality) is int


def test_one_batch_of_each_kind_for_all_images(rng, monkeypatch):
    calls = []

    def counted(name, function):
        def call(*arguments):
            calls.append((name, len(arguments[-1])))
            return function(*arguments)

        return call

    for name in ("pdq_codes", "pdq_dihedral_codes", "codes64"):
        monkeypatch.setattr(views, name, counted(name, getattr(views, name)))
    images = [
        decoded(view_blocks(rng, kinds=[HashKind.PHASH]), view_blocks(rng, View.STORED))
        for _ in range(5)
    ]
    hash_views(images, [MIRRORED] * 4 + [PLAIN])
    assert calls == [("pdq_codes", 10), ("pdq_dihedral_codes", 4), ("codes64", 5)]


def test_a_view_too_small_for_pdq_has_no_code_and_no_quality(rng):
    (found,) = hash_views([decoded(view_blocks(rng, luma=False, kinds=[HashKind.AHASH]))], [PLAIN])
    assert found[0].quality == 0
    assert set(found[0].codes) == {HashKind.AHASH}


def test_mirrored_forms_follow_from_upright(rng):
    upright = view_blocks(rng)
    (found,) = hash_views([decoded(upright, view_blocks(rng, View.STORED))], [MIRRORED])
    assert [view.view for view in found] == [View.UPRIGHT, View.STORED, *View.MIRRORED]
    forms = pdq_dihedral_codes(upright.luma[None])[0]
    assert [view.codes for view in found[2:]] == [
        {HashKind.PDQ: form.tobytes()} for form in forms[1:]
    ]
    assert {view.quality for view in found[2:]} == {found[0].quality}


def test_mirrored_forms_named_by_the_decoder_are_filled_in_where_they_stand(rng):
    flipped = view_blocks(rng, "mirrored:flipx", luma=False, kinds=[HashKind.WHASH])
    upright = view_blocks(rng, kinds=[HashKind.WHASH])
    (found,) = hash_views([decoded(upright, flipped)], [MIRRORED])
    names = [view.view for view in found]
    assert names[:2] == [View.UPRIGHT, "mirrored:flipx"]
    assert sorted(names[1:]) == sorted(View.MIRRORED)
    form = pdq_dihedral_codes(upright.luma[None])[0, pdq.DIHEDRAL_FORMS.index("flipx")]
    assert found[1].codes[HashKind.PDQ] == form.tobytes()
    assert set(found[1].codes) == {HashKind.PDQ, HashKind.WHASH}
    assert set(found[2].codes) == {HashKind.PDQ}


@pytest.mark.parametrize(
    ("left_out", "remaining"),
    [
        (("mirrored:flipx", "frame:9"), [v for v in View.MIRRORED if v != "mirrored:flipx"]),
        (("mirrored",), []),
        (View.MIRRORED, []),
    ],
)
def test_forms_left_out_by_limits_stay_out(left_out, remaining, rng):
    image = decoded(view_blocks(rng), left_out=left_out)
    (found,) = hash_views([image], [MIRRORED])
    assert [view.view for view in found] == [View.UPRIGHT, *remaining]


def test_no_mirrored_forms_of_what_is_too_small(rng):
    small = view_blocks(rng, luma=False)
    flipped = view_blocks(rng, "mirrored:flipx", luma=False, kinds=[HashKind.DHASH])
    first, second, third = hash_views(
        [decoded(small), decoded(small, flipped), decoded(view_blocks(rng))], [MIRRORED] * 3
    )
    assert [view.view for view in first] == [View.UPRIGHT]
    assert [set(view.codes) for view in second] == [set(), {HashKind.DHASH}]
    assert len(third) == 8


def test_no_mirrored_forms_unless_asked(rng):
    (found,) = hash_views([decoded(view_blocks(rng))], [PLAIN])
    assert [view.view for view in found] == [View.UPRIGHT]


def test_an_image_without_views_harms_no_neighbour(rng):
    empty, whole = hash_views([decoded(), decoded(view_blocks(rng))], [MIRRORED] * 2)
    assert empty == ()
    assert len(whole) == 8
