"""The OData context of a VICS file: which version, profile and entity set it names.

`http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media` is that of a hash
set of version 2.0 in the profile US; those of 1.x name no profile. A profile is kept as it is
written: US, UK, Canada, Default, CUSTOM, UNKNOWN and any other, since it says whose categories
these are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import FileHeader, Likeness, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3", "2.0")
CONTEXT_KEYS: Final = ("@odata.context", "odata.metadata")
_CONTEXT = re.compile(
    r"/DataModels/(?P<version>\d+(?:\.\d+)*)\.xml"
    r"(?:/(?P<profile>[^/#$?]+))?(?:/\$metadata)?#(?P<entity_set>\w+)",
    re.IGNORECASE,
)
_MEMBER = re.compile(rb'"(?:@odata\.context|odata\.metadata)"\s*:\s*("(?:[^"\\]|\\.){0,512}+")')
_MEDIA_ID = re.compile(rb'"MediaID"\s*:')
_MEDIA_MD5 = re.compile(rb'"MD5"\s*:')
_SHOWN_CHARS: Final = 64
_PRINTABLE = re.compile(r"[ -~\u00a0-\u024f]+")


@dataclass(frozen=True, slots=True)
class Context:
    """What the context says.

    Attributes:
        version: one of `VERSIONS`.
        profile: empty where none is named.
        is_case_file: whether the records are cases, not media.
    """

    version: str
    profile: str
    is_case_file: bool

    def header(self, assumed_profile: str) -> FileHeader:
        """The header of a file with this context.

        Args:
            assumed_profile: what the importer says the profile is; empty for nothing.

        Raises:
            OptionsError: the file names another one.
        """
        if self.profile and assumed_profile and self.profile != assumed_profile:
            raise OptionsError(
                f"the file is of profile {self.profile[:_SHOWN_CHARS]!r}, the option says "
                f"{assumed_profile!r}"
            )
        return FileHeader("vics", self.version, "vics", self.profile or assumed_profile)


def find_context(members: Mapping[str, object]) -> object:
    """The context among the members of the file's object; None where there is none."""
    return next((members[key] for key in CONTEXT_KEYS if key in members), None)


def parse_context(context: object) -> Context:
    """Reads the context.

    Raises:
        FormatError: it is not one of a VICS file of a known version.
    """
    match = _CONTEXT.search(context) if isinstance(context, str) else None
    if match is None:
        raise FormatError(
            "the OData context is not that of a VICS file; "
            "expected .../DataModels/2.0.xml/<profile>/$metadata#Media"
        )
    version, entity_set = match["version"], match["entity_set"].lower()
    if entity_set not in ("media", "cases"):
        raise FormatError("the OData context names another entity set than #Media")
    if version not in VERSIONS:
        raise FormatError(
            f"VICS version {version[:16]} is not known; known versions: {', '.join(VERSIONS)}"
        )
    return Context(version, match["profile"] or "", entity_set == "cases")


def looks_like(sample: Sample) -> Likeness | None:
    """Tells VICS by its context, or without one by members that its records have."""
    head = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"{"):
        return None
    member = _MEMBER.search(head)
    if member is not None:
        return _by_context(member[1])
    if b'"value"' in head and _MEDIA_ID.search(head) and _MEDIA_MD5.search(head):
        return Likeness(
            60, 'JSON with records that have "MediaID" and "MD5"; the OData context may follow them'
        )
    return None


def _by_context(text: bytes) -> Likeness | None:
    try:
        context = parse_context(json.loads(text))
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


__all__ = ["CONTEXT_KEYS", "Context", "find_context", "looks_like", "parse_context"]
