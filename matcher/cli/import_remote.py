"""Imports at a server.

A list that an import describes is created there only once the file's beginning has proved good
here. One that exists already is never corrected: it must be what it is said to be.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hashlists.errors import ImportDeclinedError, ListNotFoundError
from hashlists.model import ListState
from hashlists.words import counted
from matcher.cli.importing import another_list, may_retract, no_such_list, seekable
from matcher.cli.output import note, progress
from matcher.cli.refusal import RefusalError
from matcher.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matcher.cli.context import Session
    from matcher.cli.importing import ImportOrder
    from matcher.client import Client, ImportResult, WholeList

#: What gRPC says by itself, so that nobody knows what the server has done. The server's own errors
#: have reasons of their own, and then nothing was imported.
_UNCERTAIN = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"})


def import_at_server(session: Session, server: str, order: ImportOrder) -> ImportResult:
    """Sends the file to the server and waits for its report.

    Raises:
        HashlistsError, ServerError: nothing was imported, and why; or what to do where nobody
            knows was told.
        RefusalError: there are several files.
    """
    if len(order.files) != 1:
        raise RefusalError(
            "a server takes one file for an import; put the files of the set into one ZIP archive, "
            "which is imported as a whole"
        )
    with session.client(server) as client:
        exists = _is_there(client, order)
        with seekable(order.files[0], None) as file:
            if not exists:
                _create_list(session, client, server, order, file)
            key = order.idempotency_key or str(uuid.uuid4())
            whole = _whole_list(session, client, order, file) if exists else None
            with _telling_what_is_open(order.list_name, key, created=not exists):
                return _import(session, client, order, file, key, whole_list=whole)


def _whole_list(
    session: Session, client: Client, order: ImportOrder, file: Path
) -> WholeList | None:
    """Has the file tried first, where it is a whole list, and asks about what that would retract.

    Raises:
        ImportDeclinedError: the person did not agree.
        RefusalError: nobody can be asked.
    """
    from matcher.client import WholeList  # noqa: PLC0415  brings grpc

    if order.whole is None:
        return None
    if order.whole.yes:
        return WholeList(force=order.whole.force)
    before = client.get_list(order.list_name).coverage.entries
    tried = WholeList(force=order.whole.force)
    key = str(uuid.uuid4())
    would = _import(session, client, order, file, key, whole_list=tried, dry_run=True)
    if would.absent and not may_retract(order.list_name, would.absent, before, look_first=""):
        raise ImportDeclinedError("it was not agreed to; nothing was imported")
    return WholeList(force=order.whole.force, max_absent_entries=would.absent)


def _is_there(client: Client, order: ImportOrder) -> bool:
    """Whether the list exists, and is what it is said to be.

    Raises:
        ListNotFoundError: it does not exist and too little was said of it to create it.
        ListExistsError: it is another than was described.
    """
    try:
        existing = client.get_list(order.list_name).hash_list
    except ServerError as error:
        if error.reason != ListNotFoundError.reason:
            raise
        if not order.described.suffices:
            raise no_such_list(order.list_name) from None
        return False
    differing = order.described.contradicted_by(existing)
    if differing:
        raise another_list(order.list_name, differing, order.described.state)
    return True


def _create_list(
    session: Session, client: Client, server: str, order: ImportOrder, file: Path
) -> None:
    """Creates the list once the file's beginning is seen to be good, and to be of its harm."""
    from hashlists.importer import check_beginning  # noqa: PLC0415  brings the catalog and numpy

    given = order.max_rejected_share
    wanted = order.described.to_list(order.list_name, at_server=True)
    check_beginning(
        file,
        format=order.format,
        list_name=wanted.name,
        harm=wanted.harm,
        options=order.options,
        max_rejected_share=session.settings.max_rejected_share if given is None else given,
    )
    made = client.create_list(wanted, author=session.author)
    note(f"The list {order.list_name} was created: revision {made.revision} of the catalog.")
    if made.hash_list.state is ListState.SHADOW:
        note(
            f"It is in shadow: it decides nothing until `lists promote {order.list_name} --server "
            f"{server}`.",
            style="yellow",
        )


def _import(
    session: Session,
    client: Client,
    order: ImportOrder,
    file: Path,
    key: str,
    *,
    whole_list: WholeList | None,
    dry_run: bool = False,
) -> ImportResult:
    from matcher.client import ImportProgress  # noqa: PLC0415  brings grpc

    size = file.stat().st_size
    doing = "Trying" if dry_run else "Importing"
    with progress(f"{doing} {order.shown_files}", of_bytes=True) as advance:
        for message in client.import_list(
            file,
            list_name=order.list_name,
            list_format=order.format,
            options=order.options,
            reason=order.reason,
            idempotency_key=key,
            max_rejected_share=order.max_rejected_share,
            author=session.author,
            dry_run=dry_run,
            whole_list=whole_list,
            force=order.force,
            sent=lambda done: advance(done, size, "sent"),
        ):
            if not isinstance(message, ImportProgress):
                return message
            advance(message.bytes_read, size, counted(message.records_read, "record"))
    raise ServerError("the server gave no report", reason="UNKNOWN")


@contextmanager
def _telling_what_is_open(list_name: str, key: str, *, created: bool) -> Iterator[None]:
    """Where an import ends early, says what it has left behind, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, ServerError) as error:
        if isinstance(error, KeyboardInterrupt) or error.reason in _UNCERTAIN:
            note(
                "Whether it was imported is not known. Repeat the command with "
                f"--idempotency-key {key}: what was imported is then not imported again."
            )
        elif created:
            note(f"The list {list_name} stays at the server, empty.")
        raise
