"""A Slurm of a test's own: some nodes on this machine, stand-in GPUs, in a folder that goes with it."""

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
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
SECONDS = 120.0  # until a daemon is up, on a slow machine
MEGABYTES = 16000  # that a node says it has; nobody holds jobs to it

CONFIG = """\
ClusterName=blendmake
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait={kill_wait}
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@cache
def programs() -> dict[str, str]:
    """Where Slurm's programs are, those that are here."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = {name: shutil.which(name, path=path) for name in (*DAEMONS, *COMMANDS)}
    return {name: program for name, program in found.items() if program}


def missing() -> str:
    """Why there can be no Slurm here; empty if there can be."""
    if os.geteuid() != 0:
        return "a Slurm of the tests' own needs root (device files of stand-in GPUs)"
    absent = [name for name in (*DAEMONS, *COMMANDS) if name not in programs()]
    return f"there is no Slurm: {', '.join(absent)} not found (envs/services.sh)" if absent else ""


class Slurm:
    """A cluster of nodes lab1, lab2, … Only processes that were started here are ever ended.

    Args:
        folder: for everything that it writes.
        nodes: how many.
        cpus: of each node, whatever this machine has.
        gpus: stand-ins of each node: Slurm hands them out, nothing can compute on them.
        kill_wait: seconds from the SIGTERM of a time limit to the SIGKILL.
    """

    def __init__(
        self, folder: Path, nodes: int = 2, cpus: int = 2, gpus: int = 1, kill_wait: int = 30
    ) -> None:
        self.folder = folder
        self.nodes = [f"lab{k + 1}" for k in range(nodes)]
        self.config = folder / "slurm.conf"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("munge", "state", "bin", *self.nodes):
            (folder / name).mkdir(mode=0o755)
        self._write_config(cpus, gpus, kill_wait)
        self._write_commands()

    def _write_config(self, cpus: int, gpus: int, kill_wait: int) -> None:
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(len(self.nodes) + 1)
        lines, devices = [], []
        for name, port in zip(self.nodes, ports[1:], strict=True):
            gres = f" Gres=gpu:fake:{gpus}" if gpus else ""
            lines.append(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
                f"RealMemory={MEGABYTES}{gres} State=UNKNOWN"
            )
            for k in range(gpus):
                # Slurm wants a device file for each; this one is another /dev/null.
                device = self.folder / f"{name}-gpu{k}"
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
                devices.append(f"NodeName={name} Name=gpu Type=fake File={device}")
        self.config.write_text(
            CONFIG.format(
                host=host,
                port=ports[0],
                user=pwd.getpwuid(os.geteuid()).pw_name,
                folder=self.folder,
                kill_wait=kill_wait,
                nodes="\n".join(lines),
            )
        )
        (self.folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *devices, ""]))

    def _write_commands(self) -> None:
        """Commands that know this cluster, also inside jobs, where SLURM_CONF does not reach."""
        for name in COMMANDS:
            path = self.folder / "bin" / name
            path.write_text(
                f'#!/bin/sh\nSLURM_CONF="{self.config}" exec "{programs()[name]}" "$@"\n'
            )
            path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which this cluster is the cluster."""
        return {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    # Daemons

    def _launch(self, name: str, *command: object) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self._processes[name] = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**self.environment, "SLURM_CONF": str(self.config)},
                start_new_session=True,
            )

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self) -> None:
        """Start all daemons, and wait until every node can take jobs."""
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        files = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        given = [f"--{option}={munge / file}" for option, file in files.items()]
        self._launch("munged", programs()["munged"], "--foreground", "--force", *given)
        self.wait_until((munge / "socket").exists, "munged")
        self.start_controller()
        for node in self.nodes:
            self._start_node(node)
        self.wait_until(lambda: all(map(self.is_up, self.nodes)), "the nodes")

    def start_controller(self) -> None:
        self._launch("slurmctld", programs()["slurmctld"], "-D", "-f", self.config)
        self.wait_until(lambda: self.run("scontrol", "ping", check=False).count(" UP") > 0, "it")

    def stop_controller(self) -> None:
        """End slurmctld alone; jobs run on."""
        self._end("slurmctld")

    def _start_node(self, node: str) -> None:
        self._launch(node, programs()["slurmd"], "-D", "-N", node, "-f", self.config)

    def is_up(self, node: str) -> bool:
        state = self.run("sinfo", "-h", "-n", node, "-o", "%T", check=False).strip()
        return state in {"idle", "mixed", "allocated", "completing"}

    def take_down(self, node: str) -> None:
        """A node dies, with all that runs on it, and the controller hears of it."""
        self._end(node, signal.SIGKILL)
        for pid in self._processes_on(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def bring_back(self, node: str) -> None:
        # A machine that was off has no steps left; a new slurmd that met some would drain the node
        # ("Duplicate jobid") when the job is started again.
        steps = self.folder / node / "spool"
        self.wait_until(lambda: not list(steps.glob(f"{node}_*")), f"the steps of {node} to end")
        self._start_node(node)
        self.wait_until(lambda: self.is_up(node), node)

    def mend(self) -> None:
        """Whatever a test has left: all daemons run, and no job."""
        if "slurmctld" not in self._processes:
            self.start_controller()
        for node in self.nodes:
            if node not in self._processes:
                self.bring_back(node)
        self.cancel_all()

    def cancel_all(self) -> None:
        """Cancel every job, and wait until they are gone."""
        self.run("scancel", f"--user={os.geteuid()}", check=False)
        self.wait_until(lambda: not self.jobs(), "jobs to end")

    def _processes_on(self, node: str) -> list[int]:
        """Processes of jobs on a node of this cluster, by what Slurm has put into their environment."""
        marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.config}".encode()}
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if marks <= set(path.read_bytes().split(b"\0")):
                    found.append(int(path.parent.name))
        return found

    def stop(self) -> None:
        """Cancel every job, then end the daemons: jobs would outlive them."""
        if "slurmctld" in self._processes:
            with contextlib.suppress(AssertionError):
                self.cancel_all()
        for name in [*self.nodes, "slurmctld", "munged"]:
            self._end(name)
        for node in self.nodes:
            for pid in self._processes_on(node):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # What is asked and told

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        """Run a command of Slurm; returns what it prints."""
        done = subprocess.run(
            [str(self.folder / "bin" / command), *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def jobs(self, *options: str) -> list[dict[str, str]]:
        """Jobs that wait or run: id, name, state, node, folder, comment, GPUs.

        Args:
            options: further ones for squeue, as --states=all.
        """
        fields = {
            "id": "%i",
            "name": "%j",
            "state": "%T",
            "node": "%N",
            "folder": "%Z",
            "comment": "%k",
            "gpus": "%b",
        }
        text = self.run("squeue", "-h", "-o", "|".join(fields.values()), *options)
        return [
            dict(zip(fields, line.strip().split("|"), strict=True)) for line in text.splitlines()
        ]

    def wait_until(
        self, condition: Callable[[], object], what: str, seconds: float = SECONDS
    ) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"waited in vain for {what}\n{self.told()}"
            time.sleep(0.1)

    def told(self) -> str:
        """The ends of the daemons' logs."""
        logs = [
            *self.folder.glob("*.log"),
            *self.folder.glob("*/*.log"),
            *self.folder.glob("*.out"),
        ]
        texts = [(path, path.read_text(errors="replace")) for path in sorted(logs)]
        return "\n".join(f"== {path}\n{text[-1500:]}" for path, text in texts if text)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextlib.contextmanager
def running_slurm(**options: int) -> Iterator[Slurm]:
    """A running cluster; `missing()` must have been empty."""
    folder = Path(tempfile.mkdtemp(prefix="blendmake-slurm-"))
    folder.chmod(0o755)  # munge looks at the way to its socket
    try:
        cluster = Slurm(folder, **options)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
