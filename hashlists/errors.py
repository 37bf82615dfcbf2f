"""Everything that can go wrong on the list side and is not a bug.

Each error says what is wrong, where, and what to do, and carries a stable `reason` for programs.
No message repeats a hash.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlists.model import Place


class HashlistsError(Exception):
    """Base of all errors of this package.

    Attributes:
        reason: stable, UPPER_SNAKE_CASE, for programs (AIP-193 `ErrorInfo.reason`).
    """

    reason = "HASHLISTS_ERROR"


class FormatError(HashlistsError):
    """A file is not what it says, or is cut off. Nothing of it is imported."""

    reason = "LIST_FILE_MALFORMED"

    def __init__(self, message: str, *, place: Place | None = None, part: str = "") -> None:
        """Says what is wrong.

        Args:
            message: what, and what to do.
            place: where in the file.
            part: which file, where several are read as one and no place is known.
        """
        where = f"{place}: " if place else f"{part}: " if part else ""
        super().__init__(f"{where}{message}")
        self.message = message
        self.place = place
        self.part = place.part if place else part

    def of_part(self, part: str) -> FormatError:
        """The same error, naming the file among several."""
        place = self.place and replace(self.place, part=part)
        return FormatError(self.message, place=place, part=part)


class UnknownFormatError(HashlistsError):
    """No reader goes by that name."""

    reason = "LIST_FORMAT_UNKNOWN"


class OptionsError(HashlistsError):
    """Options given for a format are wrong, e.g. a column mapping that names no hash."""

    reason = "LIST_OPTIONS_INVALID"


class TooManyRejectionsError(HashlistsError):
    """The share of rejected records passed the limit, so nothing was imported."""

    reason = "TOO_MANY_REJECTIONS"


class WithdrawalsRefusedError(HashlistsError):
    """A file lists so much of a list by nothing that can be matched that it may be misread."""

    reason = "WITHDRAWALS_REFUSED"


class FullListRefusedError(HashlistsError):
    """A file that is to be a whole list looks like a part of it, or means other entries."""

    reason = "FULL_LIST_REFUSED"


class FileOrderError(HashlistsError):
    """A file does not follow what the list had of its sender: it is older, or leaves a gap."""

    reason = "FILE_OUT_OF_ORDER"


class ImportDeclinedError(HashlistsError):
    """Whoever was asked did not agree to what an import would retract."""

    reason = "IMPORT_DECLINED"


class DigestMismatchError(HashlistsError):
    """The file is not the one that was announced (length or SHA-256 differ)."""

    reason = "FILE_DIGEST_MISMATCH"


class ExportTargetError(HashlistsError):
    """The file of an export is there already, or cannot be written. There is no half of it."""

    reason = "EXPORT_TARGET_REFUSED"


class EncryptionRecipientError(HashlistsError):
    """What should be a public key for encryption is none."""

    reason = "ENCRYPTION_RECIPIENT_INVALID"


class DecryptionKeyError(HashlistsError):
    """What should be a private key for decryption is none, or is open to others."""

    reason = "DECRYPTION_KEY_INVALID"


class CatalogError(HashlistsError):
    """The catalog cannot be opened, or is of another version."""

    reason = "CATALOG_UNAVAILABLE"


class CatalogAwayError(CatalogError):
    """The catalog's server cannot be reached, or is starting or stopping: it may be back soon."""


class OtherCatalogError(CatalogError):
    """The catalog is not the one that was there before: its lists must not take others' place."""


class AccessDatabaseError(HashlistsError):
    """The database of clients and audit cannot be used, or is of another version."""

    reason = "ACCESS_DATABASE_UNAVAILABLE"


class AuditError(HashlistsError):
    """An act cannot be recorded, so it does not take place; or the record is damaged."""

    reason = "AUDIT_UNAVAILABLE"


class ClientInvalidError(HashlistsError):
    """What is said of a client cannot be."""

    reason = "CLIENT_INVALID"


class ClientNotFoundError(HashlistsError):
    """No client goes by that name."""

    reason = "CLIENT_NOT_FOUND"


class ClientExistsError(HashlistsError):
    """A client of that name, or with that identity, exists."""

    reason = "CLIENT_ALREADY_EXISTS"


class TokenKeyError(HashlistsError):
    """The key of the tokens is missing, damaged, open to others, or another one."""

    reason = "TOKEN_KEY_INVALID"


class ListNotFoundError(HashlistsError):
    """No list goes by that name."""

    reason = "LIST_NOT_FOUND"


class ListExistsError(HashlistsError):
    """A list of that name exists already."""

    reason = "LIST_ALREADY_EXISTS"


class EntryNotFoundError(HashlistsError):
    """No entry goes by that id."""

    reason = "ENTRY_NOT_FOUND"


class DerivedHashError(HashlistsError):
    """A code cannot be one that was derived from an entry's own file; nothing was changed."""

    reason = "DERIVED_HASH_INVALID"


class HarmMismatchError(HashlistsError):
    """Entries would be taken for another harm's: by a list, or by a reader of a file."""

    reason = "LIST_HARM_MISMATCH"


class ListChangedError(HashlistsError):
    """The list is not the one that was looked at any more."""

    reason = "LIST_CHANGED"


class InvalidNameError(HashlistsError):
    """A name of a list or an exchange is not of the allowed form."""

    reason = "LIST_NAME_INVALID"


class ImportConflictError(HashlistsError):
    """The idempotency key was used before, for another file or in another way."""

    reason = "IMPORT_CONFLICT"


class ImportInProgressError(HashlistsError):
    """Another process is staging a change of the same list; try again when it has ended."""

    reason = "IMPORT_IN_PROGRESS"


class ExchangeNotFoundError(HashlistsError):
    """No exchange goes by that name."""

    reason = "EXCHANGE_NOT_FOUND"


class ExchangeExistsError(HashlistsError):
    """An exchange of that name, or one that fills that list, exists already."""

    reason = "EXCHANGE_ALREADY_EXISTS"


class ListFedError(HashlistsError):
    """An exchange fills the list, or is to, and entries from elsewhere have no place in it."""

    reason = "LIST_FILLED_BY_EXCHANGE"


class HandlingWidenedError(HashlistsError):
    """A list's entries would go to others, or be used for longer, and who asks may not say so."""

    reason = "HANDLING_WIDENED"


class ExchangeConflictError(HashlistsError):
    """Another fetch of the same exchange has gone on meanwhile; nothing was taken."""

    reason = "EXCHANGE_CONFLICT"


class ExchangeError(HashlistsError):
    """An exchange could not be fetched, or told something. What came before it stays."""

    reason = "EXCHANGE_FAILED"


class ExchangeSettingsError(ExchangeError):
    """What an exchange was given (address, options, kind) is wrong."""

    reason = "EXCHANGE_SETTINGS_INVALID"


class ExchangePausedError(ExchangeError):
    """The exchange is paused."""

    reason = "EXCHANGE_PAUSED"


class ExchangeCredentialsError(ExchangeError):
    """Credentials are missing, kept where others can read them, or not accepted."""

    reason = "EXCHANGE_CREDENTIALS_INVALID"


class ExchangeAwayError(ExchangeError):
    """The exchange cannot be reached, is overloaded or fails; it may be asked again.

    Attributes:
        retry_after: seconds that it asked to be left alone for; None where it did not.
    """

    reason = "EXCHANGE_UNAVAILABLE"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ExchangeRefusedError(ExchangeError):
    """The exchange answered in a way that asking again will not change."""

    reason = "EXCHANGE_REFUSED"


class ExchangePageError(ExchangeError):
    """An answer of an exchange cannot be trusted as a whole; nothing of it was taken."""

    reason = "EXCHANGE_PAGE_MALFORMED"


class RevisionNotFoundError(HashlistsError):
    """The list has no such revision."""

    reason = "REVISION_NOT_FOUND"


class ImportProcessError(HashlistsError):
    """The process that ran an import ended early. Nothing was imported; it may be tried again."""

    reason = "IMPORT_PROCESS_ENDED"


class ExportProcessError(HashlistsError):
    """The process that ran an export ended early. What came of the file is no whole one."""

    reason = "EXPORT_PROCESS_ENDED"


class SnapshotError(HashlistsError):
    """A snapshot is damaged, foreign, or of a version this build does not read."""

    reason = "SNAPSHOT_INVALID"


class SnapshotLockedError(SnapshotError):
    """A snapshot is encrypted, and the key is not here."""

    reason = "SNAPSHOT_KEY_NOT_HERE"


class SnapshotSignatureError(SnapshotError):
    """What a store says is published was signed by none of the keys that count."""

    reason = "SNAPSHOT_SIGNATURE_INVALID"


class SnapshotRolledBackError(SnapshotError):
    """A store shows an older publication than it showed before, though rightly signed."""

    reason = "SNAPSHOT_STORE_ROLLED_BACK"


class SnapshotStoreError(HashlistsError):
    """A store of published snapshots is away, refuses access, or lacks what it should hold."""

    reason = "SNAPSHOT_STORE_UNAVAILABLE"


class SnapshotConflictError(SnapshotStoreError):
    """Another builder published to the same store meanwhile; nothing was published by this one."""

    reason = "SNAPSHOT_PUBLISH_CONFLICT"


class SnapshotKeyError(HashlistsError):
    """A key file is missing, of the wrong kind, or a private one that others may read."""

    reason = "SNAPSHOT_KEY_INVALID"


class EncryptionKeyError(HashlistsError):
    """A key that encrypts what lies on disk is missing, open to others, or another one."""

    reason = "ENCRYPTION_KEY_INVALID"


class EncryptedFileError(HashlistsError):
    """An encrypted file was altered, is cut off, or is none."""

    reason = "ENCRYPTED_FILE_INVALID"


class BackupError(HashlistsError):
    """A backup cannot be made or restored as asked. What was there before still is."""

    reason = "BACKUP_FAILED"
