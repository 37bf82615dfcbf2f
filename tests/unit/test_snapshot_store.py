"""URLs, keys, signatures, and what a replica remembers: without a server."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from hashlists.errors import (
    HashlistsError,
    SnapshotError,
    SnapshotKeyError,
    SnapshotRolledBackError,
    SnapshotSignatureError,
    SnapshotStoreError,
)
from hashlists.snapshot import current_name, open_current, sweep
from hashlists.snapshot.accepted import ACCEPTED_FILE, Accepted
from hashlists.snapshot.objects import CURRENT, MANIFESTS, OBJECTS, Objects
from hashlists.snapshot.receive import SnapshotReceiver, pull
from hashlists.snapshot.replica import Replica
from hashlists.snapshot.signing import (
    Publication,
    load_signing_key,
    load_verify_keys,
    sign,
    verify,
)
from hashlists.snapshot.store import push
from tests.snapshot_store_support import (
    HASTY,
    Keys,
    build,
    folders,
    forget_credentials,
    revision_of_arrays,
)

PUBLICATION = Publication(
    snapshot="snapshot-000000000007-0123456789abcdef",
    revision=7,
    manifest_bytes=1000,
    manifest_sha256="ab" * 32,
    previous=None,
    sequence=1_700_000_000_000,
    published_at="2026-01-02T03:04:05+00:00",
    erases_before=0,
    purge_state="cd" * 32,
)


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


class Store:
    """A `file://` store with a builder and a replica."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder, self.keys = folder, keys
        self.url = f"file://{folder}/store"
        self.path = folder / "store"
        self.built, self.root = folder / "built", folder / "replica"

    def publish(self, revision: int, *, purge: str = "", **options):
        return self.push(build(self.built, revision, purge=purge), **options)

    def push(self, folder: Path, **options):
        options.setdefault("signing_key", self.keys.private)
        return push(folder, self.url, **options)

    def pull(self, **options):
        options.setdefault("verify_key", self.keys.public)
        return pull(self.url, self.root, **options)

    def objects(self) -> Objects:
        return Objects(self.url)


@pytest.fixture
def store(tmp_path, keys):
    return Store(tmp_path, keys)


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "kind", "prefix"),
        [
            ("s3://bucket-1/a/b", S3Store, "a/b"),
            ("s3://bucket-1", S3Store, None),
            ("gs://bucket/a", GCSStore, "a"),
            ("az://container/a b/", AzureStore, "a b"),
        ],
    )
    def test_each_scheme_has_its_store(self, url, kind, prefix, monkeypatch):
        forget_credentials(monkeypatch)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        store = Objects(url)._store
        assert isinstance(store, kind)
        assert (store.prefix or None) == prefix

    def test_a_folder_with_a_space(self, tmp_path):
        objects = Objects(f"file://{tmp_path}/a%20b", make=True)
        assert isinstance(objects._store, LocalStore)
        assert (tmp_path / "a b").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize(
        "url",
        [
            "s3://id:hunter2@bucket/a",
            "az://hunter2@container/a",
            "az://container/a?sig=hunter2",
            "s3://bucket/a#hunter2",
            "ftp://hunter2/a",
            "hunter2",
            "",
            "s3://[hunter2/a",
        ],
    )
    def test_no_secret_is_taken_or_repeated(self, url):
        with pytest.raises(SnapshotStoreError) as caught:
            Objects(url)
        assert "hunter2" not in str(caught.value)
        assert caught.value.reason == "SNAPSHOT_STORE_UNAVAILABLE"

    @pytest.mark.parametrize(
        "url",
        [
            "s3://",
            "s3:///a",
            "gs://bucket/a//b",
            "gs://bucket/../b",
            "s3://b%20/a",
            "s3://bucket/%2e%2e",
            "file://host/a",
            "file://a",
            "file:a",
        ],
    )
    def test_malformed_ones_are_refused_with_the_form_that_is_right(self, url):
        with pytest.raises(SnapshotStoreError, match="is given as"):
            Objects(url)

    def test_a_folder_that_is_missing(self, tmp_path):
        with pytest.raises(SnapshotStoreError, match="no such folder"):
            Objects(f"file://{tmp_path}/none")

    def test_what_the_environment_lacks_is_told(self, monkeypatch):
        forget_credentials(monkeypatch)
        with pytest.raises(SnapshotStoreError, match="Account must be specified"):
            Objects("az://container/a").list(OBJECTS)


class TestKeys:
    def test_the_documented_commands_make_keys_that_work(self, tmp_path):
        page = (Path(__file__).parents[2] / "docs" / "replicas.md").read_text()
        commands = [line for line in page.splitlines() if line.startswith("openssl ")]
        assert len(commands) == 2
        for command in commands:
            subprocess.run(
                f"umask 077; {command}", shell=True, check=True, cwd=tmp_path, capture_output=True
            )
        private, public = tmp_path / "snapshots.pem", tmp_path / "snapshots.pub.pem"
        envelope = sign(PUBLICATION, load_signing_key(private))
        assert verify(envelope, load_verify_keys(public)) == PUBLICATION

    def test_any_of_several_keys_may_have_signed(self, tmp_path, keys):
        other = Keys(tmp_path, "other")
        both = tmp_path / "both.pem"
        both.write_bytes(b"old:\n" + keys.public.read_bytes() + other.public.read_bytes())
        for each in (keys, other):
            envelope = sign(PUBLICATION, load_signing_key(each.private))
            assert verify(envelope, load_verify_keys(both)) == PUBLICATION
        stranger = Keys(tmp_path, "stranger")
        with pytest.raises(SnapshotSignatureError):
            verify(sign(PUBLICATION, load_signing_key(stranger.private)), load_verify_keys(both))

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o644])
    def test_a_private_key_open_to_others_is_refused(self, keys, mode):
        keys.private.chmod(mode)
        with pytest.raises(SnapshotKeyError, match=f"open to others.*{mode:04o}.*0600"):
            load_signing_key(keys.private)

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
    def test_a_private_key_for_owner_and_group_is_taken(self, keys, mode):
        keys.private.chmod(mode)
        load_signing_key(keys.private)

    def test_wrong_kinds_of_keys_are_named(self, tmp_path, keys):
        def written(data: bytes) -> Path:
            path = tmp_path / "key.pem"
            path.write_bytes(data)
            path.chmod(0o600)
            return path

        other = generate_private_key(SECP256R1())
        pem, pkcs8, spki = Encoding.PEM, PrivateFormat.PKCS8, PublicFormat.SubjectPublicKeyInfo
        locked = Ed25519PrivateKey.generate().private_bytes(
            pem, pkcs8, BestAvailableEncryption(b"passphrase")
        )
        truncated = keys.public.read_bytes().replace(b"MCowBQ", b"MCo")
        for load, data, words in (
            (load_signing_key, keys.public.read_bytes(), "it is a public key"),
            (load_signing_key, b"nothing", "no private key"),
            (load_signing_key, locked, "is encrypted"),
            (load_signing_key, other.private_bytes(pem, pkcs8, NoEncryption()), "another kind"),
            (load_verify_keys, keys.private.read_bytes(), "holds a private key"),
            (load_verify_keys, b"", "holds no public key"),
            (load_verify_keys, truncated, "damaged public key"),
            (load_verify_keys, other.public_key().public_bytes(pem, spki), "another kind"),
        ):
            with pytest.raises(SnapshotKeyError, match=words) as caught:
                load(written(data))
            assert "key.pem" in str(caught.value)

    def test_missing_keys(self, tmp_path):
        for load in (load_signing_key, load_verify_keys):
            with pytest.raises(SnapshotKeyError, match="cannot be read"):
                load(tmp_path / "none.pem")


class TestSignatures:
    def test_no_bit_can_be_changed(self, keys):
        envelope = sign(PUBLICATION, load_signing_key(keys.private))
        public = load_verify_keys(keys.public)
        parts = json.loads(envelope)
        for part in parts:
            plain = base64.b64decode(parts[part])
            for place in range(0, len(plain), 7):
                forged = plain[:place] + bytes([plain[place] ^ 1]) + plain[place + 1 :]
                changed = {**parts, part: base64.b64encode(forged).decode()}
                with pytest.raises(SnapshotSignatureError):
                    verify(json.dumps(changed).encode(), public)

    @pytest.mark.parametrize(
        "envelope",
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"[" * 100_000,
            b"\xff",
            b'{"payload": 1, "signature": 2}',
            b'{"payload": "%%%", "signature": "AAAA"}',
            b'{"payload": "AAAA", "signature": ""}',
        ],
    )
    def test_what_is_no_envelope(self, envelope, keys):
        with pytest.raises(SnapshotSignatureError):
            verify(envelope, load_verify_keys(keys.public))

    def signed(self, keys: Keys, payload: bytes) -> bytes:
        key = load_signing_key(keys.private)
        parts = {"payload": payload, "signature": key.sign(payload)}
        return json.dumps(
            {name: base64.b64encode(part).decode() for name, part in parts.items()}
        ).encode()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"version": 2}, "version 2.*replicas are to be updated"),
            ({"version": "x"}, "version unknown"),
            ({"format": "other"}, "no publication"),
            ({"snapshot": "../../etc"}, "malformed"),
            ({"previous": "x"}, "malformed"),
            ({"manifest_sha256": "AB" * 32}, "malformed"),
            ({"manifest_bytes": 1 << 40}, "malformed"),
            ({"revision": -1}, "malformed"),
            ({"sequence": True}, "malformed"),
            ({"sequence": 2**63}, "malformed"),
            ({"erases_before": 1.5}, "malformed"),
            ({"published_at": "yesterday"}, "malformed"),
            ({"published_at": "2026-01-02T03:04:05"}, "malformed"),
            ({"more": 1}, "malformed"),
        ],
    )
    def test_a_signed_one_of_another_form(self, keys, change, words):
        envelope = json.loads(sign(PUBLICATION, load_signing_key(keys.private)))
        body = {**json.loads(base64.b64decode(envelope["payload"])), **change}
        with pytest.raises(SnapshotError, match=words):
            verify(self.signed(keys, json.dumps(body).encode()), load_verify_keys(keys.public))

    @pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"[" * 100_000])
    def test_a_signed_one_that_is_no_object(self, keys, payload):
        with pytest.raises(SnapshotError, match="no publication"):
            verify(self.signed(keys, payload), load_verify_keys(keys.public))


class TestMemory:
    def test_it_comes_back_and_forgets_what_is_gone(self, tmp_path):
        kept = build(tmp_path, 1).name
        gone = "snapshot-000000000002-0123456789abcdef"
        memory = Accepted("file:///x").advanced(PUBLICATION).holding(gone).holding(kept)
        memory.save(tmp_path)
        again = Accepted.load(tmp_path, "file:///x")
        assert again == replace(memory, snapshots={kept: PUBLICATION.sequence})
        assert Accepted.load(tmp_path, "file:///other") == Accepted("file:///other")
        assert Accepted.load(tmp_path / "none", "file:///x") == Accepted("file:///x")

    def test_a_lower_number_or_another_snapshot_of_the_same_is_refused(self):
        memory = Accepted("file:///x").advanced(PUBLICATION)
        assert memory.advanced(PUBLICATION) == memory
        for older in (
            replace(PUBLICATION, sequence=PUBLICATION.sequence - 1),
            replace(PUBLICATION, manifest_sha256="cd" * 32),
        ):
            with pytest.raises(SnapshotRolledBackError, match="rolled back") as caught:
                memory.advanced(older)
            assert ACCEPTED_FILE in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b'{"url": 1}', b"\0" * 99])
    def test_a_damaged_file_is_not_taken_for_none(self, tmp_path, content):
        (tmp_path / ACCEPTED_FILE).write_bytes(content)
        with pytest.raises(SnapshotError, match=ACCEPTED_FILE):
            Accepted.load(tmp_path, "file:///x")

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(SnapshotError, match="cannot be read"):
            Accepted.load(tmp_path / "file", "file:///x")

    def test_snapshots_of_unknown_origin_hold_what_was_purged(self, tmp_path):
        build(tmp_path, 1)
        memory = Accepted("file:///x").advanced(replace(PUBLICATION, erases_before=5))
        assert not memory.must_erase(tmp_path)  # the current one alone
        build(tmp_path, 2)
        assert memory.must_erase(tmp_path)
        before = next(name for name in folders(tmp_path) if name != current_name(tmp_path))
        assert not replace(memory, snapshots={before: 5}).must_erase(tmp_path)
        assert replace(memory, snapshots={before: 4}).must_erase(tmp_path)


class TestPush:
    def test_a_damaged_file_is_not_handed_on(self, store):
        folder = build(store.built, 1)
        with (folder / "recent.codes.bin").open("r+b") as stream:
            stream.write(b"\xff")
        with pytest.raises(SnapshotError, match=r"recent\.codes\.bin is damaged"):
            store.push(folder)
        assert not (store.path / CURRENT).exists()

    def test_a_folder_that_is_no_snapshot(self, store, tmp_path):
        with pytest.raises(SnapshotError, match="none"):
            store.push(tmp_path / "none")
        (tmp_path / "empty").mkdir()
        with pytest.raises(SnapshotError, match="manifest"):
            store.push(tmp_path / "empty")

    def test_a_file_that_is_missing(self, store):
        folder = build(store.built, 1)
        (folder / "lists.json").unlink()
        with pytest.raises(SnapshotError, match=r"lists\.json"):
            store.push(folder)

    def test_the_same_again_has_a_new_number_and_moves_nothing(self, store):
        first = store.publish(1)
        second = store.publish(2)
        again = store.push(store.built / second.name)
        assert again.sequence > second.sequence > first.sequence
        assert (again.uploaded_bytes, again.name) == (0, second.name)
        publication = verify(
            (store.path / CURRENT).read_bytes(), load_verify_keys(store.keys.public)
        )
        assert publication.previous == f"{first.sequence:019d}-{first.name}"
        store.pull()
        assert revision_of_arrays(store.root) == 2
        assert not store.pull().changed

    def test_an_object_of_another_size_is_uploaded_again(self, store):
        first = store.publish(1)
        cut = next(each for each in (store.path / OBJECTS).iterdir() if each.stat().st_size == 160)
        cut.write_bytes(b"cut off")
        assert store.push(store.built / first.name).uploaded_bytes == 160
        store.pull()
        assert revision_of_arrays(store.root) == 1

    def test_numbers_rise_while_the_clock_goes_back(self, store, monkeypatch):
        first = store.publish(1)
        monkeypatch.setattr("time.time_ns", lambda: 5)
        second = store.publish(2)
        assert second.sequence == first.sequence + 1
        # In a store that was emptied too.
        monkeypatch.undo()
        (store.path / CURRENT).unlink()
        assert store.publish(3).sequence > second.sequence

    def test_what_another_key_signed_is_published_over(self, store, tmp_path):
        store.publish(1)
        store.pull()
        old, store.keys = store.keys, Keys(tmp_path, "new")
        store.publish(2)
        with pytest.raises(SnapshotSignatureError):
            store.pull(verify_key=old.public)
        assert revision_of_arrays(store.root) == 1
        both = tmp_path / "both.pem"
        both.write_bytes(old.public.read_bytes() + store.keys.public.read_bytes())
        # Whether the unknown one erased anything cannot be told: better be safe.
        assert store.pull(verify_key=both).erase_previous
        assert revision_of_arrays(store.root) == 2

    def test_what_was_published_stays_for_its_grace(self, store):
        for revision in (1, 2, 3, 4):
            store.publish(revision)
        assert len(store.objects().list(MANIFESTS)) == 4
        long_ago = 0
        for path in store.path.rglob("*"):
            os.utime(path, (long_ago, long_ago))
        (store.path / OBJECTS / ("0" * 64 + "#1")).touch()
        (store.path / OBJECTS / "README").touch()
        os.utime(store.path / OBJECTS / ("0" * 64 + "#1"), (0, 0))
        store.publish(5)  # 3 begins its grace now, 1 and 2 ended theirs long ago
        assert len(store.objects().list(MANIFESTS)) == 3
        assert len(list((store.path / OBJECTS).iterdir())) == 1 + 1 + 3 * 2

    def test_an_unreadable_manifest_keeps_nothing(self, store):
        store.publish(1)
        store.publish(2)
        for path in (store.path / MANIFESTS).iterdir():
            path.write_bytes(b"{}")
        store.publish(3, grace_seconds=0)
        assert len(store.objects().list(OBJECTS)) == 3
        assert len(store.objects().list(MANIFESTS)) == 2

    def test_clearing_that_fails_is_told_and_made_good(self, store, monkeypatch):
        store.publish(1)
        store.publish(2)

        def refuse(self, names):
            if list(names):
                raise SnapshotStoreError("no deleting today")

        with monkeypatch.context() as patched:
            patched.setattr(Objects, "delete", refuse)
            assert "no deleting" in store.publish(3, grace_seconds=0).problem
            with pytest.raises(SnapshotStoreError, match=r"is published, but.*no deleting"):
                store.publish(4, purge="one")
        assert store.pull().revision == 4
        assert len(store.objects().list(MANIFESTS)) == 4
        # The next one erases what that could not, whatever its grace.
        store.publish(5, purge="one")
        assert len(store.objects().list(MANIFESTS)) == 2
        assert len(store.objects().list(OBJECTS)) == 1 + 2 * 2

    @pytest.mark.parametrize("step", ["upload", "write", "replace", "delete"])
    def test_a_purge_whose_publication_failed_is_made_good_by_any_other(
        self, store, step, monkeypatch
    ):
        """Whoever publishes next, and whatever: nothing has to be remembered for it."""
        store.publish(1)
        store.publish(2)

        def broken(*arguments):
            raise SnapshotStoreError("broke off")

        with monkeypatch.context() as patched:
            patched.setattr(Objects, step, broken)
            with pytest.raises(SnapshotStoreError, match="broke off"):
                store.publish(3, purge="one")
        built = store.built / str(current_name(store.built))
        for revision in (None, 4):  # what is built already, and what is built next
            if revision is not None:
                built = build(store.built, revision, purge="one")
            store.push(built)
            assert len(store.objects().list(MANIFESTS)) <= 2
            oldest = min(int(name[:19]) for name in store.objects().list(MANIFESTS))
            assert oldest >= self.publication(store).erases_before > 0
            assert store.pull().revision == (revision or 3)
        # The purged ones' own arrays and lists are gone, and what all share is not.
        assert len(store.objects().list(OBJECTS)) == 1 + 2 * len(store.objects().list(MANIFESTS))

    def test_publishing_the_same_again_withdraws_nothing(self, store):
        """As a builder does that was restarted."""
        store.publish(1)
        store.publish(2)
        before = store.objects().list(OBJECTS)
        store.push(store.built / str(current_name(store.built)))
        publication = self.publication(store)
        assert publication.erases_before == 0
        assert publication.previous is not None
        assert f"{publication.previous}.json" in store.objects().list(MANIFESTS)
        assert store.objects().list(OBJECTS).keys() == before.keys()

    def test_what_a_broken_publication_left_goes_with_a_purge(self, store, monkeypatch):
        """Uploaded before the purge, and named by no manifest that is there."""
        store.publish(1)

        def broken(*arguments):
            raise SnapshotStoreError("broke off")

        with monkeypatch.context() as patched:
            patched.setattr(Objects, "write", broken)
            with pytest.raises(SnapshotStoreError, match="broke off"):
                store.publish(2)
        with monkeypatch.context() as patched:
            patched.setattr(Objects, "delete", broken)
            with pytest.raises(SnapshotStoreError, match="publish it again"):
                store.publish(3, purge="one")
        store.push(store.built / str(current_name(store.built)))
        assert len(store.objects().list(OBJECTS)) == 1 + 2

    def publication(self, store):
        return verify((store.path / CURRENT).read_bytes(), load_verify_keys(store.keys.public))

    def test_what_another_clearing_took_is_put_back(self, store, monkeypatch):
        store.publish(1)
        replace_current = Objects.replace

        def robbed(self, name, content, seen):
            replace_current(self, name, content, seen)
            self.delete([f"{OBJECTS}/{each}" for each in self.list(OBJECTS)])

        monkeypatch.setattr(Objects, "replace", robbed)
        store.publish(2)
        store.pull()
        assert revision_of_arrays(store.root) == 2


class TestPull:
    def test_a_manifest_of_another_snapshot(self, store):
        store.publish(1)
        (manifest,) = (store.path / MANIFESTS).iterdir()
        whole = manifest.read_bytes()
        for content, error, words in (
            (whole.replace(b'"test"', b'"tess"'), SnapshotError, "foreign"),
            (whole + b" " * 100, SnapshotStoreError, "at most"),
        ):
            manifest.write_bytes(content)
            with pytest.raises(error, match=words):
                store.pull()
        manifest.unlink()
        with pytest.raises(SnapshotStoreError, match=r"manifest.*missing"):
            store.pull()
        assert folders(store.root) == []

    def test_a_signed_manifest_that_this_build_does_not_read(self, store):
        store.publish(1)
        (manifest,) = (store.path / MANIFESTS).iterdir()
        self.republish(store, manifest.read_bytes().replace(b'"version": 1', b'"version": 9'), 1)
        with pytest.raises(SnapshotError, match="version 9"):
            store.pull()
        self.republish(store, manifest.read_bytes(), 2)
        with pytest.raises(SnapshotError, match="different revisions"):
            store.pull()

    def republish(self, store: Store, manifest: bytes, revision: int) -> None:
        keys = load_verify_keys(store.keys.public)
        before = verify((store.path / CURRENT).read_bytes(), keys)
        publication = replace(
            before,
            revision=revision,
            manifest_bytes=len(manifest),
            manifest_sha256=hashlib.sha256(manifest).hexdigest(),
            sequence=before.sequence + 1,
        )
        (store.path / MANIFESTS / f"{publication.manifest_name}.json").write_bytes(manifest)
        envelope = sign(publication, load_signing_key(store.keys.private))
        (store.path / CURRENT).write_bytes(envelope)

    def test_an_overlong_pointer(self, store):
        store.publish(1)
        (store.path / CURRENT).write_bytes(b" " * 20_000)
        with pytest.raises(SnapshotStoreError, match="20000 bytes"):
            store.pull()

    def test_a_store_that_is_rolled_back_is_noticed(self, store):
        store.publish(1)
        old = (store.path / CURRENT).read_bytes()
        store.publish(2)
        store.pull()
        (store.path / CURRENT).write_bytes(old)
        with pytest.raises(SnapshotRolledBackError) as caught:
            store.pull()
        assert caught.value.reason == "SNAPSHOT_STORE_ROLLED_BACK"
        assert revision_of_arrays(store.root) == 2
        # On purpose, the builder publishes the older snapshot anew.
        store.push(next(store.built.glob("snapshot-000000000001-*")))
        store.pull()
        assert revision_of_arrays(store.root) == 1

    def test_what_was_seen_is_remembered_though_fetching_failed(self, store):
        store.publish(1)
        store.pull()
        store.publish(2)
        between = (store.path / CURRENT).read_bytes()
        store.publish(3)
        manifest = max((store.path / MANIFESTS).iterdir())
        manifest.unlink()
        with pytest.raises(SnapshotStoreError):
            store.pull()
        (store.path / CURRENT).write_bytes(between)
        with pytest.raises(SnapshotRolledBackError):
            store.pull()

    def test_repair_fetches_what_is_damaged_here(self, store):
        store.publish(1)
        first = store.pull()
        damaged = store.root / first.name / "base.codes.bin"
        with damaged.open("r+b") as stream:
            stream.write(b"\xff")
        assert not store.pull().changed
        with pytest.raises(SnapshotError, match="damaged"):
            open_current(store.root)
        again = store.pull(repair=True)
        assert again.changed
        assert again.name != first.name
        assert again.fetched_bytes == 8000
        assert revision_of_arrays(store.root) == 1
        sweep(store.root)
        assert not store.pull().changed

    def test_a_damaged_local_snapshot_is_no_source(self, store):
        store.publish(1)
        first = store.pull()
        (store.root / first.name / "manifest.json").write_bytes(b"{}")
        store.publish(2)
        assert store.pull().linked_bytes == 0
        assert revision_of_arrays(store.root) == 2

    def test_a_local_file_of_another_size_is_no_source(self, store):
        store.publish(1)
        first = store.pull()
        (store.root / first.name / "base.codes.bin").write_bytes(b"short")
        store.publish(2)
        assert store.pull().linked_bytes == 0
        assert revision_of_arrays(store.root) == 2

    def test_where_links_cannot_be_made_all_is_fetched(self, store, monkeypatch):
        store.publish(1)
        store.pull()
        store.publish(2)
        monkeypatch.setattr(os, "link", self.no_link)
        assert store.pull().linked_bytes == 0
        assert revision_of_arrays(store.root) == 2

    @staticmethod
    def no_link(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    def test_a_damaged_local_pointer_is_written_over(self, store):
        store.publish(1)
        store.pull()
        (store.root / "current").write_bytes(b"?")
        assert store.pull().changed
        assert revision_of_arrays(store.root) == 1

    def test_a_receiver_publishes_only_what_is_whole(self, store):
        folder = build(store.built, 1)
        manifest = json.loads((folder / "manifest.json").read_bytes())
        with SnapshotReceiver(store.root, manifest) as receiver:
            receiver.receive("document lists", [memoryview((folder / "lists.json").read_bytes())])
            with pytest.raises(ValueError, match="3 files"):
                receiver.publish_received()
        assert folders(store.root) == []

    def test_an_unwritable_folder_is_told(self, store, tmp_path):
        store.publish(1)
        (tmp_path / "replica").touch()
        with pytest.raises(SnapshotError, match="cannot be used"):
            store.pull()


class TestReplica:
    def make(self, store: Store, **options):
        self.now, self.roll = 1000.0, 0.5
        return Replica(
            store.url,
            store.root,
            verify_key=store.keys.public,
            pull_seconds=40,
            options=HASTY,
            clock=lambda: self.now,
            chance=lambda: self.roll,
            **options,
        )

    def test_it_looks_at_once_and_then_at_jittered_times(self, store):
        store.publish(1)
        replica = self.make(store)
        assert replica.seconds_since_contact == float("inf")
        assert replica.refresh()
        assert replica.last_pull is not None
        assert (replica.last_pull.revision, replica.problem) == (1, "")
        store.publish(2)
        self.now += 39.9
        assert not replica.refresh()
        assert replica.seconds_since_contact == pytest.approx(39.9)
        self.now += 0.2
        self.roll = 0.0  # the next look comes a quarter earlier
        assert replica.refresh()
        assert revision_of_arrays(store.root) == 2
        store.publish(3)
        self.now += 29.9
        assert not replica.refresh()
        self.now += 0.2
        self.roll = 0.999
        assert replica.refresh()
        store.publish(4)
        self.now += 49.9
        assert not replica.refresh()
        self.now += 0.1
        assert replica.refresh()

    def test_one_that_has_something_to_serve_waits_a_random_while(self, store):
        store.publish(1)
        store.pull()
        store.publish(2)
        replica = self.make(store)
        assert replica.refresh()  # what is held, not looked for
        assert replica.last_pull is None
        self.now += 20
        assert replica.refresh()
        assert revision_of_arrays(store.root) == 2

    def test_a_failure_is_raised_once_and_kept_as_a_problem(self, store):
        replica = self.make(store)
        with pytest.raises(SnapshotStoreError, match="no such folder"):
            replica.refresh()
        assert "no such folder" in replica.problem
        self.now += 60
        assert not replica.refresh()
        assert "no such folder" in replica.problem
        store.path.mkdir()
        self.now += 60
        with pytest.raises(SnapshotStoreError, match="nothing is published"):
            replica.refresh()
        store.publish(1)
        assert not replica.refresh()  # not due
        self.now += 60
        assert replica.refresh()
        assert replica.problem == ""
        # Away again: what is here stays, and is told of once more.
        store.path.rename(store.folder / "away")
        self.now += 60
        with pytest.raises(HashlistsError):
            replica.refresh()
        assert revision_of_arrays(store.root) == 1

    def test_of_two_processes_one_pulls_and_both_notice(self, store):
        store.publish(1)
        first, second = self.make(store), self.make(store)
        store.root.mkdir()
        with (store.root / ".pull.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not first.refresh()
            assert first.last_pull is None
        self.now += 60
        assert first.refresh()
        self.now += 1
        assert second.refresh()

    def test_repair_does_not_wait(self, store):
        store.publish(1)
        replica = self.make(store)
        replica.refresh()
        assert not replica.refresh()
        assert replica.refresh(repair=True)
        assert len(folders(store.root)) == 2

    def test_a_damaged_pointer_is_mended_by_the_first_look(self, store):
        store.publish(1)
        store.pull()
        (store.root / "current").write_bytes(b"?")
        replica = self.make(store)
        assert replica.refresh()
        assert revision_of_arrays(store.root) == 1

    def test_it_can_be_stopped_in_the_middle_of_a_pull(self, store, monkeypatch):
        store.publish(1)
        store.pull()
        store.push(build(store.built, 2))
        replica = self.make(store)
        replica.refresh()
        self.now += 60
        stream = Objects.stream

        def stopping(self, name, nbytes, role):
            replica.stop()
            return stream(self, name, nbytes, role)

        monkeypatch.setattr(Objects, "stream", stopping)
        with pytest.raises(SnapshotStoreError, match="stopped before its end"):
            replica.refresh()
        assert revision_of_arrays(store.root) == 1
        assert len(folders(store.root)) == 1
        self.now += 60
        assert not replica.refresh(repair=True)

    def test_nothing_to_erase_before_anything_was_pulled(self, store):
        assert not self.make(store).erase_previous
