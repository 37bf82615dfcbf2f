"""What goes out of a catalog, to whom, in which form; and what the report says of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest
import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from hashlists.catalog import Catalog
from hashlists.errors import (
    EncryptionRecipientError,
    ExportTargetError,
    HarmMismatchError,
    ListNotFoundError,
    OptionsError,
    RevisionNotFoundError,
    UnknownFormatError,
)
from hashlists.exporter import (
    Compression,
    ExportRequest,
    export_lists,
    export_to_stream,
    report_to_dict,
)
from hashlists.exporting import age
from hashlists.exporting.layers import outgoing
from hashlists.exporting.measured import Measured
from hashlists.formats import losses
from hashlists.formats.registry import written_format_names
from hashlists.formats.sealed_spool import SealedSpool
from hashlists.model import Classification, Handling, Harm, HashKind, HashList, ListState
from tests.catalog_support import CLASS_1, CLASS_2, DEMO, bring, ids_of, items

PAST = datetime(2001, 1, 1, tzinfo=UTC)
FOR_A = Handling("us", ("unit-a",))
FOR_BOTH = Handling("us", ("unit-a", "unit-b"))
EXPIRED = Handling("us", ("unit-a",), PAST)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Two entries for nobody, three for A, one of them for B too, and one that has expired."""
    url = f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.db'}"
    with Catalog.open(url) as opened:
        opened.create_list(DEMO, author="a person")
        bring(
            opened,
            items("n1", "n2", classification=CLASS_2)
            + items("a1", "a2", handling=FOR_A)
            + items("b1", handling=FOR_BOTH, kinds=(HashKind.PDQ,))
            + items("x1", handling=EXPIRED),
        )
        yield opened


def request(**fields):
    return ExportRequest(
        **{"list_names": ["demo"], "format": "jsonl", "recipients": None, **fields}
    )


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def names(data):
    return {each["key"].removeprefix("id:") for each in lines(data) if "key" in each}


class TestWhatGoesOut:
    def out(self, catalog, **fields):
        stream = io.BytesIO()
        report = export_to_stream(catalog, stream, request(**fields))
        assert report.bytes == len(stream.getvalue())
        assert report.sha256 == hashlib.sha256(stream.getvalue()).hexdigest()
        return stream.getvalue(), report

    def test_an_own_copy_lacks_what_has_expired_alone(self, catalog):
        data, report = self.out(catalog)
        assert names(data) == {"n1", "n2", "a1", "a2", "b1"}
        assert (report.entries, report.held_back, report.expired) == (5, 1, 1)
        assert (report.unreleasable, report.by_recipient, report.recipients) == (0, {}, None)
        assert (report.revision, report.since, report.format) == (2, 0, "jsonl")

    def test_a_recipient_gets_what_names_it(self, catalog):
        data, report = self.out(catalog, recipients=["unit-a"])
        assert names(data) == {"a1", "a2", "b1"}
        assert (report.entries, report.unreleasable, report.expired) == (3, 2, 1)
        assert report.by_recipient == {"unit-a": 2}

    def test_several_recipients_get_what_names_them_all(self, catalog):
        data, report = self.out(catalog, recipients=["unit-a", "unit-b"])
        assert names(data) == {"b1"}
        assert report.by_recipient == {"unit-a": 2, "unit-b": 4}
        assert (report.unreleasable, report.held_back) == (4, 5)

    def test_classification_and_kind(self, catalog):
        data, report = self.out(catalog, classifications=[CLASS_1], kinds=[HashKind.MD5])
        assert names(data) == {"a1", "a2"}
        assert not any("pdq" in each for each in lines(data))
        assert report.entries == 2
        data, _ = self.out(catalog, classifications=[None])
        assert names(data) == set()

    def test_the_same_request_gives_the_same_bytes(self, catalog):
        for name, options in (("vics", {"profile": "US"}), ("ncmec", {}), ("csv", {})):
            for packed in Compression:
                wanted = {"format": name, "options": options, "compression": packed}
                assert self.out(catalog, **wanted)[0] == self.out(catalog, **wanted)[0]

    def test_what_a_format_cannot_carry_is_counted(self, catalog):
        _, report = self.out(catalog, format="icse")
        assert report.left_out == report.losses[losses.NO_HASH] == 1
        assert report.entries == 4
        assert report.losses["classification"] == 4
        assert {type(name) for name in report.losses} == {str}

    def test_progress_is_told(self, catalog):
        seen = []
        export_to_stream(catalog, io.BytesIO(), request(), progress=seen.append)
        assert seen[-1] == 5

    def test_the_report_as_plain_values(self, catalog):
        _, report = self.out(catalog, recipients=["unit-a"])
        shown = report_to_dict(report)
        assert json.loads(json.dumps(shown)) == shown
        assert shown["held_back"] == {
            "entries": 3,
            "unreleasable": 2,
            "by_recipient": {"unit-a": 2},
            "expired": 1,
        }
        assert (shown["own_copy"], shown["recipients"]) == (False, ["unit-a"])
        assert report_to_dict(self.out(catalog)[1])["own_copy"] is True


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"list_names": []}, OptionsError),
        ({"recipients": []}, OptionsError),
        ({"recipients": ["unit-a", ""]}, OptionsError),
        ({"since": 3, "upto": 2}, OptionsError),
        ({"list_names": ["none"]}, ListNotFoundError),
        ({"since": 99}, RevisionNotFoundError),
        ({"format": "none"}, UnknownFormatError),
        ({"format": "stopncii"}, UnknownFormatError),
        ({"options": {"x": "y"}}, OptionsError),
        ({"encrypt_to": ["age1"]}, EncryptionRecipientError),
    ],
)
def test_wrong_requests_write_nothing(catalog, tmp_path, fields, error):
    with pytest.raises(error):
        export_lists(catalog, tmp_path / "out.jsonl", request(**fields))
    assert list(tmp_path.iterdir()) == []


class TestSeveralLists:
    @pytest.fixture
    def several(self, tmp_path):
        with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as opened:
            for name, harm in (
                ("one", "csam"),
                ("two", "csam"),
                ("ncii", "ncii"),
                ("good", "known_good"),
            ):
                opened.create_list(HashList(name, Harm(harm), "a source"), author="a person")
                bring(opened, items(f"of-{name}"), list_name=name)
            yield opened

    @pytest.mark.parametrize("name", [n for n in written_format_names() if n != "stix"])
    def test_a_file_holds_one_list(self, several, name):
        wanted = request(list_names=["one", "two"], format=name)
        with pytest.raises(OptionsError, match="each list to a file of its own"):
            export_to_stream(several, io.BytesIO(), wanted)

    def test_where_lists_are_kept_apart_several_go_into_one_file(self, several):
        stream = io.BytesIO()
        wanted = request(list_names=["two", "one"], format="stix")
        report = export_to_stream(several, stream, wanted)
        assert (report.list_names, report.entries, report.warnings) == (("two", "one"), 2, ())

    def test_a_list_that_is_named_twice_goes_out_once(self, several):
        stream = io.BytesIO()
        report = export_to_stream(several, stream, request(list_names=["one", "one"]))
        assert (report.list_names, report.entries) == (("one",), 1)
        assert [each.get("list") for each in lines(stream.getvalue())[1:-1]] == ["one"]

    def test_lists_of_several_harms_do_not(self, several):
        with pytest.raises(HarmMismatchError, match="kept apart"):
            export_to_stream(several, io.BytesIO(), request(list_names=["one", "ncii"]))

    @pytest.mark.parametrize("name", ["good", "live"])
    def test_what_the_keeper_should_tell(self, several, name):
        several.create_list(
            HashList("live", Harm.CSAM, "a source", state=ListState.SHADOW), author="a person"
        )
        (warning,) = export_to_stream(several, io.BytesIO(), request(list_names=[name])).warnings
        told = {"good": "known-good files, of no harm", "live": "the list live is in shadow"}
        assert told[name] in warning


class TestDeltas:
    @pytest.fixture
    def changing(self, tmp_path):
        """Revision 2 brings four; later one is changed, one retracted, one purged, one added."""
        with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as opened:
            opened.create_list(DEMO, author="a person")
            first = items("kept", "changed", "retracted", "purged")
            bring(opened, first)
            bring(opened, [first[1].next(), *items("added")], gone=[first[2]])
            (purged,) = ids_of(opened, "purged")
            opened.purge("demo", [purged], author="a person", reason="why")
            yield opened

    def test_a_format_that_tells_withdrawals_tells_them(self, changing):
        stream = io.BytesIO()
        report = export_to_stream(changing, stream, request(since=2))
        told = {each["key"][3:]: "retracted" in each for each in lines(stream.getvalue())[1:-1]}
        assert told == {"changed": False, "added": False, "retracted": True}
        assert (report.entries, report.retracted, report.untold, report.purged) == (2, 1, 0, 1)
        (warning,) = report.warnings
        assert warning.startswith("1 entry was purged since revision 2")

    def test_one_that_cannot_says_so(self, changing):
        wanted = request(since=2, format="vics", options={"profile": "US"})
        report = export_to_stream(changing, io.BytesIO(), wanted)
        assert (report.entries, report.retracted, report.untold) == (2, 0, 1)
        assert report.losses["withdrawals"] == 1
        assert "1 entry is withdrawn, or has no hash left for vics" in report.warnings[0]

    def test_an_earlier_revision(self, changing):
        stream = io.BytesIO()
        report = export_to_stream(changing, stream, request(upto=2))
        assert names(stream.getvalue()) == {"kept", "changed", "retracted"}
        assert (report.revision, report.since) == (2, 0)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "unpack"),
        [
            ("out.jsonl", bytes),
            ("out.jsonl.gz", gzip.decompress),
            ("OUT.JSONL.ZST", lambda data: zstandard.ZstdDecompressor().stream_reader(data).read()),
        ],
    )
    def test_the_name_says_how_it_is_packed(self, catalog, tmp_path, name, unpack):
        report = export_lists(catalog, tmp_path / name, request())
        data = (tmp_path / name).read_bytes()
        assert (report.bytes, report.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        stream = io.BytesIO()
        export_to_stream(catalog, stream, request())
        assert unpack(data) == stream.getvalue()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert [each.name for each in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("out.jsonl.gz", {"compression": Compression.NONE}),
            ("out.jsonl.gz", {"compression": Compression.ZSTD}),
            ("out.jsonl.age", {}),
            ("out.gz.age", {}),
        ],
    )
    def test_a_name_never_says_what_is_not_so(self, catalog, tmp_path, name, fields):
        with pytest.raises(OptionsError, match="its name says"):
            export_lists(catalog, tmp_path / name, request(**fields))
        assert list(tmp_path.iterdir()) == []

    def test_packed_without_a_name_that_says_so(self, catalog, tmp_path):
        report = export_lists(catalog, tmp_path / "out", request(compression=Compression.GZIP))
        assert report.compression == "gzip"
        assert names(gzip.decompress((tmp_path / "out").read_bytes())) >= {"a1"}


def ssh_key():
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return pyrage.ssh.Identity.from_buffer(private), public.decode() + " somebody@example"


class TestEncryption:
    def test_every_recipient_can_read_it_and_nobody_else(self, catalog, tmp_path):
        one = pyrage.x25519.Identity.generate()
        other, ssh = ssh_key()
        keys = [str(one.to_public()), ssh]
        target = tmp_path / "out.jsonl.zst.age"
        report = export_lists(catalog, target, request(encrypt_to=keys))
        sealed = target.read_bytes()
        assert report.encrypted_to == tuple(keys)
        assert (report.bytes, report.sha256) == (len(sealed), hashlib.sha256(sealed).hexdigest())
        stream = io.BytesIO()
        export_to_stream(catalog, stream, request(compression=Compression.ZSTD))
        for identity in (one, other):
            assert pyrage.decrypt(sealed, [identity]) == stream.getvalue()
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(sealed, [pyrage.x25519.Identity.generate()])

    def test_what_is_large_goes_through_in_pieces(self):
        identity = pyrage.x25519.Identity.generate()
        out = io.BytesIO()
        piece = bytes(range(256)) * 1000
        with outgoing(Measured(out), Compression.NONE, [str(identity.to_public())]) as stream:
            for _ in range(40):
                stream.write(piece)
            stream.write(b"")
            stream.flush()
        assert pyrage.decrypt(out.getvalue(), [identity]) == piece * 40

    def test_an_abandoned_export_is_no_whole_file(self):
        identity = pyrage.x25519.Identity.generate()
        out = io.BytesIO()

        def fail():
            with outgoing(Measured(out), Compression.NONE, [str(identity.to_public())]) as stream:
                stream.write(bytes(1_000_000))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert out.getvalue()
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(out.getvalue(), [identity])

    def test_the_error_of_what_lies_below_comes_up(self):
        class Full(io.BytesIO):
            def write(self, _data):
                raise OSError(28, "No space left on device")

        key = str(pyrage.x25519.Identity.generate().to_public())

        def fill():
            with outgoing(Measured(Full()), Compression.NONE, [key]) as stream:
                for _ in range(100):
                    stream.write(bytes(100_000))

        with pytest.raises(OSError, match="No space left"):
            fill()

    @pytest.mark.parametrize(
        "text",
        ["", "age1abc", "hello", "ssh-ed25519 AAAA", "ssh-dss AAAA", "age1" + "q" * 58],
    )
    def test_what_is_no_public_key(self, text):
        with pytest.raises(EncryptionRecipientError, match="recipient 1 is no public key"):
            age.parse_recipients([text])

    def test_a_private_key_is_refused_and_not_repeated(self):
        secret = str(pyrage.x25519.Identity.generate())
        with pytest.raises(EncryptionRecipientError, match="private key") as caught:
            age.parse_recipients([secret])
        assert secret[20:] not in str(caught.value)

    def test_a_file_of_recipients(self):
        keys = [str(pyrage.x25519.Identity.generate().to_public()), ssh_key()[1]]
        content = f"# unit A\n\n{keys[0]}\n  {keys[1]}  \r\n"
        assert age.recipients_in(io.BytesIO(content.encode())) == keys

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "names no recipient"),
            (b"# nobody\n", "names no recipient"),
            (b"\xff\xfe", "names no recipient"),
            (b"x" * 2_000_000, "names no recipient"),
            (b"hello", "recipient 1 of the file is no public key"),
        ],
    )
    def test_files_that_are_none(self, content, why):
        with pytest.raises(EncryptionRecipientError, match=why):
            age.recipients_in(io.BytesIO(content))


class TestLayers:
    @pytest.mark.parametrize("packed", [Compression.GZIP, Compression.ZSTD])
    def test_what_was_abandoned_has_no_end_and_takes_nothing_more(self, packed):
        out = io.BytesIO()
        kept = []

        def fail():
            with outgoing(Measured(out), packed, []) as stream:
                kept.append(stream)
                stream.write(b"something")
                raise ValueError

        with pytest.raises(ValueError):
            fail()
        before = out.getvalue()
        assert kept[0].write(b"the end of a library") == 20
        assert out.getvalue() == before
        with pytest.raises((EOFError, zstandard.ZstdError)):
            gzip.decompress(before or b"\x1f\x8b") if packed is Compression.GZIP else (
                zstandard.ZstdDecompressor().decompress(before)
            )

    def test_a_stream_that_takes_a_part_gets_the_rest(self):
        class Slow(io.BytesIO):
            def write(self, data):
                return super().write(bytes(data)[:3])

        out = Slow()
        measured = Measured(out)
        measured.write(b"ten bytes.")
        assert (out.getvalue(), measured.bytes) == (b"ten bytes.", 10)


def test_what_waits_on_the_disk_is_sealed(monkeypatch):
    spool = SealedSpool(memory_bytes=10)
    pieces = [b"first, ", b"", b"second " * 500_000]
    for piece in pieces:
        spool.write(piece)
    spool._file.seek(0)
    on_disk = spool._file.read()
    assert len(on_disk) == spool.bytes == sum(map(len, pieces))
    assert b"second" not in on_disk
    assert b"".join(spool.take()) == b"".join(pieces)
    waiting = spool._file
    del spool
    assert waiting.closed


def test_an_existing_file_stays_unless_told(catalog, tmp_path):
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    with pytest.raises(ExportTargetError, match="there already"):
        export_lists(catalog, target, request())
    assert target.read_text() == "mine"
    export_lists(catalog, target, request(), force=True)
    assert names(target.read_bytes()) >= {"a1"}
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_classes_need_not_be_known(catalog):
    stream = io.BytesIO()
    wanted = request(classifications=[Classification("other", "", "1")])
    assert export_to_stream(catalog, stream, wanted).entries == 0


def test_a_folder_is_no_target(catalog):
    with pytest.raises(ExportTargetError, match="name a file"):
        export_lists(catalog, Path("/"), request())
