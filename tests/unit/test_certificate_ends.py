"""Monitoring is told the ends of those certificates that the next connection is given."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta

import pytest

from matcher.errors import CredentialsError
from matcher.service.certificate_ends import (
    CLIENT_CA,
    SERVER,
    ServedCertificates,
    certificate_ends,
)
from matcher.service.tls import CertificateFiles
from tests.certificates import Authority

DAY = timedelta(days=1)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, lasts=50 * DAY)


@pytest.fixture
def files(tmp_path, authority):
    here = tmp_path / "served.pem", tmp_path / "served-key.pem"
    put(authority, here, 5)
    return CertificateFiles(*here, authority.file)


def put(authority, files, days):
    for made, place in zip(
        authority.issue_for_this_machine("server", lasts=days * DAY), files, strict=True
    ):
        shutil.move(made, place)


def days_left(end):
    return round((end - time.time()) / DAY.total_seconds())


def test_a_new_certificate_is_told_without_a_connection(files, authority):
    served = ServedCertificates(files)
    assert {of: days_left(end) for of, end in served.ends().items()} == {SERVER: 5, CLIENT_CA: 50}
    put(authority, (files.certificate, files.key), 9)
    assert days_left(served.ends()[SERVER]) == 9


def test_what_cannot_be_used_is_not_served(files, authority):
    served = ServedCertificates(files)
    before = served.ends()
    certificate, _ = authority.issue_for_this_machine("server", lasts=9 * DAY)
    shutil.move(certificate, files.certificate)  # its key is to follow
    assert served.ends() == before
    files.certificate.unlink()
    assert served.ends() == before
    with pytest.raises(CredentialsError, match=r"^TLS: "):
        certificate_ends(files)


def test_without_tls_or_a_date_there_is_no_end(files):
    assert ServedCertificates(None).ends() == {}
    files.certificate.write_text("nonsense")
    assert list(certificate_ends(files)) == [CLIENT_CA]
