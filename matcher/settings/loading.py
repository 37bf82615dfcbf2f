"""Reads settings from everywhere they may stand: the later place wins; all mistakes are told."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import platformdirs

from matcher.errors import SettingsError
from matcher.settings.files import policy_document, read_toml
from matcher.settings.model import KNOBS, Settings
from matcher.settings.names import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    DATA_VARIABLE,
    EXCHANGE_PREFIX,
    MESSAGE_OVERHEAD_BYTES,
    PREFIX,
)
from matcher.settings.parsing import MIB, BadValueError, Parser
from matcher.settings.parsing import path as path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_CONFIG_BYTES = MIB
#: Not settings: test runs' own variables, and what Kubernetes sets for a service of this name.
_FOREIGN_VARIABLE = re.compile(r"HASHWARDEN_(TEST|SERVICE|PORT)(_|$)")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where values come from: `label` names it, relative paths start at `folder`."""

    label: str
    folder: Path


def load_settings(
    data_dir: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Reads the settings from everywhere they may stand.

    Args:
        data_dir: the data folder that the command line names.
        environ: the environment; the process's own by default.
        overrides: what the command line sets, by name; None values are passed over.

    Raises:
        SettingsError: a line for each mistake: its source, the key, and what is allowed.
    """
    variables = os.environ if environ is None else environ
    problems: list[str] = []
    folder, folder_source = _data_dir(data_dir, variables)
    reader = _Reader(problems)
    _read_file(reader, folder, variables)
    reader.take(_from_environment(variables, problems), _Place("environment", Path.cwd()))
    chosen = {key: value for key, value in (overrides or {}).items() if value is not None}
    reader.take(chosen, _Place("command line", Path.cwd()))
    values = _defaults(folder) | reader.values
    if not problems:
        problems.extend(_contradictions(values))
    if problems:
        raise SettingsError("\n".join(problems))
    sources = {"data_dir": folder_source} | dict.fromkeys(KNOBS, "default") | reader.sources
    document, origin = policy_document(values["policy_file"], sources["policy_file"])
    return Settings(
        data_dir=folder,
        **values,
        policy_document=document,
        policy_origin=origin,
        sources=MappingProxyType(sources),
    )


class _Reader:
    """Gathers values over the places they stand in; the latest wins."""

    def __init__(self, problems: list[str]) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self._problems = problems

    def take(self, found: Mapping[str, object], place: _Place) -> None:
        for key, value in found.items():
            try:
                self.values[key] = _parse(key, value, place.folder)
                self.sources[key] = place.label
            except BadValueError as error:
                shown = f"{PREFIX}{key.upper()}" if place.label == "environment" else key
                self._problems.append(f"{place.label}: {shown}: {error}")


def _parse(key: str, value: object, folder: Path) -> object:
    if key == "data_dir":
        raise BadValueError(f"cannot be set here; use --data or {DATA_VARIABLE}")
    if key not in KNOBS:
        raise BadValueError(_unknown(key, list(KNOBS)))
    parse: Parser = KNOBS[key].metadata["parse"]
    return parse(value, folder)


def _unknown(name: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(allowed)}"
    return f"unknown setting; {hint}"


def _defaults(data_dir: Path) -> dict[str, Any]:
    values = {}
    for name, knob in KNOBS.items():
        default = knob.metadata["default"]
        values[name] = default(data_dir) if callable(default) else default
    return values


def _data_dir(named: Path | None, variables: Mapping[str, str]) -> tuple[Path, str]:
    if named is not None:
        folder, source = named, "command line"
    elif variables.get(DATA_VARIABLE):
        folder, source = Path(variables[DATA_VARIABLE]), "environment"
    else:
        folder, source = platformdirs.user_data_path("hashwarden", appauthor=False), "default"
    try:
        folder = path_of(folder, Path.cwd())
    except BadValueError as error:
        raise SettingsError(f"{source}: the data folder {error}") from None
    if "?" in str(folder):  # it would end the path in the catalog's URL
        raise SettingsError(f"{source}: the data folder's path must not hold a question mark")
    return folder, source


def _read_file(reader: _Reader, data_dir: Path, variables: Mapping[str, str]) -> None:
    named = variables.get(CONFIG_VARIABLE)
    try:
        path = path_of(named, Path.cwd()) if named else data_dir / CONFIG_NAME
    except BadValueError as error:
        raise SettingsError(f"environment: {CONFIG_VARIABLE}: {error}") from None
    parsed = read_toml(path, _MAX_CONFIG_BYTES, required=bool(named))
    reader.take(parsed or {}, _Place(str(path), path.parent))


def _from_environment(variables: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    """The settings among the variables; an empty one counts as not set."""
    found: dict[str, object] = {}
    for name, value in sorted(variables.items()):
        if name in {DATA_VARIABLE, CONFIG_VARIABLE} or _FOREIGN_VARIABLE.match(name):
            continue
        if name.startswith(EXCHANGE_PREFIX):
            continue
        if name.startswith(PREFIX) and value:
            key = name.removeprefix(PREFIX).lower()
            if key in KNOBS and name == PREFIX + key.upper():
                found[key] = value
            else:
                known = [DATA_VARIABLE, CONFIG_VARIABLE, *(PREFIX + k.upper() for k in KNOBS)]
                problems.append(f"environment: {name}: {_unknown(name, known)}")
    return found


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if values["image_bytes"] + MESSAGE_OVERHEAD_BYTES > values["message_bytes"]:
        problems.append(
            f"image_bytes must be at least {MESSAGE_OVERHEAD_BYTES} below message_bytes, so that "
            "a large image is refused alone and not with its stream"
        )
    if values["max_in_flight_bytes"] < values["image_bytes"]:
        problems.append("max_in_flight_bytes must be at least image_bytes, or no image fits")
    problems.extend(_wrong_pairs(values))
    if values["snapshot_publish_url"] and values["snapshot_signing_key"] is None:
        problems.append("snapshot_publish_url needs snapshot_signing_key")
    if values["snapshot_pull_url"] and values["snapshot_verify_key"] is None:
        problems.append("snapshot_pull_url needs snapshot_verify_key")
    if values["snapshot_pull_url"] and values["snapshot_publish_url"]:
        problems.append("snapshot_pull_url and snapshot_publish_url exclude each other")
    return problems


#: Settings that are of no use without another.
_NEEDED = (
    ("tls_certificate", "tls_key"),
    ("tls_key", "tls_certificate"),
    ("tls_client_ca", "tls_certificate"),
    ("server_certificate", "server_key"),
    ("server_key", "server_certificate"),
    ("server_certificate", "server_ca"),
)


def _wrong_pairs(values: Mapping[str, Any]) -> Iterator[str]:
    for one, other in _NEEDED:
        if values[one] and not values[other]:
            yield f"{one} needs {other}"
    if values["tls_client_ca"] and values["authentication"] == "off":
        yield 'tls_client_ca and authentication = "off" exclude each other'


__all__ = ["load_settings"]
