"""Reads hashes out of STIX patterns of one simple sort, and of no other.

Read are observations that are nothing but alternatives: `[file:hashes.'SHA-256' = '...' OR
file:hashes.MD5 IN ('...', '...')]`, several of them joined by OR, of `file` or `artifact`. Such a
pattern says that a file with any of these hashes is meant, which is what an entry says. All else
says something else (AND, NOT, FOLLOWEDBY, qualifiers, other properties, wildcards): it is not
guessed at, and the caller is told so by None.

Grammar: STIX 2.1, section 9. Each expression matches without backtracking over what it took.
"""

from __future__ import annotations

import re
from typing import Final

_SPACE: Final = r"[ \t\r\n]*+"
_TEXT: Final = r"'(?:[^'\\]|\\['\\])*+'"
_COMPARISON = re.compile(
    rf"{_SPACE}(?:file|artifact):hashes\."
    rf"(?:(?P<plain>[A-Za-z0-9_]++)|(?P<quoted>{_TEXT})){_SPACE}"
    rf"(?:=={{0,1}}+{_SPACE}(?P<value>{_TEXT})"
    rf"|IN{_SPACE}\({_SPACE}(?P<values>{_TEXT}(?:{_SPACE},{_SPACE}{_TEXT})*+){_SPACE}\)){_SPACE}"
)
_TEXTS = re.compile(_TEXT)
_OPEN = re.compile(rf"{_SPACE}\[")
_CLOSE = re.compile(rf"\]{_SPACE}")
_OR = re.compile(r"OR(?=[ \t\r\n\[])")
_ESCAPED = re.compile(r"\\(['\\])")


def parse_hash_pattern(pattern: str) -> list[tuple[str, str]] | None:
    """The alternatives of a pattern, in its order.

    Returns:
        Pairs of the hash's name and its value as written, or None for any other pattern.
    """
    found: list[tuple[str, str]] = []
    at = 0
    while True:
        opening = _OPEN.match(pattern, at)
        if opening is None:
            return None
        end = _read_alternatives(pattern, opening.end(), found)
        closing = _CLOSE.match(pattern, end) if end is not None else None
        if closing is None:
            return None
        if closing.end() == len(pattern):
            return found
        following = _OR.match(pattern, closing.end())
        if following is None:
            return None
        at = following.end()


def _read_alternatives(pattern: str, at: int, found: list[tuple[str, str]]) -> int | None:
    """Reads comparisons joined by OR; tells where they end, or None where one is of no use."""
    while True:
        comparison = _COMPARISON.match(pattern, at)
        if comparison is None:
            return None
        name = comparison["plain"] or _unquoted(comparison["quoted"])
        values = comparison["value"] or comparison["values"]
        found += [(name, _unquoted(value)) for value in _TEXTS.findall(values)]
        following = _OR.match(pattern, comparison.end())
        if following is None:
            return comparison.end()
        at = following.end()


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1])


__all__ = ["parse_hash_pattern"]
