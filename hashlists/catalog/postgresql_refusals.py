"""Why PostgreSQL let nobody in: told apart by its words, since there is no SQLSTATE yet.

While a connection is made the client library gives no code, only what it or the server says, with
names, addresses and paths in it. Only the advice here leaves this package. A server whose messages
are in another language than English is told to refuse, and no more than that.
"""

from __future__ import annotations

REFUSED_LOGIN = "the server refused the login: check user, password and pg_hba.conf"
NO_DATABASE = (
    "the server has no database of that name: create it first (docs/postgresql.md), or mend the"
    " name at the end of the catalog's URL"
)
_NONE_GIVEN = (
    "the server asks for a password and none was given: put it into ~/.pgpass (mode 0600), not"
    " into the catalog's URL"
)
_WRONG_GIVEN = (
    "the server refused the login: the password is wrong, or there is no such user; see ~/.pgpass"
    " and the user in the catalog's URL, or set it anew on the server (\\password in psql)"
)
_WRONG_ACCOUNT = (
    "the server refused the login, which it lets in by the name of the operating system's account:"
    " run as the account of that name, or have pg_hba.conf ask for a password (scram-sha-256)"
)
_WRONG_CERTIFICATE = (
    "the server refused the client certificate: its common name must be the user in the catalog's"
    " URL; see sslcert and sslkey there, and the map in pg_ident.conf"
)
_NO_ROLE = (
    "the server has no user of that name: create it first (docs/postgresql.md), or mend the user in"
    " the catalog's URL; without one there it is the name of the operating system's account"
)
_NO_LOGIN = "the server lets this user not log in: ALTER ROLE ... LOGIN"
_NO_CONNECT = (
    "this user may not connect to that database: GRANT CONNECT ON DATABASE ... TO ..., or make the"
    " user its owner"
)
_NO_ENTRY = (
    "the server lets nobody in from this address with that user, database and encryption: add a"
    " line to its pg_hba.conf and reload it; where its lines say hostssl, ask for TLS in the"
    " catalog's URL (?sslmode=verify-full)"
)
_NO_TLS = (
    "the server does not speak TLS, which the catalog's URL asks for: switch it on there (ssl = on,"
    " with a certificate); without sslmode passwords and hashes would travel in the clear"
)
_TLS_HOST = (
    "the server's TLS certificate is of another host name than the catalog's URL: use the name that"
    " stands in the certificate; if that is not this server's, somebody may be in between"
)
_TLS_UNTRUSTED = (
    "the server's TLS certificate is signed by no authority in sslrootcert, or has expired: give"
    " the file of the authority that issued it (?sslrootcert=...); if the right one is there,"
    " somebody may be in between"
)
_TLS_ROOT = (
    "sslrootcert, the file of the authority that signs the server's TLS certificate, is missing or"
    " holds none: give its path in the catalog's URL (?sslrootcert=...)"
)
_TLS_FAILED = (
    "the TLS connection to the server failed: compare sslmode, sslrootcert, sslcert and sslkey in"
    " the catalog's URL with its settings; the server's log says more"
)
_NO_HOST = (
    "the host name in the catalog's URL is not known here: check its spelling and the name service"
)
_TIMED_OUT = (
    "the catalog's server does not answer: check host and port in the catalog's URL, and that no"
    " firewall is in between"
)
_REFUSED = "the catalog's server refuses the connection; its log says why"
_NOT_UP = "the catalog's server is starting, stopping or recovering; try again"
UNREACHABLE = (
    "the catalog's server cannot be reached, or the connection was lost; check the URL, and that"
    " PostgreSQL runs"
)
#: What a message holds, all of it, and what to do: the first that fits counts.
_ADVICE = (
    (("server certificate for", "does not match host name"), _TLS_HOST),
    (("certificate verify failed",), _TLS_UNTRUSTED),
    (("root certificate file",), _TLS_ROOT),
    (("server does not support ssl",), _NO_TLS),
    (("no pg_hba.conf entry",), _NO_ENTRY),
    (("pg_hba.conf rejects connection",), _NO_ENTRY),
    (("password authentication failed",), _WRONG_GIVEN),
    (("no password supplied",), _NONE_GIVEN),
    (("peer authentication failed",), _WRONG_ACCOUNT),
    (("ident authentication failed",), _WRONG_ACCOUNT),
    (("certificate authentication failed",), _WRONG_CERTIFICATE),
    (("authentication failed",), REFUSED_LOGIN),
    (("is not permitted to log in",), _NO_LOGIN),
    (("permission denied for database",), _NO_CONNECT),
    (("role ", "does not exist"), _NO_ROLE),
    (("database ", "does not exist"), NO_DATABASE),
    (("failed to resolve host",), _NO_HOST),
    (("could not translate host name",), _NO_HOST),
    (("timeout expired",), _TIMED_OUT),
    (("connection timeout",), _TIMED_OUT),
    (("ssl error",), _TLS_FAILED),
    (("certificate file",), _TLS_FAILED),
    (("private key file",), _TLS_FAILED),
    (("the database system is",), _NOT_UP),
    (("fatal:",), _REFUSED),
)
#: What may be over without anybody changing a setting. A name that is not known is among them: name
#: services of containers know a server only once it runs.
_MAY_PASS = frozenset({UNREACHABLE, _NO_HOST, _TIMED_OUT, _NOT_UP})


def explain_refusal(message: str) -> str:
    """What to do about a connection that was not made, from the words of library and server."""
    said = message.lower()
    for words, advice in _ADVICE:
        if all(word in said for word in words):
            return advice
    return UNREACHABLE


def may_pass(advice: str) -> bool:
    """Whether what `explain_refusal` said of a connection may be over by itself."""
    return advice in _MAY_PASS


__all__ = ["NO_DATABASE", "REFUSED_LOGIN", "UNREACHABLE", "explain_refusal", "may_pass"]
