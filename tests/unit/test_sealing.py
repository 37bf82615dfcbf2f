"""What is sealed opens with its key, for its purpose and about its thing, and not otherwise."""

from __future__ import annotations

import stat
import sys

import pytest

from matcher.errors import BrokenSealError, SealingKeyError
from matcher.sealing import OVERHEAD_BYTES, KeySource, Sealer

ONE, OTHER = "11" * 32, "22" * 32
TEXT = b"something"


def sealer(*keys, purpose=b"test"):
    return Sealer(KeySource("keys:" + ",".join(keys)), purpose)


class TestSealing:
    def test_what_is_sealed_opens_again(self):
        sealed = sealer(ONE).seal(TEXT, b"about")
        assert sealer(ONE).open(sealed, b"about") == TEXT
        assert len(sealed) == len(TEXT) + OVERHEAD_BYTES
        assert TEXT not in sealed

    def test_nothing_is_sealed_alike_twice(self):
        one = sealer(ONE)
        assert one.seal(TEXT) != one.seal(TEXT)

    def test_it_opens_about_its_own_thing_only(self):
        with pytest.raises(BrokenSealError):
            sealer(ONE).open(sealer(ONE).seal(TEXT, b"about"), b"other")

    def test_it_opens_for_its_own_purpose_only(self):
        with pytest.raises(BrokenSealError):
            sealer(ONE, purpose=b"other").open(sealer(ONE).seal(TEXT))

    def test_any_altered_byte_breaks_it(self):
        sealed = sealer(ONE).seal(TEXT)
        for at in range(len(sealed)):
            broken = bytearray(sealed)
            broken[at] ^= 1
            with pytest.raises(BrokenSealError):
                sealer(ONE).open(bytes(broken))

    @pytest.mark.parametrize("length", range(OVERHEAD_BYTES + 1))
    def test_what_was_cut_off_is_broken(self, length):
        with pytest.raises(BrokenSealError):
            sealer(ONE).open(sealer(ONE).seal(TEXT)[:length])

    def test_another_key_is_told(self):
        with pytest.raises(BrokenSealError, match="a key that is not here"):
            sealer(OTHER).open(sealer(ONE).seal(TEXT))

    def test_the_first_key_seals_and_all_open(self):
        old = sealer(ONE).seal(TEXT)
        both = sealer(OTHER, ONE)
        assert both.open(old) == TEXT
        assert sealer(OTHER).open(both.seal(TEXT)) == TEXT

    def test_marks_are_equal_for_equal_texts_under_one_key(self):
        one, both = sealer(ONE), sealer(OTHER, ONE)
        assert one.mark(TEXT) == one.mark(TEXT) != one.mark(b"other")
        assert one.mark(TEXT) != sealer(ONE, purpose=b"other").mark(TEXT)
        assert both.marks(TEXT) == [sealer(OTHER).mark(TEXT), one.mark(TEXT)]


class TestSources:
    def test_a_file_is_made_once_for_its_owner_alone(self, tmp_path):
        path = tmp_path / "folder" / "match.keys"
        source = KeySource(f"file:{path}")
        source.prepare()
        before = path.read_bytes()
        source.prepare()
        assert path.read_bytes() == before
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [each.name for each in path.parent.iterdir()] == ["match.keys"]

    def test_a_file_that_changed_is_read_again(self, tmp_path):
        path = tmp_path / "match.keys"
        server, other = KeySource(f"file:{path}"), KeySource(f"file:{path}")
        server.prepare()
        old = Sealer(server, b"test").seal(TEXT)
        other.rotate()
        new = Sealer(server, b"test").seal(TEXT)
        assert new[:8] != old[:8]
        assert Sealer(server, b"test").open(old) == TEXT
        assert len(path.read_text().split()) == 2

    def test_a_key_that_came_since_is_looked_for(self, tmp_path):
        now = [0.0]
        path = tmp_path / "match.keys"
        KeySource(f"file:{path}").prepare()
        server = KeySource(f"file:{path}", clock=lambda: now[0])
        server.newest()
        other = KeySource(f"file:{path}")
        other.rotate()
        assert Sealer(server, b"test").open(Sealer(other, b"test").seal(TEXT)) == TEXT
        assert server.find(b"nothing!") is None

    def test_a_file_that_goes_leaves_what_was_read(self, tmp_path):
        path = tmp_path / "match.keys"
        source = KeySource(f"file:{path}")
        source.prepare()
        sealed = Sealer(source, b"test").seal(TEXT)
        path.unlink()
        assert Sealer(source, b"test").open(sealed) == TEXT

    def test_a_command_gives_keys(self):
        command = f"{sys.executable} -c \"print('{ONE}')\""
        source = KeySource(f"command:{command}")
        with pytest.raises(SealingKeyError, match="not read yet"):
            source.newest()
        source.prepare()
        sealed = Sealer(source, b"test").seal(TEXT)
        assert sealer(ONE).open(sealed) == TEXT

    @pytest.mark.parametrize(
        ("place", "told"),
        [
            ("command:/no/such/program", "cannot be run"),
            ("command:'", "cannot be run"),
            ("command:false", "status 1"),
            ("command:true", "holds 0 keys"),
            ("keys:nonsense", "key 1 is none"),
            (f"keys:{ONE},{ONE[:-2]}", "key 2 is none"),
            ("file:/no/such/file", "cannot be read"),
        ],
    )
    def test_what_gives_no_keys_is_told(self, place, told):
        source = KeySource(place)
        read = source.prepare if place.startswith("command:") else source.newest
        with pytest.raises(SealingKeyError, match=told) as caught:
            read()
        assert "nonsense" not in str(caught.value)
        assert ONE[:8] not in str(caught.value)

    def test_a_command_that_hangs_is_ended(self, monkeypatch):
        monkeypatch.setattr("hashlists.encryption.keys._COMMAND_SECONDS", 0.01)
        with pytest.raises(SealingKeyError, match="took over"):
            KeySource("command:sleep 60").prepare()

    def test_keys_that_others_may_read_are_refused(self, tmp_path):
        path = tmp_path / "match.keys"
        KeySource(f"file:{path}").prepare()
        path.chmod(0o604)
        with pytest.raises(SealingKeyError, match="0604"):
            KeySource(f"file:{path}").newest()

    def test_a_file_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(SealingKeyError, match="cannot be written"):
            KeySource(f"file:{tmp_path / 'file' / 'match.keys'}").prepare()

    def test_only_files_are_rotated(self):
        with pytest.raises(SealingKeyError, match="names no file"):
            KeySource(f"keys:{ONE}").rotate()

    def test_there_are_so_many_keys_at_most(self, tmp_path):
        path = tmp_path / "match.keys"
        path.write_text("".join(f"{number:064x}\n" for number in range(1, 65)))
        path.chmod(0o600)
        with pytest.raises(SealingKeyError, match="remove the oldest"):
            KeySource(f"file:{path}").rotate()
