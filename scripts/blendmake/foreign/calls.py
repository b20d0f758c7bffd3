"""Calling `runner` in another interpreter, and what may go wrong there in words."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from blendmake.errors import BlendmakeError
from blendmake.families.objectives import positive_weights
from blendmake.family import Fit, FoldData, Predictions
from blendmake.files import replacing, write_text
from blendmake.foreign import runner
from blendmake.foreign.environment import needed_environment
from blendmake.job import THREAD_VARIABLES
from blendmake.matrix import Rows

log = logging.getLogger(__name__)

# Beside what every job sets: of libraries that only such files use.
MORE_THREAD_VARIABLES = (
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Raised(BlendmakeError):
    """An exception of the function that was called: `kind` is its class, `text` its message."""

    def __init__(self, message: str, kind: str, text: str) -> None:
        super().__init__(message)
        self.kind, self.text = kind, text


def interpreter(python: str | None, mend: str) -> str:
    """The interpreter to run: the one given, else this one.

    Raises:
        BlendmakeError: if it is no program; `mend` says how to come by one.
    """
    if python is None:
        return sys.executable
    found = shutil.which(python)
    if found is None:
        what = "cannot be run" if Path(python).exists() else "does not exist"
        raise BlendmakeError(f"The interpreter {python} {what}. {mend}")
    return found


class Exchange:
    """A fold as files in a folder, for fits elsewhere.

    `train.npy`, `valid.npy`, `test.npy` and `stop.npy` are float32, Fortran order, made to be mapped;
    categories are codes, whose names stand in `call.json` with all else that a call says. Nothing in
    the folder outlives its use: what a kill left there is removed first.

    Args:
        data: the fold's rows, written block by block.
        folder: where the files go; it is emptied.

    Raises:
        BlendmakeError: no space left.
    """

    def __init__(self, data: FoldData, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        parts = {"train": data.train, "valid": data.valid, "test": data.test}
        if data.stop is not None:
            parts["stop"] = data.stop
        for part, rows in parts.items():
            _write_matrix(rows, self.folder / f"{part}.npy")
            for index in filter(rows.is_wide, range(len(rows.columns))):
                _save(rows.values(index), self.folder / f"{part}_{index}.npy", np.float64)
        self._rows = {part: len(rows) for part, rows in parts.items()}
        self._columns = [
            {
                "name": column.name,
                "levels": list(data.level_names[column.name]) if column.is_category else None,
                "wide": data.train.is_wide(index),
            }
            for index, column in enumerate(data.train.columns)
        ]

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fit(
        self,
        asked: Fit,
        file: Path,
        python: str,
        threads: int,
        scratch: Path,
        environment: Iterable[str] = (),
    ) -> tuple[Predictions, Predictions]:
        """Call `fit_fold` of a file.

        Args:
            asked: what to fit; `params` must be JSON-able.
            python: the interpreter.
            threads: what its libraries may use.
            scratch: folder of the function's own.
            environment: variables that it asks for, beside what every program needs.

        Returns:
            Predictions of the held-out and of the test rows, (rows, outputs).

        Raises:
            Raised: an exception of the function.
            BlendmakeError: an answer that is none, an interpreter that dies or lacks a package.
        """
        if not file.is_file():
            raise BlendmakeError(f"{file} does not exist. Correct the source's key 'file'.")
        scratch.mkdir(parents=True, exist_ok=True)
        rows = dict(self._rows)
        if asked.stop is None:
            rows.pop("stop", None)
        positives = positive_weights(asked)
        call = {
            "file": str(file.resolve()),
            "columns": self._columns,
            "rows": rows,
            "task": asked.task,
            "targets": [target.name for target in asked.targets],
            "classes": {target.name: list(target.classes) for target in asked.targets},
            "outputs": [name for target in asked.targets for name in target.outputs],
            "params": dict(asked.params),
            "seed": asked.seed,
            "threads": threads,
            "rounds": asked.rounds,
            "stop_rounds": asked.stop_rounds,
            "metric": None if asked.stop is None else asked.stop.metric.name,
            "positive_weights": {
                target.name: 1.0 if positives is None else float(positives[j])
                for j, target in enumerate(asked.targets)
            },
            "weighed": asked.weights is not None,
            "scratch": str(scratch.resolve()),
        }
        _save(asked.labels, self.folder / "labels.npy", asked.labels.dtype.type)
        if asked.weights is not None:
            _save(asked.weights, self.folder / "weights.npy", np.float64)
        if asked.stop is not None:
            watched = asked.stop.labels
            _save(watched, self.folder / "stop_labels.npy", watched.dtype.type)
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        write_text(json.dumps(call), self.folder / "call.json")
        given = _environment(python, threads, environment)
        last = _run([python, runner.__file__, str(self.folder)], file, python, given)
        if not answer.exists():
            raise BlendmakeError(f"{file}: the interpreter {python} {last}")
        _raise_if(json.loads(answer.read_text(encoding="utf-8")), file)
        valid, test = (np.load(self.folder / f"{p}_predictions.npy") for p in ("valid", "test"))
        return valid, test


def _write_matrix(rows: Rows, path: Path) -> None:
    if not len(rows):
        _save(np.empty(rows.shape, np.float32), path)
        return
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": True, "shape": rows.shape}
            )
            offset = file.tell()
            size = 4 * rows.shape[0] * rows.shape[1]
            if size and hasattr(os, "posix_fallocate"):
                # A full disk is an error here, and would be the end of the process below.
                os.posix_fallocate(file.fileno(), offset, size)
        out = np.memmap(temporary, np.float32, "r+", offset, rows.shape, "F")
        start = 0
        for block in rows.blocks():
            out[start : start + len(block)] = block
            start += len(block)
        out.flush()


def _save(values: Any, path: Path, dtype: Any = np.float32) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(values, dtype), allow_pickle=False)


def _environment(python: str, threads: int, asked: Iterable[str]) -> dict[str, str]:
    found = needed_environment(asked)
    if python != sys.executable:
        # What this interpreter is told to import may be nothing for another.
        for name in ("PYTHONPATH", "PYTHONHOME"):
            found.pop(name, None)
    for name in (*THREAD_VARIABLES, *MORE_THREAD_VARIABLES):
        found[name] = str(threads)
    return {
        **found,
        "PYTHONHASHSEED": "0",  # sets in one order, so that a seed decides everything
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _run(command: list[str], file: Path, python: str, environment: Mapping[str, str]) -> str:
    """Run the interpreter to its end, its output to the log; in words how it ended."""
    said: deque[str] = deque(maxlen=1)
    with _process(command, python, environment) as process:
        assert process.stdout is not None
        reader = threading.Thread(
            target=_log_lines, args=(process.stdout, file.name, said), daemon=True
        )
        reader.start()
        code = process.wait()
    reader.join(timeout=5)  # longer only where something has left the group and holds the pipe
    words = f" Its last words: {said[0]}" if said else ""
    number = -code if code < 0 else code - 128
    if number not in set(signal.Signals):
        return f"ended with exit code {code} and without an answer.{words}"
    hint = " Give the job more memory or the model less to hold." if number == 9 else ""
    why = ", as the system does when memory runs out." if number == 9 else "."
    return f"was killed by {signal.Signals(number).name}, exit code {code}{why}{hint}{words}"


@contextmanager
def _process(
    command: list[str], python: str, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, of which nothing is left afterwards."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closed when this process is gone: then that one ends itself
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise BlendmakeError(
            f"The interpreter {python} cannot be run: {error.strerror}. Correct the source's key "
            "'python'."
        ) from error
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _log_lines(stream: IO[str], name: str, said: deque[str]) -> None:
    with stream:
        for line in stream:
            text = ESCAPES.sub("", line).rstrip()
            if text:
                said.append(text)
                log.info("%s: %s", name, text)


def _raise_if(answer: dict[str, Any], file: Path) -> None:
    if "error" not in answer:
        return
    message = f"{file}: {answer['error']}"
    name = str(answer.get("text", "")).strip("'\"")
    if answer.get("kind") == "KeyError" and name in os.environ:
        message += f" {name} is set here; to hand it on: the source's key 'environment: [{name}]'."
    if "text" in answer:
        raise Raised(message, answer["kind"], answer["text"])
    raise BlendmakeError(message)


def not_kept(*_: object) -> NoReturn:
    """In place of saving or loading a model.

    Raises:
        BlendmakeError: always.
    """
    raise BlendmakeError(
        "Models of families that run in another interpreter cannot be kept: leave out keep_models."
    )
