"""Pictures and videos told by their first bytes, whether Hashwarden can decode them or not.

A sign here only says that a file is meant as one; nothing is decoded. Files of other kinds (texts,
documents, programs, archives) have no sign, and neither has a text that begins like one of them.
"""

from __future__ import annotations

import re
from typing import Final

#: Bytes of a file that are looked at: an MPEG transport stream shows itself thrice in them.
HEAD_BYTES: Final = 640

#: Boxes that a file of ISO 14496-12 or an older QuickTime movie may begin with.
_BOX: Final = rb"[\x00-\x08].{3}(?:ftyp|moov|mdat|wide|skip|free|pnot)"
_SIGN: Final = re.compile(
    b"|".join(
        (
            rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|\x8bMNG|\x8aMNG|GIF8[79]a|8BPS\x00",
            rb"BM.{4}\x00{4}|\x00\x00[\x01\x02]\x00",
            rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]|IIU\x00|IIR[OS]|MMOR|FUJIFILMCCD-RAW|FOVb|.{6}HEAPCCDR",
            rb"\x00\x00\x00\x0c(?:jP  |JXL )\r\n\x87\n|\xff\x4f\xff\x51|\xff\x0a",
            rb"P[1-6]\n[0-9#]|P7\n|\x76\x2f\x31\x01|#\?RADIANCE|qoif\x00|DDS \x7c\x00",
            rb"RIFF.{4}(?:WEBP|AVI )|" + _BOX,
            rb"\x1a\x45\xdf\xa3|FLV\x01|OggS\x00|\.RMF\x00|\x30\x26\xb2\x75\x8e\x66\xcf\x11",
            rb"\x00\x00\x01[\xb3\xba]|\x47(?:.{187}\x47){2}|.{4}\x47(?:.{191}\x47){2}|\x06\x0e\x2b\x34",
            rb"\x1f\x07\x00",
        )
    ),
    re.DOTALL,
)


def is_picture_or_video(head: bytes) -> bool:
    """Whether a file that begins so is meant as a picture or a video.

    Args:
        head: its first bytes, `HEAD_BYTES` of them where it has as many.
    """
    return _SIGN.match(head) is not None


__all__ = ["HEAD_BYTES", "is_picture_or_video"]
