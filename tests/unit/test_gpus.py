"""GPUs of one machine: each job a device of its own, with a pretend nvidia-smi of four devices."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blendmake.code_digest import imported_files
from blendmake.errors import BlendmakeError
from blendmake.gpus import holders as holders_module
from blendmake.gpus.devices import VISIBLE, devices
from blendmake.gpus.holders import Ledger
from blendmake.gpus.taking import PATIENCE, take_gpu
from blendmake.window import DEADLINE
from pretend_gpus import UUIDS, PretendGpus

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# Takes a GPU, says which, and holds it until the file `release` is there.
WORKER = """
import os, sys, time
from pathlib import Path
from blendmake.gpus.taking import take_gpu
folder = Path(sys.argv[1])
with take_gpu(int(sys.argv[2]), "a test", poll=0.05):
    (folder / f"taken-{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    while not (folder / "release").exists():
        time.sleep(0.02)
"""


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendGpus:
    found = PretendGpus(tmp_path)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv(DEADLINE, "")
    monkeypatch.delenv(PATIENCE, raising=False)
    return found


class Workers:
    """Processes that take GPUs and hold them."""

    def __init__(self, gpus: PretendGpus) -> None:
        self.gpus = gpus
        self.all: list[Any] = []

    def start(self, count: int, memory_mb: int = 0, visible: str | None = None) -> list[Any]:
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        if visible is not None:
            environment[VISIBLE] = visible
        command = [sys.executable, "-c", WORKER, str(self.gpus.folder), str(memory_mb)]
        started = []
        for _ in range(count):
            with open(self._said(len(self.all) + len(started)), "w") as said:
                started.append(subprocess.Popen(command, env=environment, stderr=said))
        self.all += started
        return started

    def taken(self) -> dict[int, str]:
        """Device by process, of those that have ever taken one."""
        files = self.gpus.folder.glob("taken-*")
        return {int(f.name.partition("-")[2]): f.read_text() for f in files if f.read_text()}

    def _said(self, number: int) -> Path:
        return self.gpus.folder / f"said-{number}"

    def said(self, process: Any) -> str:
        """What a process has written to its errors."""
        return self._said(self.all.index(process)).read_text()

    def wait_until(self, count: int) -> dict[int, str]:
        """Wait until so many have taken one, and a little longer: no more should."""
        until(lambda: len(self.taken()) >= count)
        time.sleep(0.5)
        return self.taken()

    def finish(self) -> list[int]:
        (self.gpus.folder / "release").touch()
        return [process.wait(30) for process in self.all]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.02)


@pytest.fixture
def workers(gpus: PretendGpus) -> Iterator[Workers]:
    made = Workers(gpus)
    yield made
    for process in made.all:
        process.kill()
        process.wait()


def test_six_processes_and_four_gpus(workers: Workers) -> None:
    started = workers.start(6)
    taken = workers.wait_until(4)
    assert sorted(taken.values()) == sorted(UUIDS)
    # One that is killed gives its device, and no other, to one that waits.
    victim = next(process for process in started if process.pid in taken)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    more = workers.wait_until(5)
    (heir,) = set(more) - set(taken)
    assert more[heir] == taken[victim.pid]
    (last,) = (p for p in started if p.pid not in more)
    codes = workers.finish()
    assert sorted(codes) == [-signal.SIGKILL, 0, 0, 0, 0, 0]
    assert len(workers.taken()) == 6
    said = workers.said(last)
    assert "waiting for a GPU" in said
    assert f"held by a test (process {heir} of " in said
    with Ledger().opened() as holders:
        assert holders == []


def test_a_device_in_use_by_somebody_else_is_left_alone(workers: Workers) -> None:
    workers.gpus.use(3, 3, 8000, 3)  # by a process that the driver does not tell
    workers.gpus.run({1: 0})
    started = workers.start(3)
    taken = workers.wait_until(2)
    assert sorted(taken.values()) == [UUIDS[1], UUIDS[3]]
    workers.gpus.use()
    assert UUIDS[2] in workers.wait_until(3).values()
    assert workers.finish() == [0, 0, 0]
    said = "".join(map(workers.said, started))
    assert "somebody else computes on it (process 1, python)" in said
    assert "somebody else uses 8000 MB of it" in said


def test_jobs_share_a_device_by_declared_memory(workers: Workers) -> None:
    workers.start(3, 6000, visible="1")
    taken = workers.wait_until(2)
    assert list(taken.values()) == [UUIDS[1]] * 2
    # What is in use counts as what is declared: 16,000 less 12,500 is too little for one more.
    workers.gpus.use(3, 12_500)
    workers.start(1, 4000, visible=UUIDS[1])
    workers.start(1, visible="1")  # a whole one
    assert len(workers.wait_until(2)) == 2
    small = workers.start(1, 3000, visible=UUIDS[1][:8])
    assert workers.wait_until(3)[small[0].pid] == UUIDS[1]
    workers.gpus.use()
    assert set(workers.finish()) == {0}
    assert len(workers.taken()) == 6


def test_jobs_that_share_are_spread(workers: Workers) -> None:
    workers.start(4, 6000)
    assert sorted(workers.wait_until(4).values()) == sorted(UUIDS)
    assert workers.finish() == [0] * 4


def test_a_holders_own_processes_are_no_strangers(gpus: PretendGpus) -> None:
    with (
        take_gpu(5000),
        subprocess.Popen(["sleep", "60"]) as child,
        subprocess.Popen(["sleep", "60"], start_new_session=True) as other,
    ):
        one = os.environ[VISIBLE]
        gpus.use(*(5000,) * 4)
        # Numbers that are no process here are those of another space of processes (a container).
        gpus.run({os.getpid(): UUIDS.index(one), child.pid: UUIDS.index(one), 2**22 + 1: 0})
        with take_gpu(5000) as share:
            assert os.environ[VISIBLE] == one
            assert share == 5000 / 16_000
        child.kill()
        other.kill()
    assert VISIBLE not in os.environ


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("2,0", [UUIDS[2], UUIDS[0]]),
        (UUIDS[3], [UUIDS[3]]),
        ("GPU-b", [UUIDS[1]]),
        ("1,-1,0", [UUIDS[1]]),
        ("1,9,0", [UUIDS[1]]),
        ("MIG-1234", ["MIG-1234"]),
        ("", []),
    ],
)
def test_cuda_visible_devices_is_heeded(
    gpus: PretendGpus, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv(VISIBLE, visible)
    assert [one.uuid for one in devices()] == expected
    with take_gpu() as share:
        assert share == (1.0 if expected else 0.0)
        assert os.environ[VISIBLE] == (expected[0] if expected else "")


def test_without_a_gpu_a_job_runs_on_the_cpu(
    gpus: PretendGpus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpus.answer("#!/bin/sh\necho No devices were found\nexit 6\n")
    with take_gpu() as share:
        assert share == 0.0
    monkeypatch.setenv("PATH", str(gpus.folder))
    caplog.clear()
    with take_gpu() as share:
        assert share == 0.0
    assert "there is none here: on the CPU" in caplog.text


def test_an_nvidia_smi_that_hangs_or_fails(gpus: PretendGpus) -> None:
    gpus.answer("#!/bin/sh\nexec sleep 60\n")
    with (
        pytest.raises(BlendmakeError, match=r"no answer within 0\.3 seconds.*device: cpu"),
        take_gpu(limit=0.3),
    ):
        pytest.fail("it got a GPU")
    gpus.answer("#!/bin/sh\necho Failed to initialize NVML: Driver mismatch\nexit 18\n")
    with (
        pytest.raises(BlendmakeError, match=r"exit code 18: Failed to initialize NVML"),
        take_gpu(),
    ):
        pytest.fail("it got a GPU")


def test_more_memory_than_any_device_has_is_refused(gpus: PretendGpus) -> None:
    with pytest.raises(BlendmakeError, match=r"gpu_mem_mb.*16000 MB"), take_gpu(20_000):
        pytest.fail("it got a GPU")


def test_waiting_ends_with_the_window(gpus: PretendGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus.use(9000, 9000, 9000, 9000)
    monkeypatch.setenv(DEADLINE, str(time.time() + 0.3))
    with pytest.raises(BlendmakeError, match=r"window.*all GPUs are taken"), take_gpu(poll=0.05):
        pytest.fail("it got a GPU")


def test_waiting_for_others_ends_with_an_error(
    gpus: PretendGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus.use(9000, 9000, 9000)
    gpus.run({1: 3}, name="/usr/bin/python3 train.py, twice")
    monkeypatch.setenv(PATIENCE, "0.5")
    began = time.monotonic()
    with pytest.raises(BlendmakeError) as caught, take_gpu(poll=0.05):
        pytest.fail("it got a GPU")
    assert 0.5 <= time.monotonic() - began < 20
    said = str(caught.value)
    assert "GPU 0 (Pretend): somebody else uses 9000 MB of it" in said
    assert (
        "GPU 3 (Pretend): somebody else computes on it (process 1, /usr/bin/python3 train.py, twice)"
        in said
    )
    assert all(way in said for way in ("gpu_mem_mb=", "`device: cpu`", f"{PATIENCE}=10h"))
    with take_gpu(5000):  # the way out that it names
        assert os.environ[VISIBLE] in UUIDS[:3]
    monkeypatch.setenv(PATIENCE, "soon")
    with pytest.raises(BlendmakeError, match=f"{PATIENCE} must be.*'soon'"), take_gpu():
        pytest.fail("it got a GPU")


def test_jobs_of_ones_own_are_waited_for_without_end(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.gpus.use(9000, 9000, 9000)
    workers.start(1)
    assert list(workers.wait_until(1).values()) == [UUIDS[3]]
    monkeypatch.setenv(PATIENCE, "0.5")
    (waiting,) = workers.start(1)
    until(lambda: "waiting for a GPU" in workers.said(waiting))
    time.sleep(1.5)
    assert waiting.poll() is None
    assert workers.finish() == [0, 0]


def test_an_idle_daemon_does_not_compute(
    gpus: PretendGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "0")
    monkeypatch.setenv(PATIENCE, "0.1")
    for name in ("nvidia-cuda-mps-server", "/usr/lib/xorg/Xorg", "/usr/bin/gnome-shell --wayland"):
        for used in ("30", "[N/A]"):
            gpus.run({1: 0}, name=name, used=used)
            with take_gpu():
                assert os.environ[VISIBLE] == UUIDS[0]
        gpus.run({1: 0}, name=name, used="5000")
        with pytest.raises(BlendmakeError, match="computes on it"), take_gpu(poll=0.05):
            pytest.fail("it got a GPU")
    gpus.run({1: 0}, name="/home/me/notXorg", used="30")
    with pytest.raises(BlendmakeError, match="computes on it"), take_gpu(poll=0.05):
        pytest.fail("it got a GPU")


def test_a_folder_that_cannot_be_used(gpus: PretendGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    (gpus.folder / "file").touch()
    monkeypatch.setenv("BLENDMAKE_GPU_LOCKS", str(gpus.folder / "file" / "locks"))
    with pytest.raises(BlendmakeError, match="BLENDMAKE_GPU_LOCKS"), take_gpu():
        pytest.fail("it got a GPU")


def test_the_ledger_is_for_all_users(gpus: PretendGpus) -> None:
    with take_gpu():
        folder = Ledger().folder
        assert folder.stat().st_mode & 0o7777 == 0o1777
        assert (folder / "lock").stat().st_mode & 0o777 == 0o666
        (holder,) = folder.glob("*.holder")
        assert holder.stat().st_mode & 0o777 == 0o644


def test_a_job_has_its_device_before_any_library_is_there(gpus: PretendGpus) -> None:
    code = (
        "import os, sys\n"
        "from blendmake.job import job\n"
        f"with job({str(gpus.folder / 'log')!r}, 1, gpus=1, gpu_memory_mb=4000) as gpu:\n"
        "    assert not {'numpy', 'torch', 'xgboost', 'catboost'} & set(sys.modules)\n"
        f"    assert os.environ['CUDA_VISIBLE_DEVICES'] == {UUIDS[0]!r}\n"
        "    assert gpu == 0.25\n"
        f"with job({str(gpus.folder / 'other')!r}) as gpu:\n"
        "    assert gpu == 0 and 'CUDA_VISIBLE_DEVICES' not in os.environ\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "on GPU 0 (Pretend), 4000 MB of it" in (gpus.folder / "log").read_text()


def test_where_a_job_runs_is_no_part_of_its_code() -> None:
    files = imported_files([SCRIPTS / "fit_fold.py", SCRIPTS / "run_trials.py"], SCRIPTS)
    assert SCRIPTS / "blendmake" / "job.py" in files
    assert not [file for file in files if "gpus" in file.parts]


# a hostile ledger


def plant(path: Path, kind: str) -> None:
    """Put something else where a plain file is looked for."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "dangling":
        path.symlink_to(path.parent / "elsewhere")
    else:
        path.write_bytes(kind.encode())


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "dangling"])
def test_a_lock_that_is_no_plain_file_is_told(kind: str, tmp_path: Path) -> None:
    plant(tmp_path / "lock", kind)
    with (
        pytest.raises(BlendmakeError, match=r"lock is no plain file \(of .+\): remove it"),
        Ledger(tmp_path).opened(),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "kind",
    [
        "pipe",
        "folder",
        "link",
        "dangling",
        "",
        "[" * 99_999,
        "{}",
        "null",
        '{"pid": "x"}',
        "\0" * 99,
    ],
)
def test_a_holder_that_is_none_holds_nothing(kind: str, tmp_path: Path) -> None:
    planted = tmp_path / "1-x.holder"
    plant(planted, kind)
    other = None
    if planted.is_file() and not planted.is_symlink():
        other = os.open(planted, os.O_RDWR)  # held, so that it is read
        fcntl.flock(other, fcntl.LOCK_EX)
    with Ledger(tmp_path).opened() as holders:
        assert holders == []
        path, handle = Ledger(tmp_path).add("GPU-1", 0, "a test")
    # What is no plain file is nobody's to remove.
    assert os.path.lexists(planted) or kind not in ("pipe", "folder", "link", "dangling")
    with Ledger(tmp_path).opened() as holders:
        assert [one.device for one in holders] == ["GPU-1"]
    Ledger.remove(path, handle)
    if other is not None:
        os.close(other)


def test_a_lock_that_is_never_let_go_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders_module, "LOCKED", 0.1)
    held = pytest.raises(BlendmakeError, match="has held its lock")
    with Ledger(tmp_path).opened(), held, Ledger(tmp_path).opened():
        pass


def test_the_usual_folder_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    link = tmp_path / "usual"
    link.symlink_to(tmp_path / "mine")
    with Ledger(link).opened():
        pass  # a user's own may be one
    monkeypatch.setattr(holders_module, "DEFAULT", str(link))
    with pytest.raises(BlendmakeError, match="it is no folder"), Ledger(link).opened():
        pass
