"""Credentials of an exchange: taken from variables given by name, or from a file of mode 0600.

Invariants: a credential is never part of the catalog, a log, an error, a `repr` or an argument of a
process. The file belongs to whoever runs this (or to root), and nobody else may read it.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.errors import ExchangeCredentialsError
from hashlists.near_names import nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_MAX_FILE_BYTES = 64 * 1024
_LINE = re.compile(r"([a-z][a-z0-9_]*)[ \t]*=[ \t]*(.*)")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
#: What may stand in a header or in basic authentication.
_VALUE = re.compile(r"[ -~]{1,16384}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Names and values, e.g. `username` and `password`.

    Attributes:
        values: by their names.
        origin: where they were found, in words that hold none of them.
    """

    values: Mapping[str, str] = field(repr=False)
    origin: str = ""

    def __getitem__(self, name: str) -> str:
        return self.values[name]


def find_credentials(
    names: Sequence[str],
    variables: Mapping[str, str],
    file: Path | None,
    *,
    variable_of: Callable[[str], str] = str,
) -> Credentials:
    """The credentials that a client needs; a variable goes before the file.

    Args:
        names: of what is needed.
        variables: what the environment gave for this exchange, by those names.
        file: lines of `name = value`; None where there is none.
        variable_of: what the environment calls the credential of a name, for the error.

    Raises:
        ExchangeCredentialsError: some are missing, or the file is not as it must be.
    """
    in_file = _read(file) if file is not None else {}
    told = {**in_file, **variables}
    missing = [name for name in names if not told.get(name)]
    if missing:
        known = "" if file is None else f" ({file} has them not{_near(missing, in_file)})"
        raise ExchangeCredentialsError(
            f"credentials are missing: {', '.join(missing)}{known}; set "
            f"{' and '.join(map(variable_of, missing))} in the environment, or write lines of NAME "
            "= VALUE into a file of mode 0600 and name it with `hashwarden exchanges set EXCHANGE "
            "--credentials-file FILE`"
        )
    for name in names:
        if not _VALUE.fullmatch(told[name]):
            raise ExchangeCredentialsError(
                f"the credential {name} has characters other than printable ASCII, or is too long"
            )
    return Credentials({name: told[name] for name in names}, _origin(names, variables, file))


def _near(missing: Sequence[str], in_file: Mapping[str, str]) -> str:
    """Which of the missing names the file nearly has; what it has may be a credential itself."""
    nearly = sorted({near for each in in_file if (near := nearest_name(each, missing))})
    return f", but a name that is nearly {' and '.join(nearly)}" if nearly else ""


def _origin(names: Sequence[str], variables: Mapping[str, str], file: Path | None) -> str:
    where = ["the environment"] if any(variables.get(name) for name in names) else []
    if file is not None and not all(variables.get(name) for name in names):
        where.append(f"the file {file}")
    return " and ".join(where)


def require_private_file(file: Path) -> None:
    """Checks a file that is named for later: whose it is, its reader will judge.

    Raises:
        ExchangeCredentialsError: it is not there, no plain file, or others may read or write it.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None
    _require_private(file, status)


def _read(file: Path) -> dict[str, str]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(file, error) from None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        _require_private(file, status)
        if status.st_uid not in (0, os.geteuid()):
            raise ExchangeCredentialsError(
                f"the file of credentials {file} belongs to another user: chown it to yours"
            )
        content = stream.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ExchangeCredentialsError(f"the file of credentials {file} is too large to be one")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ExchangeCredentialsError(f"the file of credentials {file} is not UTF-8") from None
    return dict(_parse(file, number, line) for number, line in enumerate(lines, 1) if _counts(line))


def _unreadable(file: Path, error: OSError) -> ExchangeCredentialsError:
    return ExchangeCredentialsError(
        f"the file of credentials {file} cannot be read: {error.strerror}"
    )


def _require_private(file: Path, status: os.stat_result) -> None:
    what = f"the file of credentials {file}"
    if not stat.S_ISREG(status.st_mode):
        raise ExchangeCredentialsError(f"{what} is no plain file")
    if status.st_mode & _OTHERS:
        raise ExchangeCredentialsError(
            f"{what} may be read or written by others (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"make it private: chmod 600 {shlex.quote(str(file))}"
        )


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _parse(file: Path, number: int, line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ExchangeCredentialsError(
            f"line {number} of the file of credentials {file} is not of the form: name = value"
        )
    return found[1], found[2]


__all__ = ["Credentials", "find_credentials", "require_private_file"]
