"""Files encrypted with age are opened with the right key, in memory, and with no other."""

from __future__ import annotations

import base64
import errno
import gzip
import io
import os
import sqlite3

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from hashlists.errors import DecryptionKeyError, FormatError
from hashlists.formats.sealed_spool import SealedSpool, SealedStream
from hashlists.formats.unpacking import age_files, descriptor_of, open_parts
from hashlists.formats.unpacking.age_files import identities_in, is_age
from matcher import cli
from tests.archive_support import zipped

CSV = b"md5\n" + b"".join(b"%032x\n" % (number * 7919 + 1) for number in range(50))
KEY = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()
#: One letter, as `pyrage.passphrase.encrypt` gives it, which takes a second each time.
UNDER_A_PASSPHRASE = base64.b64decode(
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBTZmpDdHU4ZDBpenVwaEQ2RG9jQXVBIDE4CndNc0x3cHVlL2pR"
    "RWp6RzhsZ2t5dDRuZTNGQ1VFQldHTFlpd29UUkVxQmMKLS0tIHcxbDd1THdXbm5jczMwV0RxUzkyczR4RlY0RmhFaERC"
    "blJlSDBmYThsNTQKWDLfswCa7SO2Sn8fW3P8j35YJ409FAc7MmyuukRRJWzw"
)


def sealed(data, *, armored=False):
    return pyrage.encrypt(data, [KEY.to_public()], armored=armored)


def read(data, identities=(KEY,), **more):
    parts = open_parts(io.BytesIO(data), "list", identities=identities, **more)
    return parts, [part.stream.read() for part in parts]


def ssh_key():
    """A private key as ssh-keygen writes it, and its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private, pyrage.ssh.Recipient.from_str(public.decode())


class TestSpool:
    def test_it_is_read_anywhere_and_lies_sealed(self, tmp_path):
        data = os.urandom(1000) + b"to be found in the clear" * 100
        spool = SealedSpool(memory_bytes=10, folder=tmp_path)
        for at in range(0, len(data), 333):
            spool.write(data[at : at + 333])
        assert spool.bytes == len(data)
        assert b"".join(spool.take()) == data
        spool._file.seek(0)
        assert b"in the clear" not in spool._file.read()
        with SealedStream(spool) as stream:
            assert stream.seekable()
            for at in (0, 1, 15, 16, 17, 999, 3000, len(data)):
                assert stream.seek(at) == at
                assert stream.read(40) == data[at : at + 40]
            assert stream.seek(-5, io.SEEK_END) == len(data) - 5
            assert stream.seek(-5, io.SEEK_CUR) == len(data) - 10
            assert stream.read() == data[-10:]
            with pytest.raises(ValueError, match="before the beginning"):
                stream.seek(-len(data) - 1, io.SEEK_END)
        with pytest.raises(ValueError, match="closed"):
            spool.read_at(0, 1)


class TestOpening:
    @pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
    @pytest.mark.parametrize(
        ("pack", "how"),
        [(bytes, ""), (gzip.compress, "gzip"), (lambda data: zipped({"a.csv": data}), "zip")],
        ids=["plain", "gzip", "zip"],
    )
    def test_with_the_key(self, pack, how, armored):
        data = sealed(pack(CSV), armored=armored)
        assert is_age(data[:512])
        parts, found = read(data, identities=[OTHER, KEY])
        assert found == [CSV]
        assert (parts.encryption, parts.compression) == ("age", how)

    def test_with_a_key_of_ssh(self):
        private, recipient = ssh_key()
        identities = identities_in(io.BytesIO(private))
        assert read(pyrage.encrypt(CSV, [recipient]), identities)[1] == [CSV]

    @pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
    def test_without_it(self, armored):
        data = sealed(CSV, armored=armored)
        with pytest.raises(FormatError, match=r"--identity.*age -d -i KEY_FILE FILE"):
            read(data, [])
        with pytest.raises(FormatError, match="no key that was given opens it"):
            read(data, [OTHER])
        for broken in (data[:-20], data[:150], data[: len(data) // 2]):
            with pytest.raises(FormatError, match=r"cut off|damaged"):
                read(broken)

    def test_a_passphrase_is_left_to_the_tool(self):
        with pytest.raises(FormatError, match="under a passphrase"):
            read(UNDER_A_PASSPHRASE)
        with pytest.raises(FormatError, match="encrypted with age"):
            read(age_files._ARMOR + b"\n####\n", [])

    def test_nothing_lies_on_the_disk_in_the_clear(self, tmp_path, monkeypatch):
        written = []
        real = SealedSpool.write

        def write(self, data):
            real(self, data)
            self._file.flush()
            at = self._file.tell()
            self._file.seek(0)
            written.append(self._file.read())
            self._file.seek(at)

        monkeypatch.setattr(SealedSpool, "write", write)
        monkeypatch.setattr(age_files, "_MEMORY_BYTES", 1)
        line = b"a line that is easily found\n"
        assert read(sealed(line * 20_000), spool_dir=tmp_path)[1] == [line * 20_000]
        assert sum(map(len, written)) > 0
        assert not any(b"easily" in each for each in written)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
    def test_a_database_is_never_copied_out(self, pack):
        parts = open_parts(io.BytesIO(sealed(pack(CSV))), "list", identities=[KEY])
        with parts.part(0) as part, pytest.raises(FormatError, match="holds a database"):
            descriptor_of(part.stream)

    def test_what_is_encrypted_within_an_archive_is_told(self):
        with pytest.raises(FormatError, match=r"encrypted with age; unpack it once"):
            read(gzip.compress(sealed(CSV)))

    def test_a_full_disk_is_told(self, monkeypatch):
        def full(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(SealedSpool, "write", full)
        with pytest.raises(FormatError, match="cannot be kept: No space left"):
            read(sealed(CSV))


class TestKeys:
    def test_as_age_keygen_writes_them(self):
        text = f"# created: 2026\n# public key: {KEY.to_public()}\n{KEY}\n\n{OTHER}\n"
        assert len(identities_in(io.BytesIO(text.encode()))) == 2

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "holds no private key"),
            (b"# nothing\n", "holds no private key"),
            (b"#\n" * 600_000, "holds no private key"),
            (str(KEY.to_public()).encode(), "line 1 of the key file is a public key"),
            (b"\nssh-ed25519 AAAA\n", "line 2 of the key file is a public key"),
            (b"AGE-PLUGIN-YUBIKEY-1QQQQ", "plug-in"),
            (b"AGE-SECRET-KEY-1QQQQ", "is no private key of age"),
            (b"\xff\xfe", "is no private key of age"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "the SSH key cannot be used"),
            (UNDER_A_PASSPHRASE, "itself encrypted"),
        ],
        # What was made for this run may stand in no name: every process must know the same tests.
        ids=[
            "an empty file",
            "a comment",
            "comments only",
            "a public key",
            "a public SSH key",
            "a plug-in's key",
            "a malformed key",
            "no text",
            "an SSH key",
            "an encrypted key",
        ],
    )
    def test_what_is_none_is_told_and_never_shown(self, content, told):
        with pytest.raises(DecryptionKeyError, match=told) as caught:
            identities_in(io.BytesIO(content))
        assert "QQQQ" not in str(caught.value)


class TestCommands:
    @pytest.fixture
    def key_file(self, tmp_path):
        path = tmp_path / "key.txt"
        path.touch(mode=0o600)
        path.write_text(f"{KEY}\n")
        return path

    def run(self, tmp_path, *words):
        return cli.main(["--data", str(tmp_path / "data"), *map(str, words)])

    def fill(self, tmp_path):
        path = tmp_path / "plain.csv"
        path.write_bytes(CSV)
        new = ["--list", "one", "--harm", "test", "--source", "us", "--column", "md5=md5"]
        assert self.run(tmp_path, "lists", "import", path, *new) == 0

    @pytest.mark.parametrize(
        "name",
        ["out.csv.age", "out.jsonl.gz.age", "out.parquet.zst.age", "out.json.age", "out.xml.age"],
    )
    def test_what_was_exported_is_read_back_in_one_step(self, capsys, tmp_path, key_file, name):
        self.fill(tmp_path)
        target = tmp_path / name
        kind = {"json": "stix", "xml": "ncmec"}.get(name.split(".")[1], name.split(".")[1])
        out = ["lists", "export", "--list", "one", "--format", kind, "--own-copy", "--to", target]
        assert self.run(tmp_path, *out, "--encrypt-to", KEY.to_public()) == 0
        how = ["--format", kind, *["--option", "columns=hashwarden"] * (kind == "csv")]
        new = ["--list", "two", "--harm", "test", "--source", "us"]
        back = ["lists", "import", target, *how, *new, "--json"]
        assert self.run(tmp_path, *back) == 2
        assert "--identity" in capsys.readouterr().err
        assert self.run(tmp_path, *back, "--plan", "--identity", key_file) == 0
        assert '"added": 50' in capsys.readouterr().out
        assert self.run(tmp_path, *back, "--identity", key_file) == 0
        assert '"added": 50' in capsys.readouterr().out
        assert self.run(tmp_path, *back, "--identity", key_file) == 0
        assert '"added": 0' in capsys.readouterr().out

    def test_inspect_opens_it_and_says_how_to_import_it(self, capsys, tmp_path, key_file):
        path = tmp_path / "list.csv.gz.age"
        path.write_bytes(sealed(gzip.compress(CSV)))
        assert self.run(tmp_path, "lists", "inspect", path) == 2
        assert "encrypted with age" in capsys.readouterr().err
        assert self.run(tmp_path, "lists", "inspect", path, "--identity", key_file) == 0
        said = capsys.readouterr()
        assert "packed with\tage, gzip" in said.out
        assert f"--format digests --identity {key_file}" in said.err

    def test_a_key_that_others_can_read_is_refused(self, capsys, tmp_path, key_file):
        key_file.chmod(0o640)
        path = tmp_path / "list.csv.age"
        path.write_bytes(sealed(CSV))
        assert self.run(tmp_path, "lists", "inspect", path, "--identity", key_file) == 2
        assert "chmod 600" in capsys.readouterr().err
        key_file.chmod(0o600)
        key_file.write_text("# nothing\n")
        assert self.run(tmp_path, "lists", "inspect", path, "--identity", key_file) == 2
        assert f"{key_file}: the key file holds no private key" in capsys.readouterr().err

    def test_a_public_key_is_named_before_its_mode(self, capsys, tmp_path, key_file):
        key_file.write_text(f"{KEY.to_public()}\n")
        key_file.chmod(0o644)
        path = tmp_path / "list.csv.age"
        path.write_bytes(sealed(CSV))
        assert self.run(tmp_path, "lists", "inspect", path, "--identity", key_file) == 2
        told = capsys.readouterr().err
        assert "is a public key" in told
        assert "chmod" not in told

    def test_the_key_never_goes_to_a_server(self, capsys, tmp_path, key_file):
        path = tmp_path / "list.csv.age"
        path.write_bytes(sealed(CSV))
        words = ["lists", "import", path, "--list", "one", "--identity", key_file]
        assert self.run(tmp_path, *words, "--server", "127.0.0.1:1") == 2
        assert "age -d -i KEY_FILE FILE | hashwarden lists import -" in capsys.readouterr().err

    def test_a_database_is_left_to_its_owner(self, capsys, tmp_path, key_file):
        plain = tmp_path / "x.db"
        with sqlite3.connect(plain) as database:
            database.execute("CREATE TABLE FILE (sha1 TEXT)")
        database.close()
        path = tmp_path / "x.db.age"
        path.write_bytes(sealed(plain.read_bytes()))
        assert self.run(tmp_path, "lists", "inspect", path, "--identity", key_file) == 2
        assert "none is written of what came encrypted" in capsys.readouterr().err
