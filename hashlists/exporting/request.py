"""What is asked for: which lists, for whom, in which format, packed and encrypted how."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hashlists.errors import OptionsError
from hashlists.model import Classification, HashKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

#: What names of encrypted files end with.
AGE_SUFFIX = ".age"
#: Of them; age has registered none.
AGE_MEDIA_TYPE = "application/octet-stream"


class Compression(StrEnum):
    """How a file is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """What names of such files end with."""
        return {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.value]

    @property
    def media_type(self) -> str:
        """Of such files; empty where the content says it."""
        return {"none": "", "gzip": "application/gzip", "zstd": "application/zstd"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is to go out, to whom and how.

    Attributes:
        list_names: the lists, in the order in which they go out, each once; all of one kind of
            harm, and several only where the format keeps them apart.
        format: one of `hashlists.formats.registry.written_format_names()`.
        recipients: who gets it, as handlings name them: an entry goes out only where its handling
            names every one. None for a copy that stays with the keeper of the catalog, in which
            nothing is held back but what has expired.
        options: options of the format.
        since: for a delta the revision that the recipients have; 0 for all that is in force.
        upto: the revision to show; None for the newest.
        classifications: only entries of these, None among them for those without; None for all.
        kinds: only hashes of these kinds, and entries that have any; None for all.
        derived: whether hashes that were derived here or by a source, as of crops, go out, too,
            marked as such where the format can.
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
    derived: bool = False
    compression: Compression | None = None
    encrypt_to: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks what needs neither catalog nor format.

        Raises:
            OptionsError: no list is named, a recipient is empty, or the revisions are in no order.
        """
        if not self.list_names:
            raise OptionsError("name at least one list")
        object.__setattr__(self, "list_names", tuple(dict.fromkeys(self.list_names)))
        if self.recipients is not None and not (self.recipients and all(self.recipients)):
            raise OptionsError("name at least one recipient, or ask for a copy of your own")
        if self.since < 0 or (self.upto is not None and self.upto < self.since):
            raise OptionsError("the first revision of a range must not be after its last")


def request_to_dict(request: ExportRequest) -> dict[str, Any]:
    """The request as plain JSON-able values."""
    classes, kinds = request.classifications, request.kinds
    return {
        "list_names": list(request.list_names),
        "format": request.format,
        "recipients": None if request.recipients is None else list(request.recipients),
        "options": dict(request.options),
        "since": request.since,
        "upto": request.upto,
        "classifications": None
        if classes is None
        else [each and [each.scheme, each.profile, each.code] for each in classes],
        "kinds": None if kinds is None else [kind.value for kind in kinds],
        "derived": request.derived,
        "compression": request.compression and request.compression.value,
        "encrypt_to": list(request.encrypt_to),
    }


def request_from_dict(plain: Mapping[str, Any]) -> ExportRequest:
    """The request that `request_to_dict` gave these values for."""
    classes, kinds, packed = plain["classifications"], plain["kinds"], plain["compression"]
    return ExportRequest(
        **{
            **plain,
            "classifications": classes and [each and Classification(*each) for each in classes],
            "kinds": kinds and [HashKind(kind) for kind in kinds],
            "compression": packed and Compression(packed),
        }
    )


def compression_for(name: str, request: ExportRequest) -> Compression:
    """How a file of that name is packed, so that name and content say the same.

    Raises:
        OptionsError: they would not.
    """
    inner = name.lower()
    if inner.endswith(AGE_SUFFIX):
        if not request.encrypt_to:
            raise OptionsError(
                f"{name} would not be encrypted, though its name says so: add recipients with "
                "--encrypt-to, or take another name"
            )
        inner = inner.removesuffix(AGE_SUFFIX)
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


__all__ = [
    "AGE_MEDIA_TYPE",
    "AGE_SUFFIX",
    "Compression",
    "ExportRequest",
    "compression_for",
    "request_from_dict",
    "request_to_dict",
]
