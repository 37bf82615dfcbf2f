"""The server's certificate, read again when its files have changed.

gRPC asks at every new connection, and is given what stands in the files now. What cannot be used
(half of a change, a key of another certificate, a file that is gone) changes nothing: the server
goes on with what it had, and says so once.
"""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from matcher.errors import CredentialsError, SettingsError, in_words

if TYPE_CHECKING:
    from pathlib import Path

    from matcher.settings import Settings

    Stamp = tuple[tuple[int, int, int], ...]

_log = logging.getLogger(__name__)
_NO_PASSWORD: Final = b""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """What TLS rests on.

    Attributes:
        certificate: PEM, with the chain above it.
        key: its private key, PEM, not encrypted.
        client_ca: what clients' certificates must come from, PEM; None: they have none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> Stamp:
        """What changes whenever the files do.

        Raises:
            CredentialsError: one of them is not there.
        """
        try:
            found = [each.stat() for each in self._paths()]
        except OSError as error:
            raise CredentialsError(f"TLS: {in_words(error)}") from None
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)

    def load(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold.

        Raises:
            CredentialsError: they cannot be read, or do not belong together.
        """
        try:
            certificate, key, *roots = (each.read_bytes() for each in self._paths())
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key, password=_NO_PASSWORD)
        except ssl.SSLError as error:
            raise CredentialsError(
                f"TLS: {self.certificate} and {self.key} are no certificate and its unencrypted "
                f"private key, in PEM ({error.reason})"
            ) from None
        except OSError as error:
            raise CredentialsError(f"TLS: {in_words(error)}") from None
        if roots:
            _check_roots(self.client_ca, roots[0])
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=roots[0] if roots else None
        )

    def _paths(self) -> list[Path]:
        paths = [self.certificate, self.key]
        return paths if self.client_ca is None else [*paths, self.client_ca]


def _check_roots(path: Path | None, pem: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise CredentialsError(f"TLS: {path} holds no certificate in PEM") from None


class Reloading:
    """Gives gRPC the certificate; from any thread.

    Args:
        files: where it is.

    Raises:
        CredentialsError: it cannot be used from the very start.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen: Stamp | str = files.stamp()
        self.first = files.load()

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificate where it has changed; None where it has not, or cannot be used."""
        with self._lock:
            try:
                return self._changed()
            except CredentialsError as error:
                if self._seen != str(error):
                    _log.error("the certificate stays as it was: %s", error)
                self._seen = str(error)  # so that it is tried again, and told once
                return None

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        stamp = self._files.stamp()
        if stamp == self._seen:
            return None
        loaded = self._files.load()
        if stamp != self._files.stamp():
            return None  # another change is under way: with the next connection
        self._seen = stamp
        _log.info("the certificate has changed; new connections are given the new one")
        return loaded


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """What TLS rests on; None without TLS."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return CertificateFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What a port is opened with; None without TLS.

    Raises:
        SettingsError: the certificate cannot be used.
    """
    files = certificate_files(settings)
    if files is None:
        return None
    try:
        reloading = Reloading(files)
    except CredentialsError as error:
        raise SettingsError(str(error)) from None
    fetch: Any = reloading.fetch  # None is for no change, which the stubs do not know
    return grpc.dynamic_ssl_server_credentials(
        reloading.first,
        fetch,
        require_client_authentication=settings.tls_client_ca is not None,
    )


__all__ = ["CertificateFiles", "Reloading", "certificate_files", "server_credentials"]
