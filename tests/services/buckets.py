"""Object storage for tests: servers as processes of their own, and a door before them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BUCKET = "blends"
KEY, SECRET = "AKIAOFATEST", "a-secret-of-a-test-that-nobody-may-see"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(command: list[str], port: int, log: Path, **environment: str) -> Iterator[str]:
    """Run a server until the block ends; its address, once it answers."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **environment}, cwd=log.parent
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers, if only to say that there is nothing
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{address} does not answer: {log.read_text()}")


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """An S3 endpoint (moto), empty."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with served(command, port, folder / "moto.log") as address:
        yield address


@contextmanager
def gcs_server(folder: Path) -> Iterator[str]:
    """An endpoint of Google Cloud Storage (gcp-storage-emulator), empty."""
    port = free_port()
    start = (
        "from gcp_storage_emulator.server import create_server; "
        f"create_server('127.0.0.1', {port}, True).run()"
    )
    with served([sys.executable, "-c", start], port, folder / "gcs.log") as address:
        yield address


class Door:
    """Passes connections on to a server, until it is shut: then they are cut and refused."""

    def __init__(self, server: str) -> None:
        self._server = ("127.0.0.1", int(server.rsplit(":", 1)[1]))
        self.port = free_port()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.open()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        assert self._listener is not None
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Store:
    """What stands in the bucket of an S3 endpoint."""

    def __init__(self, address: str, bucket: str) -> None:
        import boto3

        self.bucket = bucket
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def dates(self) -> dict[str, Any]:
        """When each object was written."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {one["Key"]: one["LastModified"] for page in pages for one in page["Contents"]}

    def download(self, folder: Path) -> Path:
        """Copy all to a folder, under the names that it has in the bucket."""
        for key in self.dates():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(self.bucket, key, str(path))
        return folder
