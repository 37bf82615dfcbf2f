"""The id of each call: the caller's own (`x-request-id`), else one that is made here.

It stands in the log beside what is told while the call is worked on, in the details of an error,
and in the trailing metadata of every answer, so that a platform finds a call again on both sides.
What callers send is taken only where it can do no harm in a log or a header.
"""

from __future__ import annotations

import random
import re
from typing import Any

from matcher.telemetry import request_id

Context = Any  # grpc.aio.ServicerContext is generic over what mypy cannot see here
Metadata = Any  # pairs of texts, or of text and bytes

HEADER = "x-request-id"
_ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


def chosen(metadata: Metadata) -> str:
    """The id that a caller sent; a new one where it sent none, several, or one that is not fit."""
    sent = [str(value) for key, value in metadata or () if key == HEADER]
    if len(sent) == 1 and _ACCEPTED.fullmatch(sent[0]):
        return sent[0]
    return _new_id()


def _new_id() -> str:
    """A UUID of version 4. It may be guessed: asking the kernel would cost more than all else."""
    made = f"{random.getrandbits(128):032x}"
    return f"{made[:8]}-{made[8:12]}-4{made[13:16]}-a{made[17:20]}-{made[20:]}"


def note_request(context: Context) -> str:
    """From here on, in this call, that is its id; the answer will carry it."""
    known = id_of(context)
    context.set_trailing_metadata(((HEADER, known),))
    return known


def id_of(context: Context) -> str:
    """The id of a call, also of one that is refused before anybody noted it."""
    known = request_id.get()
    if not known:
        known = chosen(context.invocation_metadata())
        request_id.set(known)
    return known


__all__ = ["HEADER", "chosen", "id_of", "note_request"]
