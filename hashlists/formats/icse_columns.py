"""The columns of the ICSE hash CSV, as reader and writer share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashlists.model import Classification, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

DELIMITER: Final = ";"
IMAGE_ID: Final = "Image ID"
SERIES: Final = "Series name"
INVESTIGATION: Final = "Investigation name"
AGENCY: Final = "Agency"
SUBMISSIONS: Final = "Number of submissions"
FILE_AVAILABLE: Final = "File Available"
MEDIA_TYPE: Final = "Media Type"
#: Hashes of kinds that are not known here.
LEFT_HASHES: Final = ("ZZ40", "Lace")
#: Field of the Baseline column in `FLAG_COLUMNS`.
BASELINE: Final = "baseline"
HASH_COLUMNS: Final[Mapping[str, str]] = {
    HashKind.MD5: "MD5",
    HashKind.SHA1: "SHA1",
    HashKind.PHOTODNA: "PhotoDNA",
}
#: From a flag's field name to its column; all but Baseline say Y or N, Baseline Yes or No.
FLAG_COLUMNS: Final[Mapping[str, str]] = {
    "distributed": "Is distributed",
    "victim_identified": "Victim identified",
    "offender_identified": "Offender identified",
    BASELINE: "Baseline",
}
#: In the order in which they are written.
COLUMNS: Final = (
    "MD5",
    "SHA1",
    "ZZ40",
    "PhotoDNA",
    "Lace",
    IMAGE_ID,
    "Is distributed",
    "Victim identified",
    "Offender identified",
    SERIES,
    INVESTIGATION,
    AGENCY,
    SUBMISSIONS,
    FILE_AVAILABLE,
    MEDIA_TYPE,
    "Baseline",
)
#: Columns by which a file is told.
TELLING: Final = tuple(
    name for name in COLUMNS if name not in (*LEFT_HASHES, INVESTIGATION, AGENCY)
)
#: What Baseline stands for.
BASELINE_CLASS: Final = Classification("interpol", "", "baseline")
