"""Where settings come from, what is refused, and what errors say."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path

import pytest

from hashlists.limits import DEFAULT_LIMITS
from matcher import settings as settings_module
from matcher.decode.limits import DecodeLimits
from matcher.errors import SettingsError
from matcher.settings import CONFIG_NAME, KNOBS, Settings, exchange_proxy, load_settings, machine

MIB = 1024**2


def load(data: Path, env: dict[str, str] | None = None, **overrides: object) -> Settings:
    return load_settings(data, environ=env or {}, overrides=overrides)


def write(folder: Path, text: str, name: str = CONFIG_NAME) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def error_of(data: Path, env: dict[str, str] | None = None, **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(data, env, **overrides)
    return str(caught.value)


class TestDefaults:
    def test_everything_lies_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = load(tmp_path)
        assert settings.data_dir == tmp_path
        assert settings.catalog_url == f"sqlite:///{tmp_path}/catalog.sqlite3"
        assert settings.snapshots_dir == tmp_path / "snapshots"
        assert settings.spool_dir == tmp_path / "spool"
        assert settings.policy_file == tmp_path / "policies.toml"
        assert settings.policy_document == {}
        assert settings.policy_origin == "built-in policy"

    def test_safe_values(self, tmp_path: Path) -> None:
        settings = load(tmp_path)
        assert settings.listen == "127.0.0.1:50051"
        assert settings.listens_on_loopback
        assert not settings.danger_listen_without_tls
        assert not settings.exact_distances
        assert settings.image_bytes == 25 * MIB
        assert settings.message_bytes == 32 * MIB
        assert settings.stream_window == 32
        assert settings.max_matches == 10
        assert settings.decode_workers >= 1

    def test_they_are_those_of_the_parts_they_are_handed_to(self, tmp_path: Path) -> None:
        settings = load(tmp_path)
        assert DecodeLimits(**settings.decode_limits) == DecodeLimits()  # type: ignore[arg-type]
        names = {each.name for each in dataclasses.fields(DecodeLimits)}
        assert set(settings.decode_limits) == names
        assert settings.max_rejected_share == DEFAULT_LIMITS.max_rejected_share

    def test_frozen_and_told_where_each_came_from(self, tmp_path: Path) -> None:
        settings = load(tmp_path)
        with pytest.raises(dataclasses.FrozenInstanceError):
            settings.listen = "0.0.0.0:1"  # type: ignore[misc]
        assert set(settings.sources) == {"data_dir", *KNOBS}
        assert set(settings.sources.values()) == {"command line", "default"}

    def test_every_default_is_allowed_and_reads_as_itself(self, tmp_path: Path) -> None:
        settings = load(tmp_path)
        again = load(
            tmp_path,
            {
                f"HASHWARDEN_{name.upper()}": str(getattr(settings, name))
                for name in KNOBS
                if name != "policy_file" and getattr(settings, name) is not None
            },
        )
        assert again == settings

    def test_every_knob_is_documented(self) -> None:
        assert Settings.__doc__ is not None
        for name in KNOBS:
            assert f"{name}: " in Settings.__doc__


class TestStores:
    @pytest.mark.parametrize(
        "url", ["file:///srv/snapshots", "s3://bucket/prefix", "gs://bucket", "az://container/a/b"]
    )
    def test_folders_and_object_stores(self, tmp_path: Path, url: str) -> None:
        key = str(tmp_path / "key.pem")
        settings = load(
            tmp_path,
            {"HASHWARDEN_SNAPSHOT_PULL_URL": url, "HASHWARDEN_SNAPSHOT_VERIFY_KEY": key},
        )
        assert settings.snapshot_pull_url == url
        assert settings.snapshot_verify_key == Path(key)

    @pytest.mark.parametrize(
        "url", ["s3://", "http://host/a", "bucket/prefix", "s3://user:word@bucket/prefix"]
    )
    def test_others_are_refused_and_never_repeated(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(SettingsError, match="without credentials") as refused:
            load(tmp_path, {"HASHWARDEN_SNAPSHOT_PULL_URL": url})
        assert "user:word" not in str(refused.value)

    def test_a_store_needs_its_key_and_a_machine_has_one_part(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as refused:
            load(
                tmp_path,
                {
                    "HASHWARDEN_SNAPSHOT_PULL_URL": "file:///a",
                    "HASHWARDEN_SNAPSHOT_PUBLISH_URL": "file:///b",
                },
            )
        assert "snapshot_pull_url needs snapshot_verify_key" in str(refused.value)
        assert "snapshot_publish_url needs snapshot_signing_key" in str(refused.value)
        assert "exclude each other" in str(refused.value)

    def test_the_admin_address_can_be_switched_off(self, tmp_path: Path) -> None:
        assert load(tmp_path, {"HASHWARDEN_ADMIN_LISTEN": "off"}).admin_listen == ""
        with pytest.raises(SettingsError, match="HOST:PORT"):
            load(tmp_path, {"HASHWARDEN_ADMIN_LISTEN": "9464"})


class TestDataFolder:
    def test_argument_then_environment_then_platform(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        env = {"HASHWARDEN_DATA": str(tmp_path / "env")}
        assert load_settings(tmp_path / "arg", environ=env).data_dir == tmp_path / "arg"
        assert load_settings(environ=env).data_dir == tmp_path / "env"
        assert load_settings(environ=env).sources["data_dir"] == "environment"
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
        assert load_settings(environ={}).data_dir.name == "hashwarden"

    def test_relative_folder_becomes_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(Path("data")).data_dir == tmp_path / "data"
        assert load(Path("data")).catalog_url.startswith("sqlite:////")

    def test_process_environment_is_the_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HASHWARDEN_MAX_MATCHES", "7")
        assert load_settings(tmp_path).max_matches == 7

    def test_question_mark_is_refused(self, tmp_path: Path) -> None:
        assert "question mark" in error_of(tmp_path / "what?")

    def test_not_set_in_the_file(self, tmp_path: Path) -> None:
        write(tmp_path, 'data_dir = "/x"')
        assert "data_dir: cannot be set here; use --data" in error_of(tmp_path)

    def test_prepare_makes_it_private(self, tmp_path: Path) -> None:
        settings = load(tmp_path / "a" / "b")
        settings.prepare_data_dir()
        settings.prepare_data_dir()
        assert settings.data_dir.is_dir()
        assert settings.data_dir.stat().st_mode & 0o777 == 0o700

    def test_prepare_names_what_is_in_the_way(self, tmp_path: Path) -> None:
        write(tmp_path, "", "file")
        with pytest.raises(SettingsError, match=r"command line: the data folder .* cannot be made"):
            load(tmp_path / "file").prepare_data_dir()

    def test_unknown_home(self, tmp_path: Path) -> None:
        assert "no home folder" in error_of(Path("~nobody-of-that-name/x"))
        config = {"HASHWARDEN_CONFIG": "~nobody-of-that-name/x"}
        assert "environment: HASHWARDEN_CONFIG: must not start" in error_of(tmp_path, config)


class TestSources:
    def test_later_sources_win(self, tmp_path: Path) -> None:
        write(tmp_path, "max_matches = 2\nmax_batch = 3\nmax_rpcs = 4")
        env = {"HASHWARDEN_MAX_BATCH": "30", "HASHWARDEN_MAX_RPCS": "40"}
        settings = load(tmp_path, env, max_rpcs=400, stream_window=None)
        assert (settings.max_matches, settings.max_batch, settings.max_rpcs) == (2, 30, 400)
        assert settings.sources["max_matches"] == str(tmp_path / CONFIG_NAME)
        assert settings.sources["max_batch"] == "environment"
        assert settings.sources["max_rpcs"] == "command line"
        assert settings.sources["stream_window"] == "default"

    def test_named_file_replaces_the_one_in_the_data_folder(self, tmp_path: Path) -> None:
        write(tmp_path, "max_matches = 2")
        path = write(tmp_path, "max_matches = 3", "other.toml")
        assert load(tmp_path, {"HASHWARDEN_CONFIG": str(path)}).max_matches == 3

    def test_named_file_must_exist(self, tmp_path: Path) -> None:
        env = {"HASHWARDEN_CONFIG": str(tmp_path / "gone.toml")}
        assert "gone.toml: there is no such file" in error_of(tmp_path, env)

    def test_relative_paths_start_at_their_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "etc").mkdir()
        monkeypatch.chdir(tmp_path)
        path = write(tmp_path / "etc", 'snapshots_dir = "snap"\nspool_dir = "/spool"')
        env = {"HASHWARDEN_CONFIG": str(path), "HASHWARDEN_POLICY_FILE": ""}
        settings = load(tmp_path, env)
        assert settings.snapshots_dir == tmp_path / "etc" / "snap"
        assert settings.spool_dir == Path("/spool")
        by_env = load(tmp_path, {"HASHWARDEN_SNAPSHOTS_DIR": "here"})
        assert by_env.snapshots_dir == tmp_path / "here"

    def test_empty_variables_count_as_not_set(self, tmp_path: Path) -> None:
        assert load(tmp_path, {"HASHWARDEN_LISTEN": ""}).listen == "127.0.0.1:50051"

    def test_variables_of_others_are_passed_over(self, tmp_path: Path) -> None:
        load(
            tmp_path,
            {
                "HASHWARDEN_SERVICE_HOST": "10.0.0.1",
                "HASHWARDEN_PORT": "tcp://10.0.0.1:50051",
                "HASHWARDEN_PORT_50051_TCP_ADDR": "10.0.0.1",
                "HASHWARDEN_TEST_POSTGRES": "x",
                "PATH": "/bin",
            },
        )

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / CONFIG_NAME).write_bytes(b"\xef\xbb\xbfmax_matches = 3")
        assert load(tmp_path).max_matches == 3


class TestValues:
    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("image_bytes", "1 MiB", MIB),
            ("image_bytes", "512KiB", 512 * 1024),
            ("image_bytes", "65536", 65536),
            ("exact_distances", "TRUE", True),
            ("exact_distances", "0", False),
            ("exact_distances", True, True),
            ("follow_seconds", "0.5", 0.5),
            ("follow_seconds", "2", 2.0),
            ("listen", "[::1]:0", "[::1]:0"),
            ("listen", "localhost:65535", "localhost:65535"),
            ("catalog_url", "postgresql+psycopg://u:p@db/h", "postgresql+psycopg://u:p@db/h"),
            ("log_level", "debug", "debug"),
        ],
    )
    def test_forms(self, tmp_path: Path, key: str, value: object, expected: object) -> None:
        loaded = [load(tmp_path, **{key: value})]
        if isinstance(value, str):
            loaded.append(load(tmp_path, {f"HASHWARDEN_{key.upper()}": value}))
        for settings in loaded:
            assert getattr(settings, key) == expected
            assert type(getattr(settings, key)) is type(expected)

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("max_matches", 0, "a whole number from 1 to 100"),
            ("max_matches", 101, "a whole number from 1 to 100"),
            ("max_matches", "ten", "a whole number"),
            ("max_matches", "1_0", "a whole number"),
            ("max_matches", "9" * 5000, "a whole number"),
            ("max_matches", True, "a whole number"),
            ("max_matches", 1.0, "a whole number"),
            ("decode_codes", 65, "from 1 to 64"),
            ("image_bytes", "25 MB", '"25 MiB"'),
            ("image_bytes", "-1", "bytes from 65536"),
            ("image_bytes", True, "bytes from 65536"),
            ("max_rejected_share", 1.01, "a share from 0 to 1"),
            ("max_rejected_share", "nan", "a share from 0 to 1"),
            ("max_rejected_share", float("nan"), "a share from 0 to 1"),
            ("follow_seconds", "inf", "seconds from 0.01"),
            ("exact_distances", "maybe", "true or false"),
            ("exact_distances", 1, "true or false"),
            ("listen", "127.0.0.1", "HOST:PORT"),
            ("listen", "127.0.0.1:65536", "a port from 0 to 65535"),
            ("listen", ":50051", "HOST:PORT"),
            ("listen", "::1:50051", "HOST:PORT"),
            ("listen", "[127.0.0.1]:1", "HOST:PORT"),
            ("listen", "[local]:1", "HOST:PORT"),
            ("listen", "a b:1", "HOST:PORT"),
            ("listen", 50051, "HOST:PORT"),
            ("log_level", "loud", "one of debug, info, warning, error"),
            ("log_level", 3, "one of debug"),
            ("default_policy", "A B", "the name of a policy"),
            ("catalog_url", "/var/db", "an SQLAlchemy URL"),
            ("snapshots_dir", "", "a path"),
            ("snapshots_dir", "a\0b", "a path"),
            ("snapshots_dir", 3, "a path"),
        ],
    )
    def test_wrong_values_name_key_and_form(
        self, tmp_path: Path, key: str, value: object, says: str
    ) -> None:
        message = error_of(tmp_path, **{key: value})
        assert message.startswith(f"command line: {key}: must be ")
        assert says in message

    def test_unknown_names_are_near_something(self, tmp_path: Path) -> None:
        write(tmp_path, "max_match = 2")
        message = error_of(tmp_path, {"HASHWARDEN_LISTN": "x"}, zzz=1)
        assert f"{tmp_path / CONFIG_NAME}: max_match: unknown setting; did you mean max_" in message
        assert (
            "environment: HASHWARDEN_LISTN: unknown setting; did you mean HASHWARDEN_LISTEN?"
            in message
        )
        assert "command line: zzz: unknown setting; there are: catalog_url," in message

    def test_wrong_values_in_the_environment_name_the_variable(self, tmp_path: Path) -> None:
        message = error_of(tmp_path, {"HASHWARDEN_MAX_MATCHES": "x"})
        assert message.startswith("environment: HASHWARDEN_MAX_MATCHES: must be")

    def test_values_are_never_repeated(self, tmp_path: Path) -> None:
        secret = "hunter2-is-no-password"
        write(tmp_path, f'catalog_url = "{secret}"\nlisten = "{secret}"')
        assert secret not in error_of(tmp_path, {"HASHWARDEN_MAX_BATCH": secret})
        write(tmp_path, f'catalog_url = "postgresql://u:{secret}@h/d"')
        assert secret not in repr(load(tmp_path))

    def test_image_limit_stays_below_the_message_limit(self, tmp_path: Path) -> None:
        overhead = 64 * 1024
        load(tmp_path, image_bytes=32 * MIB - overhead)
        message = error_of(tmp_path, image_bytes=32 * MIB - overhead + 1)
        assert "image_bytes must be at least 65536 below message_bytes" in message

    def test_one_image_fits_in_flight(self, tmp_path: Path) -> None:
        assert "or no image fits" in error_of(tmp_path, max_in_flight_bytes="24 MiB")

    @pytest.mark.parametrize(
        ("listen", "loopback"),
        [
            ("127.0.0.1:1", True),
            ("127.8.0.1:1", True),
            ("[::1]:1", True),
            ("localhost:1", True),
            ("0.0.0.0:1", False),
            ("[::]:1", False),
            ("192.168.1.2:1", False),
            ("localhost.example.org:1", False),
        ],
    )
    def test_loopback(self, tmp_path: Path, listen: str, loopback: bool) -> None:
        assert load(tmp_path, listen=listen).listens_on_loopback is loopback


class TestFiles:
    def test_broken_toml_names_the_place_and_not_the_text(self, tmp_path: Path) -> None:
        write(tmp_path, "max_matches = 2\nlisten = hunter2")
        message = error_of(tmp_path)
        assert f"{CONFIG_NAME}: is not TOML (at line 2, column 10)" in message
        assert "hunter2" not in message

    def test_cut_off_toml(self, tmp_path: Path) -> None:
        write(tmp_path, "max_matches =")
        assert "is not TOML (at" in error_of(tmp_path)

    def test_deeply_nested_toml(self, tmp_path: Path) -> None:
        write(tmp_path, "a = " + "[" * 100_000)
        assert "is not TOML" in error_of(tmp_path)

    def test_not_text(self, tmp_path: Path) -> None:
        (tmp_path / CONFIG_NAME).write_bytes(b"a = '\xff'")
        assert "is not UTF-8 text (byte 5)" in error_of(tmp_path)

    def test_too_large(self, tmp_path: Path) -> None:
        write(tmp_path, "#" * (MIB + 1))
        assert "is larger than 1048576 bytes" in error_of(tmp_path)

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / CONFIG_NAME).mkdir()
        assert "cannot be read" in error_of(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_unreadable(self, tmp_path: Path) -> None:
        write(tmp_path, "").chmod(0)
        assert "cannot be read: Permission denied" in error_of(tmp_path)


class TestPolicyDocument:
    TEXT = '[policies.x]\nlists = ["a"]\n'

    def test_read_from_its_usual_place(self, tmp_path: Path) -> None:
        path = write(tmp_path, self.TEXT, "policies.toml")
        settings = load(tmp_path)
        assert settings.policy_document == tomllib.loads(self.TEXT)
        assert settings.policy_origin == str(path)
        assert "'a'" not in repr(settings)

    def test_a_named_one_must_exist(self, tmp_path: Path) -> None:
        assert "there is no such file" in error_of(tmp_path, policy_file=tmp_path / "gone.toml")

    def test_named_in_the_settings_file(self, tmp_path: Path) -> None:
        write(tmp_path, 'policy_file = "mine.toml"')
        write(tmp_path, self.TEXT, "mine.toml")
        assert load(tmp_path).policy_origin == str(tmp_path / "mine.toml")

    def test_broken(self, tmp_path: Path) -> None:
        write(tmp_path, "[policies", "policies.toml")
        assert "policies.toml: is not TOML" in error_of(tmp_path)


class TestCpuQuota:
    @staticmethod
    def quota(folder, *, group, **granted):
        """What a process in `group` may use, with those files of groups, `root` for the top."""
        root = folder / "groups"
        for name, text in granted.items():
            place = root if name == "root" else root / name.replace("_", "/")
            place.mkdir(parents=True, exist_ok=True)
            (place / "cpu.max").write_text(text)
        membership = folder / "membership"
        membership.write_text(f"1:name=other:/x\n0::{group}\n")
        return machine.cpu_quota(membership, root)

    @pytest.mark.parametrize(
        ("granted", "cpus"),
        [
            ("max 100000\n", None),
            ("200000 100000\n", 2),
            ("250000 100000\n", 3),
            ("1000 100000\n", 1),
            ("nonsense", None),
            ("x 100000", None),
        ],
    )
    def test_a_container_sees_its_group_at_the_top(self, tmp_path, granted, cpus):
        assert self.quota(tmp_path, group="/", root=granted) == cpus

    def test_the_least_of_all_groups_above_counts(self, tmp_path):
        found = self.quota(
            tmp_path,
            group="/slice/unit/own",
            slice="300000 100000",
            slice_unit="max 100000",
            slice_unit_own="500000 100000",
        )
        assert found == 3

    def test_without_groups_there_is_no_quota(self, tmp_path):
        assert machine.cpu_quota(tmp_path / "none", tmp_path) is None

    def test_it_bounds_the_processors_that_are_used(self, tmp_path, monkeypatch):
        monkeypatch.setattr(machine, "cpu_quota", lambda *_: 1)
        loaded = settings_module.load_settings(tmp_path, environ={})
        assert (loaded.decode_workers, loaded.process_count) == (1, 1)

    @pytest.mark.parametrize(("cpus", "decoders"), [(1, 1), (2, 3), (4, 5), (8, 10)])
    def test_each_process_has_a_decoder_more(self, tmp_path, monkeypatch, cpus, decoders):
        monkeypatch.setattr("matcher.settings.model.usable_cpus", lambda: cpus)
        assert settings_module.load_settings(tmp_path, environ={}).decode_workers == decoders


PROXIES = {
    "nothing": ({}, None),
    "for HTTPS": ({"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
    "for all": ({"ALL_PROXY": "http://p:3128"}, "http://p:3128"),
    "without a scheme": ({"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
    "HTTPS before all": ({"HTTPS_PROXY": "http://a", "ALL_PROXY": "http://b"}, "http://a"),
    "small letters first": ({"HTTPS_PROXY": "http://a", "https_proxy": "http://b"}, "http://b"),
    "for HTTP alone": ({"HTTP_PROXY": "http://p"}, None),
    "not for the host": ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x.org, example.org"}, None),
    "not for the domain": ({"HTTPS_PROXY": "http://p", "no_proxy": ".example.org"}, None),
    "not for what is below": ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*.Example.org"}, None),
    "not for the port": ({"HTTPS_PROXY": "http://p", "NO_PROXY": "api.example.org:8443"}, None),
    "not for anybody": ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None),
    "not for others": ({"HTTPS_PROXY": "http://p", "NO_PROXY": "ple.org"}, "http://p"),
}


@pytest.mark.parametrize(("environ", "proxy"), PROXIES.values(), ids=list(PROXIES))
def test_proxies_of_exchanges(environ, proxy):
    assert exchange_proxy("https://api.example.org:8443/v1", environ) == proxy


def test_plain_http_has_no_proxy(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://p:3128")
    assert exchange_proxy("http://127.0.0.1:8080") is None
    assert exchange_proxy("https://example.org") == "http://p:3128"


def test_what_starts_a_program_holds_no_secret():
    needed = {"PATH": "/bin", "PYTHONPATH": "x", "LD_LIBRARY_PATH": "y", "LC_ALL": "C.UTF-8"}
    secret = {"HASHWARDEN_CATALOG_URL": "s3cret", "PGPASSWORD": "s3cret", "AWS_SECRET": "s3cret"}
    assert settings_module.environment_to_start(needed | secret) == needed
