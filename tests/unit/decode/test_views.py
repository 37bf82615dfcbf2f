"""Views add, they never multiply; limits leave views out and name them."""

from __future__ import annotations

import functools
import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from matcher import demo
from matcher.decode.limits import DecodeLimits
from matcher.decode.worker import compositing, decoder, frames, trimming, views
from matcher.decode.worker.colour import Picture, is_blank, picture_of
from matcher.hashing.pdq import DIHEDRAL_FORMS, pdq_dihedral_codes
from matcher.model import (
    ALL_VIEWS,
    CODE64_KINDS,
    DecodeRequest,
    HashKind,
    NotHashableReason,
    Undecodable,
    View,
    ViewSelection,
)

ALL = DecodeRequest(ALL_VIEWS)


def names(result):
    return [view.view for view in result.views]


# --- transparency ---------------------------------------------------------------------------------


def half_clear(photo):
    """A photograph whose left half is transparent, with its colours kept beneath."""
    alpha = np.full((photo.height, photo.width), 255, np.uint8)
    alpha[:, : photo.width // 2] = 0
    layered = photo.convert("RGBA")
    layered.putalpha(Image.fromarray(alpha))
    return layered


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_composited_only_where_transparency_matters(lab, photo, image_format):
    small = photo.resize((200, 160))
    layered = half_clear(small)
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    result = lab.decoded(lab.encoded(layered, image_format, **options), ALL)
    found = {view.view: lab.code_of_block(view.luma) for view in result.views}
    assert {View.UPRIGHT, View.COMPOSITED_WHITE, View.COMPOSITED_BLACK} <= set(found)
    assert lab.distance(found[View.UPRIGHT], lab.reference(small)) <= 10
    for view, level in ((View.COMPOSITED_WHITE, 255), (View.COMPOSITED_BLACK, 0)):
        over = Image.new("RGB", small.size, (level,) * 3)
        over.paste(small, mask=layered.getchannel("A"))
        assert lab.distance(found[view], lab.reference(over)) <= 10


def test_default_views_composite_on_white_alone(lab, photo):
    result = lab.decoded(lab.encoded(half_clear(photo), "PNG"))
    assert names(result) == [View.UPRIGHT, View.COMPOSITED_WHITE]


def test_opaque_and_ineffective_alpha_yield_upright_alone(lab, photo):
    opaque = photo.convert("RGBA")
    white = Image.new("RGBA", (60, 50), (255, 255, 255, 0))
    white.paste(photo.resize((20, 20)), (10, 10))
    alpha = np.zeros((50, 60), np.uint8)
    alpha[10:30, 10:30] = 255
    white.putalpha(Image.fromarray(alpha))
    for image in (opaque, white):
        assert names(lab.decoded(lab.encoded(image, "PNG"))) == [View.UPRIGHT]
    black_too = lab.decoded(lab.encoded(white, "PNG"), ALL)
    assert View.COMPOSITED_BLACK in names(black_too)
    assert View.COMPOSITED_WHITE not in names(black_too)


def transparent_versions(photo):
    """The same half-clear picture, or a clear colour, in every way that Pillow can hold."""
    layered = half_clear(photo.resize((80, 60)))
    grey = layered.convert("LA")
    palette = photo.resize((80, 60)).quantize(32)
    palette.info["transparency"] = 5
    table = photo.resize((80, 60)).quantize(32)
    table.info["transparency"] = bytes(range(0, 256, 8))
    key = Image.new("RGB", (80, 60), (10, 20, 30))
    key.paste(photo.resize((40, 30)), (20, 15))
    key.info["transparency"] = (10, 20, 30)
    grey_key = Image.new("L", (80, 60), 200)
    grey_key.paste(40, (10, 10, 40, 40))
    grey_key.info["transparency"] = 40
    deep = Image.fromarray(np.arange(80 * 60, dtype=np.uint16).reshape(60, 80) * 13)
    deep.info["transparency"] = 26
    bit = grey_key.point(lambda level: level > 100).convert("1")
    bit.info["transparency"] = 0
    return {
        "RGBA": layered,
        "LA": grey,
        "La": grey.convert("La"),
        "RGBa": layered.convert("RGBa"),
        "PA": layered.convert("PA"),
        "P with one clear colour": palette,
        "P with a table": table,
        "RGB with a clear colour": key,
        "L with a clear level": grey_key,
        "I;16 with a clear level": deep,
        "1 with a clear level": bit,
    }


def test_transparency_is_found_in_every_mode(photo):
    for mode, image in transparent_versions(photo).items():
        picture = picture_of(image)
        assert picture.colour.mode in {"L", "RGB"}, mode
        assert picture.alpha is not None, mode
        assert picture.alpha.getextrema()[0] < 255, mode
        assert compositing.over(picture, 255) is not None, mode


def test_impossible_transparent_colour_is_ignored(photo):
    image = photo.resize((30, 20)).convert("L")
    image.info["transparency"] = b"no level"
    picture = picture_of(image)
    assert picture.alpha is None
    assert picture.colour.size == (30, 20)


def test_pixels_that_make_no_picture_are_malformed(lab, photo, monkeypatch):
    def fails(*_, **__):
        raise ValueError("no such conversion")

    monkeypatch.setattr(views, "picture_of", fails)
    result = lab.decoded_here(lab.encoded(photo, "PNG"))
    assert result == Undecodable(NotHashableReason.MALFORMED, "png of mode RGB makes no picture")


def test_over_leaves_opaque_pictures_alone(photo):
    assert compositing.over(Picture(photo), 255) is None


def test_blank_pictures_are_told_from_drawn_ones(photo):
    canvas = Image.new("RGB", (400, 300))
    assert is_blank(canvas)
    canvas.putpixel((3, 3), (9, 9, 9))
    assert is_blank(canvas)
    canvas.paste(photo.resize((400, 8)))
    assert not is_blank(canvas)
    assert not is_blank(photo.convert("L"))


# --- frames and pages -----------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", "HEIC"])
def test_every_frame_can_be_hashed(lab, pages, image_format):
    if image_format == "HEIC":
        stream = io.BytesIO()
        container = pillow_heif.from_pillow(pages[0])
        for page in pages[1:]:
            container.add_from_pillow(page)
        container.save(stream, quality=90, primary_index=0)
        data = stream.getvalue()
    else:
        made = [page.quantize(256) if image_format == "GIF" else page for page in pages]
        options = {"quality": 90} if image_format in {"WEBP", "AVIF"} else {}
        data = lab.encoded(made[0], image_format, save_all=True, append_images=made[1:], **options)
    result = lab.decoded(data, DecodeRequest(ViewSelection(frames=10)))
    assert result.frames == len(pages)
    assert names(result) == [View.UPRIGHT, *(View.frame(k) for k in range(1, len(pages)))]
    for view, page in zip(result.views, pages, strict=True):
        assert lab.distance(lab.code_of_block(view.luma), lab.reference(page)) <= 12
    assert names(lab.decoded(data)) == [View.UPRIGHT]


def test_primary_picture_of_a_container_comes_first(lab, pages):
    container = pillow_heif.from_pillow(pages[0])
    for page in pages[1:]:
        container.add_from_pillow(page)
    stream = io.BytesIO()
    container.save(stream, quality=90, primary_index=2)
    found = lab.codes(stream.getvalue(), ViewSelection(frames=3))
    for view, page in zip(
        (View.UPRIGHT, View.frame(1), View.frame(2), View.frame(3)),
        (pages[2], pages[0], pages[1], pages[3]),
        strict=True,
    ):
        assert lab.distance(found[view], lab.reference(page)) <= 10


def test_second_picture_of_an_mpo_is_turned_by_its_own_exif(lab, pages):
    large = [page.resize((2304, 2100)) for page in pages[:2]]
    data = lab.encoded(large[0], "MPO", save_all=True, append_images=[large[1]], quality=80)
    found = lab.codes(data, ViewSelection(frames=3))
    assert set(found) == {View.UPRIGHT, View.frame(1)}
    for view, page in zip(found, large, strict=True):
        assert lab.distance(found[view], lab.reference(page)) <= 10


def test_hidden_still_picture_of_an_apng_is_hashed_as_stored(lab, pages):
    """Viewers show the animation; the still picture that travels with it may be another."""
    data = lab.encoded(pages[0], "PNG", save_all=True, append_images=pages[1:], default_image=True)
    result = lab.decoded(data, DecodeRequest(ViewSelection(frames=5)))
    found = {view.view: lab.code_of_block(view.luma) for view in result.views}
    assert result.frames == 3
    assert lab.distance(found[View.UPRIGHT], lab.reference(pages[1])) <= 2
    assert lab.distance(found[View.STORED], lab.reference(pages[0])) <= 2
    assert lab.distance(found[View.frame(2)], lab.reference(pages[3])) <= 2


def test_broken_animation_falls_back_to_the_still_picture(lab, pages):
    data = lab.encoded(pages[0], "PNG", save_all=True, append_images=pages[1:], default_image=True)
    for cut in (12, 34, 60, 200):
        stump = data[: data.find(b"fcTL") + cut]
        found = lab.codes(stump)
        assert lab.distance(found[View.UPRIGHT], lab.reference(pages[0])) <= 2


def test_frames_are_spread_evenly():
    assert frames.spread(1, 5) == []
    assert frames.spread(4, 5) == [1, 2, 3]
    assert frames.spread(4, 3) == [1, 2, 3]
    assert frames.spread(101, 1) == [51]
    assert frames.spread(101, 2) == [1, 100]
    assert frames.spread(101, 4) == [1, 34, 67, 100]
    for count in (2, 3, 17, 1000):
        for wanted in (1, 2, 5, 16):
            chosen = frames.spread(count, wanted)
            assert len(chosen) == len(set(chosen)) == min(wanted, count - 1)
            assert all(1 <= frame < count for frame in chosen)


def test_frame_limits_leave_frames_out_by_name(lab, pages):
    data = lab.encoded(pages[0], "PNG", save_all=True, append_images=pages[1:])
    canvas = pages[0].width * pages[0].height
    request = DecodeRequest(ViewSelection(frames=3))
    result = lab.decoded(data, request, DecodeLimits(frame_pixels=2 * canvas))
    assert names(result) == [View.UPRIGHT, "frame:1", "frame:2"]
    assert result.views_left_out == ("frame:3",)
    assert lab.decoded(data, request, DecodeLimits(frames=2)).frames == 2
    stream = lab.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    result = lab.decoded(stream, request, DecodeLimits(frame_pixels=2 * canvas))
    assert result.views_left_out == ("frame:3",)


def test_damaged_frame_takes_nothing_from_the_others(lab, pages):
    whole = lab.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:3])
    directory = int.from_bytes(whole[4:8], "little")
    entries = int.from_bytes(whole[directory : directory + 2], "little")
    second = int.from_bytes(whole[directory + 2 + 12 * entries :][:4], "little")
    damaged = bytearray(whole)
    for i in range(int.from_bytes(whole[second : second + 2], "little")):
        at = second + 2 + 12 * i
        if int.from_bytes(whole[at : at + 2], "little") == 258:
            damaged[at + 4 : at + 12] = (1).to_bytes(4, "little") + (77).to_bytes(4, "little")
    result = lab.decoded(bytes(damaged), DecodeRequest(ViewSelection(frames=4)))
    assert names(result) == [View.UPRIGHT, "frame:2"]
    assert result.views_left_out == ("frame:1",)


# --- borders --------------------------------------------------------------------------------------


def framed(photo, border, colour=(0, 0, 0)):
    left, top, right, bottom = border
    canvas = Image.new("RGB", (photo.width + left + right, photo.height + top + bottom), colour)
    canvas.paste(photo, (left, top))
    return canvas


@pytest.mark.parametrize(
    ("border", "colour"),
    [
        ((0, 60, 0, 60), (0, 0, 0)),
        ((80, 0, 80, 0), (255, 255, 255)),
        ((30, 50, 10, 90), (200, 30, 90)),
        ((0, 0, 0, 40), (128, 128, 128)),
    ],
)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_borders_are_cut(lab, photographs, border, colour, image_format):
    photo = Image.fromarray(photographs["astronaut"])
    options = {"quality": 80} if image_format == "JPEG" else {}
    data = lab.encoded(framed(photo, border, colour), image_format, **options)
    found = lab.codes(data, ViewSelection(trimmed=True))
    assert lab.distance(found[View.TRIMMED], lab.reference(photo)) <= 12
    assert lab.distance(found[View.UPRIGHT], lab.reference(photo)) > 12


def test_nested_borders_are_cut_to_the_pixel(photographs):
    photo = Image.fromarray(photographs["chelsea"])
    nested = framed(framed(photo, (40, 0, 40, 0), (0, 0, 0)), (0, 70, 0, 70), (255, 255, 255))
    box = trimming.inner_box(np.asarray(nested.convert("L")))
    assert box == (40, 70, 40 + photo.width, 70 + photo.height)


def test_nothing_is_trimmed_without_a_border_or_down_to_a_scrap(lab, photo):
    assert View.TRIMMED not in lab.codes(lab.encoded(photo, "PNG"), ViewSelection(trimmed=True))
    assert trimming.trimmed(Image.new("RGB", (100, 100), "red")) is None
    dot = Image.new("L", (300, 300))
    dot.paste(255, (140, 140, 150, 150))
    assert trimming.trimmed(dot) is None
    thin = framed(photo, (1, 1, 1, 1))
    assert trimming.trimmed(thin) is None


@functools.cache
def landscape(seed):
    """A picture with a smooth sky, of one brightness from side to side."""
    return Image.fromarray(demo.paint(seed, *demo.DEMO_IMAGE_SIZE))


@pytest.mark.parametrize("seed", [1, 2, 4])
@pytest.mark.parametrize(
    ("width", "colour", "quality"),
    [(20, "white", None), (60, "black", 85), (150, "white", 40), (40, "gray", None)],
)
def test_cutting_ends_at_a_smooth_edge_of_the_picture(lab, seed, width, colour, quality):
    picture = landscape(seed)
    stored = ("JPEG", {"quality": quality}) if quality else ("PNG", {})
    data = lab.encoded(framed(picture, (width,) * 4, colour), stored[0], **stored[1])
    found = lab.codes(data, ViewSelection(trimmed=True))
    assert lab.distance(found[View.TRIMMED], lab.reference(picture)) <= 10


@pytest.mark.parametrize("colour", ["black", "white"])
@pytest.mark.parametrize("sides", [(0, 1, 0, 1), (1, 0, 1, 0), (0, 1, 0, 0), (0, 0, 1, 0)])
def test_a_letterbox_is_cut_to_the_pixel_and_the_sky_is_not(colour, sides):
    # Darkness grows by one level in ten lines, as a clear sky does.
    sky = np.repeat(np.linspace(150, 110, 400).astype(np.uint8)[:, None], 600, axis=1)
    sky[300:, 200:400] = 30
    border = tuple(50 * side for side in sides)
    box = trimming.inner_box(np.asarray(framed(Image.fromarray(sky), border, colour).convert("L")))
    assert box == (border[0], border[1], border[0] + 600, border[1] + 400)


@pytest.mark.parametrize("quality", [None, 85, 40])
@pytest.mark.parametrize(
    "layers",
    [
        [((0, 70, 0, 70), "black"), ((50, 50, 50, 50), "white")],
        [((0, 70, 0, 70), "black"), ((0, 150, 0, 90), "white")],
        [((20, 20, 20, 20), "black"), ((60, 60, 60, 60), "white")],
        [((0, 80, 0, 0), "white"), ((0, 0, 0, 60), "black")],
    ],
)
def test_nested_borders_are_cut_through_the_blur_of_a_codec(lab, layers, quality):
    picture = landscape(1)
    image, left, top = picture, 0, 0
    for border, colour in layers:
        image, left, top = framed(image, border, colour), left + border[0], top + border[1]
    if quality is not None:
        image = Image.open(io.BytesIO(lab.encoded(image, "JPEG", quality=quality)))
    box = trimming.inner_box(np.asarray(image.convert("L")))
    exact = (left, top, left + picture.width, top + picture.height)
    assert np.abs(np.subtract(box, exact)).max() <= (0 if quality is None else 3)


def test_a_noisy_border_is_cut_where_it_ends_in_a_step(photographs):
    picture = Image.fromarray(photographs["coffee"])
    noise = np.random.default_rng(5).integers(-8, 9, (picture.height + 80, picture.width))
    scan = np.clip(np.asarray(framed(picture, (0, 40, 0, 40), "gray").convert("L")) + noise, 0, 255)
    box = trimming.inner_box(scan.astype(np.uint8))
    assert box == (0, 40, picture.width, 40 + picture.height)
    smooth = np.repeat(np.linspace(140, 100, 400)[:, None], picture.width, axis=1)
    assert trimming.inner_box((smooth + noise[:400]).astype(np.uint8)) is None


def test_plain_sides_within_a_border_are_kept_unless_they_are_alike(photographs):
    picture = Image.fromarray(photographs["coffee"])
    backdrop = framed(picture, (90, 0, 30, 0), "white")
    box = trimming.inner_box(np.asarray(framed(backdrop, (0, 50, 0, 50), "black").convert("L")))
    assert box == (0, 50, backdrop.width, 50 + backdrop.height)


# --- mirrored forms and budgets -------------------------------------------------------------------


def test_mirrored_views_name_the_forms_of_the_hasher(lab, photo):
    """The pixels turned for the 64-bit kinds are the forms whose PDQ codes hashing derives."""
    request = DecodeRequest(ViewSelection(mirrored=True), frozenset({HashKind.PHASH}))
    result = lab.decoded(lab.encoded(photo, "PNG"), request)
    assert names(result) == [View.UPRIGHT, *View.MIRRORED]
    upright = result.views[0]
    forms = dict(zip(DIHEDRAL_FORMS, pdq_dihedral_codes(upright.luma[None])[0], strict=True))
    turns = {
        "rotate90": Image.Transpose.ROTATE_90,
        "rotate180": Image.Transpose.ROTATE_180,
        "rotate270": Image.Transpose.ROTATE_270,
        "flipx": Image.Transpose.FLIP_TOP_BOTTOM,
        "flipy": Image.Transpose.FLIP_LEFT_RIGHT,
        "flipplus": Image.Transpose.TRANSPOSE,
        "flipminus": Image.Transpose.TRANSVERSE,
    }
    for view in result.views[1:]:
        assert view.luma is None
        turned = photo.transpose(turns[view.view.removeprefix("mirrored:")])
        grey = turned.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
        assert np.array_equal(view.inputs64[HashKind.PHASH], np.asarray(grey))
        assert lab.distance(forms[view.view.removeprefix("mirrored:")], lab.reference(turned)) <= 16


def test_mirrored_views_cost_nothing_without_64_bit_kinds(lab, photo):
    result = lab.decoded(lab.encoded(photo, "PNG"), DecodeRequest(ViewSelection(mirrored=True)))
    assert names(result) == [View.UPRIGHT]
    assert result.views_left_out == ()


def test_views_stay_within_the_limit_and_are_named(lab, pages):
    frames_in = [half_clear(page) for page in pages * 25]
    data = lab.encoded(
        frames_in[0], "WEBP", save_all=True, append_images=frames_in[1:], lossless=True
    )
    request = DecodeRequest(ViewSelection(composited_black=True, frames=99, mirrored=True))
    result = lab.decoded(data, request)
    made = names(result)
    assert made[:2] == [View.UPRIGHT, View.COMPOSITED_WHITE]
    assert len(made) + len(View.MIRRORED) == 64
    assert len(result.views_left_out) == 99 - (64 - 7 - 2)
    assert set(made).isdisjoint(result.views_left_out)
    with64 = DecodeRequest(request.views, frozenset({HashKind.AHASH}))
    assert len(names(lab.decoded(data, with64))) == 64


def test_tight_limit_leaves_mirrored_forms_out(lab, photo):
    data = lab.encoded(half_clear(photo), "PNG")
    for kinds in (frozenset(), frozenset(CODE64_KINDS)):
        result = lab.decoded(data, DecodeRequest(ALL_VIEWS, kinds), DecodeLimits(codes=3))
        assert len(result.views) <= 3
        assert set(View.MIRRORED) <= set(result.views_left_out)
    result = lab.decoded(data, ALL, DecodeLimits(codes=1))
    assert names(result) == [View.UPRIGHT]
    assert View.COMPOSITED_WHITE in result.views_left_out


def test_no_further_view_is_begun_when_time_is_up(lab, pages, monkeypatch):
    clock = iter([0.0, 0.0] + [99.0] * 50)
    monkeypatch.setattr(decoder.time, "monotonic", lambda: next(clock))
    data = lab.encoded(
        half_clear(pages[0]), "PNG", save_all=True, append_images=[half_clear(pages[1])]
    )
    result = lab.decoded(data, ALL, DecodeLimits(seconds=5))
    assert names(result)[0] == View.UPRIGHT
    assert "frame:1" in result.views_left_out
    assert set(View.MIRRORED) <= set(result.views_left_out)


def test_tiny_pictures_have_no_block_but_64_bit_inputs(lab):
    request = DecodeRequest(kinds64=frozenset(CODE64_KINDS))
    for size in ((1, 1), (4, 300), (300, 4)):
        result = lab.decoded(lab.encoded(Image.new("L", size, 77), "PNG"), request)
        assert result.views[0].luma is None
        assert set(result.views[0].inputs64) == set(CODE64_KINDS)
    assert lab.decoded(lab.encoded(Image.new("L", (5, 5), 77), "PNG")).views[0].luma is not None


def test_all_views_of_a_plain_photograph_are_just_upright(lab, photo):
    result = lab.decoded(lab.encoded(photo, "JPEG"), ALL)
    assert not isinstance(result, Undecodable)
    assert names(result) == [View.UPRIGHT]
