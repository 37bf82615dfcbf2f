"""The files that hold settings: TOML, bounded in size. No message repeats a value."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from matcher.errors import SettingsError
from matcher.settings.parsing import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_MAX_POLICY_BYTES = 64 * MIB
_MAX_MAPPING_BYTES = MIB


def load_mapping(path: Path) -> dict[str, str]:
    """Options of a list format from a TOML file, as `--option` would give them one by one.

    Tables become prefixes: `[columns]` with `md5 = "MD5"` is `columns.md5=MD5`. True and false are
    `yes` and `no`. In `[columns]` several texts are numbered (`columns.pdq`, `columns.pdq.2`);
    elsewhere they are joined by commas.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or holds what no option can be.
    """
    return dict(_flattened(read_toml(path, _MAX_MAPPING_BYTES, required=True) or {}, (), path))


def _flattened(
    table: Mapping[str, Any], above: tuple[str, ...], path: Path
) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        names = (*above, key)
        name = ".".join(names)
        several = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            yield from _flattened(value, names, path)
        elif not several or not all(isinstance(each, str | int | float) for each in several):
            raise SettingsError(
                f"{path}: {name}: must be a text, a number, true or false, or several"
            )
        elif above[:1] == ("columns",):
            for number, each in enumerate(several, start=1):
                yield (f"{name}.{number}" if number > 1 else name), _option_text(each)
        else:
            yield name, ",".join(map(_option_text, several))


def _option_text(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def policy_document(path: Path, source: str) -> tuple[Mapping[str, Any], str]:
    """The parsed policy file, empty where none is at its default place; and what errors call it."""
    parsed = read_toml(path, _MAX_POLICY_BYTES, required=source != "default")
    return ({}, "built-in policy") if parsed is None else (parsed, str(path))


def read_toml(path: Path, max_bytes: int, *, required: bool) -> dict[str, Any] | None:
    """The parsed file; None where it is absent and need not be there.

    Raises:
        SettingsError: it cannot be read, is too large, or is not TOML.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise SettingsError(f"{path}: there is no such file") from None
        return None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > max_bytes:
        raise SettingsError(f"{path}: is larger than {max_bytes} bytes")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: is not TOML{_toml_place(error)}") from None


def _toml_place(error: Exception) -> str:
    """Where a TOML error is; its own words are left out, since they may repeat a value."""
    found = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
    return f" (at {found[1]})" if found else ""


__all__ = ["load_mapping", "policy_document", "read_toml"]
