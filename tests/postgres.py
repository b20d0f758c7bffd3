"""A PostgreSQL of a test's own: on 127.0.0.1, in a folder that goes with it, with a password."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "searcher", "se%cr{e}t/ of:the@tests"
ENCODED = "se%25cr%7Be%7Dt%2F%20of%3Athe%40tests"
"""The password as it stands in a URL."""
SERVER_USER = "postgres"  # whom the server runs as, which refuses to run as root
SECONDS = 120.0  # until a server is up, on a slow machine


@cache
def programs() -> Path | None:
    """The folder of initdb and postgres, if there is one that can be used here."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = [p for p in places if (p / "initdb").exists() and (p / "postgres").exists()]
    return found[0] if found and (os.geteuid() != 0 or _other_user() is not None) else None


MISSING = f"there is no PostgreSQL (initdb, postgres), or, for root, no user {SERVER_USER}"


def _other_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        return None


class Postgres:
    """A server. Only the process that was started here is ever ended."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        user = _other_user() if os.geteuid() == 0 else None
        self._as: dict[str, Any] = {"cwd": folder}
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        password = folder / "password"
        password.write_text(PASSWORD + "\n", encoding="utf-8")
        password.chmod(0o644)  # the folder is the server's alone
        self._run(
            *("initdb", "--pgdata", self._data, "--username", USER, "--pwfile", password),
            *("--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8", "--no-sync"),
        )

    def _command(self, program: str, *arguments: Any) -> list[str]:
        folder = programs()
        assert folder is not None
        return [str(folder / program), *map(str, arguments)]

    def _run(self, program: str, *arguments: Any) -> None:
        done = subprocess.run(
            self._command(program, *arguments), capture_output=True, text=True, **self._as
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server on its port, and wait until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", self._data, *given),
                stdout=log,
                stderr=log,
                **self._as,
            )
        until = time.monotonic() + SECONDS
        while not self._answers():
            told = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace")
            assert self._process.poll() is None and time.monotonic() < until, told
            time.sleep(0.05)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.session().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server and every session of it; what was committed stays."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(SECONDS)
            self._process = None

    def url(self, database: str = "postgres", password: str = ENCODED, user: str = USER) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def session(self, database: str = "postgres") -> Any:
        """A session of the tests' own."""
        import psycopg

        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=10)

    def make_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        with self.session() as session:
            session.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def end_sessions(self, database: str) -> int:
        """End all sessions of a database, as a server that is restarted would; how many."""
        with self.session() as session:
            ended = session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (database,),
            )
            return len(ended.fetchall())


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A running server; `programs()` must have found one."""
    # Below the system's folder for such: those of tests are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="blendmake-postgres-"))
    try:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # at once: nothing of it is needed any more
    finally:
        shutil.rmtree(folder)


def server_or_skip() -> Iterator[Postgres]:
    """The body of a fixture: a running server, or the test is skipped where there can be none."""
    if programs() is None:
        pytest.skip(MISSING)
    with running_postgres() as server:
        yield server
