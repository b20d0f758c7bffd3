"""Checks of the machine: packages, interpreters, GPU, folders, services, and the checkout."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from blendmake.errors import BlendmakeError
from blendmake.families import FOREIGN
from blendmake.foreign.calls import interpreter
from blendmake.preflight.findings import FAIL, PASS, WARN, Finding, size_text
from blendmake.preflight.process import ask, run_limited
from blendmake.refusals import REFUSALS
from blendmake.tables.naming import some_of

PYTHONS = ((3, 11), (3, 13))  # oldest and newest that the pinned packages have wheels for
SERVICE = "BLENDMAKE_OPTUNA_URL"
# What a GPU library is called here, and the package and families that want it.
GPU_LIBRARIES = {
    "xgboost": ("xgboost", ("xgboost", "xgboost_vector")),
    "catboost": ("catboost", ("catboost",)),
    "torch": ("torch", ("mlp", "tabm")),
}


# Packages


def package_findings(
    families: Mapping[str, str], pins: Sequence[str], more_pins: Sequence[str]
) -> Iterator[Finding]:
    """This interpreter, its packages against their pins, and whether the families' can be imported.

    Args:
        families: modules of the families that sources name.
        pins: files of requirements that every machine meets.
        more_pins: files that matter only where a family runs on a package that they name.
    """
    low, high = PYTHONS
    here = sys.version_info[:2]
    if low <= here <= high:
        yield Finding(PASS, "python", f"{sys.version.split()[0]} ({sys.executable})")
    else:
        known = f"{'.'.join(map(str, low))} to {'.'.join(map(str, high))}"
        yield Finding(WARN, "python", f"{sys.version.split()[0]}; tried are {known}", "make setup")
    reply = ask("packages_of", {"modules": dict(families)}, 120)
    if reply.error:
        yield Finding(FAIL, "packages", reply.error, "make setup")
    found: dict[str, Any] = reply.value or {}
    broken = {family: one["error"] for family, one in found.items() if "error" in one}
    for family, error in broken.items():
        mend = _mend_of(error, more_pins)
        yield Finding(FAIL, "packages", f"family '{family}' cannot be imported: {error}", mend)
    needed = {package for one in found.values() for package in one.get("packages", ())}
    wanted = {file: _pins(file) for file in pins}
    wanted |= {file: own for file in more_pins if needed & set(own := _pins(file))}
    others = 0
    for file, own in wanted.items():
        for package, pinned in own.items():
            installed = _version(package)
            if installed == pinned:
                continue
            others += 1
            what = "is not installed" if installed is None else f"{installed} is installed"
            yield Finding(WARN, "packages", f"{package} {what}, {file} pins {pinned}", _make(file))
    if not others and not broken and not reply.error:
        count = sum(map(len, wanted.values()))
        yield Finding(PASS, "packages", f"all {count} as pinned in {' and '.join(wanted)}")


def _pins(file: str) -> dict[str, str]:
    """Version by package of a file of requirements; what stands there otherwise is not looked at."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise BlendmakeError(f"{file} cannot be read: {error.strerror}.") from error
    return dict(re.findall(r"^([\w.\-]+)(?:\[[^\]]*\])?==([^\s;#]+)", text, re.M))


def _version(package: str) -> str | None:
    """The installed version; which build it is (2.13.0+cpu) is left out."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def _make(file: str) -> str:
    return f"make setup, or python -m pip install -r {file}"


def _mend_of(error: str, files: Sequence[str]) -> str:
    """What to install, where the error of an import tells."""
    module = re.search(r"No module named '([\w]+)", error)
    name = module[1].replace("_", "-").lower() if module else ""
    for file in files:
        if name in {package.replace("_", "-").lower() for package in _pins(file)}:
            return f"python -m pip install -r {file}"
    return "make setup"


def interpreter_findings(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """The interpreters of sources that run in one of their own.

    Args:
        sources: `family`, `module` and `python` of each source.
    """
    for name, source in sources.items():
        if source["family"] not in FOREIGN:
            continue
        module: Any = importlib.import_module(source["module"])
        given = source["python"] or getattr(module, "PYTHON", None)
        try:
            python = interpreter(given, module.MEND)
        except BlendmakeError as error:
            yield Finding(FAIL, f"interpreter {name}", str(error))
            continue
        code = "import sys; print(sys.version.split()[0])"
        try:
            ended = run_limited([python, "-c", code], 60)
        except OSError as error:
            yield Finding(FAIL, f"interpreter {name}", f"{python}: {error.strerror}", module.MEND)
            continue
        if ended.code == 0:
            yield Finding(PASS, f"interpreter {name}", f"{python}, Python {ended.output.strip()}")
        else:
            words = ended.last_words or f"exit code {ended.code}"
            yield Finding(FAIL, f"interpreter {name}", f"{python} fails: {words}", module.MEND)


# The GPU


def gpu_findings(wanted: int, families: Sequence[str]) -> Iterator[Finding]:
    """The GPUs, and which libraries can really fit on the first.

    Args:
        wanted: how many the profile has jobs share (`resources: gpu=…`).
        families: of the sources.
    """
    if not wanted and not _may_have_gpu():
        yield Finding(PASS, "gpu", "none here, and the profile asks for none")
        return
    gpus = _gpus()
    if not gpus:
        if wanted:
            yield Finding(
                FAIL,
                "gpu",
                f"the profile asks for {wanted} (resources: gpu={wanted}), and there is none",
                "see what nvidia-smi says (driver, container without --gpus), or take a profile "
                "without a GPU",
            )
        else:
            yield Finding(PASS, "gpu", "none that works, and the profile asks for none")
        return
    for gpu in gpus:
        driver = f", driver {gpu['driver']}" if gpu["driver"] else ""
        yield Finding(PASS, "gpu", f"{gpu['name']}, {size_text(gpu['memory'])}{driver}")
    if wanted > len(gpus):
        yield Finding(
            WARN,
            "gpu",
            f"the profile asks for {wanted}, there are {len(gpus)}: jobs beyond that wait, unless they "
            "share GPUs by declared memory (gpu_mem_mb)",
            f"--resources gpu={len(gpus)}",
        )
    for library, (package, users) in GPU_LIBRARIES.items():
        used = [family for family in users if family in families]
        if importlib.util.find_spec(package) is None:
            continue  # where a family needs it, that is told already
        reply = ask("fit_on_gpu", {"library": library}, 120)
        if reply.error is None:
            yield Finding(PASS, f"gpu {library}", f"fits on it ({reply.value})")
            continue
        grave = bool(wanted and used)
        yield Finding(
            FAIL if grave else WARN,
            f"gpu {library}",
            f"cannot fit on it: {reply.error}",
            f"install a build of {package} for CUDA and this driver"
            + ("" if grave else "; without one it stays on the CPU"),
        )


def _may_have_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None or any(Path("/dev").glob("nvidia[0-9]*"))


def _gpus() -> list[dict[str, Any]]:
    """Name, memory (bytes) and driver of each GPU, from nvidia-smi or else from PyTorch."""
    if shutil.which("nvidia-smi"):
        fields = "--query-gpu=name,memory.total,driver_version"
        ended = run_limited(["nvidia-smi", fields, "--format=csv,noheader,nounits"], 30)
        if ended.code == 0:
            return [_gpu_of(line) for line in ended.output.splitlines() if line.count(",") == 2]
    if importlib.util.find_spec("torch"):
        reply = ask("gpus_of_torch", {}, 120)
        return list(reply.value or [])
    return []


def _gpu_of(line: str) -> dict[str, Any]:
    name, memory, driver = (part.strip() for part in line.split(","))
    # Some kinds share the machine's memory and tell no number.
    size = int(memory) * 2**20 if memory.isdigit() else 0
    return {"name": name, "memory": size, "driver": driver}


# Folders


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    here = folder.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    return here


def folder_findings(folders: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a file can be written in each folder, or where it will be made.

    Args:
        folders: paths by name.
    """
    for name, folder in folders.items():
        here = existing(Path(folder))
        reason = _refusal(here)
        check = f"writable {name}"
        if reason is None:
            yield Finding(
                PASS, check, folder if here == Path(folder).absolute() else f"{folder} (in {here})"
            )
        else:
            yield Finding(FAIL, check, f"{here} cannot be written: {reason}")


def _refusal(folder: Path) -> str | None:
    """Why no file can be made in a folder, in words; None if it can."""
    if not folder.is_dir():
        return "it is a file. A folder must be there: move the file away."
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".blendmake-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return REFUSALS.get(error.errno or 0, f"{error.strerror}.")
    return None


# Services


def service_findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the search server that the environment names answers; its URL is never shown."""
    url = environment.get(SERVICE)
    if not url:
        yield Finding(PASS, "services", f"none is configured ({SERVICE} is not set)")
        return
    server = _server_of(url)
    if server is None:
        yield Finding(
            FAIL,
            "services",
            f"{SERVICE} is no URL that can be read (it is not shown: it may hold a password)",
            "write it as postgresql://user:password@host:port/database, special letters of the "
            "password as %40 and the like",
        )
        return
    if server.scheme.startswith("sqlite"):
        yield Finding(PASS, "services", f"{SERVICE} names a file, no server")
        return
    where = f"{server.hostname}:{server.port or 5432}"
    if not server.scheme.startswith("postgresql"):
        yield Finding(WARN, "services", f"{where}: a kind of server that is not known here")
        return
    if (reason := _unreachable(server)) is not None:
        mend = "start it, or correct host and port; a firewall may be between"
        yield Finding(FAIL, "services", f"{where} cannot be reached: {reason}", mend)
    elif importlib.util.find_spec("psycopg") is None:
        text = f"{where} answers; whether it lets us in is not known: psycopg is not installed"
        yield Finding(WARN, "services", text, "python -m pip install 'psycopg[binary]'")
    else:
        yield _login_finding(url, where)


def _server_of(url: str) -> SplitResult | None:
    """The parts of a URL; None where they cannot be told apart from a password with certainty."""
    try:
        parts = urlsplit(url)
        known = parts.scheme and (parts.hostname or parts.scheme.startswith("sqlite"))
        _ = parts.port
    except ValueError:
        return None
    # An @ behind the host belongs to a password that holds a slash, so that the host would be none.
    rest = parts.path + parts.query + parts.fragment
    return parts if known and "@" not in rest else None


def _unreachable(server: SplitResult) -> str | None:
    try:
        with socket.create_connection((server.hostname, server.port or 5432), timeout=10):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _login_finding(url: str, where: str) -> Finding:
    psycopg: Any = importlib.import_module("psycopg")
    try:
        # SQLAlchemy's name of the driver is nothing to the library itself.
        psycopg.connect(
            re.sub(r"^postgresql\+\w+:", "postgresql:", url), connect_timeout=10
        ).close()
    except Exception as error:  # its text is not shown: it may repeat what the URL holds
        kind = type(error).__name__
        mend = "try it with psql: user, password, database and pg_hba.conf"
        return Finding(FAIL, "services", f"{where} answers, but lets us not in ({kind})", mend)
    return Finding(PASS, "services", f"{where} lets us in")


# The checkout


def git_findings(repository: Path) -> Iterator[Finding]:
    """Whether the code that runs is what a commit holds."""
    try:
        done = run_limited(["git", "-C", str(repository), "status", "--porcelain"], 60)
    except OSError:
        yield Finding(PASS, "git", "not installed: artifacts will not name a revision")
        return
    if done.code != 0:
        yield Finding(PASS, "git", "no repository: artifacts will not name a revision")
        return
    changed = [line[3:] for line in done.output.splitlines()]
    if changed:
        text = f"{len(changed)} uncommitted: {some_of(changed)}"
        mend = "commit, so that the revision in the artifacts tells what made them"
        yield Finding(WARN, "git", text, mend)
    else:
        yield Finding(PASS, "git", "all is committed")
