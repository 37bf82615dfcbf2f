"""Tells VICS files by their beginning, and names what a file that is nearly one lacks.

Exporters and hands that edit spell members otherwise, leave the object around the records out, or
write a context of their own. Such files are never read, only named, so that whoever has one knows
what to ask the source for.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hashlists.errors import FormatError
from hashlists.formats.base import Likeness, Sample
from hashlists.formats.vics_context import CONTEXT_KEYS, parse_context

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTEXT = re.compile(rb'"(?:@odata\.context|odata\.metadata)"\s*:\s*("(?:[^"\\]|\\.){0,512}+")')
_MEDIA_ID = re.compile(rb'"MediaID"\s*:')
_MEDIA_MD5 = re.compile(rb'"MD5"\s*:')
_MEMBERS: Final = (*CONTEXT_KEYS, "value", "MediaID", "Category", "MD5", "SHA1", "PhotoDNA")
_BY_LOWER: Final = {name.lower(): name for name in _MEMBERS}
_ANY_CASE = re.compile(
    rb'"(' + b"|".join(re.escape(name.encode()) for name in _MEMBERS) + rb')"\s*:', re.IGNORECASE
)
_ISSUER = re.compile(rb"VICSDATAMODEL|ProjectVic", re.IGNORECASE)
_NOT_SAID: Final = "nothing says of which version and profile it is"
_SHOWN_CHARS: Final = 64
_PRINTABLE = re.compile(r"[ -~\u00a0-\u024f]+")


def looks_like(sample: Sample) -> Likeness | None:
    """Tells VICS by its context, or without one by members that its records have."""
    head = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith((b"{", b"[")):
        return None
    spelt = _spelt_otherwise(head)
    found = _by_context(head) or _by_records(head)
    if found is None:
        return _nearly(head, spelt)
    return replace(found, why=f"{found.why}; but {spelt}") if spelt else found


def _by_context(head: bytes) -> Likeness | None:
    member = _CONTEXT.search(head) if head.startswith(b"{") else None
    if member is None:
        return None
    try:
        context = parse_context(json.loads(member[1]))
    except (FormatError, ValueError):
        return None
    profile = context.profile
    named = (
        f"profile {profile[:_SHOWN_CHARS]}"
        if _PRINTABLE.fullmatch(profile)
        else "no profile; the option profile says whose categories these are"
    )
    if context.is_case_file:
        return Likeness(
            95,
            f"its OData context names a VICS {context.version} case file (#Cases), {named}; the "
            "option cases=media takes its media alone",
            {"cases": "media"},
        )
    return Likeness(
        98, f"its OData context names a VICS {context.version} hash set (#Media), {named}"
    )


def _by_records(head: bytes) -> Likeness | None:
    plain = head.startswith(b"{") and b'"value"' in head and _CONTEXT.search(head) is None
    if plain and _MEDIA_ID.search(head) and _MEDIA_MD5.search(head):
        return Likeness(
            60, 'JSON with records that have "MediaID" and "MD5"; the OData context may follow them'
        )
    return None


def _nearly(head: bytes, spelt: str) -> Likeness | None:
    """What is missing of a file that has records of VICS, or names its issuer."""
    members = {match[1].lower() for match in _ANY_CASE.finditer(head)}
    if not ({b"mediaid", b"md5"} <= members or _ISSUER.search(head)):
        return None
    reasons = [*_missing(head, members), *[spelt] * bool(spelt)] or [_NOT_SAID]
    return Likeness(45, f"it has members of VICS, but {', and '.join(reasons)}")


def _missing(head: bytes, members: set[bytes]) -> Iterator[str]:
    if head.startswith(b"["):
        yield (
            "its records stand in a bare array, without the object around them that names "
            '"@odata.context" and has them as its "value"'
        )
        return
    if _CONTEXT.search(head) is not None:
        yield "its OData context is not that of a hash set (#Media) of a known version"
    elif not {b"@odata.context", b"odata.metadata"} & members:
        yield 'no "@odata.context" stands before them'
    if b"value" not in members:
        yield 'no array "value" holds its records'


def _spelt_otherwise(head: bytes) -> str:
    """Which members are in another case than in VICS, and the right ones nowhere; or empty."""
    seen = list(dict.fromkeys(match[1].decode() for match in _ANY_CASE.finditer(head)))
    wrong = [
        f'"{name}" for "{right}"'
        for name in seen
        if name != (right := _BY_LOWER[name.lower()]) and right not in seen
    ]
    return f"it writes {', '.join(wrong)}, and case counts" if wrong else ""


__all__ = ["looks_like"]
