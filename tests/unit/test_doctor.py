"""The doctor sees what it is there to see, and one broken check hides no other."""

from __future__ import annotations

import json
import os
import resource
import sys
import tomllib
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import make_url

from matcher import cli
from matcher.cli import checks, doctor
from matcher.cli.checks import Finding, Status
from matcher.cli.context import Session
from matcher.errors import NotReadyError, ServerError


def session(**settings):
    """A session whose settings are those given."""
    made = Session(None)
    made.__dict__["settings"] = SimpleNamespace(**settings)
    return made


def by_name(findings):
    return {finding.check: finding for finding in findings}


def statuses(findings):
    return {finding.check: finding.status.value for finding in findings}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    (made / "catalog").write_text("")
    (made / "catalog").chmod(0o600)
    return made


def data_findings(folder):
    settings = {"data_dir": folder, "sources": {"data_dir": "default", "listen": "environment"}}
    return by_name(checks.check_data(session(**settings)))


def test_versions_name_every_library():
    found = list(checks.check_versions(session()))
    assert {finding.status for finding in found} == {Status.OK}
    libraries = by_name(found)["libraries"].detail
    assert all(f"{name} " in libraries for name in ("numpy", "faiss-cpu", "pillow"))


def test_a_missing_library_fails(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "msgspec":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = list(checks.check_versions(session()))
    assert [f.detail for f in found if f.status is Status.FAIL] == ["msgspec is not installed"]


def test_an_extra_that_is_missing_is_told_and_is_no_fault(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "pyarrow":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = by_name(checks.check_extras(session()))
    assert {finding.status for finding in found.values()} == {Status.OK}
    assert "pip install 'hashwarden[parquet]'" in found["extra parquet"].detail
    assert found["extra postgresql"].detail.startswith("psycopg ")


def test_every_extra_is_told_of():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    assert set(extras) == set(checks._EXTRAS)
    for extra, (name, _) in checks._EXTRAS.items():
        assert any(each.startswith(name) for each in extras[extra])


def test_our_packages_alone_are_well(monkeypatch):
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    monkeypatch.setattr(sys, "path", [str(checks._our_folder())])
    assert set(statuses(checks.check_packages(session())).values()) == {"ok"}


@pytest.mark.parametrize("form", ["matcher/__init__.py", "matcher.py"])
def test_a_foreign_package_on_the_path_is_told(monkeypatch, tmp_path, form):
    (tmp_path / form).parent.mkdir(exist_ok=True)
    (tmp_path / form).write_text("")
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    monkeypatch.setattr(sys, "path", [str(checks._our_folder()), str(tmp_path)])
    found = by_name(checks.check_packages(session()))
    assert found["package matcher"].status is Status.WARN
    assert str(tmp_path) in found["package matcher"].detail
    assert found["package hashlists"].status is Status.OK


def test_a_foreign_distribution_of_the_same_name_fails(monkeypatch):
    claims = {"matcher": ["hashwarden", "matcher"], "hashlists": ["hashwarden"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: claims)
    found = by_name(checks.check_packages(session()))
    assert found["package matcher"].status is Status.FAIL
    assert "matcher installs a package of that name" in found["package matcher"].detail


def test_a_package_from_another_folder_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    foreign = SimpleNamespace(__file__=str(tmp_path / "hashlists" / "__init__.py"))
    monkeypatch.setattr(checks, "hashlists", foreign)
    found = by_name(checks.check_packages(session()))
    assert found["package hashlists"].status is Status.FAIL
    assert "shadows" in found["package hashlists"].detail


def test_the_formats_that_must_decode_do():
    found = by_name(checks.check_formats(session()))
    working = found["formats"].detail.split(", ")
    assert {"jpeg", "png", "gif", "webp", "avif", "heic", "bmp", "tiff"} <= set(working)


def test_a_format_that_does_not_decode_is_told(monkeypatch):
    from matcher.decode import worker

    monkeypatch.setattr(worker, "supported_formats", lambda: {"jpeg": "", "heic": "no codec"})
    found = by_name(checks.check_formats(session()))
    assert (found["formats"].status, found["formats"].detail) == (Status.OK, "jpeg")
    assert found["format heic"] == Finding("format heic", Status.WARN, "no codec")
    monkeypatch.setattr(worker, "supported_formats", lambda: {"jpeg": "broken"})
    assert by_name(checks.check_formats(session()))["formats"].status is Status.FAIL


def test_decoders_are_told_with_what_protects_against_them(tmp_path, sandboxed_decoders):
    (found,) = checks.check_decoders(Session(tmp_path))
    detail = "limited in: system calls, memory, privileges, files"
    assert found == Finding("decoders", Status.OK, detail)


def test_decoders_that_lack_protection_are_told(tmp_path, monkeypatch):
    (found,) = checks.check_decoders(Session(tmp_path))
    assert found.status is Status.WARN
    assert found.detail.startswith("limited in: none; not in: system calls")
    monkeypatch.setenv("HASHWARDEN_DECODE_SANDBOX", "off")
    (found,) = checks.check_decoders(Session(tmp_path))
    assert (found.status, "decode_sandbox" in found.detail) == (Status.WARN, True)


def test_a_format_that_is_lost_where_decoders_are_confined_is_told(tmp_path, monkeypatch):
    """Another C library may take another system call."""
    from matcher.decode.pool import InProcessPool
    from matcher.model import NotHashableReason, Undecodable

    submit = InProcessPool.submit

    def poorer(self, data, request):
        if data[4:12] != b"ftypheic":
            return submit(self, data, request)
        lost = Future()
        lost.set_result(Undecodable(NotHashableReason.MALFORMED, "no memory for a thread"))
        return lost

    monkeypatch.setattr(InProcessPool, "submit", poorer)
    (found,) = checks.check_decoders(Session(tmp_path))
    assert found.status is Status.FAIL
    assert "do not decode heic any more" in found.detail


def test_hashing_is_checked_from_bytes_to_hashes(monkeypatch, tmp_path):
    from matcher import demo_data
    from matcher.hashing import golden

    healthy = Session(tmp_path)
    assert statuses(checks.check_hashing(healthy)) == {"self-test": "ok"}
    image = demo_data.published_test_image()
    wrong = {kind: bytes(len(value)) for kind, value in image.hashes.items()}
    other = demo_data.PublishedTestImage(image.data, wrong, image.quality)
    monkeypatch.setattr(demo_data, "published_test_image", lambda: other)
    (finding,) = checks.check_hashing(healthy)
    assert finding.status is Status.FAIL
    assert "pdq, md5, sha1, sha256" in finding.detail

    def broken():
        raise NotReadyError("golden vectors differ")

    monkeypatch.setattr(golden, "check", broken)
    (finding,) = checks.run({"self-test": lambda: checks.check_hashing(healthy)})
    assert finding == Finding("self-test", Status.FAIL, "golden vectors differ")


def test_a_private_data_folder_is_well(folder):
    found = data_findings(folder)
    assert {finding.status for finding in found.values()} == {Status.OK}
    assert found["settings"].detail == "listen from environment"


def test_a_data_folder_that_is_not_there_is_not_made(tmp_path):
    found = data_findings(tmp_path / "missing" / "deeper")
    assert found["data folder"].status is Status.OK
    assert "not there yet" in found["data folder"].detail
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(("mode", "status"), [(0o750, "warn"), (0o755, "warn"), (0o777, "fail")])
def test_a_data_folder_open_to_others_is_told(folder, mode, status):
    folder.chmod(mode)
    (folder / "catalog").chmod(0o644)
    finding = data_findings(folder)["data privacy"]
    assert finding.status.value == status
    assert "1 file that" in finding.detail
    assert f"{mode:04o}" in finding.detail


def test_a_data_folder_of_another_account_is_told(folder, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert data_findings(folder)["data owner"].status is Status.WARN


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_disk_fails(folder, tmp_path, monkeypatch, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path} {kind} rw 0 0\nb {tmp_path}x tmpfs rw 0 0\n"
    )
    monkeypatch.setattr(checks, "_MOUNTS", mounts)
    finding = data_findings(folder)["data disk"]
    assert finding.status is Status.FAIL
    assert kind in finding.detail


def test_a_disk_of_unknown_kind_is_no_fault(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_MOUNTS", tmp_path / "none")
    assert data_findings(folder)["data disk"].status is Status.OK


@pytest.mark.parametrize(
    ("free", "held", "status"),
    [
        (63, 0, Status.FAIL),
        (65, 0, Status.WARN),
        (1023, 0, Status.WARN),
        (1024, 0, Status.OK),
        (1024, 1025, Status.WARN),
        (1025, 1025, Status.OK),
    ],
)
def test_room_for_another_snapshot_is_looked_for(tmp_path, monkeypatch, free, held, status):
    room = SimpleNamespace(f_bavail=free << 8, f_frsize=1 << 12)
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    large = SimpleNamespace(lstat=lambda: SimpleNamespace(st_blocks=held << 11))
    monkeypatch.setattr(checks, "_files_in", lambda _: [large])
    assert data_findings(tmp_path / "not" / "there")["disk space"].status is status


EXPOSED = {
    "listen": "0.0.0.0:50051",
    "addresses": ("0.0.0.0:50051",),
    "lists_address": "0.0.0.0:50051",
    "is_protected": lambda _: False,
    "requires_clients": lambda _: False,
    "danger_listen_without_tls": False,
    "may_export": False,
    "exact_distances": True,
}
SAFE = EXPOSED | {"is_protected": lambda _: True, "exact_distances": False}


def exposure(**changes):
    return statuses(checks.check_exposure(session(**SAFE | changes)))


def test_a_safe_installation_is_well(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (0, 0))
    assert set(exposure().values()) == {"ok"}


def test_what_is_unsafe_is_told(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    assert exposure(**EXPOSED) == {
        "listen address": "fail",
        "exact distances": "warn",
        "account": "warn",
        "core dumps": "warn",
    }
    dangerous = EXPOSED | {"danger_listen_without_tls": True}
    assert exposure(**dangerous)["listen address"] == "warn"
    assert exposure(**dangerous | {"may_export": True})["exports"] == "warn"


def test_policies_are_named_and_a_missing_default_fails(tmp_path):
    made = Session(tmp_path)
    (finding,) = checks.check_policies(made)
    assert finding.status is Status.OK
    assert "default" in finding.detail
    (tmp_path / "hashwarden.toml").write_text('default_policy = "strict"\n')
    (finding,) = checks.check_policies(Session(tmp_path))
    assert finding.status is Status.FAIL
    (tmp_path / "policies.toml").write_text("nonsense = 1\n")
    (finding,) = checks.run({"policies": lambda: checks.check_policies(Session(tmp_path))})
    assert finding.status is Status.FAIL
    assert "policies.toml" in finding.detail


POLICIES = """
[policies.default]
lists = ["missing", "absent"]

[policies.other]
lists = ["there"]

[[allow]]
sha256 = "{digest}"
reason = "our logo"
expires = 2020-01-31
"""


def test_policies_are_bound_to_the_lists(tmp_path):
    describe = ["--harm", "test", "--source", "Us"]
    assert cli.main(["--data", str(tmp_path), "lists", "create", "there", *describe]) == 0
    text = POLICIES.format(digest="1" * 64)
    (tmp_path / "policies.toml").write_text(text)
    found = list(checks.check_policies(Session(tmp_path)))
    failed = [(each.check, each.detail) for each in found if each.status is Status.FAIL]
    assert [name for name, _ in failed] == ["policy default", "policy default"]
    assert "no list is named 'absent'" in failed[0][1]
    assert "no list is named 'missing'" in failed[1][1]
    (expired,) = [each for each in found if each.check == "allow rule"]
    assert expired.status is Status.WARN
    assert "2020-02-01" in expired.detail
    assert "our logo" in expired.detail
    assert "1" * 64 not in expired.detail


def test_policies_are_bound_where_there_is_no_catalog_yet(tmp_path):
    text = POLICIES.format(digest="1" * 64).replace("2020", "2999")
    (tmp_path / "policies.toml").write_text(text)
    found = list(checks.check_policies(Session(tmp_path)))
    statuses = [each.status for each in found]
    assert statuses == [Status.OK, Status.FAIL, Status.FAIL, Status.FAIL]
    assert not (tmp_path / "catalog.sqlite3").exists()


def test_every_mistake_of_a_policy_file_is_a_finding(tmp_path):
    (tmp_path / "policies.toml").write_text("nonsense = 1\nrubbish = 2\n")
    found = list(checks.check_policies(Session(tmp_path)))
    assert [each.status for each in found] == [Status.FAIL, Status.FAIL]
    assert "nonsense" in found[0].detail
    assert "rubbish" in found[1].detail


def test_wrong_settings_are_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HASHWARDEN_LISTEM", "127.0.0.1:1")
    monkeypatch.setenv("HASHWARDEN_MAX_BATCH", "many")
    assert cli.main(["--data", str(tmp_path), "doctor", "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = [each["detail"] for each in found if each["status"] == "fail"]
    assert len(failed) == 3
    assert "HASHWARDEN_LISTEM" in failed[0]
    assert "HASHWARDEN_MAX_BATCH" in failed[1]
    assert "formats" in {each["check"] for each in found}


def test_a_check_that_breaks_down_hides_no_other():
    def broken():
        raise KeyError("0f2fc6f5")
        yield

    def missing():
        raise ModuleNotFoundError("No module named 'faiss'")
        yield

    fine = Finding("fine", Status.OK, "yes")
    found = list(checks.run({"a": broken, "b": missing, "c": lambda: iter([fine])}))
    assert found == [
        Finding("a", Status.FAIL, "this is a bug (KeyError); please report it"),
        Finding("b", Status.FAIL, "No module named 'faiss'"),
        fine,
    ]


class FakeClient:
    said = "SERVING"

    def __init__(self, target, *, credentials, token):
        assert (target, credentials, token) == ("127.0.0.1:9", None, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def health(self):
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("SERVING", 0),
        ("NOT_SERVING", 1),
        ("SERVICE_UNKNOWN", 1),
        (ServerError("UNAVAILABLE: nobody there", reason="UNAVAILABLE", retryable=True), 1),
    ],
)
def test_a_server_is_well_only_while_it_serves(monkeypatch, capsys, said, status):
    from matcher import client

    monkeypatch.setattr(client, "Client", FakeClient)
    monkeypatch.setattr(FakeClient, "said", said)
    assert cli.main(["doctor", "--server", "127.0.0.1:9", "--json"]) == status
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["check"] == "server"


@pytest.mark.parametrize("worst", list(Status))
def test_exit_status_and_output(monkeypatch, capsys, worst):
    found = [Finding("one", Status.OK, "fine"), Finding("two", worst, "look")]
    monkeypatch.setattr(doctor.checks, "LOCAL_CHECKS", {"all": lambda _: iter(found)})
    expected = 1 if worst is Status.FAIL else 0
    assert cli.main(["doctor", "--json"]) == expected
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[1] == {"check": "two", "status": worst.value, "detail": "look"}
    assert cli.main(["doctor"]) == expected
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2] == f"{worst.value}\ttwo\tlook"
    assert worst.value in captured.err


def test_nothing_is_made_by_looking(tmp_path, capsys):
    folder = tmp_path / "data"
    cli.main(["--data", str(folder), "doctor"])
    assert not folder.exists()
    assert "catalog" in capsys.readouterr().out


def test_catalog_and_snapshot_are_told(tmp_path, capsys):
    folder = tmp_path / "data"

    def look():
        both = (checks.check_catalog, checks.check_snapshot)
        return by_name(found for check in both for found in check(Session(folder)))

    run = ["--data", str(folder), "lists"]
    csv = tmp_path / "list.csv"
    csv.write_text(f"md5\n{'0' * 31}1\n")
    described = ["--list", "old", "--harm", "test", "--source", "Us", "--column", "md5=md5"]
    assert list(checks.check_snapshot(Session(folder))) == []
    assert cli.main([*run, "import", str(csv), *described]) == 0
    found = look()
    assert found["catalog"].status is Status.OK
    assert "1 entry" in found["catalog"].detail
    assert found["list old"].status is Status.WARN
    assert found["purged entries"].status is Status.OK
    assert "statement log" not in found
    assert "none yet" in found["snapshot"].detail
    capsys.readouterr()
    assert cli.main(["--data", str(folder), "lookup", f"md5:{'0' * 31}2"]) == 0
    assert "digests verified" in look()["snapshot"].detail
    assert cli.main([*run, "create", "new", "--harm", "test", "--source", "Us"]) == 0
    assert "brings" in look()["snapshot"].detail
    good = ["--list", "good", "--harm", "known_good", "--source", "Us", "--column", "md5=md5"]
    assert cli.main([*run, "import", str(csv), *good]) == 0
    assert "list good" not in look()  # digests are all that it needs
    for damaged in (folder / "snapshots").glob("*/*"):
        damaged.write_bytes(b"")
    found = by_name(checks.run({"snapshot": lambda: checks.check_snapshot(Session(folder))}))
    assert found["snapshot"].status is Status.FAIL


def test_a_wipe_that_is_owed_fails(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    run = ["--data", str(folder), "lists"]
    (tmp_path / "list.csv").write_text(f"md5\n{'0' * 31}1\n")
    described = ["--list", "old", "--harm", "test", "--source", "Us", "--column", "md5=md5"]
    assert cli.main([*run, "import", str(tmp_path / "list.csv"), *described]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("hashlists.catalog.wipe.rewrite_files", lambda _engine: False)
        assert cli.main([*run, "purge", "old", "1", "--reason", "an order", "--yes"]) == 2
    finding = by_name(checks.check_catalog(Session(folder)))["purged entries"]
    assert finding.status is Status.FAIL
    assert "hashwarden lists wipe" in finding.detail
    assert cli.main([*run, "wipe"]) == 0
    finding = by_name(checks.check_catalog(Session(folder)))["purged entries"]
    assert finding.status is Status.OK


def test_a_server_that_logs_values_is_told(postgresql_server, postgresql_url, tmp_path):
    (tmp_path / "hashwarden.toml").write_text(f'catalog_url = "{clerk(postgresql_url)}"\n')
    name = make_url(postgresql_url).database
    postgresql_server.run_sql(
        "CREATE ROLE clerk LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk",
        database=name,
    )
    try:
        finding = by_name(checks.check_catalog(Session(tmp_path)))["statement log"]
        assert finding.status is Status.OK
        postgresql_server.run_sql("ALTER ROLE clerk SET log_statement = 'all'")
        finding = by_name(checks.check_catalog(Session(tmp_path)))["statement log"]
        assert finding.status is Status.WARN
        assert "log_parameter_max_length = 0" in finding.detail
    finally:
        postgresql_server.run_sql("DROP OWNED BY clerk", "DROP ROLE clerk", database=name)


def clerk(url):
    """The URL for a role that is no superuser, as the catalog's should be."""
    return make_url(url).set(username="clerk").render_as_string(hide_password=False)


@pytest.mark.parametrize(("hard", "status"), [(1024, "warn"), (1 << 20, "ok")])
def test_how_many_files_may_be_open(monkeypatch, hard, status):
    monkeypatch.setattr(checks, "limits", lambda: (1024, hard))
    (found,) = checks.check_open_files(session())
    assert found.status.value == status
    assert f"raises to {hard:,}" in found.detail
    assert ("LimitNOFILE" in found.detail) == (status == "warn")
