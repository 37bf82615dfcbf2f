"""`hashwarden catalog`: encrypted backups of the catalog, and the keys that encrypt them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from hashlists.encryption.purposes import CATALOG_DUMP
from hashlists.errors import EncryptedFileError, EncryptionKeyError
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_json, waiting
from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.catalog.backup import BackupReport
    from hashlists.encryption.keys import Key, KeySource

_READ_BYTES: Final = 1 << 20
#: What stands in the audit where other commands name a file.
_PIPED: Final = "<stdin>"


@click.group("catalog")
def command() -> None:
    """Back up the catalog, encrypted, and restore it.

    The setting encryption_keys names the keys, which encrypt snapshots too: see docs/encryption.md.
    Keep a copy of the keys apart from the backups: without them nothing can be restored.
    """


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@options.as_json
@pass_session
def backup(session: Session, *, file: Path, as_json: bool) -> None:
    """Write an encrypted backup of the catalog to FILE, while it is in use.

    For a catalog in SQLite. FILE must not be there yet. For PostgreSQL pipe pg_dump into `catalog
    encrypt`.
    """
    from hashlists.catalog.backup import back_up  # noqa: PLC0415  brings SQLAlchemy
    from hashlists.encryption.keys import shown  # noqa: PLC0415  little used

    keys = _keys(session)
    session.require_no_replica()
    with session.recorded("catalog.backup", file.name) as told:
        with waiting("Backing up the catalog"):
            report = back_up(session.settings.catalog_file, file, keys)
        told["revision"] = report.revision
    if as_json:
        print_json({"file": str(file), **asdict(report)})
    note(f"{file}: {_told(report)}, encrypted with key {shown(keys.newest().name)}.")


@command.command()
@click.argument("file", type=click.File("rb"))
@options.as_json
@pass_session
def restore(session: Session, *, file: BinaryIO, as_json: bool) -> None:
    """Make the catalog from the backup in FILE, or from standard input (-).

    There must be no catalog yet: stop everything that uses it, and move it away. A backup that is
    cut off or was altered, or whose key is not here, restores nothing. Snapshots need not be
    restored: servers build them anew.
    """
    from hashlists.catalog.backup import restore as restored  # noqa: PLC0415  brings SQLAlchemy

    keys = _keys(session)
    session.require_no_replica()
    session.settings.prepare_data_dir()
    with session.recorded("catalog.restore", Path(file.name).name) as told:
        with waiting("Restoring the catalog"):
            report = restored(file, session.settings.catalog_file, keys)
        told["revision"] = report.revision
    if as_json:
        print_json(asdict(report))
    note(f"Restored: {_told(report)}, as it was on {report.created_at}.")


@command.command()
@pass_session
def encrypt(session: Session) -> None:
    """Encrypt standard input to standard output, with the newest key.

    For what other programs dump, such as pg_dump: `pg_dump --format=custom DATABASE | hashwarden
    catalog encrypt > FILE`. It is recorded in the audit, as a backup is.
    """
    from hashlists.encryption import stream  # noqa: PLC0415  brings cryptography
    from hashlists.encryption.keys import shown  # noqa: PLC0415  little used

    key = _keys(session).newest()
    if sys.stdout.isatty():
        raise RefusalError("what is encrypted is nothing for a terminal: add > FILE")
    with session.recorded("catalog.encrypt", _PIPED, key=shown(key.name)) as told:
        told["nbytes"] = 0
        for each in stream.encrypt(_pieces(), key, CATALOG_DUMP):
            told["nbytes"] += sys.stdout.buffer.write(each)
        sys.stdout.buffer.flush()


@command.command()
@pass_session
def decrypt(session: Session) -> None:
    """Decrypt standard input to standard output: what `catalog encrypt` made.

    Every piece is authenticated before it is written; that the end is missing shows only there, by
    exit status 2. So what reads it must do all or nothing: `set -o pipefail; hashwarden catalog
    decrypt < FILE | pg_restore --single-transaction --dbname DATABASE`. It is recorded in the
    audit, with how much was handed out in clear.
    """
    from hashlists.encryption import stream  # noqa: PLC0415  brings cryptography
    from hashlists.encryption.keys import shown  # noqa: PLC0415  little used

    keys = _keys(session)
    with session.recorded("catalog.decrypt", _PIPED) as told:

        def find(name: bytes) -> Key | None:
            told["key"] = shown(name)
            return keys.find(name)

        told["nbytes"] = 0
        try:
            for text in stream.decrypt(sys.stdin.buffer.read, find, CATALOG_DUMP):
                told["nbytes"] += sys.stdout.buffer.write(text)
        except EncryptedFileError as error:
            raise EncryptedFileError(f"the input {error}") from None
        except EncryptionKeyError as error:
            raise EncryptionKeyError(f"the input {error}") from None
        sys.stdout.buffer.flush()


@command.command("new-key")
@pass_session
def new_key(session: Session) -> None:
    """Encrypt with a new key from now on; makes the file where there is none.

    The new key goes before the others in the file that encryption_keys names. What older keys
    encrypted can be read for as long as they stand there. `hashwarden index build` then writes the
    snapshot anew; a backup keeps its key, so remove one only once no backup needs it.
    """
    keys = _source(session)
    made = keys.make()
    if not made:
        keys.rotate()
    note(
        "A first key was made: keep a copy of it elsewhere."
        if made
        else "A new key encrypts from now on; older keys go on decrypting. Run `hashwarden index "
        "build`, and keep a copy of the new key elsewhere."
    )


def _keys(session: Session) -> KeySource:
    """The keys, of which there is at least one.

    Raises:
        RefusalError: none are set.
        EncryptionKeyError: they cannot be read.
    """
    keys = _source(session)
    keys.fetch()
    keys.newest()
    return keys


def _source(session: Session) -> KeySource:
    from hashlists.encryption.keys import KeySource  # noqa: PLC0415  little used

    if not session.settings.encryption_keys:
        raise RefusalError(
            "no keys are set: name a file in encryption_keys, e.g. "
            "HASHWARDEN_ENCRYPTION_KEYS=file:/etc/hashwarden/encryption.keys, which `hashwarden "
            "catalog new-key` makes"
        )
    return KeySource(session.settings.encryption_keys)


def _pieces() -> Iterator[bytes]:
    while piece := sys.stdin.buffer.read(_READ_BYTES):
        yield piece


def _told(report: BackupReport) -> str:
    return f"revision {report.revision}, {counted(report.nbytes, 'byte')}"
