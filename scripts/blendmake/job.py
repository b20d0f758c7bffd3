"""What every script does around its work: threads, a GPU, log, and errors a person can read."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from blendmake.beside import beside
from blendmake.processor import prepare_numpy

JOB_LOG = beside("job_log")  # at once: there may be no file to open when it is needed
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@contextmanager
def job(
    log_file: str,
    threads: int = 1,
    *,
    script: Any = None,
    own: Collection[str] = (),
    long: bool = False,
    gpus: int = 0,
    gpu_memory_mb: int = 0,
) -> Iterator[float]:
    """Run a script's work.

    Libraries that count threads when imported must be imported inside. An error of the user's is
    printed as one message, in the log and on the terminal, and ends the script with status 1; any
    other error keeps its traceback, in the log too.

    Args:
        log_file: where the log goes.
        threads: what the libraries may use; more than the cores given would crawl.
        script: what a rule hands to its script, for artifacts to tell what they are made of.
        own: names of its inputs that are files of the user's.
        long: whether it is work of many parts: SIGTERM then ends it after the part in hand.
        gpus: whether the job may use a GPU (0 or 1); it is waited for.
        gpu_memory_mb: memory that the job declares, to share a GPU; 0: a whole one.

    Yields:
        The share of a GPU's memory that is the job's: 0 where it has none.
    """
    if long:
        beside("window").heed_sigterm()
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    prepare_numpy()
    _complete_environment()
    handler = JOB_LOG.opened(Path(log_file))
    try:
        if script is not None:
            paths = [path for name in own for path in _paths(script.input[name])]
            # Not before: its libraries count threads when imported.
            beside("made").say_made(script.rule, script.params, script.input, paths)
        with _gpu(gpus, gpu_memory_mb, log_file) as share:
            yield share
    except Exception as error:
        if JOB_LOG.tell(error):
            sys.exit(1)
        raise
    finally:
        with suppress(OSError):  # the log's disk is full: the work stands all the same
            handler.close()


def _complete_environment() -> None:
    """HOME and USER, where they are missing: libraries look for caches by them."""
    import pwd

    try:
        known = pwd.getpwuid(os.getuid())
        home, user = known.pw_dir, known.pw_name
    except KeyError:
        home, user = tempfile.gettempdir(), str(os.getuid())
    for name, value in (("HOME", home), ("USER", user), ("LOGNAME", user)):
        if not os.environ.get(name):
            os.environ[name] = value


def fit_job(script: Any) -> AbstractContextManager[float]:
    """The job of a script that fits, on a GPU where it was given one, as `job` runs it.

    Args:
        script: what a rule hands to its script.
    """
    beside("heap").share_heap()
    place = script.resources
    return job(
        script.log[0],
        script.threads,
        script=script,
        long=True,
        gpus=place.get("gpu", 0),
        gpu_memory_mb=place.get("gpu_mem_mb", 0),
    )


def _gpu(gpus: int, memory_mb: int, what: str) -> AbstractContextManager[float]:
    if not gpus:
        return nullcontext(0.0)
    found: AbstractContextManager[float] = beside("gpus.taking").take_gpu(memory_mb, what)
    return found


def own_paths(places: Mapping[str, str], *inputs: Any) -> list[str]:
    """The user's files as the config names them.

    Args:
        places: their paths, where the inputs are not the files themselves (`plan.places`).
        inputs: the rule's inputs, each one or several.
    """
    return list(places.values()) or [path for files in inputs for path in _paths(files)]


def _paths(files: Any) -> list[str]:
    return [files] if isinstance(files, str) else list(files)


def optional_path(files: Any) -> Path | None:
    """The path of an input that may be absent: a path, a list of one, or an empty list."""
    if not files:
        return None
    return Path(files if isinstance(files, str) else files[0])
