"""What the tests of exchanges share: an exchange in a catalog, and what its list then holds."""

from __future__ import annotations

from dataclasses import replace

from hashlists.catalog import ExportSelection
from hashlists.exchanges.fetching import FetchOrder, fetch
from hashlists.exchanges.registry import ExchangeSettings
from hashlists.exchanges.retrying import RetryLimits
from hashlists.formats.base import tagged_key
from hashlists.model import Harm, HashKind, HashList, ListState
from tests.exchange_servers import OPTIONS, credentials_of

NAME = "a-feed"
LIST = "from-a-feed"


def add_exchange(catalog, server, **options):
    """The exchange of a server, and an empty list for it."""
    kind = server.feed.kind
    catalog.create_list(HashList(LIST, Harm.TEST, kind, state=ListState.SHADOW), author="a person")
    settings = ExchangeSettings(server.url, {**OPTIONS[kind], **options})
    return catalog.add_exchange(NAME, kind=kind, list_name=LIST, settings=settings.to_document())


def order(time, **changes):
    base = FetchOrder("a person", clock=time.clock(), retries=RetryLimits(attempts=3))
    return replace(base, **changes)


def fetch_from(catalog, server, **changes):
    """One fetch, by the feed's own time."""
    return fetch(
        catalog, NAME, order(server.feed.time, **changes), credentials_of(server.feed.kind)
    )


def held(catalog):
    """Key, hash and class of what is in force in the list."""
    found = {}
    with catalog.read() as reader:
        for batch in reader.export(ExportSelection([LIST], None)):
            for row, key in enumerate(batch.entries.keys):
                of_class = batch.entries.classifications[row]
                found[tagged_key(key)] = (
                    batch.entries.hashes[HashKind.PDQ][row],
                    of_class.code if of_class else "",
                )
    return found
