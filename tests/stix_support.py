"""Judges STIX bundles by the schemas and checks that OASIS publishes.

The validator fetches a schema over HTTP where a reference leads outside its own folder; a test that
would do so fails, since these run without a network.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def without_network() -> Iterator[None]:
    """Makes every attempt to reach another host an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for something")

    with mock.patch.object(socket.socket, "connect", refuse):
        yield


def problems(bundle: Mapping[str, Any]) -> list[str]:
    """Everything that a bundle does not fulfil, recommendations included."""
    # Imported here: it takes seconds, which every process that knows of the tests would need.
    from stix2validator import ValidationOptions, validate_parsed_json

    with without_network():
        result = validate_parsed_json(bundle, ValidationOptions(strict=True, version="2.1"))
    return list(map(str, result.errors))
