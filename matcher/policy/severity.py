"""What a source's classification means here: cautious built-in rows, and the operator's own.

Classifications are kept verbatim; only the lookup ignores case and outer blanks. A class that no
row names is `unmapped`, which asks for review and is never silence. The built-in rows say no more
than each issuer's own scheme does (docs/adr/0003-severity-defaults.md): there is no published
table between schemes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from hashlists.model import Classification, EntryFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The gravest class of its scheme.
SEVERE = "severe"
#: Abuse material by its issuer's word.
ABUSE = "abuse"
#: Whether it is illegal depends on the place or on a judgement of age.
JURISDICTION = "jurisdiction"
#: No row names the class, or the source gave none.
UNMAPPED = "unmapped"
#: The issuer's own word is that this is not abuse material.
NOT_ABUSE = "not_abuse"

#: Built-in severities, gravest first.
BUILT_IN_ORDER: tuple[str, ...] = (SEVERE, ABUSE, JURISDICTION, UNMAPPED, NOT_ABUSE)
#: A row's profile that stands for every profile.
ANY_PROFILE = "*"
NO_FLAGS = EntryFlag(0)
#: The class that `EntryFlag.BASELINE` stands for where an entry has no class of its own.
INTERPOL_BASELINE = Classification("interpol", "", "baseline")


class Verdict(IntEnum):
    """The most that something may decide; the least of all that bear on a match wins."""

    IGNORE = 0
    REVIEW = 1
    MATCH = 2

    @property
    def word(self) -> str:
        """As written in policy documents."""
        return self.name.lower()


#: What each severity may decide unless the policy says otherwise; one not named here: review.
DEFAULT_VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {
        SEVERE: Verdict.MATCH,
        ABUSE: Verdict.MATCH,
        JURISDICTION: Verdict.REVIEW,
        UNMAPPED: Verdict.REVIEW,
        NOT_ABUSE: Verdict.IGNORE,
    }
)

_VICS_CODES = {"0": NOT_ABUSE, "1": ABUSE, "2": JURISDICTION, "3": JURISDICTION, "4": NOT_ABUSE}
_UK_CODES = {"A": SEVERE, "B": ABUSE, "C": ABUSE}
_NCMEC_CODES = {"A1": SEVERE, "A2": ABUSE, "B1": ABUSE, "B2": ABUSE}

BUILT_IN_ROWS: Mapping[Classification, str] = MappingProxyType(
    {
        Classification(scheme, profile, code): severity
        for scheme, profile, codes in (
            ("vics", "US", _VICS_CODES),
            ("vics", "Default", _VICS_CODES),
            ("uk", ANY_PROFILE, _UK_CODES),
            ("iwf", ANY_PROFILE, _UK_CODES),
            ("ncmec", ANY_PROFILE, _NCMEC_CODES),
            ("interpol", ANY_PROFILE, {"baseline": SEVERE}),
        )
        for code, severity in codes.items()
    }
)


def normalised(classification: Classification) -> Classification:
    """The form in which classes are compared: without outer blanks, case folded."""
    return Classification(
        *(
            text.strip().casefold()
            for text in (classification.scheme, classification.profile, classification.code)
        )
    )


@dataclass(frozen=True)
class SeverityTable:
    """Classification -> severity: the operator's rows over the built-in ones.

    Attributes:
        rows: the operator's own, in any order; a profile `"*"` stands for every profile, and a row
            that names the profile goes before it.
        order: severities, gravest first; those it leaves out follow in the built-in order.
    """

    rows: tuple[tuple[Classification, str], ...] = ()
    order: tuple[str, ...] = ()
    _severities: Mapping[Classification, str] = field(init=False, repr=False, compare=False)
    _ranks: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        merged = _by_class(BUILT_IN_ROWS.items()) | _by_class(self.rows)
        named = sorted({severity for _, severity in self.rows} - set(BUILT_IN_ORDER))
        ranking = dict.fromkeys((*self.order, *BUILT_IN_ORDER[:3], *named, *BUILT_IN_ORDER[3:]))
        object.__setattr__(self, "_severities", merged)
        object.__setattr__(self, "_ranks", {name: rank for rank, name in enumerate(ranking)})

    @property
    def names(self) -> tuple[str, ...]:
        """All severities of this table, gravest first."""
        return tuple(self._ranks)

    def severity_of(
        self, classification: Classification | None, flags: EntryFlag = NO_FLAGS
    ) -> str:
        """The severity of an entry; `"unmapped"` where no row speaks of it."""
        severity = UNMAPPED if classification is None else self._lookup(classification)
        if severity == UNMAPPED and EntryFlag.BASELINE in flags:
            return self._lookup(INTERPOL_BASELINE)
        return severity

    def rank(self, severity: str) -> int:
        """0 for the gravest; for ordering matches only."""
        return self._ranks.get(severity, len(self._ranks))

    def _lookup(self, classification: Classification) -> str:
        wanted = normalised(classification)
        found = self._severities.get(wanted)
        if found is None:
            anywhere = Classification(wanted.scheme, ANY_PROFILE, wanted.code)
            found = self._severities.get(anywhere, UNMAPPED)
        return found


def _by_class(rows: Iterable[tuple[Classification, str]]) -> dict[Classification, str]:
    return {normalised(classification): severity for classification, severity in rows}


__all__ = [
    "ABUSE",
    "ANY_PROFILE",
    "BUILT_IN_ORDER",
    "BUILT_IN_ROWS",
    "DEFAULT_VERDICTS",
    "INTERPOL_BASELINE",
    "JURISDICTION",
    "NOT_ABUSE",
    "NO_FLAGS",
    "SEVERE",
    "UNMAPPED",
    "SeverityTable",
    "Verdict",
    "normalised",
]
