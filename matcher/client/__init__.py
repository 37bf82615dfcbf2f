"""The typed Python client, sync (`Client`) and async (`AsyncClient`).

Results are the types of `matcher.model` and `hashlists.model`; what a server does not tell is None
there. Errors are `ServerError`, with the server's own reason and whether trying again may help.
Calls that are safe to repeat are tried again by gRPC itself where the server was briefly away or
full.

    with Client("127.0.0.1:50051") as client:
        answer = client.match_image(path.read_bytes())
        if answer.result.decision is Decision.MATCH: ...

    tls = tls_credentials(Path("ca.pem"))
    with Client("match.example.org:50051", credentials=tls, token=token) as client: ...
"""

from matcher.client.aio import AsyncClient
from matcher.client.blocking import Client
from matcher.client.credentials import tls_credentials
from matcher.client.types import (
    HashAnswer,
    HashQuery,
    ImageInfo,
    ImportProgress,
    ImportResult,
    MatchAnswer,
    RecordAnswer,
    RejectedRecord,
    RemoteList,
    ReplayAnswer,
    ReplayedMatch,
    ReportedOutcome,
    StreamAnswer,
    TokenAnswers,
    TokenQuery,
    UndoneMatch,
    WholeList,
)

__all__ = [
    "AsyncClient",
    "Client",
    "HashAnswer",
    "HashQuery",
    "ImageInfo",
    "ImportProgress",
    "ImportResult",
    "MatchAnswer",
    "RecordAnswer",
    "RejectedRecord",
    "RemoteList",
    "ReplayAnswer",
    "ReplayedMatch",
    "ReportedOutcome",
    "StreamAnswer",
    "TokenAnswers",
    "TokenQuery",
    "UndoneMatch",
    "WholeList",
    "tls_credentials",
]
