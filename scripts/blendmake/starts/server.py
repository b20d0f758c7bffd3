"""The process that scripts are copies of: it loads their modules once, and tells how they ended."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from typing import Any

from blendmake.heap import share_heap
from blendmake.processor import prepare_numpy
from blendmake.starts.script import become

# What may not be loaded before a fork: it takes hold of a GPU, or its threads would be lost.
UNFIT = ("torch",)
# Threads that know of forks: Arrow's spare allocator's.
HARMLESS = frozenset({"jemalloc_bg_thd"})
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_DIED = 1  # PR_SET_PDEATHSIG


def serve(control: int) -> None:
    """Answer whoever asks by the socket, until nobody can and the last copy has ended."""
    os.set_inheritable(control, False)
    _Server(socket.socket(fileno=control)).run()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control: socket.socket | None = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._copies: dict[int, tuple[int, socket.socket]] = {}  # pidfd: pid, who waits for it
        self._ended: dict[int, tuple[int, socket.socket]] = {}  # by that socket's number
        self._tried: set[str] = set()
        self._path = list(sys.path)
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        # They are meant for the copies, and come to the whole group.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        share_heap()  # before NumPy starts threads
        prepare_numpy()

    def run(self) -> None:
        while self._control or self._copies or self._ended:
            for key, _ in self._selector.select():
                if self._control and key.fileobj is self._control:
                    self._accept()
                elif key.fd in self._copies:
                    self._tell(key.fd)
                else:
                    self._reap(key.fd)

    def _accept(self) -> None:
        assert self._control
        word, fds, _, _ = socket.recv_fds(self._control, 1, 4)
        if not word:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None
            return
        answers, streams = socket.socket(fileno=fds[0]), fds[1:]
        try:
            with answers.makefile("rb") as file:
                asked = json.loads(file.read(int.from_bytes(file.read(8), "big")))
            self._load(asked["modules"])
            pid = self._fork(asked, streams, answers) if _alone() else 0
            answers.sendall(f"{pid}\n".encode())
            if pid:
                pidfd = os.pidfd_open(pid)
                self._copies[pidfd] = pid, answers
                self._selector.register(pidfd, selectors.EVENT_READ)
            else:
                answers.close()
        except (OSError, ValueError):  # whoever asked has gone, or there is no room for a process
            answers.close()
        finally:
            for stream in streams:
                os.close(stream)

    def _tell(self, pidfd: int) -> None:
        """How a copy has ended. It is kept until whoever waits has closed: they may look at it."""
        pid, answers = self._copies.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert found
        status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        with suppress(OSError):
            answers.sendall(f"{status}\n".encode())
        self._ended[answers.fileno()] = pid, answers
        self._selector.register(answers, selectors.EVENT_READ)

    def _reap(self, fd: int) -> None:
        pid, answers = self._ended.pop(fd)
        self._selector.unregister(answers)
        answers.close()
        os.waitpid(pid, 0)

    def _load(self, modules: list[str]) -> None:
        """Import what a script will; what cannot be, it will tell itself."""
        new = [name for name in modules if name not in self._tried]
        if not new:
            return
        self._tried.update(new)
        refusing = _Unfit()
        sys.meta_path.insert(0, refusing)
        try:
            for name in new:
                with suppress(Exception):
                    importlib.import_module(name)
        finally:
            sys.meta_path.remove(refusing)
        _settle()

    def _fork(self, asked: dict[str, Any], streams: list[int], answers: socket.socket) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            server = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._become(asked, streams, answers, server)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _become(
        self, asked: dict[str, Any], streams: list[int], answers: socket.socket, server: int
    ) -> None:
        """Of the copy: run the script; does not return."""
        try:
            ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)
            if os.getppid() != server:
                os._exit(1)
            self._selector.close()
            for pidfd in self._copies:
                os.close(pidfd)
            for _, others in [*self._copies.values(), *self._ended.values()]:
                others.close()
            if self._control:
                self._control.close()
            answers.close()
            for stream, there in zip(streams, (0, 1, 2), strict=True):
                os.dup2(stream, there)
                os.close(stream)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            if os.getpgrp() != asked["group"]:
                os.setpgid(0, asked["group"])
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["environment"])
            sys.path[:] = self._path
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            become(asked["script"])
        finally:
            os._exit(1)


class _Unfit(MetaPathFinder):
    """Refuses to import what is not fit for copies."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in UNFIT:
            raise ImportError(f"{name} is imported by the scripts that use it")


def _settle() -> None:
    """Let collections of garbage leave alone what copies share, and libraries end their threads."""
    gc.collect()
    gc.freeze()
    pid = os.fork()  # OpenBLAS ends its threads before a fork, and starts them when they are needed
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _alone() -> bool:
    """Whether no thread is left that a copy would lack."""
    threads = []
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{thread}/comm", encoding="utf-8") as file:
            threads.append(file.read().strip())
    return len([name for name in threads if name not in HARMLESS]) <= 1
