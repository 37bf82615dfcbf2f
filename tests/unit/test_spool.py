"""The file that takes an upload, and what is left of it."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hashlists.errors import DigestMismatchError
from matcher.errors import InvalidRequestError
from matcher.service.imports import MAX_CHUNK_BYTES, ImportOrder, Spool

DATA = b"some,bytes\n" * 1000
KILLED = """
import os, signal, sys
from pathlib import Path
from matcher.service.imports import ImportOrder, Spool
order = ImportOrder("a", "csv", {}, bytes(32), 1 << 20, "key", None, "", "")
spool = Spool(Path(sys.argv[1]), order, max_bytes=1 << 20)
spool.write(b"x" * (1 << 19))
os.kill(os.getpid(), signal.SIGKILL)
"""


def order(data=DATA, **fields):
    values = {
        "list_name": "a",
        "format": "csv",
        "options": {},
        "sha256": hashlib.sha256(data).digest(),
        "length": len(data),
        "idempotency_key": "key",
        "max_rejected_share": None,
        "reason": "",
        "importer": "",
    }
    return ImportOrder(**values | fields)


def spool_of(folder, **fields):
    return Spool(folder / "spool", order(**fields), max_bytes=1 << 20)


def test_another_process_reads_the_whole_file_from_its_beginning(tmp_path):
    spool = spool_of(tmp_path)
    spool.write(DATA[:1234])
    spool.write(DATA[1234:])
    file = spool.finish()
    assert os.fstat(file).st_nlink == 0
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.stdout.write(open('/dev/fd/{file}').read())"],
            pass_fds=(file,),
            capture_output=True,
            check=True,
        )
        assert found.stdout == DATA
    spool.close()


def test_nothing_is_left_of_a_killed_owner(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "spool"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("sent", [DATA[:-1], b"x" + DATA[1:]])
def test_other_bytes_are_no_file(tmp_path, sent):
    spool = spool_of(tmp_path)
    spool.write(sent)
    with pytest.raises(DigestMismatchError, match="nothing is imported"):
        spool.finish()
    spool.close()


def test_bounds(tmp_path):
    with pytest.raises(InvalidRequestError, match="the limit is 10"):
        Spool(Path(tmp_path), order(), max_bytes=10)
    spool = spool_of(tmp_path)
    for chunk in (b"", bytes(MAX_CHUNK_BYTES + 1)):
        with pytest.raises(InvalidRequestError, match="chunk"):
            spool.write(chunk)
    with pytest.raises(DigestMismatchError, match="more than the announced"):
        spool.write(DATA + b"x")
    spool.close()
