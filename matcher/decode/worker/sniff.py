"""The allow-list: which formats are decoded at all, told by their first bytes.

A name or a media type is never trusted, and a file is only ever shown to the one decoder that its
first bytes call for.
"""

from __future__ import annotations

from enum import StrEnum

from matcher.decode.worker.failures import NotDecodableError
from matcher.model import NotHashableReason


class Format(StrEnum):
    """An allow-listed format by its lower-case name, as answers show it."""

    JPEG = "jpeg"
    MPO = "mpo"
    PNG = "png"
    GIF = "gif"
    WEBP = "webp"
    AVIF = "avif"
    HEIC = "heic"
    BMP = "bmp"
    TIFF = "tiff"
    ICO = "ico"
    JPEG2000 = "jpeg2000"
    JPEGXL = "jpegxl"


_PREFIXES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"BM", Format.BMP),
    (b"II\x2a\x00", Format.TIFF),
    (b"MM\x00\x2a", Format.TIFF),
    (b"II\x2b\x00", Format.TIFF),
    (b"MM\x00\x2b", Format.TIFF),
    (b"\x00\x00\x01\x00", Format.ICO),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", Format.JPEG2000),
    (b"\xff\x4f\xff\x51", Format.JPEG2000),
    (b"\xff\x0a", Format.JPEGXL),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", Format.JPEGXL),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
#: Common kinds of file that are no images of the list: only for a helpful answer.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf", "7-Zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (b"8BPS", "Photoshop"),
    (b"%!PS", "PostScript"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
)
_LONGEST_BRAND_LIST = 256  # bytes


def sniff(data: bytes) -> Format:
    """Tells the format from the first bytes.

    Raises:
        NotDecodableError: the file is empty (`malformed`) or of no allow-listed format.
    """
    if not data:
        raise NotDecodableError(NotHashableReason.MALFORMED, "the file is empty")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    brands = file_brands(data)
    if brands:
        return _format_of_brands(brands)
    for prefix, image_format in _PREFIXES:
        if data.startswith(prefix):
            return image_format
    raise _unsupported(_name_of_other(data))


def file_brands(data: bytes) -> list[bytes]:
    """Major and compatible brands of a file of boxes (ISO 14496-12); empty for any other file."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), _LONGEST_BRAND_LIST, len(data))
    return [data[8:12]] + [data[at : at + 4] for at in range(16, end - 3, 4)]


def _format_of_brands(brands: list[bytes]) -> Format:
    if not _AVIF_BRANDS.isdisjoint(brands):
        return Format.AVIF
    if not _HEIC_BRANDS.isdisjoint(brands):
        return Format.HEIC
    raise _unsupported("MP4 or QuickTime")


def _name_of_other(data: bytes) -> str | None:
    for prefix, name in _OTHERS:
        if data.startswith(prefix):
            return name
    return None


def _unsupported(name: str | None) -> NotDecodableError:
    guess = ", and no other kind of file we know" if name is None else f" (looks like: {name})"
    return NotDecodableError(
        NotHashableReason.UNSUPPORTED, f"not an image of a supported format{guess}"
    )
