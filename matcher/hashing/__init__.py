"""Hashes of decoded images and of bytes: PDQ, four 64-bit kinds, MD5, SHA-1, SHA-256.

numpy and scipy only; arrays in, arrays out. Nothing here opens an image file or knows of lists.
"""

from __future__ import annotations

from typing import Final

#: Names how codes are made; it stands with every match, so that it can be explained later.
#: Bump it with any change that can alter a single bit of any code of any image. Changes of speed,
#: names and messages leave it alone; the golden vectors (`matcher.hashing.golden`) decide.
HASHER_VERSION: Final = "1"
