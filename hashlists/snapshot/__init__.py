"""Snapshots: immutable folders of named arrays and documents under a manifest with digests.

A snapshot is what matching runs on: built from the catalog at one revision, opened by mapping.
Under its root lie

    current                           names the published snapshot, its digest, and the one before
    snapshot-<revision>-<random>/     manifest.json, <array>.bin (raw, little-endian) and
                                      <document>.json
    .writing-<random>/                a writer's unfinished folder, locked while the writer lives
    withdrawn                         ids of entries out of force since, for want of a catalog
    accepted.json                     on a replica: what it has accepted from its store

Invariants:

* A published folder is never changed, only removed. Its name is never used again. A later snapshot
  may hold hard links of its arrays; what is held open of the one is not verified again for the
  other.
* Publishing is one `os.replace` of `current`, after everything it names was synced to disk. A crash
  or an error at any earlier moment leaves the previous snapshot current.
* Nothing is handed out that was not verified here: the set of files, their sizes and the SHA-256 of
  every byte, the manifest's own included. Verifying reads through the mapping, so a snapshot that
  was opened is also in memory ("pre-faulted").
* No pickle, no header parsing: the manifest alone says what the bytes are.

SHA-256 rather than BLAKE2b: with the SHA instructions of current CPUs it verified 1.7 GB/s here,
BLAKE2b 0.9 GB/s, and operators can check a file with `sha256sum`.

On Linux a mapping outlives the unlinking of its file, so `sweep` may remove a snapshot that some
process still serves. It does not outlive truncation: only this package may write under the root.

Files may be encrypted (`hashlists.snapshot.vault`): they are then decrypted into sealed memory
rather than mapped, and all that is said of files here is said of the encrypted ones.

What it does not do: it knows nothing of what the arrays mean (`matcher.index` does), and digests
prove integrity, not origin; folders are 0700 and files 0600 so that only the service can write.
"""

from __future__ import annotations

from hashlists.errors import SnapshotError
from hashlists.snapshot.locking import lock_in_memory
from hashlists.snapshot.manifest import DTYPES, FORMAT, VERSION, manifests_below
from hashlists.snapshot.pointer import current_name, current_revision
from hashlists.snapshot.reader import Snapshot, open_current, open_snapshot
from hashlists.snapshot.sweeping import sweep
from hashlists.snapshot.writer import SnapshotWriter

__all__ = [
    "DTYPES",
    "FORMAT",
    "VERSION",
    "Snapshot",
    "SnapshotError",
    "SnapshotWriter",
    "current_name",
    "current_revision",
    "lock_in_memory",
    "manifests_below",
    "open_current",
    "open_snapshot",
    "sweep",
]
