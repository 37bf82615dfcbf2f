"""S3 by its own library, for what the storage library cannot do: listing every key as it is.

`obstore` takes a listing to be of paths: it ends at the first key with an empty part, `..` or a
newline in it, and it tells of `a/` as of `a`. One such key would keep a whole bucket from being
scanned, so `botocore` lists, and reads the few objects whose keys the other cannot ask for. It also
finds the credentials, region and endpoint: by the environment, profiles, single sign-on, the roles
of machines, containers and clusters.

Its calls block: they are made in threads.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore import exceptions as refusals
from botocore.config import Config
from botocore.loaders import create_loader

from matcher.scan.errors import SourceError
from matcher.scan.sources.addresses import is_plain_http
from matcher.scan.sources.keys import told
from matcher.scan.sources.refusals import cut_off, of_answer, of_text, timed_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.scan.model import FetchError, Listed
    from matcher.scan.sources.options import SourceOptions

_AWS_OWN: Final = re.compile(r"s3(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?", re.ASCII)
_CREDENTIALS_COUNT: Final = timedelta(minutes=5)
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a bucket is.

    Attributes:
        endpoint: of a store that is none of the cloud's own; empty otherwise.
    """

    region: str
    endpoint: str


class S3Client:
    """One bucket.

    Args:
        bucket: its name.
        endpoint: of a store that is none of the cloud's own; empty for what the environment says.
        options: patience.

    Raises:
        SourceError: the environment's settings make no sense, or there are no credentials.
    """

    def __init__(self, bucket: str, endpoint: str, options: SourceOptions) -> None:
        self._bucket = bucket
        self._options = options
        with _told(bucket, "opening it"):
            session = botocore.session.get_session()
            session.register_component("data_loader", _models())
            self._patient = self._made(session, endpoint, options.listing_tries)
            self._hasty = self._made(session, endpoint, 1)
            self._credentials = None if options.anonymous else session.get_credentials()
        if self._credentials is None and not options.anonymous:
            raise SourceError(
                f"s3://{bucket}: no credentials are found; give them as for any other tool of this"
                " cloud (environment, profile, role), or ask anonymously for a public bucket"
            )
        if is_plain_http(self._patient.meta.endpoint_url) and not options.allow_http:
            raise SourceError(
                "the endpoint is plain HTTP on another machine, so that anybody on the way can read"
                " along; give it as https://, or allow plain HTTP on purpose"
            )

    def _made(self, session: Any, endpoint: str, tries: int) -> Any:
        options = self._options
        config = Config(
            connect_timeout=options.connect_seconds,
            read_timeout=options.idle_seconds,
            max_pool_connections=options.readers,
            retries={"mode": "standard", "total_max_attempts": tries},
            signature_version=UNSIGNED if options.anonymous else None,
            s3={"addressing_style": "path"} if endpoint else {},
            user_agent_appid="hashwarden",
        )
        return session.create_client("s3", endpoint_url=endpoint or None, config=config)

    def reach(self) -> Reach:
        """Where the bucket is; asks the cloud for it.

        Raises:
            SourceError: the cloud does not answer.
        """
        meta = self._patient.meta
        region = meta.region_name
        region = "us-east-1" if region in {None, "", "aws-global"} else region
        if not _AWS_OWN.fullmatch(urlsplit(meta.endpoint_url).hostname or ""):
            return Reach(region, meta.endpoint_url)
        with _told(self._bucket, "looking for its region"):
            try:
                answer = self._patient.head_bucket(Bucket=self._bucket)["ResponseMetadata"]
            except refusals.ClientError as error:  # who may read may not always look
                answer = error.response["ResponseMetadata"]
        return Reach(answer.get("HTTPHeaders", {}).get("x-amz-bucket-region") or region, "")

    def credentials(self) -> dict[str, Any]:
        """Credentials as the storage library takes them, renewed where they have run out."""
        assert self._credentials is not None
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_COUNT,
        }

    def page(self, prefix: str, after: str) -> list[Listed]:
        """The next objects behind a key, by their whole keys; empty at the end.

        Raises:
            SourceError: the bucket cannot be listed.
        """
        asked = {"Bucket": self._bucket, "MaxKeys": self._options.page_objects, "Prefix": prefix}
        if after:
            asked["StartAfter"] = after
        with _told(self._bucket, "listing it"):
            answer = self._patient.list_objects_v2(**asked)
            while not answer.get("Contents") and self._is_truncated(answer):
                # A store may pass over so much that is no object any more that nothing is left of
                # a page: that is not the end.
                asked["ContinuationToken"] = self._goes_on(answer, asked)
                answer = self._patient.list_objects_v2(**asked)
        return [
            told(each["Key"], each["Size"], each["LastModified"], each.get("ETag"), None)
            for each in answer.get("Contents", ())
        ]

    def _is_truncated(self, answer: Any) -> bool:
        # Every listing says so; what does not is e.g. the page of a gateway, and no empty bucket.
        if "IsTruncated" not in answer:
            raise SourceError(
                f"s3://{self._bucket}: listing it: what answers is no store of S3; see to the"
                " network and the endpoint, then resume"
            )
        return bool(answer["IsTruncated"])

    def _goes_on(self, answer: Any, asked: Any) -> str:
        token = str(answer.get("NextContinuationToken") or "")
        if not token or token == asked.get("ContinuationToken"):
            raise SourceError(
                f"s3://{self._bucket}: listing it: the store says that more is to come, and not"
                " from where; try again later, or scan by an inventory"
            )
        return token

    def read(self, key: str) -> tuple[Listed, str, Iterator[bytes]]:
        """An object's state, how it is encoded (empty: not at all), and its bytes in blocks.

        Raises:
            FetchError: it could not be read this time; from the blocks, too.
        """
        try:
            answer = self._hasty.get_object(Bucket=self._bucket, Key=key)
        except (refusals.BotoCoreError, refusals.ClientError) as error:
            raise _failed(error) from None
        state = told(
            key,
            answer["ContentLength"],
            answer["LastModified"],
            answer.get("ETag"),
            answer.get("VersionId"),
        )
        return state, answer.get("ContentEncoding", ""), _blocks(answer["Body"])

    def close(self) -> None:
        """Closes the connections."""
        self._patient.close()
        self._hasty.close()


def _blocks(body: Any) -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(_BLOCK_BYTES)
    except refusals.ReadTimeoutError:
        raise timed_out() from None
    except (refusals.BotoCoreError, OSError):
        raise cut_off("the connection broke off") from None
    finally:
        body.close()


def _failed(error: Exception) -> FetchError:
    if isinstance(error, refusals.ClientError):
        meta = error.response.get("ResponseMetadata", {})
        after = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
        return of_answer(
            int(meta.get("HTTPStatusCode", 0)),
            str(error.response.get("Error", {}).get("Code", "")),
            after_seconds=float(after) if after.isdecimal() else 0.0,
        )
    if isinstance(error, refusals.ReadTimeoutError | refusals.ConnectTimeoutError):
        return timed_out()
    return of_text("")


@cache
def _models() -> Any:
    """The library's descriptions of services, which take long to read; once for all buckets."""
    return create_loader()


@contextmanager
def _told(bucket: str, doing: str) -> Iterator[None]:
    """Turns what the library raises into our errors; a request with its signature is left out."""
    try:
        yield
    except refusals.ClientError as error:
        raise SourceError(f"s3://{bucket}: {doing}: {_why(error)}") from None
    except (refusals.EndpointConnectionError, refusals.HTTPClientError):
        raise SourceError(
            f"s3://{bucket}: {doing}: the store cannot be reached; see to the network, the endpoint"
            " and the region, then resume"
        ) from None
    except (refusals.BotoCoreError, ValueError) as error:
        raise SourceError(f"s3://{bucket}: {doing}: {error}") from None


def _why(error: Any) -> str:
    failed = _failed(error)
    code = str(error.response.get("Error", {}).get("Code", ""))
    fix = {
        "NoSuchBucket": "there is no such bucket; see to its name, and to the endpoint",
        "AccessDenied": "access is denied; the credentials need to be allowed s3:ListBucket",
        "InvalidAccessKeyId": "the access key is not known there; see to the credentials",
        "SignatureDoesNotMatch": "the secret key is another one; see to the credentials",
        "ExpiredToken": "the credentials have run out; get new ones, then resume",
    }.get(code)
    if fix is None:
        fix = "try again later" if failed.transient else "see to the credentials and the endpoint"
    return f"{failed} ({fix})"


__all__ = ["Reach", "S3Client"]
