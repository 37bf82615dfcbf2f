"""Tags of objects in S3, and in stores that speak its protocol.

S3 sets all tags of an object at once, so those that are there are read first and go along. What
looks as it did when it was scanned is tagged by the version that was looked at, where the store
keeps versions; without them an object that is replaced within that moment would get the tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from matcher.scan.tagging.model import Came, Done, TagError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.scan.tagging.model import Target

_MOST_TAGS: Final = 10  # that an object can have
_TRIES: Final = 5
_AT_ONCE: Final = 32  # connections
_CAME: Final = {
    "404": Came.GONE,
    "NoSuchKey": Came.GONE,
    "NoSuchVersion": Came.GONE,
    "NoSuchBucket": Came.GONE,
    "403": Came.FORBIDDEN,
    "AccessDenied": Came.FORBIDDEN,
    "MethodNotAllowed": Came.UNSUPPORTED,
    "NotImplemented": Came.UNSUPPORTED,
}


class ObjectTagger:
    """Tags objects of a bucket. Credentials come by the usual means of AWS.

    Args:
        bucket: its name.
        prefix: what stands before a record's key in the bucket.
        endpoint: of a store that is none of AWS; empty otherwise.

    Raises:
        TagError: the environment's settings, or the endpoint, make no sense, or there are no
            credentials.
    """

    def __init__(self, bucket: str, prefix: str, endpoint: str = "") -> None:
        self._bucket, self._prefix = bucket, prefix
        settings = Config(
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            max_pool_connections=_AT_ONCE,
            s3={"addressing_style": "path"} if endpoint else {},
            user_agent_appid="hashwarden",
        )
        try:
            session = botocore.session.get_session()
            self._s3: Any = session.create_client(
                "s3", endpoint_url=endpoint or None, config=settings
            )
            found = session.get_credentials()
        except (BotoCoreError, ValueError) as error:
            raise TagError(f"s3://{bucket} cannot be tagged: {error}") from None
        if found is None:
            raise TagError(
                f"s3://{bucket} cannot be tagged: no credentials are found; give them as for any "
                "other tool of this cloud (environment, profile, role)"
            )

    def tag(self, target: Target, tags: Mapping[str, str]) -> Done:
        """Sets tags, if the object still is what was scanned."""
        try:
            return self._tag(target, tags)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            return Done(_CAME.get(code, Came.FAILED), f"the store answers {code}")
        except BotoCoreError as error:
            return Done(Came.FAILED, f"the store gives no answer: {type(error).__name__}")

    def _tag(self, target: Target, tags: Mapping[str, str]) -> Done:
        where = {"Bucket": self._bucket, "Key": self._prefix + target.key}
        head = self._s3.head_object(**where)
        if not _is_same(target, head):
            return Done(Came.CHANGED, "it is another than when it was scanned")
        if version := head.get("VersionId"):
            where["VersionId"] = version
        there = {
            each["Key"]: each["Value"] for each in self._s3.get_object_tagging(**where)["TagSet"]
        }
        merged = {**there, **tags}
        if merged == there:
            return Done(Came.ALREADY)
        if len(merged) > _MOST_TAGS:
            return Done(Came.FULL, f"it has {len(there)} tags of others, and {_MOST_TAGS} is most")
        wanted = [{"Key": key, "Value": value} for key, value in merged.items()]
        self._s3.put_object_tagging(**where, Tagging={"TagSet": wanted})
        return Done(Came.TAGGED)

    def close(self) -> None:
        """Closes the connections."""
        self._s3.close()


def _is_same(target: Target, head: Mapping[str, Any]) -> bool:
    """Whether the object is what was scanned, by all that both tell of it."""
    if target.version and head.get("VersionId") not in {None, target.version}:
        return False
    if target.etag:
        return str(head.get("ETag", "")).strip('"') == target.etag.strip('"')
    return bool(target.size is not None and head.get("ContentLength") == target.size)


__all__ = ["ObjectTagger"]
