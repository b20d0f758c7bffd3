"""Who starts scripts: one fork server for each number of threads, begun when it is first needed."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 5.0  # seconds that a process which ends waits for its servers
ROOM = 512  # bytes for the command line that a copy shows as its own
SERVE = (
    "import sys; sys.path.append(sys.argv[1])\n"
    "from blendmake.starts.server import serve; serve(int(sys.argv[2]))"
)


def can_fork() -> bool:
    """Whether copies of a process with its libraries loaded are sound here: on Linux alone."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


class Started:
    """A script that runs as a copy of a fork server.

    Attributes:
        pid: its process.
    """

    def __init__(self, pid: int, answers: socket.socket) -> None:
        self.pid = pid
        self._answers = answers

    def wait(self) -> int:
        """Its exit status; where a signal has ended it, its number below 0."""
        with self._answers:
            told = self._answers.recv(64)
        # A server that has died takes its copies with it.
        return int(told) if told else -9


class ForkServer:
    """A process that has loaded what scripts import, and runs each as a copy of itself.

    Libraries count threads when they are loaded: a server is for one number of them. It ends with the
    last process that can ask it, once its copies have ended.

    Args:
        root: the folder that modules of the project are imported from.
        environment: variables of the process.
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(root), str(theirs.fileno()), " " * ROOM],
                env=environment,
                pass_fds=[theirs.fileno()],
            )

        atexit.register(self.close)

    def close(self) -> None:
        """Ask for nothing more, and let the server end: what it has used counts as this process's."""
        atexit.unregister(self.close)
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)

    def start(
        self, script: str, environment: Mapping[str, str], modules: Iterable[str] = ()
    ) -> Started | None:
        """Run a script as the interpreter would, in this folder, with this process's terminal and group.

        Args:
            script: its file.
            environment: all of its variables.
            modules: of the project, which the script will import; the server keeps them loaded.

        Returns:
            The process; None where the server cannot start it.
        """
        asked = json.dumps(
            {
                "script": script,
                "folder": os.getcwd(),
                "environment": dict(environment),
                "modules": list(modules),
                "group": os.getpgrp(),
            }
        ).encode()
        mine, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"+"], [theirs.fileno(), 0, 1, 2])
            mine.sendall(len(asked).to_bytes(8, "big") + asked)
            told = mine.recv(64)
        except OSError:
            told = b""
        pid = int(told.split()[0]) if told else 0
        if not pid:
            mine.close()
            return None
        return Started(pid, mine)


class ForkServers:
    """Servers by the variables that libraries read when they are loaded.

    Args:
        root: the folder that modules of the project are imported from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._servers: dict[Any, ForkServer] = {}

    def start(
        self,
        script: str,
        environment: Mapping[str, str],
        modules: Iterable[str],
        threads: int,
    ) -> Started | None:
        """As `ForkServer.start`, of the server for so many threads."""
        if not can_fork():
            return None
        with self._lock:
            server = self._servers.get(threads)
            if server is None:
                with suppress(OSError):
                    server = self._servers[threads] = ForkServer(self._root, environment)
        return None if server is None else server.start(script, environment, modules)
