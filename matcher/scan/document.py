"""What was asked for of a scan: written once into its state, so that `--resume` needs no more."""

from __future__ import annotations

import msgspec


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which of the listed objects are scanned; an object must pass all of it.

    What does not pass is counted, and no part of the listing whose totals must add up.

    Attributes:
        include: globs of which a key must match one; empty: any key. `*` stays within a part of
            the key, `**` goes over parts, as in .gitignore.
        exclude: globs of which a key must match none.
        prefix: with which a key must begin; the store lists no more than that.
        min_bytes, max_bytes: inclusive.
        modified_since, modified_before: seconds since 1970, UTC; the first inclusive.
        sample: share of objects, chosen by a digest of the key: the same ones each time.
        shard, shards: the `shard`-th of so many parts, from 1, by a digest of the key.
        limit: how many objects at most.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    prefix: str = ""
    min_bytes: int | None = None
    max_bytes: int | None = None
    modified_since: float | None = None
    modified_before: float | None = None
    sample: float = 1.0
    shard: int = 1
    shards: int = 1
    limit: int | None = None


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the places that are scanned.

    Attributes:
        url: a folder's absolute path, or `s3://`, `gs://`, `az://` with bucket and prefix.
        inventory: path or URL of an S3 Inventory (manifest.json, or a CSV or Parquet file of one),
            which serves as the listing; empty: the place is listed.
        endpoint: of a store that is none of the cloud's own; empty otherwise.
    """

    url: str
    inventory: str = ""
    endpoint: str = ""


class ScanDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that was asked for. Holds no credential.

    Attributes:
        id: of the scan; random, and safe in the name of a file.
        made_at: seconds since 1970, UTC.
        made_by: the account.
        places: in the order in which they are scanned.
        policy, views: as `matcher.pipeline.MatchOptions` has them.
        archives: members of zip, tar and gz files are scanned, too.
        server: of which matches are asked; empty: they are looked up here.
        recipients: public keys of age; with them records are only ever written encrypted.
        hashes_until: seconds since 1970, UTC, after which kept hashes are erased; 0: none are kept.
        unchanged_from: folder of an earlier scan whose kept hashes stand for unchanged objects.
        rematch_of: folder of the scan whose kept hashes this one looks up again.
    """

    id: str
    made_at: float
    made_by: str
    places: tuple[Place, ...]
    selection: Selection = Selection()
    policy: str = ""
    views: tuple[str, ...] = ()
    archives: bool = False
    server: str = ""
    recipients: tuple[str, ...] = ()
    hashes_until: float = 0.0
    unchanged_from: str = ""
    rematch_of: str = ""


__all__ = ["Place", "ScanDocument", "Selection"]
