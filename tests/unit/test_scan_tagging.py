"""Tags: what is found is marked where it lies, if it still is what was scanned."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from matcher.scan.model import FOUND, Outcome, Record
from matcher.scan.tagging import attributes
from matcher.scan.tagging.attributes import FileTagger
from matcher.scan.tagging.model import Came, TagError, Target, checked, found
from matcher.scan.tagging.objects import ObjectTagger

TAGS = {"hashwarden": "review", "case": "17/a"}


def record(number, outcome, *, member=""):
    return Record(f"1-{number}{member}", 0, f"key-{number}", outcome, member=member, size=number)


def target_of(path, key, **changed):
    state = os.lstat(path)
    values = {
        "id": "1-1",
        "source": 0,
        "key": key,
        "raw": b"",
        "size": state.st_size,
        "modified": state.st_mtime_ns / 1e9,
        "etag": "",
        "version": "",
        "outcome": Outcome.MATCHED,
    }
    return Target(**values | changed)


# Which objects


def test_each_object_that_was_found_is_named_once():
    records = [
        record(1, Outcome.NO_KNOWN_MATCH),
        record(2, Outcome.MATCHED),
        record(3, Outcome.NOT_HASHABLE),
        record(3, Outcome.REVIEW, member="a"),
        record(3, Outcome.MATCHED, member="b"),
        record(4, Outcome.REVIEW),
        record(5, Outcome.FAILED),
    ]
    told = [(each.key, each.outcome) for each in found(records)]
    assert told == [
        ("key-2", Outcome.MATCHED),
        ("key-3", Outcome.MATCHED),
        ("key-4", Outcome.REVIEW),
    ]
    assert [each.key for each in found(records, [Outcome.REVIEW])] == ["key-3", "key-4"]
    assert [each.size for each in found(records)] == [2, 3, 4]
    assert list(found([])) == []


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(list(Outcome))), max_size=40))
def test_objects_found_are_those_that_a_set_would_tell(rows):
    records, number = [], 0
    for chosen, outcome in rows:
        is_member = chosen and number > 0
        number += not is_member
        records.append(record(number, outcome, member="m" if is_member else ""))
    keys = [each.key for each in found(records)]
    assert len(keys) == len({*keys})
    assert {*keys} == {each.key for each in records if each.outcome in FOUND}


# Which tags


@pytest.mark.parametrize(
    "tags",
    [
        *({}, {"aws:x": "y"}, {"": "y"}, {"a b": "c"}, {"a": ""}, {"a": "ü"}, {"a\n": "b"}),
        *({"x" * 101: "y"}, {"a": "x" * 257}, {f"k{n}": "v" for n in range(11)}),
    ],
)
def test_tags_that_cannot_be_set_everywhere_are_refused(tags):
    with pytest.raises(TagError):
        checked(tags)


def test_good_tags_pass():
    assert checked(TAGS) == TAGS


# Files


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "a" / "b.jpg"
    path.parent.mkdir()
    path.write_bytes(b"bytes")
    try:
        os.setxattr(path, "user.probe", b"1")
    except OSError as error:
        pytest.skip(f"this file system keeps no attributes: {error.strerror}")
    return tmp_path


def names_of(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def test_a_file_is_tagged_beside_its_content(folder):
    path = folder / "a" / "b.jpg"
    before = path.stat()
    tagger, target = FileTagger(str(folder)), target_of(path, "a/b.jpg")
    assert tagger.tag(target, TAGS).came is Came.TAGGED
    assert names_of(path) == {
        "user.probe": b"1",
        "user.hashwarden.hashwarden": b"review",
        "user.hashwarden.case": b"17/a",
    }
    after = path.stat()
    assert (path.read_bytes(), after.st_mtime_ns) == (b"bytes", before.st_mtime_ns)
    assert tagger.tag(target, TAGS).came is Came.ALREADY
    assert tagger.tag(target, TAGS | {"case": "18"}).came is Came.TAGGED
    assert names_of(path)["user.hashwarden.case"] == b"18"


def test_a_file_that_is_a_place_is_tagged(folder):
    path = folder / "a" / "b.jpg"
    assert FileTagger(str(path)).tag(target_of(path, "b.jpg"), TAGS).came is Came.TAGGED


def test_a_name_that_is_no_text_is_tagged(folder):
    raw = b"a/\xff.jpg"
    path = folder / os.fsdecode(raw)
    path.write_bytes(b"x")
    target = target_of(path, "a/\\xff.jpg", raw=raw)
    assert FileTagger(str(folder)).tag(target, TAGS).came is Came.TAGGED


@pytest.mark.parametrize("changed", [{"size": 6}, {"modified": 1.0}, {"modified": None}])
def test_a_file_that_has_changed_is_not_tagged(folder, changed):
    path = folder / "a" / "b.jpg"
    done = FileTagger(str(folder)).tag(target_of(path, "a/b.jpg", **changed), TAGS)
    assert done.came is Came.CHANGED
    assert set(names_of(path)) == {"user.probe"}


def test_no_link_is_followed(folder):
    path = folder / "a" / "b.jpg"
    (folder / "link.jpg").symlink_to(path)
    (folder / "linked").symlink_to(folder / "a")
    (folder / "out").symlink_to("/")
    tagger = FileTagger(str(folder))
    for key in ("link.jpg", "linked/b.jpg", "out/etc/hosts"):
        assert tagger.tag(target_of(path, key), TAGS).came is Came.LINK, key
    assert set(names_of(path)) == {"user.probe"}


def test_what_is_gone_or_no_file_is_told(folder):
    path = folder / "a" / "b.jpg"
    tagger = FileTagger(str(folder))
    assert tagger.tag(target_of(path, "a/none.jpg"), TAGS).came is Came.GONE
    assert tagger.tag(target_of(path, "a"), TAGS).came is Came.CHANGED
    os.mkfifo(folder / "pipe")
    assert tagger.tag(target_of(path, "pipe"), TAGS).came is Came.CHANGED


@pytest.mark.parametrize(
    ("number", "came"),
    [
        (errno.ENOTSUP, Came.UNSUPPORTED),
        (errno.EACCES, Came.FORBIDDEN),
        (errno.EROFS, Came.FORBIDDEN),
        (errno.ENOSPC, Came.FULL),
        (errno.EIO, Came.FAILED),
    ],
)
def test_what_a_file_system_refuses_is_told(folder, number, came, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(attributes.os, "setxattr", refuse)
    path = folder / "a" / "b.jpg"
    done = FileTagger(str(folder)).tag(target_of(path, "a/b.jpg"), TAGS)
    assert done.came is came
    assert done.detail
    assert str(folder) not in done.detail


def test_nothing_stays_open(folder):
    path = folder / "a" / "b.jpg"
    tagger = FileTagger(str(folder))
    before = len([*Path("/proc/self/fd").iterdir()])
    for key in ("a/b.jpg", "a/none.jpg", "none/b.jpg", "a"):
        tagger.tag(target_of(path, key), TAGS)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


# Objects of S3


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    client = botocore.session.get_session().create_client("s3", endpoint_url=endpoint)
    yield client
    client.close()


@pytest.fixture
def bucket(s3, request):
    name = f"bucket-{abs(hash(request.node.nodeid)) % 10**8}"
    s3.create_bucket(Bucket=name)
    return name


def put(s3, bucket, key, body=b"bytes"):
    """Puts an object, and gives it as a target below `photos/`."""
    told = s3.put_object(Bucket=bucket, Key=key, Body=body)
    return Target(
        *("1-1", 0, key.removeprefix("photos/"), b"", len(body), 0.0),
        told["ETag"].strip('"'),
        told.get("VersionId", ""),
        Outcome.MATCHED,
    )


def tags_of(s3, bucket, key, **more):
    told = s3.get_object_tagging(Bucket=bucket, Key=key, **more)["TagSet"]
    return {each["Key"]: each["Value"] for each in told}


@pytest.fixture
def tagger(bucket, endpoint, s3):
    made = ObjectTagger(bucket, "photos/", endpoint)
    yield made
    made.close()


def test_an_object_is_tagged_beside_the_tags_of_others(s3, bucket, tagger):
    target = put(s3, bucket, "photos/a b%é.jpg")
    s3.put_object_tagging(
        Bucket=bucket,
        Key="photos/a b%é.jpg",
        Tagging={"TagSet": [{"Key": "owner", "Value": "x"}, {"Key": "case", "Value": "old"}]},
    )
    assert tagger.tag(target, TAGS).came is Came.TAGGED
    assert tags_of(s3, bucket, "photos/a b%é.jpg") == {"owner": "x", **TAGS}
    assert tagger.tag(target, TAGS).came is Came.ALREADY
    assert s3.get_object(Bucket=bucket, Key="photos/a b%é.jpg")["Body"].read() == b"bytes"


def test_an_object_that_has_changed_is_not_tagged(s3, bucket, tagger):
    target = put(s3, bucket, "photos/a.jpg")
    put(s3, bucket, "photos/a.jpg", b"others")
    assert tagger.tag(target, TAGS).came is Came.CHANGED
    assert tags_of(s3, bucket, "photos/a.jpg") == {}


def test_without_an_etag_the_size_tells(s3, bucket, tagger):
    target = replace(put(s3, bucket, "photos/a.jpg"), etag="")
    assert tagger.tag(replace(target, size=4), TAGS).came is Came.CHANGED
    assert tagger.tag(replace(target, size=None), TAGS).came is Came.CHANGED
    assert tagger.tag(target, TAGS).came is Came.TAGGED


def test_of_versions_that_one_is_tagged_which_was_scanned(s3, bucket, tagger):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = put(s3, bucket, "photos/a.jpg")
    assert tagger.tag(first, TAGS).came is Came.TAGGED
    assert tags_of(s3, bucket, "photos/a.jpg", VersionId=first.version) == TAGS
    again = put(s3, bucket, "photos/a.jpg")
    assert tagger.tag(first, TAGS).came is Came.CHANGED
    assert tags_of(s3, bucket, "photos/a.jpg", VersionId=again.version) == {}


def test_an_object_that_is_gone_or_full_is_told(s3, bucket, tagger, endpoint):
    target = put(s3, bucket, "photos/a.jpg")
    many = [{"Key": f"k{n}", "Value": "v"} for n in range(9)]
    s3.put_object_tagging(Bucket=bucket, Key="photos/a.jpg", Tagging={"TagSet": many})
    assert tagger.tag(target, TAGS).came is Came.FULL
    s3.delete_object(Bucket=bucket, Key="photos/a.jpg")
    assert tagger.tag(target, TAGS).came is Came.GONE
    assert ObjectTagger("no-such-bucket", "", endpoint).tag(target, TAGS).came is Came.GONE


def test_a_store_that_gives_no_answer_is_told(bucket, s3, monkeypatch):
    monkeypatch.setattr("matcher.scan.tagging.objects._TRIES", 1)
    target = Target("1-1", 0, "a", b"", 1, 0.0, "e", "", Outcome.MATCHED)
    done = ObjectTagger(bucket, "", "http://127.0.0.1:9").tag(target, TAGS)
    assert done.came is Came.FAILED
    assert "no answer" in done.detail


def test_an_endpoint_that_is_none_is_refused(s3):
    with pytest.raises(TagError):
        ObjectTagger("b", "", "no endpoint")


def test_without_credentials_no_bucket_is_tagged(monkeypatch):
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)
    with pytest.raises(TagError, match="s3://uploads cannot be tagged: no credentials are found"):
        ObjectTagger("uploads", "")
