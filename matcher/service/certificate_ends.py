"""When what TLS rests on ends: the server's certificate, and the authorities of clients' ones.

Nothing here decides who is served: TLS does that, and readiness does not hang on it. What no date
can be read from has no end here, as TLS may be able to use it all the same.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cryptography import x509

from matcher.errors import CredentialsError, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from matcher.service.tls import CertificateFiles, Stamp

#: What ends, as the metric tells it.
SERVER: Final = "server"
CLIENT_CA: Final = "client_ca"


def certificate_ends(files: CertificateFiles) -> dict[str, datetime]:
    """When each of `SERVER` and `CLIENT_CA` ends, of those that have a date.

    A server's certificate ends with the first of its chain, as all of that is sent. The authorities
    of clients end with the last of their file, as old ones may stand there beside their successors.

    Raises:
        CredentialsError: a file cannot be read.
    """
    found = {SERVER: min(_ends(files.certificate), default=None)}
    if files.client_ca is not None:
        found[CLIENT_CA] = max(_ends(files.client_ca), default=None)
    return {name: end for name, end in found.items() if end is not None}


def _ends(path: Path) -> list[datetime]:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"TLS: {in_words(error)}") from None
    try:
        return [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem)]
    except ValueError:  # OpenSSL takes some that are not well-formed
        return []


class ServedCertificates:
    """The ends of what the next connection is given; from any thread.

    Args:
        files: where it is; None without TLS.
    """

    def __init__(self, files: CertificateFiles | None) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen: Stamp | None = None
        self._ends: Mapping[str, float] = {}

    def ends(self) -> Mapping[str, float]:
        """In seconds since 1970 UTC; as they were where the files cannot be used."""
        if self._files is None:
            return {}
        with self._lock, suppress(CredentialsError):
            stamp = self._files.stamp()
            if stamp != self._seen:
                self._files.load()  # what cannot be used is not served
                found = certificate_ends(self._files)
                self._ends = {name: end.timestamp() for name, end in found.items()}
                self._seen = stamp
        return self._ends


__all__ = ["CLIENT_CA", "SERVER", "ServedCertificates", "certificate_ends"]
