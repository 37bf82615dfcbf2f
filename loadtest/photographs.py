"""scikit-image's bundled photographs, which may be used freely, as the uploads of benchmarks."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image
from skimage import data

NAMES: Final = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")
_PIXELS: Final = 1_000_000
QUALITY: Final = 85


def jpeg_file(name: str, *, pixels: int = _PIXELS) -> bytes:
    """One of the photographs as a JPEG file, by default of 1 megapixel, the same every time."""
    photograph = Image.fromarray(np.ascontiguousarray(getattr(data, name)()[..., :3]))
    scale = (pixels / (photograph.width * photograph.height)) ** 0.5
    size = round(photograph.width * scale), round(photograph.height * scale)
    file = io.BytesIO()
    resized = photograph.resize(size, Image.Resampling.LANCZOS)
    resized.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue()
