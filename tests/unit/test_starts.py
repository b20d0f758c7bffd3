"""Scripts that start as copies of a process: as an interpreter would run them, without its imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blendmake.starts import client
from blendmake.starts.client import ForkServer, ForkServers, Started

pytestmark = pytest.mark.skipif(not client.can_fork(), reason="Linux alone has fork servers")
SCRIPTS = Path(client.__file__).parents[2]
Start = Callable[..., Started | None]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Modules of a project: one that tells when it is loaded, one with a thread, one unfit."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "blendmake").symlink_to(SCRIPTS / "blendmake")
    (folder / "telling.py").write_text(
        "import os\nwith open(os.environ['TOLD'], 'a') as file:\n    print(os.getpid(), file=file)\n"
    )
    (folder / "unfit.py").write_text("import torch\n")
    (folder / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ForkServer]:
    server = ForkServer(root, {**os.environ, "TOLD": str(root / "told")})
    yield server
    server.close()


@pytest.fixture
def run(server: ForkServer, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs a text as a script; its exit status and what it printed."""
    number = 0

    def run(text: str, *modules: str, **variables: str) -> tuple[int, str]:
        nonlocal number
        number += 1
        script, out = tmp_path / f"script{number}.py", tmp_path / f"out{number}"
        script.write_text(text)
        kept = os.dup(1), os.dup(2)
        with out.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            try:
                started = server.start(str(script), {**os.environ, **variables}, modules)
            finally:
                for fd, there in zip(kept, (1, 2), strict=True):
                    os.dup2(fd, there)
                    os.close(fd)
        assert started is not None
        return started.wait(), out.read_text()

    return run


def test_a_script_sees_what_an_interpreter_would_show_it(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    text = (
        "import os, sys\n"
        "print(__name__, __file__, sys.argv, sys.path[0], sys.modules['__main__'].__file__)\n"
        "print(os.getcwd(), os.environ['MARK'], 'TOLD' in os.environ, os.getpgrp())\n"
        "print(len({os.readlink(f'/proc/self/fd/{fd}') for fd in (1, 2)}))\n"
    )
    status, told = run(text, MARK="mine")
    file = str(tmp_path / "script1.py")
    assert status == 0
    assert told.splitlines() == [
        f"__main__ {file} {[file]} {tmp_path} {file}",
        f"{os.getcwd()} mine False {os.getpgrp()}",
        "1",
    ]


def test_it_is_found_by_its_name_among_processes(run: Callable[..., tuple[int, str]]) -> None:
    _, told = run("print(open('/proc/self/cmdline', 'rb').read().rstrip(b'\\0').split(b'\\0')[1])")
    assert told.strip().endswith("script1.py'")


def test_what_scripts_import_is_imported_once(
    run: Callable[..., tuple[int, str]], root: Path
) -> None:
    text = "import sys; print('telling' in sys.modules); import telling, numpy, os; print(os.getppid())"
    found = {run(text, "telling")[1] for _ in range(3)}
    loaded = (root / "told").read_text().split()
    assert found == {f"True\n{loaded[0]}\n"}
    assert len(loaded) == 1


def test_what_takes_hold_of_a_gpu_is_left_to_the_script(
    run: Callable[..., tuple[int, str]],
) -> None:
    _, told = run("import sys; print([n in sys.modules for n in ('unfit', 'torch')])", "unfit")
    assert told == "[False, False]\n"


# Whatever the shell has done with the signal: one that runs tests in the background ignores it.
INTERRUPT = (
    "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.kill(os.getpid(), signal.SIGINT)"
)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('why')", 1),
        ("1 / 0", 1),
        ("this is no Python", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        (INTERRUPT, -signal.SIGINT),
    ],
)
def test_it_ends_as_under_an_interpreter(
    run: Callable[..., tuple[int, str]], tmp_path: Path, text: str, status: int
) -> None:
    found, told = run(text)
    done = subprocess.run(
        [sys.executable, tmp_path / "script1.py"], stderr=subprocess.PIPE, text=True
    )
    assert found == status == done.returncode
    # The last lines: above them stand frames of whoever ran it.
    assert told.splitlines()[-2:] == done.stderr.splitlines()[-2:]


def test_one_that_has_ended_is_there_until_it_was_waited_for(
    server: ForkServer, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("")
    started = server.start(str(script), os.environ)
    assert started is not None
    assert _gone(started.pid)  # for /proc says that it is a zombie
    assert Path(f"/proc/{started.pid}").exists()
    assert started.wait() == 0
    for _ in range(200):
        if not Path(f"/proc/{started.pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail("it was not cleared away")


def test_what_was_to_be_done_at_the_end_is_done(
    run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "import atexit, ctypes, tempfile, threading, time\n"
        "folder = tempfile.TemporaryDirectory(dir='.')\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n"
        "ctypes.CDLL(None).printf(b'by C\\n')\n"
        "open('named', 'w').write(folder.name)\n"
    )
    _, told = run(text)
    assert sorted(told.splitlines()) == ["at exit", "by C", "thread"]
    assert not (tmp_path / (tmp_path / "named").read_text()).exists()


def test_copies_draw_different_numbers_without_a_seed(
    run: Callable[..., tuple[int, str]],
) -> None:
    text = "import random, numpy; print(random.random(), numpy.random.rand())"
    drawn = [run(text, "blendmake.labels")[1].split() for _ in range(2)]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_a_process_with_threads_is_not_copied(root: Path, tmp_path: Path) -> None:
    server = ForkServer(root, os.environ)
    script = tmp_path / "script.py"
    script.write_text("")
    started = server.start(str(script), os.environ)
    assert started is not None
    assert started.wait() == 0
    assert server.start(str(script), os.environ, ["threaded"]) is None
    assert server.start(str(script), os.environ) is None
    server.close()


def test_a_server_that_was_killed_takes_its_copies_with_it(root: Path, tmp_path: Path) -> None:
    servers = ForkServers(root)
    script = tmp_path / "script.py"
    script.write_text("import time; time.sleep(60)")
    started = servers.start(str(script), os.environ, [], 1)
    assert started is not None
    parent = int(Path(f"/proc/{started.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert _gone(started.pid)
    assert servers.start(str(script), os.environ, [], 1) is None  # the job starts as ever


def test_a_script_outlives_whoever_started_it_and_the_server_does_not(
    root: Path, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    script = tmp_path / "script.py"
    script.write_text(f"import time; time.sleep(0.5); open({str(done)!r}, 'w').write('whole')")
    asking = (
        f"import os, sys, signal; sys.path.insert(0, {str(root)!r})\n"
        "from pathlib import Path; from blendmake.starts.client import ForkServer\n"
        f"started = ForkServer(Path({str(root)!r}), os.environ).start({str(script)!r}, os.environ)\n"
        "print(open(f'/proc/{started.pid}/stat').read().rpartition(')')[2].split()[1], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = subprocess.run([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True)
    assert told.returncode == -signal.SIGKILL
    assert _gone(int(told.stdout))
    assert done.read_text() == "whole"


def _gone(pid: int) -> bool:
    for _ in range(200):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
