"""`hashwarden lists entry`: one entry, how it stands, and how it came to.

No hash value is shown, nor an id or a key of the source's that is one; which kinds there are is.
Only the catalog of this machine is asked: flags and the source's own ids are not for everybody who
can reach a server.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from hashlists.model import ChangeKind, EntryFlag
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import print_json, print_table
from matcher.cli.selecting import parse_entry_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.catalog import ListRecord
    from hashlists.model import Entry, EntryEvent, EntryRecord, HashKind

_HEX = re.compile(r"[0-9A-Fa-f]{32,}")
_HIDDEN = "(a hash; not shown)"


class _EntryId(click.ParamType[int]):
    """An entry's id, as tables show it ("#7") or without the sign."""

    name = "entry"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        try:
            return parse_entry_id(str(value).strip().removeprefix("#"))
        except ValueError:
            self.fail(
                "no entry's id, which is a number as `match` and `lookup` show it", param, ctx
            )


@click.command("entry", short_help="Show one entry and its history.")
@click.argument("entry_id", metavar="ENTRY", type=_EntryId())
@options.as_json
@pass_session
def command(session: Session, *, entry_id: int, as_json: bool) -> None:
    """Show one entry: its list, what its source says of it, how it stands, and its history.

    ENTRY is an id as `match` and `lookup` show it. Which kinds of hash it has is told, their values
    never are. Only the catalog of this machine can be asked, not a server: flags and the source's
    own ids are not for everybody who can reach one.
    """
    with session.catalog() as catalog:
        record = catalog.entry_record(entry_id)
        held = catalog.get_list(record.entry.list_name)
    if as_json:
        print_json(entry_object(record, held))
    else:
        print_table(("entry", str(entry_id)), _facts(record, held))
        print_table(_COLUMNS, [_event_cells(event) for event in record.history])


def entry_object(record: EntryRecord, held: ListRecord) -> dict[str, Any]:
    """The JSON object of an entry."""
    entry = record.entry
    issued, handling = entry.classification, entry.handling
    return {
        "entry": entry.entry_id,
        "list": entry.list_name,
        "harm": held.hash_list.harm.value,
        "list_state": held.hash_list.state.value,
        "in_force": not (record.retracted_by or _is_expired(entry)),
        "retracted_by": list(record.retracted_by),
        "expired": _is_expired(entry),
        "source_id": _shown(entry, entry.source_id),
        "source_key": _shown(entry, _text_key(entry)),
        "classification": None
        if issued is None
        else {"scheme": issued.scheme, "profile": issued.profile, "code": issued.code},
        "flags": _flags(entry),
        "hashes": _kinds(entry),
        "derived": [{"kind": kind, "derivation": made} for kind, made in _derived(entry)],
        "size": entry.size,
        "media_type": entry.media_type,
        "verified_count": entry.verified_count,
        "source_updated_at": entry.source_updated_at,
        "handling": {
            "originator": handling.originator,
            "releasable_to": list(handling.releasable_to),
            "expires_at": handling.expires_at.isoformat() if handling.expires_at else None,
        },
        "history": [
            {
                "revision": event.revision,
                "committed_at": event.committed_at.isoformat(),
                "what": event.what,
                "origin": event.origin or None,
                "kind": event.kind.value,
                "author": event.author,
                "reason": event.reason,
            }
            for event in record.history
        ],
    }


def _facts(record: EntryRecord, held: ListRecord) -> list[tuple[str, str]]:
    entry, about = record.entry, held.hash_list
    issued = entry.classification
    handling = entry.handling
    said = {name: "yes" if is_set else "no" for name, is_set in _flags(entry).items()}
    facts = [
        ("list", f"{about.name} ({about.harm.value}, {about.state.value})"),
        ("state", _state(record)),
        ("source id", _shown(entry, entry.source_id)),
        ("source's key", _shown(entry, _text_key(entry))),
        ("class", issued and issued.words),
        ("flags", ", ".join(f"{name}: {word}" for name, word in said.items())),
        ("hashes", ", ".join(_counted(kind, n) for kind, n in _kinds(entry).items())),
        ("derived codes", ", ".join(f"{kind} ({made})" for kind, made in _derived(entry))),
        ("size", None if entry.size is None else counted(entry.size, "byte")),
        ("media type", entry.media_type),
        ("verified by", None if entry.verified_count is None else f"{entry.verified_count:,}"),
        ("source's date", entry.source_updated_at),
        ("originator", handling.originator),
        ("releasable to", ", ".join(handling.releasable_to) or "nobody"),
        ("expires", handling.expires_at and f"{handling.expires_at:%Y-%m-%d %H:%M} UTC"),
    ]
    return [(name, text) for name, text in facts if text]


def _state(record: EntryRecord) -> str:
    told = [f"retracted by {_WHO[origin]}" for origin in record.retracted_by]
    if _is_expired(record.entry):
        told.append("expired")
    return ", ".join(told) or "in force"


_WHO = {"source": "its source", "operator": "an operator"}
_WORDS = {"restored": "no longer retracted"}
#: What happens by them to an entry says it all.
_OWN_ACTS = (ChangeKind.RETRACT, ChangeKind.RESTORE)
_COLUMNS = ("revision", "when (UTC)", "what", "by", "reason")


def _event_cells(event: EntryEvent) -> tuple[str, ...]:
    what = _WORDS.get(event.what, event.what)
    whose = f" by {_WHO[event.origin]}" if event.origin else ""
    way = "" if event.kind in _OWN_ACTS else f" ({event.kind.value})"
    return (
        str(event.revision),
        f"{event.committed_at:%Y-%m-%d %H:%M:%S}",
        f"{what}{whose}{way}",
        event.author,
        event.reason,
    )


def _is_expired(entry: Entry) -> bool:
    expires = entry.handling.expires_at
    return expires is not None and expires <= datetime.now(UTC)


def _flags(entry: Entry) -> dict[str, bool]:
    """What the source said anything about."""
    return {
        (flag.name or "").lower(): flag in entry.flags
        for flag in EntryFlag
        if flag in entry.flags_known
    }


def _kinds(entry: Entry) -> dict[str, int]:
    """How many values of each kind its source gave."""
    counts = Counter(kind.value for kind in entry.hashes)
    counts.update(kind.value for kind, made in _extras(entry) if made is None)
    return dict(counts)


def _derived(entry: Entry) -> list[tuple[str, str]]:
    """Kind of each code that was derived from the entry's file, and how it was made."""
    return [(kind.value, made) for kind, made in _extras(entry) if made is not None]


def _extras(entry: Entry) -> Iterator[tuple[HashKind, str | None]]:
    for (kind, _), made in zip_longest(entry.extra_hashes, entry.extra_derivations):
        yield kind, made


def _counted(kind: str, number: int) -> str:
    return kind if number == 1 else f"{kind} ({number})"


def _text_key(entry: Entry) -> str | None:
    """The source's own key; None where a hash serves as one."""
    from hashlists.validate import TEXT_KEY_TAG  # noqa: PLC0415  brings numpy

    if not entry.key.startswith(TEXT_KEY_TAG):
        return None
    return entry.key.removeprefix(TEXT_KEY_TAG).decode("utf-8", "replace")


def _shown(entry: Entry, text: str | None) -> str | None:
    """The text, unless a source has taken a hash for its id."""
    if not text:
        return None
    values = [*entry.hashes.values(), *(value for _, value in entry.extra_hashes)]
    encoded = {base64.b64encode(value).decode().rstrip("=") for value in values}
    letters = re.sub(r"[^0-9a-z]", "", text.lower())
    own = any(value.hex() in letters for value in values)  # short ones too, or as a UUID
    is_hash = own or _HEX.search(text) or text.rstrip("=") in encoded
    return _HIDDEN if is_hash else text
