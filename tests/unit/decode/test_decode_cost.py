"""What files that are made to be slow may cost: little, whatever they say and however large."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from matcher.decode.worker.failures import NotDecodableError
from matcher.decode.worker.headers.budget import MOST_PARTS, MOST_STEPS, Budget
from matcher.decode.worker.headers.registry import read_header
from matcher.decode.worker.sniff import Format, sniff
from matcher.model import NotHashableReason

FILE_BYTES = 25 * 1024**2
FRAMES = 1000
CPU_SECONDS = 3.0  # what is aimed at is one; shared machines are noisy
MEMORY_BYTES = 64 * 1024**2

GIF_SCREEN = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
GIF_DESCRIPTOR = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02"
GIF_FRAME = GIF_DESCRIPTOR + b"\x02\x4c\x01\x00"
EXIF_ENTRY = struct.pack("<HHII", 0x0110, 3, 1, 0)
CONTAINER = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic"


def box(name, content=b"", *, size=None):
    return struct.pack(">I", 8 + len(content) if size is None else size) + name + content


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + bytes(4)


def riff_chunk(name, content):
    return name + struct.pack("<I", len(content)) + content


def filled(start, part, end=b"", *, size=FILE_BYTES):
    """As many parts as a file may hold."""
    return start + part * ((size - len(start) - len(end)) // len(part)) + end


def large_exif(entries=65_535):
    return b"II*\0" + struct.pack("<IH", 8, entries) + EXIF_ENTRY * entries


def tiff_of_shared_arrays(pages, count, *, kind=3, entries=(), array=None):
    """Pages whose strips are one and the same array, which is its own lengths as well."""
    page_bytes = 2 + 12 * (4 + len(entries)) + 4
    place = 8 + pages * page_bytes
    directories = b""
    for page in range(pages):
        following = 8 + (page + 1) * page_bytes if page + 1 < pages else 0
        directories += struct.pack("<H", 4 + len(entries))
        directories += struct.pack("<HHII", 256, 4, 1, 64) + struct.pack("<HHII", 257, 4, 1, 64)
        directories += struct.pack("<HHII", 273, kind, count, place)
        directories += struct.pack("<HHII", 279, kind, count, place)
        directories += b"".join(struct.pack("<HHII", *entry, place) for entry in entries)
        directories += struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8) + directories + (array or b"\1\0" * count)


def tiff_of_overlapping_directories():
    """Every directory takes in most of those that follow it."""
    pages = 1000
    size = struct.pack("<HHII", 256, 4, 1, 64) + struct.pack("<HHII", 257, 4, 1, 64)
    data = bytearray(filled(b"II*\0" + struct.pack("<I", 8), EXIF_ENTRY))
    span = 2 + 60_000 * 12
    for page in range(pages):
        at = 8 + page * 400
        struct.pack_into("<H", data, at, 60_000)
        data[at + 2 : at + 2 + len(size)] = size
        struct.pack_into("<I", data, at + span, 8 + (page + 1) * 400)
    return bytes(data)


def overlapping_boxes():
    """In each of many boxes lies one that claims to reach over all that follow."""
    meta = box(b"meta", bytes(4) + box(b"iprp", size=FILE_BYTES))
    return filled(CONTAINER, meta, size=2**20)


def deep_boxes():
    depths = range(8 * 200_000, 0, -8)
    return CONTAINER + b"".join(box(b"meta", size=depth) for depth in depths)


def icon_of_icons():
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, 40, 0xFFFF0)
    bitmap = struct.pack("<IiiHHIIiiII", 40, 16, 32, 1, 32, 0, 0, 0, 0, 0, 0)
    icon = b"\0\0\1\0" + struct.pack("<H", 65_535) + entry * 65_535
    return icon.ljust(0xFFFF0, b"\0") + bitmap * 9


def jpeg_frame():
    frame = b"\x08" + struct.pack(">HHB", 16, 16, 1) + b"\1\x11\0"
    return b"\xff\xc2" + struct.pack(">H", len(frame) + 2) + frame


SCAN = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
JPEG = b"\xff\xd8\xff\xe0\0\2"
PNG_SIZE = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", PNG_SIZE)
WEBP = b"RIFF\0\0\0\0WEBP" + riff_chunk(b"VP8X", bytes(4) + b"\7\0\0\7\0\0")
JXL = b"\0\0\0\x0cJXL \r\n\x87\n"
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
SIZ = b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">8IH", 8, 8, 0, 0, 8, 8, 0, 0, 1)
RUNS = struct.pack("<IiiHHIIiiII", 40, 4096, 3000, 1, 8, 1, FILE_BYTES, 0, 0, 0, 0)
#: Makers of files by name, which begins with the format.
HOSTILE = {
    "JPEG, many APP1": lambda: filled(JPEG, b"\xff\xe1\0\4ab", jpeg_frame() + SCAN),
    "JPEG, some APP1 before much": lambda: filled(
        JPEG + b"\xff\xe1\0\4ab" * 90_000 + jpeg_frame() + SCAN, b"\0", b"\xff\xd9"
    ),
    "JPEG, bare markers": lambda: filled(JPEG, b"\xff\x01", jpeg_frame() + SCAN),
    "JPEG, fill": lambda: filled(JPEG, b"\xff", jpeg_frame() + SCAN),
    "JPEG, stuffed": lambda: filled(JPEG + jpeg_frame() + SCAN, b"\xff\0"),
    "JPEG, empty frames": lambda: filled(JPEG, b"\xff\xc0\0\x0b\x08\0\0\0\0\1\1\x11\0"),
    "JPEG, scans": lambda: filled(JPEG + jpeg_frame(), SCAN + b"\0"),
    "PNG, empty chunks": lambda: filled(PNG, chunk(b"teSt", b"")),
    "PNG, orientations": lambda: filled(PNG, chunk(b"eXIf", large_exif())),
    "GIF, stray bytes": lambda: filled(GIF_SCREEN, b"\0", GIF_FRAME + b";"),
    "GIF, stray bytes after": lambda: filled(GIF_SCREEN + GIF_FRAME, b"\0"),
    "GIF, extensions": lambda: filled(GIF_SCREEN, b"!\xfe\0", GIF_FRAME + b";"),
    "GIF, tiny sub-blocks": lambda: filled(GIF_SCREEN + GIF_DESCRIPTOR, b"\1a"),
    "GIF, tiny sub-blocks, aside": lambda: filled(GIF_SCREEN + b"!\xfe", b"\1a"),
    "GIF, frames": lambda: filled(GIF_SCREEN, GIF_FRAME),
    "GIF, frames cut off": lambda: filled(GIF_SCREEN + GIF_FRAME, b","),
    "WebP, empty chunks": lambda: filled(WEBP, riff_chunk(b"teSt", b"")),
    "WebP, frames": lambda: filled(WEBP, riff_chunk(b"ANMF", b"")),
    "WebP, orientations": lambda: filled(WEBP, riff_chunk(b"EXIF", large_exif())),
    "WebP, one large orientation": lambda: (
        WEBP + riff_chunk(b"EXIF", large_exif() + bytes(FILE_BYTES - 900_000))
    ),
    "HEIC, empty boxes": lambda: filled(CONTAINER, box(b"free")),
    "HEIC, overlapping boxes": overlapping_boxes,
    "HEIC, deep boxes": deep_boxes,
    "HEIC, properties": lambda: (
        CONTAINER
        + box(
            b"meta",
            bytes(4)
            + box(
                b"iprp", box(b"ipco", filled(b"", box(b"ispe", bytes(12)), size=FILE_BYTES - 100))
            ),
        )
    ),
    "BMP, runs": lambda: filled(b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + RUNS, b"\1a"),
    "TIFF, a small file of many pages": lambda: tiff_of_shared_arrays(1000, 200_000),
    "TIFF, many strips": lambda: tiff_of_shared_arrays(1, 12_000_000),
    "TIFF, many strips in pages": lambda: tiff_of_shared_arrays(10, 1_000_000),
    "TIFF, strips of bytes": lambda: tiff_of_shared_arrays(
        1, 24_000_000, kind=1, array=bytes(24_000_000)
    ),
    "TIFF, other tags that share": lambda: tiff_of_shared_arrays(
        1, 100, entries=[(700 + i, 7, 20_000_000) for i in range(200)], array=bytes(20_000_000)
    ),
    "TIFF, overlapping directories": tiff_of_overlapping_directories,
    "ICO, entries": icon_of_icons,
    "JPEG 2000, boxes": lambda: filled(JP2, box(b"free"), SIZ),
    "JPEG 2000, far from its end": lambda: filled(JP2 + SIZ, b"\xff\x55\0\2"),
    "JPEG XL, boxes": lambda: filled(JXL, box(b"free")),
    "AVIF, empty boxes": lambda: filled(CONTAINER.replace(b"heic", b"avif"), box(b"free")),
}


def reading(data):
    """What reads the header; an answer or a reason, whichever it is."""
    image_format = sniff(data)

    def read():
        try:
            return read_header(image_format, data, FRAMES)
        except NotDecodableError as refused:
            return refused.answer

    return read


@contextmanager
def memory_limit(extra):
    """Bytes beyond what is in use, past which there is a `MemoryError`."""
    pages_in_use = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages_in_use * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_memory_limit_limits():
    with memory_limit(MEMORY_BYTES):
        assert bytes(MEMORY_BYTES // 2)
        with pytest.raises(MemoryError):
            bytes(2 * MEMORY_BYTES)


@pytest.mark.parametrize("name", HOSTILE)
def test_header_of_a_hostile_file_costs_little(name):
    data = HOSTILE[name]()
    assert len(data) <= FILE_BYTES
    read = reading(data)
    with memory_limit(MEMORY_BYTES):
        started = time.process_time()
        read()
        seconds = time.process_time() - started
    assert seconds < CPU_SECONDS


WHOLE = ("TIFF, a small file of many pages", "TIFF, many strips", "TIFF, other tags that share")


def test_hostile_files_cost_a_worker_little_memory(tmp_path):
    """In a process of its own, whose peak tells; decoders included."""
    script = """
import json, pathlib, resource, sys
from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.model import ALL_VIEWS, DecodeRequest
worker.supported_formats()
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss
answers = {}
for path in sys.argv[1:]:
    data = pathlib.Path(path).read_bytes()
    before = used()
    answer = worker.decode(data, DecodeRequest(ALL_VIEWS), DecodeLimits())
    after = used()
    answers[path] = [str(getattr(answer, "reason", "")), after[0] - before[0], after[1] - before[1]]
print(json.dumps(answers))
"""
    paths = []
    for name in WHOLE:
        paths.append(str(tmp_path / name))
        (tmp_path / name).write_bytes(HOSTILE[name]())
    command = [sys.executable, "-c", script, *paths]
    run = subprocess.run(command, capture_output=True, text=True, timeout=170, check=True)
    for reason, seconds, grown in json.loads(run.stdout).values():
        assert reason == NotHashableReason.OVER_LIMIT
        assert seconds < CPU_SECONDS
        assert grown < MEMORY_BYTES // 1024


def test_budget_is_spent_to_the_last():
    budget = Budget("GIF")
    budget.take_parts(MOST_PARTS)
    budget.take_steps(MOST_STEPS)
    for spend in (budget.take_parts, lambda: budget.take_steps(1)):
        with pytest.raises(NotDecodableError) as refused:
            spend()
        assert refused.value.answer.reason is NotHashableReason.OVER_LIMIT


def test_gif_of_as_many_sub_blocks_as_allowed_is_read():
    for count, allowed in ((MOST_STEPS, True), (MOST_STEPS + 1, False)):
        data = GIF_SCREEN + GIF_DESCRIPTOR + b"\1a" * count + b"\0;"
        assert hasattr(reading(data)(), "frames") is allowed


def test_walkers_of_parts_are_bound_wherever_they_are_used(lab):
    """The repair of a damaged JPEG walks on where its header is read no further."""
    whole = lab.encoded(Image.new("RGB", (64, 64)), "JPEG")
    at = whole.find(b"\xff\xda")
    data = whole[:at].replace(b"\xff\xc4", b"\xff\xfe") + whole[at:-2]  # no tables
    started = time.process_time()
    lab.decoded(filled(data, b"\xff\x01", b"\xff\xd9"))
    assert time.process_time() - started < CPU_SECONDS


def test_page_of_too_many_entries_or_strips_is_over_the_limit():
    strips = MOST_PARTS + 1
    for data in (
        tiff_of_shared_arrays(1, strips, kind=1, array=bytes(2 * strips)),
        tiff_of_shared_arrays(2, 1, kind=4, entries=[(700, 3, 1)] * (MOST_PARTS // 2)),
    ):
        with pytest.raises(NotDecodableError) as refused:
            read_header(Format.TIFF, data, FRAMES)
        assert refused.value.answer.reason is NotHashableReason.OVER_LIMIT


def test_strips_that_reach_beyond_numbers_are_cut_off():
    """Offsets of 64 bits must not wrap when lengths are added to them."""
    entries = [(256, 16, 1, 64), (257, 16, 1, 64), (273, 16, 1, 2**64 - 1), (279, 16, 1, 2)]
    directory = b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
    head = b"II\x2b\0\x08\0\0\0" + struct.pack("<QQ", 16, len(entries))
    header = read_header(Format.TIFF, head + directory + bytes(8), FRAMES)
    assert (header.width, header.truncated) == (64, True)


def test_pages_that_share_little_are_read():
    data = tiff_of_shared_arrays(20, 1, kind=4, entries=[(700, 7, 3000)], array=bytes(3000))
    header = read_header(Format.TIFF, data, FRAMES)
    assert (header.frames, header.truncated) == (20, False)
