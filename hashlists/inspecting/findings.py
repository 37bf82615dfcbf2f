"""What was found of a file, fit to be shown: of its texts names of columns and kinds alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.formats.notes import OTHER_CASE_NOTE
from hashlists.formats.table_columns import MaySay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.formats.base import FileHeader
    from hashlists.model import Coverage, Harm


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that a part may be of.

    Attributes:
        format, title: of the format.
        score: 0..100, as in `base.Likeness`.
        why: what was seen.
        options: options that fit, as far as the file shows.
    """

    format: str
    title: str
    score: int
    why: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnreadColumn:
    """A column of a table that no option names.

    Attributes:
        name: empty where it is not fit to be shown.
        may_say: what it may say of a record.
    """

    name: str
    may_say: MaySay


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading some or all records as one format showed.

    Attributes:
        format: by which it was read.
        options: with which.
        header: what the file says of itself; None where the reader could not begin.
        records: how many were read.
        whole: whether those were all, and the file is whole.
        estimate: how many there are, about; `records` where all were read.
        rejected: of those read, contradictions between records among them.
        withdrawn: entries that the source withdraws, of those read.
        tells_retractions: whether what was read can say that: the format, and of a table a column
            that an option names.
        harm: the only kind of harm that the format's entries are about, or that the file says its
            own are about; None for any.
        problems: the first rejections, and what stopped the reader, in words.
        refused: an import with these options would refuse the file: it is not of the format,
            damaged or cut off, an option is missing or wrong, or too many records are rejected.
        notes: what was left aside, and how often.
        coverage: of the good entries.
        unread: columns of a table that no option names.
        delta: the file says that it holds what changed, not all that there is.
        since: the sender's revision that a delta starts from; 0 where that is not told.
        declared: whoever asks has named the columns; where not, they were taken for what their
            names say.
    """

    format: str
    options: Mapping[str, str]
    header: FileHeader | None
    records: int
    whole: bool
    estimate: int
    rejected: int
    withdrawn: int
    tells_retractions: bool
    harm: Harm | None
    problems: tuple[str, ...]
    refused: bool
    notes: Mapping[str, int]
    coverage: Coverage
    unread: tuple[UnreadColumn, ...] = ()
    delta: bool = False
    since: int = 0
    declared: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether an import with these options would take the file, as far as was looked."""
        return self.header is not None and not self.refused

    @property
    def is_unsettled(self) -> bool:
        """Whether a column may say what an import would not hear, and nobody was asked.

        What columns mean is their importer's to say; guessed at, an entry that its source has
        withdrawn would be in force.
        """
        return not self.declared and any(each.may_say is not MaySay.NOTHING for each in self.unread)

    @property
    def is_misnamed(self) -> bool:
        """Whether the format's members have names in another case, so that they are not read."""
        return any(note.startswith(OTHER_CASE_NOTE) for note in self.notes)


@dataclass(frozen=True, slots=True)
class PartInspection:
    """One part of a file: the file itself, or a member of an archive.

    Attributes:
        name: fit to be shown.
        candidates: likeliest first.
        reading: None where no format fits.
        advice: what to import in place of a file that no reader takes; empty for any other.
        left_aside_by: the format whose imports of a set leave the part aside, though alone they
            refuse it; empty for none.
    """

    name: str
    candidates: tuple[Candidate, ...]
    reading: Reading | None
    advice: str = ""
    left_aside_by: str = ""


@dataclass(frozen=True, slots=True)
class FileInspection:
    """One file.

    Attributes:
        name: fit to be shown, without folders.
        size: bytes on disk.
        encryption: `age`, or empty.
        compression: `gzip`, `zstd`, `zip`, or empty.
        parts: as far as they could be opened.
        problem: why the file cannot be opened to its end; empty where it can.
        notes: what an archive holds beside its parts.
    """

    name: str
    size: int
    compression: str
    parts: tuple[PartInspection, ...]
    problem: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)
    encryption: str = ""


__all__ = ["Candidate", "FileInspection", "PartInspection", "Reading", "UnreadColumn"]
