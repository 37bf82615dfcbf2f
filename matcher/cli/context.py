"""What commands share: settings, the catalog, a pool of decoders, something that matches."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import AccessDatabaseError, CatalogError
from hashlists.model import TEST_LIST_NAME
from matcher.cli.output import note
from matcher.cli.refusal import RefusalError
from matcher.errors import CredentialsError, in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.access.database import AccessDatabase
    from hashlists.catalog import Catalog
    from hashlists.snapshot.vault import Vault
    from matcher.cli.matching import ItemMatcher
    from matcher.client import Client
    from matcher.decode.pool import DecodePool
    from matcher.pipeline import Generation, MatchOptions
    from matcher.policy.rules import Policy
    from matcher.settings import Settings


class Session:
    """One run of the command line. Opens things when they are asked for, closes what it opened.

    Args:
        data: the data folder that the user named, or None.
    """

    def __init__(self, data: Path | None) -> None:
        self._data = data

    @property
    def words(self) -> list[str]:
        """What begins a command line that works on the same data."""
        return ["hashwarden", *([] if self._data is None else ["--data", str(self._data)])]

    @cached_property
    def settings(self) -> Settings:
        """What defaults, file, environment and command line add up to."""
        return self.load_settings()

    def load_settings(self, **overrides: object) -> Settings:
        """Reads the settings anew; `overrides` are what a command's own options set.

        Raises:
            SettingsError: naming each mistake.
        """
        from matcher.settings import load_settings  # noqa: PLC0415  only for commands that need it

        return load_settings(self._data, overrides=overrides)

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        """The policies by name.

        Raises:
            PolicyError: naming each mistake in the policy file.
        """
        from matcher.policy.rules import policies_from_dict  # noqa: PLC0415

        return policies_from_dict(self.settings.policy_document, origin=self.settings.policy_origin)

    @cached_property
    def vault(self) -> Vault | None:
        """The keys of encrypted snapshots; None where none are set."""
        from matcher.follow.vaults import make_vault  # noqa: PLC0415

        return make_vault(self.settings.encryption_keys)

    @cached_property
    def author(self) -> str:
        """Who does this: the name of the account, for the catalog's record."""
        try:
            import pwd  # noqa: PLC0415  not on every platform

            return pwd.getpwuid(os.getuid()).pw_name
        except (ImportError, KeyError):
            return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"

    @contextmanager
    def catalog(self, *, create: bool = False, of_any: bool = False) -> Iterator[Catalog]:
        """The catalog.

        Args:
            create: make it, and the data folder, where there is none and no lists are published.
            of_any: also one that is not of the published lists, for who only tells of it.

        Raises:
            OtherCatalogError: it is not the one that the published lists are of.
            CatalogError: there is none and none is to be made; or it cannot be opened.
            RefusalError: this machine is a replica.
        """
        from hashlists.catalog import Catalog  # noqa: PLC0415  brings SQLAlchemy
        from hashlists.snapshot.origin import catalog_of, has_snapshots  # noqa: PLC0415  brings numpy

        self.require_no_replica()
        settings = self.settings
        if self.lost_catalog:
            raise CatalogError(self.lost_catalog)
        make = create and not has_snapshots(settings.snapshots_dir)
        if make:
            settings.prepare_data_dir()
        else:
            self._require_catalog()
        published = "" if of_any else catalog_of(settings.snapshots_dir)
        with Catalog.open(settings.catalog_url, make=make, catalog_id=published) as catalog:
            yield catalog

    @property
    def actor(self) -> str:
        """Who does this, for the audit."""
        return f"account:{self.author}@{socket.gethostname()}"

    @contextmanager
    def client(self, server: str) -> Iterator[Client]:
        """A client of the server of that address, with the credentials that the settings name.

        Raises:
            CredentialsError: they cannot be read, or would go to another machine in the clear.
        """
        from matcher.client import Client  # noqa: PLC0415  brings grpc

        with Client(server, **self.credentials()) as client:
            yield client

    def credentials(self) -> dict[str, Any]:
        """What a client of a server is made with, as the settings name it.

        Raises:
            CredentialsError: it cannot be read.
        """
        from matcher.client import tls_credentials  # noqa: PLC0415  brings grpc

        settings, credentials = self.settings, None
        if settings.server_ca:
            credentials = tls_credentials(
                None if settings.server_ca == "system" else Path(settings.server_ca),
                certificate=settings.server_certificate,
                key=settings.server_key,
            )
        return {"credentials": credentials, "token": self._token()}

    def _token(self) -> str | None:
        file = self.settings.server_token_file
        if file is None:
            return None
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(
                f"server_token_file: {file}: "
                + (in_words(error) if isinstance(error, OSError) else "is no token")
            ) from None

    @contextmanager
    def access_database(self, *, create: bool = True) -> Iterator[AccessDatabase]:
        """The database of clients and audit.

        Args:
            create: make it, and the data folder, where there is none.

        Raises:
            AccessDatabaseError: there is none and none is to be made; or it cannot be opened.
        """
        from hashlists.access.audit_head import HeadFile  # noqa: PLC0415  brings SQLAlchemy
        from hashlists.access.database import AccessDatabase  # noqa: PLC0415  brings SQLAlchemy

        file = self.settings.access_file
        if create:
            self.settings.prepare_data_dir()
        elif file is not None and not file.exists():
            raise AccessDatabaseError(
                f"there is no database of clients and audit in {file.parent}: nobody was added, "
                "and nothing recorded; name the right folder with --data or HASHWARDEN_DATA"
            )
        head_file = HeadFile(self.settings.audit_head_file)
        with AccessDatabase.open(self.settings.access_url, head_file) as database:
            yield database

    @contextmanager
    def recorded(self, act: str, subject: str, **details: object) -> Iterator[dict[str, Any]]:
        """Around a change: it is recorded before, and how it ended after.

        Yields:
            What is put into it stands in the record of the end.

        Raises:
            AuditError, AccessDatabaseError: nothing was done, as it cannot be recorded.
        """
        from hashlists.access.audit import Event  # noqa: PLC0415  brings SQLAlchemy
        from hashlists.access.recording import recorded  # noqa: PLC0415

        event = Event(self.actor, act, subject, details=details)
        with self.access_database() as database, recorded(database, event) as told:
            yield told

    def token_key(self) -> bytes:
        """The key that tokens are digested with, which is made where there is none.

        Raises:
            TokenKeyError: it cannot be read or made.
        """
        from hashlists.access.tokens import load_or_make_key  # noqa: PLC0415

        return load_or_make_key(self.settings.token_key_file)

    @property
    def is_replica(self) -> bool:
        """Whether this machine pulls its snapshots; it has no catalog then, whatever lies there."""
        return bool(self.settings.snapshot_pull_url)

    @property
    def has_catalog(self) -> bool:
        """Whether this machine has the catalog, rather than snapshots that it pulls."""
        file = self.settings.catalog_file
        return not self.is_replica and (file is None or file.exists())

    def require_no_replica(self) -> None:
        """What is changed or built at a replica would be served by nobody.

        Raises:
            RefusalError: this machine is one.
        """
        if self.is_replica:
            raise RefusalError(
                f"{self._replica_told()}; lists are kept, and snapshots built, on the machine that "
                "publishes there: run this on that one, or add --server HOST:PORT of its server"
            )

    def _replica_told(self) -> str:
        settings = self.settings
        return (
            f"this machine is a replica without a catalog: it pulls its snapshots from "
            f"{settings.snapshot_pull_url} (snapshot_pull_url, "
            f"{settings.sources['snapshot_pull_url']})"
        )

    @property
    def lost_catalog(self) -> str:
        """That the catalog's file is gone while lists of it are served, and what to do; else empty.

        An empty one must not take its place: servers would follow it, and nothing would match.
        """
        from hashlists.snapshot.origin import has_snapshots  # noqa: PLC0415  brings cryptography

        settings = self.settings
        file = settings.catalog_file
        if file is None or file.exists() or self.is_replica:
            return ""
        if not has_snapshots(settings.snapshots_dir):
            return ""
        return (
            f"the catalog {file} is gone, while a snapshot of its lists is in "
            f"{settings.snapshots_dir}: put the file back, or bring back a backup with `hashwarden "
            "catalog restore`. None is made in its place, since nothing would match then; "
            "to begin anew, stop the servers and move that folder away first"
        )

    def _require_catalog(self) -> None:
        """Looking into a folder that was misspelt must not answer that nothing is known."""
        settings = self.settings
        file = settings.catalog_file
        if file is None or file.exists():
            return
        raise CatalogError(
            f"there is no catalog in {file.parent} (data folder from {settings.sources['data_dir']}"
            f", catalog from {settings.sources['catalog_url']}); name the right folder with --data "
            "or HASHWARDEN_DATA, or make a catalog with `hashwarden lists import FILE --list NAME "
            "--harm HARM --source SOURCE` or `hashwarden serve`"
        )

    @contextmanager
    def decode_pool(self, workers: int | None = None) -> Iterator[DecodePool]:
        """A pool of decoders.

        Args:
            workers: decoders at work at once; None for the setting, but no more than CPUs: here
                nothing else takes their time while one is between two files.
        """
        from matcher.decode.choosing import Sandbox, decode_pool  # noqa: PLC0415  brings Pillow
        from matcher.decode.limits import DecodeLimits, WorkerLimits  # noqa: PLC0415
        from matcher.settings.machine import usable_cpus  # noqa: PLC0415  with the settings

        pool = decode_pool(
            DecodeLimits(**self.settings.decode_limits),
            WorkerLimits(**self.settings.worker_limits),
            workers=workers or min(self.settings.decode_workers, usable_cpus()),
            sandbox=Sandbox(self.settings.decode_sandbox),
        )
        try:
            yield pool
        finally:
            pool.close()

    @contextmanager
    def matcher(
        self, server: str | None, *, policy: str, views: tuple[str, ...], max_matches: int
    ) -> Iterator[ItemMatcher]:
        """Matches against the server of that address, or else against the local catalog."""
        from matcher.pipeline import MatchOptions  # noqa: PLC0415  brings numpy and faiss

        options = MatchOptions(policy=policy, views=views, max_matches=max_matches)
        with self._remote(server, options) if server else self._local(options) as matcher:
            yield matcher

    @contextmanager
    def _local(self, options: MatchOptions) -> Iterator[ItemMatcher]:
        from matcher.cli.local import LocalMatcher  # noqa: PLC0415

        generation = self.generation()
        generation.policy_for(options)
        warn_of_no_entries(generation)
        with self.decode_pool() as pool:
            yield LocalMatcher(generation, pool, options, max_bytes=self.settings.image_bytes)

    def generation(self) -> Generation:
        """The lists of this machine at their newest revision, and its policies.

        Raises:
            RefusalError: this machine is a replica.
            CatalogError, SnapshotError: there are none, or they cannot be opened.
        """
        from matcher.follow.one_shot import open_generation  # noqa: PLC0415

        settings = self.settings
        if self.is_replica:
            raise RefusalError(
                f"{self._replica_told()}; what it has pulled is matched by `hashwarden serve`: "
                f"start that, and ask it with --server {settings.listen}"
            )
        with self.catalog() as catalog:
            settings.prepare_data_dir()  # the snapshot lies there, wherever the catalog does
            add_test_list(catalog)
            return open_generation(
                catalog,
                settings.snapshots_dir,
                self.policies,
                default_policy=settings.default_policy,
                vault=self.vault,
            )

    @contextmanager
    def _remote(self, server: str, options: MatchOptions) -> Iterator[ItemMatcher]:
        from matcher.cli.remote import RemoteMatcher  # noqa: PLC0415

        with self.client(server) as client:
            yield RemoteMatcher(client, options, max_bytes=self.settings.image_bytes)


def warn_of_no_entries(generation: Generation) -> None:
    """Says so where nothing but the built-in list can match."""
    if not any(x.entries for x in generation.index.lists if x.name != TEST_LIST_NAME):
        note(
            f"warning: no list but the built-in {TEST_LIST_NAME} holds an entry, so no abuse "
            "image can match",
            style="yellow",
        )


def add_test_list(catalog: Catalog) -> None:
    """Sees to it that the built-in list is there, and tells when it was not.

    Raises:
        CatalogError: the catalog cannot be written.
    """
    from matcher.builtin_list import ensure_test_list  # noqa: PLC0415  brings numpy

    if ensure_test_list(catalog):
        note(
            f"The built-in list {TEST_LIST_NAME} was added; the catalog is now at revision "
            f"{catalog.head()}."
        )


pass_session = click.make_pass_decorator(Session)
