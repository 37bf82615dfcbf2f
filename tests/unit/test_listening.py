"""Who may listen where: nothing but loopback without TLS and known clients, unless insisted on."""

from __future__ import annotations

import logging
import socket

import pytest

from matcher.errors import CredentialsError, SettingsError
from matcher.service import listening, tls
from matcher.settings import load_settings
from tests.certificates import Authority

OPEN = "0.0.0.0:0"
ALL_OPEN = {"listen": OPEN, "lists_listen": "0.0.0.0:1"}


def load(tmp_path, **overrides):
    return load_settings(tmp_path, environ={}, overrides=overrides)


@pytest.fixture
def certificate(tmp_path):
    files = Authority(tmp_path).issue_for_this_machine("server")
    return dict(zip(("tls_certificate", "tls_key"), files, strict=True))


class TestWhereToListen:
    @pytest.mark.parametrize(
        ("chosen", "named"),
        [
            ({"listen": OPEN}, "listen: .* no TLS"),
            ({"lists_listen": OPEN}, "lists_listen: .* no TLS"),
            (ALL_OPEN, "listen: .* no TLS"),
            ({"listen": OPEN, "authentication": "required"}, "listen: .* no TLS"),
        ],
    )
    def test_without_tls_only_this_machine(self, tmp_path, chosen, named):
        with pytest.raises(SettingsError, match=f"^{named}.*danger_listen_without_tls"):
            listening.check_listen(load(tmp_path, **chosen))
        listening.check_listen(load(tmp_path, **chosen, danger_listen_without_tls=True))

    def test_with_tls_clients_are_asked_for_elsewhere(self, tmp_path, certificate):
        settings = load(tmp_path, **ALL_OPEN, **certificate)
        listening.check_listen(settings)
        assert settings.requires_clients(OPEN)
        assert not settings.requires_clients("127.0.0.1:1")
        assert not settings.reflects(OPEN)
        assert settings.reflects("127.0.0.1:1")

    def test_with_tls_and_nobody_asked_it_has_to_be_insisted_on(self, tmp_path, certificate):
        chosen = {"listen": OPEN, "authentication": "off", **certificate}
        with pytest.raises(SettingsError, match="no client authentication"):
            listening.check_listen(load(tmp_path, **chosen))
        listening.check_listen(load(tmp_path, **chosen, danger_listen_without_tls=True))

    def test_one_address_for_both_is_for_this_machine(self, tmp_path, certificate):
        listening.check_listen(load(tmp_path, lists_listen="same"))
        chosen = {"listen": OPEN, "lists_listen": "same", **certificate}
        with pytest.raises(SettingsError, match=r"^lists_listen: .* an address of its own"):
            listening.check_listen(load(tmp_path, **chosen))
        listening.check_listen(load(tmp_path, **chosen, danger_listen_without_tls=True))

    def test_a_replica_has_no_lists_to_manage(self, tmp_path, certificate):
        key = tmp_path / "verify.pem"
        pulls = {"snapshot_pull_url": "file:///store", "snapshot_verify_key": key}
        settings = load(tmp_path, listen=OPEN, lists_listen="same", **certificate, **pulls)
        assert not settings.keeps_lists
        assert settings.addresses == (OPEN,)
        listening.check_listen(settings)

    def test_certificates_of_clients_are_asked_for_everywhere(self, tmp_path, certificate):
        ca = certificate["tls_certificate"]
        settings = load(tmp_path, **certificate, tls_client_ca=ca)
        assert settings.requires_clients("127.0.0.1:1")
        with pytest.raises(SettingsError, match="exclude each other"):
            load(tmp_path, **certificate, tls_client_ca=ca, authentication="off")

    def test_who_is_nobodys_client_exports_on_this_machine_only(self, tmp_path, certificate):
        assert load(tmp_path, listen=OPEN).may_export
        assert not load(tmp_path, lists_listen=OPEN, **certificate).may_export
        assert load(tmp_path, lists_listen=OPEN, danger_export_without_tls=True).may_export

    @pytest.mark.parametrize(
        "alone", ["tls_certificate", "tls_key", "tls_client_ca", "server_certificate", "server_key"]
    )
    def test_what_is_of_no_use_alone(self, tmp_path, alone):
        with pytest.raises(SettingsError, match=f"{alone} needs"):
            load(tmp_path, **{alone: tmp_path / "x"})


class TestThePortOfLists:
    def test_a_free_one_stays(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            free = f"127.0.0.1:{taken.getsockname()[1]}"
        assert listening.choose_lists(load(tmp_path, lists_listen=free)) == free
        assert listening.choose_lists(load(tmp_path, lists_listen="same")) == "same"
        assert listening.choose_lists(load(tmp_path, lists_listen="127.0.0.1:0"))

    def test_one_that_nobody_chose_gives_way(self, tmp_path, caplog):
        settings = load(tmp_path, listen="127.0.0.1:50052")
        assert listening.choose_lists(settings) == "127.0.0.1:0"
        assert "it is the address of listen; list management takes a free port" in caplog.text

    def test_one_that_was_chosen_must_be_free(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(SettingsError, match=r"lists_listen: cannot listen .* in use"):
                listening.choose_lists(load(tmp_path, lists_listen=address))
        with pytest.raises(SettingsError, match="it is the address of listen"):
            listening.choose_lists(load(tmp_path, listen=address, lists_listen=address))

    def test_of_two_at_one_address_nothing_is_held(self):
        with listening.reserved("same") as held:
            assert held == "same"


class TestCertificates:
    def test_without_one_there_are_no_credentials(self, tmp_path):
        assert tls.server_credentials(load(tmp_path)) is None

    @pytest.mark.parametrize("spoiled", ["tls_certificate", "tls_key", "tls_client_ca"])
    @pytest.mark.parametrize("text", [None, "", "nonsense", "é"])
    def test_what_is_none_ends_the_start(self, tmp_path, certificate, spoiled, text):
        ca = Authority(tmp_path, "clients").file
        files = {**certificate, "tls_client_ca": ca}
        assert tls.server_credentials(load(tmp_path, **files)) is not None
        if text is None:
            files[spoiled].unlink()
        else:
            files[spoiled].write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=r"^TLS: "):
            tls.server_credentials(load(tmp_path, **files))

    def test_a_key_of_another_certificate(self, tmp_path, certificate):
        _, other = Authority(tmp_path, "other").issue("another")
        with pytest.raises(SettingsError, match="are no certificate and its unencrypted private"):
            tls.server_credentials(load(tmp_path, **certificate | {"tls_key": other}))

    def test_only_what_has_changed_is_read(self, tmp_path, certificate, monkeypatch):
        files = tls.CertificateFiles(certificate["tls_certificate"], certificate["tls_key"])
        reloading = tls.Reloading(files)
        with monkeypatch.context() as patch:
            patch.setattr(tls.CertificateFiles, "load", pytest.fail)
            assert reloading.fetch() is None
        files.certificate.touch()
        assert reloading.fetch() is not None
        assert reloading.fetch() is None

    def test_what_is_wrong_is_told_once_and_tried_again(self, tmp_path, certificate, caplog):
        files = tls.CertificateFiles(certificate["tls_certificate"], certificate["tls_key"])
        reloading = tls.Reloading(files)
        kept = files.key.rename(tmp_path / "aside")
        for _ in range(3):
            assert reloading.fetch() is None
        assert len([each for each in caplog.messages if "stays as it was" in each]) == 1
        kept.rename(files.key)
        assert reloading.fetch() is not None

    def test_a_change_that_goes_on_meanwhile_is_for_later(self, tmp_path, certificate, monkeypatch):
        files = tls.CertificateFiles(certificate["tls_certificate"], certificate["tls_key"])
        reloading = tls.Reloading(files)
        files.certificate.touch()
        load_ = tls.CertificateFiles.load

        def touched(self):
            loaded = load_(self)
            self.key.touch()
            return loaded

        with monkeypatch.context() as patch:
            patch.setattr(tls.CertificateFiles, "load", touched)
            assert reloading.fetch() is None
        assert reloading.fetch() is not None

    def test_files_that_are_gone(self, tmp_path):
        files = tls.CertificateFiles(tmp_path / "a", tmp_path / "b")
        with pytest.raises(CredentialsError, match="No such file"):
            files.load()
