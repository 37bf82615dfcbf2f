"""`hashwarden index`: what it says of snapshots is so, and what it builds can be used."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sqlite3
import time
from typing import ClassVar

import numpy as np
import pytest

from hashlists import snapshot as snapshots
from hashlists.catalog import Catalog
from hashlists.errors import CatalogError, SnapshotError, SnapshotStoreError
from hashlists.model import ExtraHash, HashKind
from matcher import cli
from matcher.cli import building, index, index_output, index_state, lists_acts
from matcher.follow.agreement import compare_with_catalog
from matcher.follow.snapshots import build_snapshot
from matcher.follow.view import Sealed
from matcher.index.match_index import MatchIndex
from tests.catalog_support import batch, items, source, value

LIST = ("--list", "demo", "--harm", "test", "--source", "Us")
COLUMNS = ("--column=md5=md5", "--column=pdq=pdq", "--column=source_id=id")


def row(number):
    code = np.random.default_rng(number).bytes(32).hex()
    return f"{hashlib.md5(b'%d' % number).hexdigest()},{code},M-{number}"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def run(data, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(data), *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    return ran


@pytest.fixture
def records(run):
    def ran(*arguments, status=0):
        out = run("index", *arguments, "--json", status=status).out
        return [json.loads(line) for line in out.splitlines()]

    return ran


def write_rows(file, numbers):
    file.write_text("\n".join(["md5,pdq,id", *map(row, numbers)]) + "\n")


@pytest.fixture
def import_rows(run, tmp_path):
    def ran(*numbers):
        write_rows(tmp_path / "list.csv", numbers)
        run("lists", "import", str(tmp_path / "list.csv"), *LIST, *COLUMNS)

    return ran


class InProcess:
    """Builds here rather than in a child process, which the end-to-end tests start."""

    published: ClassVar[list] = []

    def __init__(self, catalog_url, snapshots_dir, *, publication=None, vault=None):
        self._url, self._root, self._vault = catalog_url, snapshots_dir, vault
        self.published.append(publication)

    def build(self, order):
        with Catalog.open(self._url) as catalog:
            return build_snapshot(
                catalog, self._root, full=order.full, seen=order.seen, vault=self._vault
            ).name


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr("matcher.follow.child.ChildProcess", InProcess)
    InProcess.published = []


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """A data folder into which a list was imported, and one whose snapshot was built as well."""
    folder = tmp_path_factory.mktemp("templates")
    write_rows(folder / "list.csv", range(8))
    given = ("lists", "import", str(folder / "list.csv"), *LIST, *COLUMNS)
    assert cli.main(["--data", str(folder / "imported"), *given]) == 0
    shutil.copytree(folder / "imported", folder / "built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matcher.follow.child.ChildProcess", InProcess)
        assert cli.main(["--data", str(folder / "built"), "index", "build"]) == 0
    return folder


@pytest.fixture
def filled(templates, data):
    shutil.copytree(templates / "imported", data)


@pytest.fixture
def built(templates, data):
    """The name of the snapshot that was built."""
    shutil.copytree(templates / "built", data)
    return snapshots.current_name(data / "snapshots")


@pytest.fixture
def catalog(data):
    with Catalog.open(f"sqlite:///{data}/catalog.sqlite3") as catalog:
        yield catalog


def test_before_the_first_build_nothing_is_usable(records, run):
    (state,) = records("status", status=1)
    assert (state["usable"], state["snapshot"], state["catalog"]) == (False, None, None)
    assert state["problem"] == "no snapshot was built yet"
    assert "no snapshot was built yet" in run("index", "status", status=1).out
    assert "index build" in run("index", "verify", status=1).err


def test_build_needs_a_catalog(run, data):
    assert "no catalog" in run("index", "build", status=2).err
    assert not data.exists()


def test_status_tells_what_was_built(filled, records, run):
    (built,) = records("build")
    assert built["built"] is True
    assert (built["revision"], built["entries"]) == (4, 9)
    (state,) = records("status")
    snapshot = state["snapshot"]
    assert (state["usable"], state["problem"]) == (True, "")
    assert (snapshot["name"], snapshot["revision"]) == (built["snapshot"], 4)
    assert snapshot["bytes"] == built["bytes"] > 9 * 24
    (base,) = snapshot["segments"]
    assert (base["name"], base["entries"], base["dead"]) == ("base", 9, 0)
    pdq = base["kinds"]["pdq"]
    assert (pdq["codes"], pdq["search"]["method"]) == (9, "flat")
    assert pdq["bytes_a_hash"] == round(pdq["bytes"] / 9, 1) >= 32
    told = {"revision": 4, "changes_waiting": 0, "same_history": True, "wipe_owed": False}
    assert state["catalog"] == told
    assert (state["previous"], state["unfinished"], state["building"]) == (None, {}, False)
    (again,) = records("build")
    assert (again["built"], again["snapshot"]) == (False, built["snapshot"])
    assert "Nothing was built" in run("index", "build").err


def test_status_tells_what_waits_and_what_was_before(built, records, run, import_rows):
    import_rows(8, 9)
    run("lists", "retract", "demo", "--source-id", "M-0", "--reason", "why")
    (state,) = records("status")
    assert (state["catalog"]["revision"], state["catalog"]["changes_waiting"]) == (6, 3)
    assert "entries changed since: 3" in run("index", "status").out
    (second,) = records("build")
    assert second["entries"] == 10
    (state,) = records("status")
    assert [each["name"] for each in state["snapshot"]["segments"]] == ["base", "recent"]
    assert state["snapshot"]["segments"][0]["dead"] == 1
    assert state["previous"]["name"] == built
    out = run("index", "status").out
    assert "before it\trevision 4 of" in out
    assert "recent\t2\t0\tpdq\t2\tflat\t" in out
    (full,) = records("build", "--full")
    assert full["built"]
    (state,) = records("status")
    assert [each["name"] for each in state["snapshot"]["segments"]] == ["base"]


def test_unfinished_folders_and_builders_are_told(built, records, run, data):
    with snapshots.SnapshotWriter(data / "snapshots", revision=9) as writer:
        writer.add_array("some", np.zeros(100, np.uint8))
        (state,) = records("status")
        ((name, size),) = state["unfinished"].items()
        assert name.startswith(".writing-")
        assert size == 100
        assert f"unfinished\t{name}, 100 bytes" in run("index", "status").out
    from matcher.follow.lock import build_lock

    with build_lock(data / "snapshots"):
        assert records("status")[0]["building"] is True
        assert "a process builds just now" in run("index", "status").out


def damaged(data, what):
    """Damages the published snapshot in one way."""
    root = data / "snapshots"
    folder = root / snapshots.current_name(root)
    if what == "array":
        path = folder / "base.pdq.codes.bin"
        path.write_bytes(b"\xff" + path.read_bytes()[1:])
    elif what == "cut off":
        path = folder / "base.pdq.codes.bin"
        path.write_bytes(path.read_bytes()[:-1])
    elif what == "document":
        path = folder / "index.json"
        path.write_bytes(path.read_bytes().replace(b"9", b"8"))
    elif what == "missing":
        (folder / "index.json").unlink()
    elif what == "manifest":
        (folder / "manifest.json").write_text("{}")
    elif what == "pointer":
        (root / "current").write_text("nonsense")


@pytest.mark.parametrize("what", ["cut off", "document", "missing", "manifest", "pointer"])
def test_what_is_damaged_is_not_usable(built, records, run, data, what):
    damaged(data, what)
    (state,) = records("status", status=1)
    assert state["usable"] is False
    assert state["problem"]
    assert "cannot be used" in run("index", "verify", status=1).err
    assert records("build")[0]["built"]
    assert records("status")[0]["usable"]


def test_a_flipped_byte_is_found_by_verify(built, records, run, data):
    damaged(data, "array")
    assert records("status")[0]["usable"]  # which reads no array
    assert "its digest differs" in run("index", "verify", status=1).err


def test_a_snapshot_of_another_history_is_not_usable(built, records, run, data):
    with sqlite3.connect(data / "catalog.sqlite3") as connection:
        connection.execute("UPDATE revisions SET mark = randomblob(16)")
    connection.close()
    (state,) = records("status", status=1)
    told = {"revision": 4, "changes_waiting": None, "same_history": False, "wipe_owed": False}
    assert state["catalog"] == told
    assert "restored since" in run("index", "status", status=1).out
    assert "is of another catalog" in run("index", "verify", status=2).err
    assert records("build")[0]["built"]
    records("status")


def test_verify_finds_no_difference(built, records, run, import_rows):
    import_rows(8, 9)
    run("lists", "retract", "demo", "--source-id", "M-0", "--reason", "why")
    *searches, compared, result = records("verify", "--sample", "20", "--seed", "1")
    assert result == {"check": "result", "revision": 4, "holds": True}
    assert compared["compared"] is True
    assert compared["changed_since"] == 3
    assert compared["in_index"] == compared["in_catalog"] == {"demo": 7, "hashwarden-test": 1}
    assert (compared["sampled"], compared["missing"]) == (8, {})
    assert {each["kind"] for each in searches} == {"pdq", "md5", "sha1", "sha256"}
    demo = next(each for each in searches if (each["kind"], each["list"]) == ("pdq", "demo"))
    assert (demo["hashes"], demo["looked_up"], demo["differing"]) == (8, 8, 0)
    told = run("index", "verify")
    assert "no difference" in told.err
    assert "3 entries were left out, having changed since" in told.err
    assert "demo\t7\t7\t0" in told.out
    assert row(1).split(",")[0] not in told.out + told.err


def test_verify_tells_what_differs(built, records, run, monkeypatch):
    search = MatchIndex.search

    def blind(self, kind, queries, threshold):
        found = search(self, kind, queries, threshold)
        kept = found.entry_rows != 0 if kind is HashKind.PDQ else slice(None)
        columns = (found.query_rows, found.entry_rows, found.distances, found.derivation_rows)
        return type(found)(*(each[kept] for each in columns))

    monkeypatch.setattr(MatchIndex, "search", blind)
    *searches, compared, result = records("verify", status=1)
    wrong = {(each["kind"], each["list"]) for each in searches if each["differing"]}
    assert len(wrong) == 1
    assert {kind for kind, _ in wrong} == {"pdq"}
    assert sum(compared["missing"].values()) == 1
    assert result["holds"] is False
    told = run("index", "verify", status=1).err
    assert "the index DIFFERS" in told
    assert "index build --full" in told


def test_a_replica_has_nothing_to_compare_with(built, records, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PULL_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_VERIFY_KEY", str(tmp_path / "key.pem"))
    (state,) = records("status")
    assert state["catalog"] is None
    assert f"pulled from\tfile://{tmp_path}/store" in run("index", "status").out
    *_, compared, result = records("verify")
    assert (compared["compared"], result["holds"]) == (False, True)
    assert "there is none on this machine" in run("index", "verify").err
    assert "pulls its snapshots" in run("index", "build", status=2).err


def test_what_is_built_is_published(built, run, tmp_path, monkeypatch):
    store = f"file://{tmp_path}/store"
    told = run("index", "build", "--publish", store, status=2).err
    assert "snapshot_signing_key" in told
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_SIGNING_KEY", str(tmp_path / "key.pem"))
    run("index", "build")
    assert InProcess.published[-1] is None
    run("index", "build", "--publish", store)
    assert InProcess.published[-1].url == store
    assert InProcess.published[-1].signing_key == tmp_path / "key.pem"
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PUBLISH_URL", store)
    run("index", "build")
    assert InProcess.published[-1].url == store


def test_watch_builds_when_the_catalog_moved_on(filled, records, import_rows, catalog, monkeypatch):
    moments = []

    def sleep(seconds):
        moments.append(seconds)
        if len(moments) == 2:
            catalog.retract("demo", [2], author="a", reason="b")
        if len(moments) == 4:
            monkeypatch.setattr(index, "build_snapshot", fails)
            catalog.restore("demo", [2], author="a", reason="b")
        if len(moments) == 6:
            raise KeyboardInterrupt

    def fails(*_arguments, **_options):
        raise CatalogError("the catalog is away")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASHWARDEN_FOLLOW_SECONDS", "3")
        found = records("build", "--watch", status=130)
    assert [(each["built"], each["revision"]) for each in found] == [(True, 4), (True, 5)]
    assert moments == [3, 3, 3, 3, 6, 12]


def test_watch_publishes_what_others_built(built, records, catalog, data, monkeypatch):
    """Such as `lists purge`, which builds at once and may know of no store."""
    moments = []

    def sleep(_seconds):
        moments.append(len(InProcess.published))
        if len(moments) == 2:
            catalog.retract("demo", [2], author="a", reason="b")
            build_snapshot(catalog, data / "snapshots")
        if len(moments) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    found = records("build", "--watch", status=130)
    assert [each["built"] for each in found] == [False, False]
    assert found[1]["snapshot"] == snapshots.current_name(data / "snapshots")
    assert moments == [1, 1, 2, 2]


def test_watch_repeats_a_publication_that_failed(built, records, catalog, monkeypatch):
    """Though what is built is of the newest revision by then."""
    moments, orders = [], []

    def sleep(seconds):
        moments.append(seconds)
        if len(moments) == 1:
            catalog.retract("demo", [2], author="a", reason="b")
        if len(moments) == 5:
            raise KeyboardInterrupt

    class Publishing(InProcess):
        def build(self, order):
            name = super().build(order)
            orders.append(name)
            if len(orders) in {2, 3}:
                raise SnapshotStoreError("the store is away")
            return name

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr("matcher.follow.child.ChildProcess", Publishing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASHWARDEN_FOLLOW_SECONDS", "3")
        found = records("build", "--watch", status=130)
    assert [each["revision"] for each in found] == [4, 5]
    assert len(orders) == 4  # the first, two that failed, and the one that made it good
    assert orders[1] == orders[2] == orders[3] == found[-1]["snapshot"]
    assert moments == [3, 6, 12, 3, 3]


def test_purge_leaves_nothing_in_the_snapshots(built, records, run, data):
    run("lists", "retract", "demo", "--source-id", "M-3", "--reason", "why")
    records("build")
    done = run("lists", "purge", "demo", "--source-id", "M-3", "--reason", "w", "--yes", "--json")
    assert "built anew" in json.loads(done.out)["snapshots"]
    folders = list((data / "snapshots").glob("snapshot-*"))
    assert len(folders) == 1
    assert records("status")[0]["snapshot"]["revision"] == 6
    md5, pdq, _ = row(3).split(",")
    kept = row(4).split(",")[1]
    stored = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
    assert not any(bytes.fromhex(value) in each for value in (md5, pdq) for each in stored)
    assert any(bytes.fromhex(kept) in each for each in stored)


def test_purge_waits_for_a_snapshot_that_is_new_enough(built, records, run, monkeypatch):
    built = []
    monkeypatch.setattr(building, "build_snapshot", lambda _: built.append(1))
    told = run("lists", "purge", "demo", "--source-id", "M-3", "--reason", "w", "--yes", status=2)
    assert len(built) == 3
    assert "older revisions all the time" in told.err
    assert "snapshots\tstill there" in told.out
    assert lists_acts.EXIT_UNFINISHED == 2


def sealed(data):
    return Sealed.open_current(data / "snapshots")


def agree(data, catalog, opened=None):
    return compare_with_catalog(
        opened or sealed(data), catalog, sample=100, now=int(time.time()), seed=1
    )


def test_what_the_catalog_does_not_hold_is_missing(built, records, data, catalog):
    opened = sealed(data)
    assert agree(data, catalog, opened).holds
    arrays = opened.index.segments[0].arrays
    for name, wrong in (("entries.flags", 1), ("entries.size", 5), ("entries.expires", 4 * 10**9)):
        other = arrays[name].copy()
        other[3] = wrong
        assert_one_is_missing(data, catalog, opened, {name: other})
    lists = arrays["entries.list_row"].copy()
    lists[:] = lists[::-1]
    result = agree(data, catalog, replaced(opened, {"entries.list_row": lists}))
    assert not result.holds
    codes = arrays["pdq.codes"].copy()
    codes[2] ^= 255
    assert_one_is_missing(data, catalog, opened, {"pdq.codes": codes})


def test_codes_that_are_said_to_be_made_in_another_way_are_missing(built, run, data, catalog):
    """An uncropped copy that is told as a crop misleads whoever reviews it."""
    record = batch(items("derived"))
    derived = [
        ExtraHash(0, HashKind.PDQ, value(HashKind.PDQ, made), made)
        for made in ("crop:0.02", "crop:0.05")
    ]
    with catalog.begin_import("demo", source()) as staged:
        staged.stage(dataclasses.replace(record, extra_hashes=derived))
        staged.commit()
    run("index", "build", "--full")
    opened = sealed(data)
    assert agree(data, catalog, opened).holds
    rows = opened.index.segments[0].arrays["pdq.derivation_rows"]
    assert sorted(rows.tolist()) == [1, 2]
    assert_one_is_missing(data, catalog, opened, {"pdq.derivation_rows": rows[::-1].copy()})


def replaced(opened, arrays):
    segment = opened.index.segments[0]
    other = type(segment).from_arrays(
        {**segment.arrays, **arrays},
        lists=segment.lists,
        classifications=segment.classifications,
        searches=segment.searches,
        derivations=segment.derivations,
    )
    index = MatchIndex(
        revision=opened.index.revision,
        lists=opened.index.lists,
        classifications=opened.index.classifications,
        segments=[other],
    )
    return dataclasses.replace(opened, index=index)


def assert_one_is_missing(data, catalog, opened, arrays):
    result = agree(data, catalog, replaced(opened, arrays))
    assert result.in_index == result.in_catalog
    assert (result.missing, sum(result.missing_by_list.values())) == (1, 1)
    assert not result.holds


def test_counts_that_differ_are_told(built, records, data, catalog):
    opened = sealed(data)
    index = opened.index.extended(
        revision=opened.index.revision,
        lists=opened.index.lists,
        classifications=opened.index.classifications,
        live=[],
        hidden=np.array([0]),
    )
    result = agree(data, catalog, dataclasses.replace(opened, index=index))
    assert sum(result.in_catalog.values()) - sum(result.in_index.values()) == 1
    assert not result.holds


def test_a_large_index_is_sampled(built, records, data, catalog):
    result = compare_with_catalog(sealed(data), catalog, sample=1, now=0, seed=3)
    assert result.sampled == 1
    assert result.holds


def test_a_folder_that_is_no_index_is_told(tmp_path):
    with snapshots.SnapshotWriter(tmp_path, revision=1) as writer:
        writer.add_document("other", {})
        path = writer.publish({})
    with pytest.raises(SnapshotError, match="not an index"):
        index_state.read_snapshot(path)
    with pytest.raises(SnapshotError, match="not the one that was published"):
        index_state.read_snapshot(path, sha256="0" * 64)
    assert index_state.read_state(tmp_path).problem


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB")],
)
def test_sizes_are_told_as_people_say_them(nbytes, said):
    assert index_output.size(nbytes) == said


def test_parameters_of_a_search_are_told_in_words():
    method = {"method": "multi_index", "chunk_bits": [24] + [23] * 10 + [2]}
    assert index_output._method(method) == "multi_index 1 x 24 + 10 x 23 + 1 x 2 bits"
    assert index_output._method({"method": "other", "depth": 3}) == "other depth 3"


class TestTheCatalogIsGone:
    """Beside published lists none is made, and none but theirs is used."""

    @pytest.fixture
    def gone(self, built, data):
        file = data / "catalog.sqlite3"
        file.rename(data / "away")
        return file

    def test_doctor_fails_and_says_what_to_do(self, gone, run):
        told = run("doctor", "--json", status=1).out
        (found,) = (x for x in map(json.loads, told.splitlines()) if x["check"] == "catalog")
        assert found["status"] == "fail"
        assert str(gone) in found["detail"]
        assert "catalog restore" in found["detail"]
        assert "lists import" not in found["detail"]
        assert not gone.exists()

    @pytest.mark.parametrize(
        "command",
        [
            ("lists", "create", "new", "--harm", "csam", "--source", "us"),
            ("lists", "show"),
            ("index", "build", "--full"),
            ("lists", "wipe"),
            ("exchanges", "status"),
        ],
        ids=lambda command: " ".join(command[:2]),
    )
    def test_no_command_makes_one(self, gone, run, command):
        told = " ".join(run(*command, status=2).err.split())
        assert f"the catalog {gone} is gone, while a snapshot of its lists is in" in told
        assert not gone.exists()

    def test_another_one_is_used_by_no_command(self, gone, run, records):
        Catalog.open(f"sqlite:///{gone}").close()
        for command in (("lists", "show"), ("index", "build"), ("lists", "wipe")):
            assert "another catalog is in the place" in run(*command, status=2).err
        (state,) = records("status", status=1)
        assert not state["catalog"]["same_history"]
        told = run("doctor", "--json", status=1).out
        (found,) = (x for x in map(json.loads, told.splitlines()) if x["check"] == "catalog")
        assert (found["status"], "put the right one" in found["detail"]) == ("fail", True)

    def test_one_may_be_begun_anew_once_the_snapshots_are_moved_away(self, gone, run, data):
        (data / "snapshots").rename(data / "old")
        run("lists", "create", "new", "--harm", "csam", "--source", "us")
        assert gone.exists()
