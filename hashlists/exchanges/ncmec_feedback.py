"""Tells NCMEC what this member thinks of a fingerprint of an entry.

`PUT v2/entries/MEMBER/ENTRY/TYPE/feedback` with `<feedbackSubmission>`: `<affirmative/>`, or
`<negative>` with the ids of reasons. Which reasons there are differs by environment. How several
reasons are laid out is not clear from what is public: they are sent as several `<guid>` within one
`<reasonIds>`. Sending the same twice replaces the first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence  # noqa: TC003 - of a field
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.sax.saxutils import escape

from hashlists.errors import EntryNotFoundError, ExchangeSettingsError
from hashlists.exchanges.http import Http, HttpLimits
from hashlists.exchanges.ncmec import NcmecClient
from hashlists.exchanges.registry import ExchangeSettings
from hashlists.exchanges.retrying import RetryLimits, retried
from hashlists.formats.base import TEXT_KEY_PREFIX, tagged_key
from hashlists.formats.ncmec import NAMESPACE
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashlists.catalog import Catalog
    from hashlists.exchanges.base import Client
    from hashlists.exchanges.clock import Clock
    from hashlists.exchanges.credentials import Credentials

#: What the exchange calls the kinds of fingerprints.
FINGERPRINTS: Final = {
    HashKind.MD5: "MD5",
    HashKind.SHA1: "SHA1",
    HashKind.PHOTODNA: "PDNA",
    HashKind.PDQ: "PDQ",
}
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TYPE: Final = "application/xml; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Feedback:
    """An opinion of one fingerprint of one entry.

    Attributes:
        entry_id: the catalog's id of the entry.
        kind: of the fingerprint.
        reasons: GUIDs of what is wrong with it; empty for an affirmative opinion.
    """

    entry_id: int
    kind: HashKind
    reasons: Sequence[str] = ()


def send_feedback(
    catalog: Catalog,
    name: str,
    feedback: Feedback,
    credentials: Callable[[Client, ExchangeSettings], Credentials],
    clock: Clock,
    *,
    proxy_for: Callable[[str], str | None] = lambda _: None,
) -> None:
    """Sends an opinion.

    Args:
        catalog: holds the exchange and the entry.
        name: of the exchange.
        feedback: the opinion.
        credentials: finds what the client needs.
        clock: for waits between attempts.
        proxy_for: as in `fetching.FetchOrder`.

    Raises:
        ExchangeNotFoundError: no exchange goes by that name.
        ExchangeSettingsError: it takes no feedback, or this one is not of its form.
        EntryNotFoundError: no such entry came from this exchange, or it has no such fingerprint.
        ExchangeError: it could not be sent, or was not accepted.
    """
    record = catalog.get_exchange(name)
    if record.kind != NcmecClient.kind:
        raise ExchangeSettingsError(f"feedback can be sent to ncmec, not to {record.kind}")
    content = to_xml(feedback)
    path = _path(catalog, record.list_name, feedback)
    settings = ExchangeSettings.from_document(record.settings)
    client = NcmecClient.from_options(settings.options)
    with Http(
        settings.url,
        limits=HttpLimits(),
        clock=clock,
        ca_file=settings.ca_file,
        proxy=proxy_for(settings.url),
    ) as http:
        key = client.log_in(http, credentials(client, settings))

        def put() -> None:
            headers = {**key.headers, "Content-Type": _TYPE}
            with http.ask(path, method="PUT", headers=headers, content=content):
                pass

        retried(put, RetryLimits(), clock)


def to_xml(feedback: Feedback) -> bytes:
    """The body of the request.

    Raises:
        ExchangeSettingsError: a reason is no GUID, or the exchange has no such fingerprints.
    """
    if feedback.kind not in FINGERPRINTS:
        known = ", ".join(FINGERPRINTS)
        raise ExchangeSettingsError(f"there is feedback on {known}, not on {feedback.kind}")
    for reason in feedback.reasons:
        if not _GUID.fullmatch(reason):
            raise ExchangeSettingsError(
                "a reason must be a GUID, e.g. 01234567-89ab-cdef-0123-456789abcdef; the exchange "
                "lists its reasons under v2/feedback"
            )
    guids = "".join(f"<guid>{escape(each)}</guid>" for each in feedback.reasons)
    opinion = f"<negative><reasonIds>{guids}</reasonIds></negative>" if guids else "<affirmative/>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<feedbackSubmission xmlns="{NAMESPACE}">{opinion}</feedbackSubmission>'
    ).encode()


def _path(catalog: Catalog, list_name: str, feedback: Feedback) -> str:
    entry = catalog.entry(feedback.entry_id)
    key = tagged_key(entry.key)
    member, slash, own = key.removeprefix(TEXT_KEY_PREFIX).partition("/")
    if entry.list_name != list_name or not key.startswith(TEXT_KEY_PREFIX) or not slash:
        raise EntryNotFoundError(
            f"entry {feedback.entry_id} did not come from this exchange: it stands in the list "
            f"{entry.list_name}, and the exchange fills {list_name}"
        )
    if feedback.kind not in entry.hashes:
        raise EntryNotFoundError(f"entry {feedback.entry_id} has no {feedback.kind}")
    kind = FINGERPRINTS[feedback.kind]
    return f"v2/entries/{quote(member, safe='')}/{quote(own, safe='')}/{kind}/feedback"


__all__ = ["FINGERPRINTS", "Feedback", "send_feedback", "to_xml"]
