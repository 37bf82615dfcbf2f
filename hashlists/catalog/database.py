"""What the catalog asks of a database, beside plain SQL: one class for each kind of database.

`engine` picks the one that a URL or a connection belongs to. Nothing here decides anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Row


class Database(ABC):
    """One kind of database. Its methods raise what the driver raises."""

    @abstractmethod
    def open(self, url: URL, *, make: bool) -> Engine:
        """An engine whose transactions read one snapshot each, unless `writer` says otherwise.

        Args:
            url: of the database.
            make: make a file that is missing; a server has its databases made by others.

        Raises:
            CatalogError: the URL is unusable, or the file is missing and not to be made.
        """

    @abstractmethod
    def writer(self, engine: Engine) -> Engine:
        """The same engine, whose transactions take the catalog's write lock when they begin."""

    @abstractmethod
    def stager(self, engine: Engine) -> Engine:
        """The same engine, whose transactions write what no reader sees yet."""

    @abstractmethod
    def follower(self, engine: Engine) -> Engine:
        """The same engine, for readers who look again and again: a wipe does not end for them."""

    @abstractmethod
    def migrator(self, engine: Engine) -> Engine:
        """The same engine, for one migration at a time, also of a database without any table."""

    @abstractmethod
    def staging_connection(self, engine: Engine) -> Connection:
        """A connection of its own for bulk staging, that `end_staging` must be called for.

        What it commits may be lost in a power cut, which is no loss while no revision refers to
        it; `make_durable` ends that before the revision is committed.
        """

    @property
    @abstractmethod
    def versions_may_come_first(self) -> bool:
        """Whether a staging connection may write versions before their entries."""

    @abstractmethod
    def end_staging(self, connection: Connection) -> None:
        """Closes a staging connection for good; it never serves anyone else."""

    @abstractmethod
    def take_write_lock(self, connection: Connection) -> None:
        """Makes this transaction of a staging connection a writer's; it must be its first act."""

    @abstractmethod
    def make_durable(self, connection: Connection) -> None:
        """The next commit of a staging connection reaches the disk, with all before it."""

    @abstractmethod
    def hold_change(self, connection: Connection, catalog_id: str, change_id: int) -> None:
        """Shows others that the owner of this staging connection lives, as long as it does."""

    @abstractmethod
    def is_held(
        self, connection: Connection, catalog_id: str, change: Row[Any], *, now: int
    ) -> bool:
        """Whether the owner of an open change may still be staging."""

    @abstractmethod
    def logs_values(self, connection: Connection) -> bool:
        """Whether a server writes the values of statements to its log."""

    @abstractmethod
    def rewrite_files(self, engine: Engine) -> bool:
        """Rewrites the database's files without a trace of what was deleted.

        Who is in the way is waited for here, in the way that disturbs others least: see there.

        Returns:
            False when traces are left, and it must be done again.
        """

    @abstractmethod
    def refresh_statistics(self, engine: Engine, rows: int) -> None:
        """Has the planner know of what a committed change of so many rows brought, if it is much.

        To be called outside any transaction. It never fails.
        """
