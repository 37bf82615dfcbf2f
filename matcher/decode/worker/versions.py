"""Which decoders are at work: part of every answer, so that a match can be explained later."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import pi_heif
import PIL
import simplejpeg
from PIL import features

_CODECS = ("libjpeg_turbo", "zlib", "webp", "avif", "jpg_2000", "libtiff", "littlecms2")


@cache
def versions() -> str:
    """E.g. `pillow 13.0.0; libjpeg_turbo 3.2.0; ...; pi-heif 1.4.0; libheif 1.23.0`."""
    parts = [f"pillow {PIL.__version__}"]
    for codec in _CODECS:
        found = features.version(codec)
        if found:
            parts.append(f"{codec} {found}")
    parts.append(f"simplejpeg {simplejpeg.__version__}")
    parts += [f"pi-heif {pi_heif.__version__}", f"libheif {pi_heif.libheif_version()}"]
    with suppress(PackageNotFoundError):
        parts.append(f"jpegxl plug-in {version('pillow-jxl-plugin')}")
    return "; ".join(parts)
