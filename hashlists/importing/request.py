"""What is asked for: which files, imported how; so that a repetition is recognised."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from hashlists.errors import DigestMismatchError, FormatError, ImportConflictError
from hashlists.importing.report import ImportReport, from_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.catalog import Catalog, ImportSource
    from hashlists.importing.files import OpenFile
    from hashlists.importing.full import FullList


def identify(files: Sequence[OpenFile]) -> tuple[bytes, int]:
    """SHA-256 and bytes of what is imported.

    Returns:
        Of one file its own digest; of several the digest over their digests, in their order. And
        the bytes of all.

    Raises:
        FormatError: a file cannot be read, or is named twice.
    """
    digests: list[bytes] = []
    for each in files:
        try:
            digest = hashlib.file_digest(each.stream, "sha256").digest()
        except OSError as error:
            raise FormatError(f"the file cannot be read: {error.strerror}") from error
        if digest in digests:
            first = files[digests.index(digest)].name
            raise FormatError(f"{first} and {each.name} are the same file; name each file once")
        digests.append(digest)
    length = sum(each.length for each in files)
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest(), length


def digest_request(
    list_name: str,
    format_name: str,
    options: Mapping[str, str] | None,
    share: float,
    full: FullList | None = None,
) -> bytes:
    """SHA-256 over what decides, beside the files, what an import does."""
    request: list[object] = [list_name, format_name, sorted((options or {}).items()), float(share)]
    if full is not None:  # digests of other imports stay what they were
        request.append("full")
    return hashlib.sha256(json.dumps(request).encode()).digest()


def check_digest(source: ImportSource, expected: bytes | None) -> None:
    """Holds what is there against what was announced.

    Raises:
        DigestMismatchError: they differ.
    """
    if expected is not None and source.sha256 != expected:
        raise DigestMismatchError(
            f"the file ({source.length} bytes) does not have the announced SHA-256; it was cut off"
            " or is another one"
        )


def made_before(catalog: Catalog, list_name: str, source: ImportSource) -> ImportReport | None:
    """The report of this very import, if it was made before under its idempotency key.

    Raises:
        ImportConflictError: another one was.
    """
    if source.idempotency_key is None:
        return None
    finished = catalog.find_import(source.idempotency_key)
    if finished is None:
        return None
    if finished.source.sha256 != source.sha256 or finished.list_name != list_name:
        raise ImportConflictError(
            "this idempotency key was used before, for another file or list; take a new one"
        )
    if finished.source.request_sha256 != source.request_sha256:
        raise ImportConflictError(
            "this idempotency key was used before, with another format, other options or another"
            " share of rejected records; take a new one"
        )
    return from_document(finished)


__all__ = ["check_digest", "digest_request", "identify", "made_before"]
