"""Files that are no hash lists at all, told by their first bytes: what they are, and what to do.

Units send what they have: a photograph, a spreadsheet, the login page that was saved in place of a
feed. Only bytes that no list of any format begins with are told here, so every reader may refuse
them; nothing is decoded, unpickled or run. What is packed or encrypted, `unpacking` tells.
"""

from __future__ import annotations

import re
from typing import Final

from hashlists.errors import FormatError

HEAD_BYTES: Final = 4096
_BOM: Final = b"\xef\xbb\xbf"
_IMAGE: Final = (
    "an image, not a list of hashes; a unit's own images become entries with `hashwarden lists add`"
)
_VIDEO: Final = "a video, not a list of hashes; ask the source for the list itself"
_AS_TABLE: Final = "open it, save the sheet as CSV (UTF-8), and import that"
_PICKLE: Final = (
    "a Python pickle, which can run code when it is read, so it is refused; export the list with "
    "the tool that wrote it, as text or JSON, and import that"
)
_WEB_PAGE: Final = (
    "a web page (HTML): most often a login page or an error that was saved in place of the list; "
    "look at it in a browser, and get the list from its source again"
)
_KEY: Final = "a private key, not a list; it goes with --identity, and to nobody else"
_SIGNS: Final = tuple(
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in (
        (
            rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff",
            "text in UTF-32, which is not read; save it as UTF-8, and import that",
        ),
        (rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|8BPS\x00", _IMAGE),
        (rb"RIFF.{4}WEBP|II\*\x00|MM\x00\*|BM.{4}\x00{4}", _IMAGE),
        (rb"\x00\x00\x00\x0cj(?:P  |XL )\r\n\x87\n|\x00\x00\x00\x0cJXL \r\n\x87\n", _IMAGE),
        (rb"\x00\x00\x00.ftyp(?:hei|hev|mif1|msf1|avi[fs])", _IMAGE),
        (rb"\x00\x00\x00.ftyp|RIFF.{4}AVI |\x1a\x45\xdf\xa3|FLV\x01|\x00\x00\x01\xba", _VIDEO),
        (
            rb"%PDF-",
            "a PDF document; ask the source for the list as CSV or VICS JSON",
        ),
        (
            rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            f"a document of an older Office (XLS, DOC, MSG); if it is a table: {_AS_TABLE}",
        ),
        (rb"\{\\rtf", "a text document (RTF); ask the source for the list as CSV"),
        (
            rb"\x00\x01\x00\x00Standard (?:Jet|ACE) DB",
            "a database of Microsoft Access; export its table as CSV, and import that",
        ),
        (rb"\x80[\x02-\x05]", _PICKLE),
        (
            rb"\((?:dp|lp)\d*\n|c(?:copy_reg|copyreg|builtins|__builtin__|collections)\n\w+\n",
            _PICKLE,
        ),
        (
            rb"(?i:(?:\s++|<\?xml[^>]{0,200}\?>|<!--.{0,500}?-->){0,8}+<(?:!doctype\s+html|html|head|body)\b)",
            _WEB_PAGE,
        ),
        (rb"[EL]VF\t\r\n\xff\x00", "an image of a disk (EnCase), not a hash set"),
        (rb"\x7fELF|MZ.{58}(?=.*\x00)", "a program, not a list of hashes"),
        (
            rb"-----BEGIN PGP MESSAGE-----",
            "encrypted with PGP; decrypt it with gpg, and import what comes out",
        ),
        (rb"(?:#[^\n]*\n)*AGE-SECRET-KEY-1|-----BEGIN [A-Z ]*PRIVATE KEY-----", _KEY),
    )
)
#: UTF-16 in either order, with a byte-order mark or as plain letters would look.
_UTF16: Final = re.compile(
    rb"\xff\xfe(?!\x00\x00)|\xfe\xff|(?:[\t\n\r -~]\x00){8}|(?:\x00[\t\n\r -~]){8}", re.DOTALL
)


def what_it_is(head: bytes) -> str | None:
    """What a file that begins so is, and what to do; None for what may be a list."""
    text = head.removeprefix(_BOM)
    return next((what for sign, what in _SIGNS if sign.match(text)), None)


def refuse_foreign(head: bytes) -> None:
    """Refuses what is no list at all.

    Raises:
        FormatError: the file is something else; says what, and what to do.
    """
    what = what_it_is(head)
    if what is not None:
        raise FormatError(f"the file is {what}")


def is_utf16(head: bytes) -> bool:
    """Whether a file that begins so is text in UTF-16."""
    return _UTF16.match(head) is not None


__all__ = ["HEAD_BYTES", "is_utf16", "refuse_foreign", "what_it_is"]
