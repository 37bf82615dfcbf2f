"""Logging: for people on a terminal, JSON Lines for machines, and no secret in either.

Nobody is to log a hash, a token or a byte of an upload; the redaction here is a net below that
rule, not a licence. It works on finished text, arguments and tracebacks included, and takes out
what looks like a hash or a credential, even at the cost of an innocent long word. Identifiers
of ours pass whole as fields of their own (`extra={"match_id": ...}`). What is logged while a call
is worked on carries that call's `request_id`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import pairwise
from typing import TextIO

REDACTED = "[redacted]"
#: Fields whose values are identifiers of ours, safe to log whole. A `request_id` is not one: it is
#: the caller's word and may be anything.
IDENTIFIER_FIELDS = frozenset(
    {"match_id", "policy_version", "process_number", "span_id", "trace_id"}
)

#: Of the call that is worked on; empty outside of calls.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: Of the trace that the call belongs to; empty where there is none.
trace_id: ContextVar[str] = ContextVar("trace_id", default="")

_HANDLER_NAME = "hashwarden"
_HUMAN_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_STANDARD_FIELDS = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}
)
#: Chatty below this level whatever the setting says, and prone to repeat values.
_QUIET_LOGGERS = (
    "alembic",
    "asyncio",
    "concurrent",
    "faiss",
    "grpc",
    "PIL",
    "sqlalchemy",
    "waitress",
)

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ in URLs; bearer tokens
    (re.compile(r"(?<=://)[^/\s@]{1,256}:[^/\s@]{1,256}(?=@)"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {REDACTED}"),
    # digests and codes in hex, down to MD5; a literal of bytes; PhotoDNA as decimals
    (re.compile(r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{32,}(?![0-9A-Za-z])"), REDACTED),
    (re.compile(r"""\bb(?:'(?:[^'\\]|\\.){8,}'|"(?:[^"\\]|\\.){8,}")"""), REDACTED),
    (re.compile(r"(?:\d{1,3},\s?){15,}\d{1,3}"), REDACTED),
)
#: 22 characters hold 16 bytes in base64.
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{22,}={0,2}(?![A-Za-z0-9+/_=-])")
_LONG_SEGMENT_CHARS = 12


def redact(text: str) -> str:
    """Takes out what looks like a hash, a code, bytes or a credential."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return _BASE64.sub(_redact_base64, text)


def _redact_base64(found: re.Match[str]) -> str:
    return REDACTED if _looks_random(found[0]) else found[0]


def _looks_random(run: str) -> bool:
    """Tells base64 from words and paths, which change between a, A and 1 far less often."""
    if run.endswith("=") or "+" in run:
        return True
    classes = re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "1", run)))
    if not {"a", "A", "1"} <= set(classes):
        return False
    plain = re.sub("[/_-]", "", classes)
    changes = sum(one != other for one, other in pairwise(plain)) / len(plain)
    longest = max(map(len, re.split("[/_-]", run)))
    return changes >= (0.3 if longest >= _LONG_SEGMENT_CHARS else 0.5)  # random text: 0.6


class HumanFormatter(logging.Formatter):
    """One line a record, identifiers behind it, tracebacks below it."""

    def __init__(self) -> None:
        super().__init__(_HUMAN_FORMAT, datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The finished, redacted text."""
        head, newline, rest = redact(super().format(record)).partition("\n")
        marks = [
            f" {key}={vars(record)[key]}" for key in sorted(IDENTIFIER_FIELDS & vars(record).keys())
        ]
        if called := _request_id(record):
            marks.append(f" request_id={redact(called)}")
        return head + "".join(marks) + newline + rest


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    Its keys are `time` (UTC, RFC 3339), `level`, `logger`, `message`, `request_id` where a call is
    worked on, those of `extra`, and `error` with the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The finished, redacted line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if called := _request_id(record):
            line["request_id"] = redact(called)
        if traced := trace_id.get():
            line["trace_id"] = traced
        for key, value in vars(record).items():
            if key not in _STANDARD_FIELDS and key not in line:
                line[key] = _plain(value, whole=key in IDENTIFIER_FIELDS)
        if record.exc_info:
            line["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _request_id(record: logging.LogRecord) -> str:
    """The id of the call that a record is about; handlers run where the record was made."""
    return str(vars(record).get("request_id", "") or request_id.get())


def _plain(value: object, *, whole: bool) -> object:
    """A value that JSON can hold, redacted unless it is an identifier."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {redact(str(key)): _plain(each, whole=whole) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, whole=whole) for each in value]
    return str(value) if whole else redact(str(value))


def is_for_people(log_format: str, stream: TextIO | None = None) -> bool:
    """Whether lines are for people; `log_format` and `stream` are those of `configure_logging`."""
    out = sys.stderr if stream is None else stream
    return log_format == "human" or (log_format == "auto" and out.isatty())


def configure_logging(
    *, level: str = "info", log_format: str = "auto", stream: TextIO | None = None
) -> None:
    """Sets up the root logger; calling it again replaces what it set up before.

    Args:
        level: least level that is logged: "debug", "info", "warning" or "error".
        log_format: "human", "json", or "auto": human when `stream` is a terminal.
        stream: where to write; standard error by default, since standard output is for results.
    """
    out = sys.stderr if stream is None else stream
    human = is_for_people(log_format, out)
    handler = logging.StreamHandler(out)
    handler.set_name(_HANDLER_NAME)
    handler.setFormatter(HumanFormatter() if human else JsonFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == _HANDLER_NAME]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


__all__ = [
    "IDENTIFIER_FIELDS",
    "REDACTED",
    "HumanFormatter",
    "JsonFormatter",
    "configure_logging",
    "is_for_people",
    "redact",
    "request_id",
    "trace_id",
]
