"""What pages of an exchange say: links, tokens, counts; whether pages are a whole list; options.

Of a link only path and query are ever kept: the exchange client joins them to the address that its
operator configured, so that no answer can send it, and its credentials, somewhere else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import parse_qs, urlsplit

from hashlists.errors import FormatError, OptionsError
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashlists.formats.base import PageInfo

#: What an import says where the last page is not among those that it was given.
MORE_PAGES_NOTE: Final = "one page of several: what stands on the following pages is not in it"
_MAX_LINK_CHARS: Final = 8192
_VISIBLE = re.compile(r"[!-~]*+")


def is_unfinished(pages: Sequence[PageInfo]) -> bool:
    """Whether more pages follow those that were read; not so where there are none."""
    return bool(pages) and not any(page.complete for page in pages)


def why_not_whole(pages: Sequence[PageInfo]) -> str | None:
    """What shows that pages are not all that their source has; None where nothing does.

    That they are all is never shown: most formats tell neither the first page of a set nor the
    moment from which it was asked for. Pages of several sets may be given together.
    """
    if is_unfinished(pages):
        return "the last page is not among them"
    if any(page.is_delta for page in pages):
        return "they hold only what changed after some moment"
    leading = sum(not page.complete for page in pages)
    following = sum(page.follows is True for page in pages)
    if following > leading:
        return "pages before them are not among them"
    if following < leading and all(page.follows is not None for page in pages):
        return "the page behind one of them is not among them"
    held = sum(page.records for page in pages)
    total = max((page.total or 0 for page in pages), default=0)
    if total > held:
        return f"they hold {held:,} of {counted(total, 'record')}"
    return None


def link_query(link: object) -> Mapping[str, Sequence[str]]:
    """Names and values of a link's query, which may hold tokens; none for what is no link."""
    try:
        return parse_qs(urlsplit(link).query) if isinstance(link, str) else {}
    except ValueError:
        return {}


def link_target(link: str) -> str:
    """Path and query of a link, which may be whole or a path alone.

    Raises:
        FormatError: it is no link.
    """
    text = link.strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        raise FormatError("the link to the next page is no address") from None
    if len(text) > _MAX_LINK_CHARS or not _VISIBLE.fullmatch(text):
        raise FormatError("the link to the next page is no address")
    path = "/" + parts.path.lstrip("/")
    return f"{path}?{parts.query}" if parts.query else path


def page_token(value: object) -> str | None:
    """A token, cursor or time stamp by which to ask for more; None where there is none.

    Raises:
        FormatError: it is something else, or so long that no address would hold it.
    """
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, str | int | float) else ""
    if isinstance(value, bool) or not text or len(text) > _MAX_LINK_CHARS:
        raise FormatError("the page's token or time for asking on is neither text nor a number")
    if not _VISIBLE.fullmatch(text.replace(" ", "")):
        raise FormatError("the page's token for asking on has odd characters")
    return text


def check_page_count(said: object, found: int) -> None:
    """Compares the number of a page's records with the count that the page may carry.

    Raises:
        FormatError: they differ.
    """
    if said is not None and (isinstance(said, bool) or said != found):
        is_number = isinstance(said, int | float) and not isinstance(said, bool)
        shown = said if is_number else "something that is no number"
        raise FormatError(
            f'"count" says {shown}, but the page holds {counted(found, "record")}; get it again, '
            "or set the option check_count=no if the source counts in another way"
        )


def choose(options: Mapping[str, str], name: str, allowed: Iterable[str], default: str) -> str:
    """An option that takes one of a few words.

    Raises:
        OptionsError: it is another word.
    """
    value = options.get(name, default)
    words = tuple(allowed)
    if value not in words:
        raise OptionsError(f"the option {name} must be one of {', '.join(words)}, not {value!r}")
    return value


def refuse_pickle(stream: BinaryIO) -> None:
    """Tells Python pickles, as some tools keep their state in, and leaves the stream at its start.

    Raises:
        FormatError: it is one. Reading it could run code, so nothing here ever does.
    """
    stream.seek(0)
    head = stream.read(2)
    stream.seek(0)
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:  # noqa: PLR2004 - its versions
        raise FormatError(
            "the file is a Python pickle, which can run code when it is read, so it is refused; "
            "export the list with the tool that wrote it, as text or JSON, and import that"
        )
