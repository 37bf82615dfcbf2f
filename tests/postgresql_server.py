"""A real PostgreSQL server for the tests: started by them, on a Unix socket of its own.

It runs on Debian's binaries (package `postgresql`) or any found on the path. As root they refuse
to run, so then the server is another user's process. Nothing it writes has to survive, so it never
waits for a disk, except where a test says otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.quick_folder import quick_folder

_USER = "hashwarden"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "80",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
    "log_min_messages": "warning",
}
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 60
_END_SECONDS = 60


def find_binaries() -> Path | None:
    """The folder of `postgres` and `initdb`; None where PostgreSQL is not installed."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    return None


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


class PostgresqlServer:
    """One server with its own data; ends with the process that made it, at the latest."""

    def __init__(self, binaries: Path, **settings: str) -> None:
        """Makes a cluster and starts it."""
        self._binaries = binaries
        self._settings = {**_SETTINGS, **settings}
        self.port = settings.get("port", "5432")
        self._numbers = count()
        self.folder = Path(tempfile.mkdtemp(prefix="hw-pg-", dir=quick_folder()))
        self.data = self.folder / "data"
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _someone_else()
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._run(
                "initdb",
                "-D",
                self.data,
                "-U",
                _USER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            )
            self.start()
        except BaseException:
            self.close()
            raise

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self._binaries / program, *map(str, arguments)],
            check=True,
            capture_output=True,
            cwd="/",
            env=_environment(),
            **self._as_user,
        )

    def start(self) -> None:
        """Starts it and waits until it answers.

        One that ends at once is started again: the sessions of a server that was killed, or a
        process that has come to its number, can stand in the way for a moment.
        """
        give_up = time.monotonic() + _START_SECONDS
        process = self._process = self._launch()
        while True:
            try:
                self.run_sql("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
                if process.poll() is not None:
                    time.sleep(0.1)
                    process = self._process = self._launch()
            else:
                return

    def _launch(self) -> subprocess.Popen[bytes]:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._binaries / "postgres", "-D", self.data, "-k", self.folder, *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - only calls into the kernel
                **self._as_user,
            )

    def require_running(self) -> None:
        """Starts it unless it answers, whatever was done to it before."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                self.run_sql("SELECT 1")
                return
        self.kill()
        self.start()

    def kill(self) -> None:
        """Ends it at once with all its sessions, as a power cut does.

        Sessions are processes of their own, which notice only later that the first one has gone:
        until then they would go on, and commit.
        """
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            first.suspend()  # so it can begin no other session
            sessions = first.children(recursive=True)
            for process in (*sessions, first):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            _wait_for_end(sessions)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """Ends it and removes its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # immediate: nothing has to survive
            self._process.wait()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs statements outside any transaction; returns the last one's rows, if any."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, user=_USER, dbname=database, autocommit=True
        ) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        """The catalog's URL of a database."""
        return f"postgresql+psycopg://{_USER}@/{database}?host={self.folder}&port={self.port}"

    def make_database(self, template: str | None = None) -> str:
        """A new database; returns its name."""
        name = f"catalog_{next(self._numbers)}"
        self.run_sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name


def _wait_for_end(processes: list[psutil.Process]) -> None:
    """Their sockets are closed then; nobody may be there to collect them, so zombies count."""
    give_up = time.monotonic() + _END_SECONDS
    while any(map(_is_alive, processes)):
        if time.monotonic() > give_up:
            raise TimeoutError("a session of PostgreSQL does not end")
        time.sleep(0.005)


def _is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _someone_else() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root cannot run PostgreSQL, and there is no other user to run it")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
