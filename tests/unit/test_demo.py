"""The demo's pictures are what they claim: far apart, rich in detail, and truly on the list."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hashlists.model import HashKind
from matcher import demo
from matcher.demo_data import published_test_image
from matcher.hashing import pdq
from matcher.hashing.digests import digest_bytes


@pytest.fixture(scope="module")
def vics(demo_folder):
    return json.loads((demo_folder / demo.DEMO_LIST_FILE).read_text())


def bits(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    codes, qualities = pdq.pdq_codes(pdq.luma_block(pixels)[None])
    assert qualities[0] >= 90
    return np.unpackbits(codes[0])


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.count_nonzero(one != other))


ORIGINALS = ("listed-1.jpg", "listed-2.png", "listed-3.jpg", "listed-4-digests-only.jpg")
VARIANTS = ("recompressed.jpg", "resized.jpg", "exif-rotated.jpg")


def test_pictures_are_rich_and_lie_far_apart(demo_folder):
    names = (*ORIGINALS, "unlisted.jpg", "mirrored.jpg", demo.TEST_IMAGE_NAME)
    codes = [bits((demo_folder / name).read_bytes()) for name in names]
    assert min(apart(a, b) for a, b in itertools.combinations(codes, 2)) > 80


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_stay_near_the_listed_picture(demo_folder, name):
    original = (demo_folder / "listed-1.jpg").read_bytes()
    variant = (demo_folder / name).read_bytes()
    assert digest_bytes(variant).sha256 != digest_bytes(original).sha256
    assert apart(bits(original), bits(variant)) <= 10


def test_exif_rotated_is_stored_turned(demo_folder):
    with Image.open(demo_folder / "exif-rotated.jpg") as opened:
        assert opened.size == demo.DEMO_IMAGE_SIZE[::-1]
        assert opened.getexif()[0x0112] == 6


def test_mirrored_is_found_in_a_mirrored_form_only(demo_folder):
    with Image.open(demo_folder / "mirrored.jpg") as opened:
        block = pdq.luma_block(np.asarray(opened.convert("RGB")))
    forms = np.unpackbits(pdq.pdq_dihedral_codes(block[None])[0], axis=1)
    original = bits((demo_folder / "listed-1.jpg").read_bytes())
    by_form = dict(zip(pdq.DIHEDRAL_FORMS, (apart(form, original) for form in forms), strict=True))
    assert by_form["flipx"] <= 10 or by_form["flipy"] <= 10
    assert by_form["original"] > 80


def test_list_tells_the_files_as_written(demo_folder, vics):
    assert "/Default/$metadata#Media" in vics["@odata.context"]
    assert [media["MediaID"] for media in vics["value"]] == [1, 2, 3, 4]
    for name, media in zip(ORIGINALS, vics["value"], strict=True):
        data = (demo_folder / name).read_bytes()
        digests = digest_bytes(data)
        assert media["MD5"] == digests.md5.hex().upper()
        assert media["SHA1"] == digests.sha1.hex().upper()
        assert media["MediaSize"] == len(data)
        assert media["Category"] in (1, 2)


def test_last_entry_has_digests_alone(vics):
    assert [len(media.get("AlternativeHashes", ())) for media in vics["value"]] == [1, 1, 1, 0]


def test_listed_pdq_is_that_of_the_file(demo_folder, vics):
    for name, media in zip(ORIGINALS[:3], vics["value"][:3], strict=True):
        (alternative,) = media["AlternativeHashes"]
        assert alternative["HashName"] == "PDQ"
        listed = np.unpackbits(np.frombuffer(bytes.fromhex(alternative["HashValue"]), np.uint8))
        assert apart(listed, bits((demo_folder / name).read_bytes())) == 0


def test_same_seed_paints_the_same_picture():
    one = demo.paint(7, 64, 48)
    assert one.shape == (48, 64, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, demo.paint(7, 64, 48))
    assert not np.array_equal(one, demo.paint(8, 64, 48))


def test_published_image_has_the_hashes_published_with_it():
    image = published_test_image()
    digests = digest_bytes(image.data)
    assert image.hashes[HashKind.MD5] == digests.md5
    assert image.hashes[HashKind.SHA1] == digests.sha1
    assert image.hashes[HashKind.SHA256] == digests.sha256
    with Image.open(io.BytesIO(image.data)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    codes, qualities = pdq.pdq_codes(pdq.luma_block(pixels)[None])
    assert codes[0].tobytes() == image.hashes[HashKind.PDQ]
    assert qualities[0] == image.quality


def test_published_image_can_be_painted_again(tmp_path):
    with Image.open(io.BytesIO(published_test_image().data)) as opened:
        published = np.asarray(opened.convert("RGB")).astype(int)
    painted = demo.paint_test_image().astype(int)
    # A math library may round a level differently, and four low bits are cut off.
    assert np.mean(painted != published) < 0.001
    demo.write_test_image(tmp_path)
    written = json.loads((tmp_path / "hashwarden-test-image.json").read_text())
    code = np.unpackbits(np.frombuffer(bytes.fromhex(written["pdq"]), np.uint8))
    published_code = np.frombuffer(published_test_image().hashes[HashKind.PDQ], np.uint8)
    assert apart(code, np.unpackbits(published_code)) <= 4


def test_main_writes_the_demo_and_names_each_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "DEMO_IMAGE_SIZE", (96, 72))  # what is painted does not matter here
    folder = tmp_path / "new" / "folder"
    assert demo.main([str(folder)]) == 0
    named = capsys.readouterr().out.splitlines()
    assert sorted(named) == sorted(str(path) for path in folder.iterdir())
    assert named[-1].endswith(demo.DEMO_LIST_FILE)


def test_main_tells_in_one_line_why_it_cannot_write(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo.main([str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_as_a_module(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "matcher.demo", "--help"]
    environment = os.environ | {"PYTHONPATH": str(Path(demo.__file__).parents[1])}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "OUT_DIR" in done.stdout
