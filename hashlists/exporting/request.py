"""What is asked for: which lists, for whom, in which format, packed and encrypted how."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hashlists.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hashlists.model import Classification, HashKind

_AGE_SUFFIX = ".age"


class Compression(StrEnum):
    """How a file is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """What names of such files end with."""
        return {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is to go out, to whom and how.

    Attributes:
        list_names: the lists, in the order in which they go out; all of one kind of harm.
        format: one of `hashlists.formats.registry.written_format_names()`.
        recipients: who gets it, as handlings name them: an entry goes out only where its handling
            names every one. None for a copy that stays with the keeper of the catalog, in which
            nothing is held back but what has expired.
        options: options of the format.
        since: for a delta the revision that the recipients have; 0 for all that is in force.
        upto: the revision to show; None for the newest.
        classifications: only entries of these, None among them for those without; None for all.
        kinds: only hashes of these kinds, and entries that have any; None for all.
        compression: None for what the file's name says, and for no compression in a stream.
        encrypt_to: recipients of age, as texts; none leaves it in the clear.
    """

    list_names: Sequence[str]
    format: str
    recipients: Sequence[str] | None
    options: Mapping[str, str] = field(default_factory=dict)
    since: int = 0
    upto: int | None = None
    classifications: Collection[Classification | None] | None = None
    kinds: Collection[HashKind] | None = None
    compression: Compression | None = None
    encrypt_to: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks what needs neither catalog nor format.

        Raises:
            OptionsError: no list is named, a recipient is empty, or the revisions are in no order.
        """
        if not self.list_names:
            raise OptionsError("name at least one list")
        if self.recipients is not None and not (self.recipients and all(self.recipients)):
            raise OptionsError("name at least one recipient, or ask for a copy of your own")
        if self.since < 0 or (self.upto is not None and self.upto < self.since):
            raise OptionsError("the first revision of a range must not be after its last")


def compression_for(name: str, request: ExportRequest) -> Compression:
    """How a file of that name is packed, so that name and content say the same.

    Raises:
        OptionsError: they would not.
    """
    inner = name.lower()
    if inner.endswith(_AGE_SUFFIX):
        if not request.encrypt_to:
            raise OptionsError(
                f"{name} would not be encrypted, though its name says so: add recipients with "
                "--encrypt-to, or take another name"
            )
        inner = inner.removesuffix(_AGE_SUFFIX)
    by_name = next(
        (each for each in Compression if each.suffix and inner.endswith(each.suffix)), None
    )
    if request.compression is None:
        return by_name or Compression.NONE
    if by_name not in (None, request.compression):
        raise OptionsError(
            f"{name} would not be packed as its name says: take another name, or leave out "
            "--compress"
        )
    return request.compression


__all__ = ["Compression", "ExportRequest", "compression_for"]
