"""The OData context of a VICS file: which version, profile and entity set it names.

`http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media` is that of a hash
set of version 2.0 in the profile US; those of 1.x name no profile. A profile is kept as it is
written: US, UK, Canada, Default, CUSTOM, UNKNOWN and any other, since it says whose categories
these are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import FileHeader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3", "2.0")
CONTEXT_KEYS: Final = ("@odata.context", "odata.metadata")
_CONTEXT = re.compile(
    r"/DataModels/(?P<version>\d+(?:\.\d+)*)\.xml"
    r"(?:/(?P<profile>[^/#$?]+))?(?:/\$metadata)?#(?P<entity_set>\w+)",
    re.IGNORECASE,
)
_SHOWN_CHARS: Final = 64
_WRITTEN: Final = (
    "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{profile}/$metadata#Media"
)
_WRITTEN_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.\-]{0,63}")


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


def is_written_profile(text: str) -> bool:
    """Whether a file may be written whose categories are of this profile."""
    return _WRITTEN_PROFILE.fullmatch(text) is not None


def written_context(profile: str) -> str:
    """The context of a hash set of version 2.0, which is what is written.

    Raises:
        OptionsError: the profile is none.
    """
    if not is_written_profile(profile):
        raise OptionsError(
            "VICS needs the option profile, which says whose categories are written: letters "
            "and digits, e.g. profile=US, UK or Default"
        )
    return _WRITTEN.format(profile=profile)


def find_contexts(members: Mapping[str, object]) -> Sequence[object]:
    """The contexts among the members of the file's object, under either name."""
    return [members[key] for key in CONTEXT_KEYS if key in members]


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


__all__ = [
    "CONTEXT_KEYS",
    "Context",
    "find_contexts",
    "is_written_profile",
    "parse_context",
    "written_context",
]
