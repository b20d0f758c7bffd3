"""What runs in the other interpreter: a fold's tables in, the predictions of a user's function out.

usage: python runner.py FOLDER, the folder being an exchange (see calls.Exchange).

It needs Python 3.8 or later with numpy and pandas, and imports nothing of blendmake. The function is
`fit_fold(fold)` of the file that `call.json` names; docs/custom.md is its contract.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6  # what rounding may put a probability outside [0, 1]
SUM = 1e-3  # how far the sum of a row's probabilities may be from 1; they are then made to have it
MOST_TEXT = 400  # characters of an exception's message
_OWN = os.path.abspath(__file__)
FRAMES = 3  # last lines of a traceback that a message names


class Refusal(Exception):
    """What is wrong, for a person; `about` says more to the caller."""

    def __init__(self, message: str, **about: Any) -> None:
        super().__init__(message)
        self.about = about


class Fold:
    """What `fit_fold` is given; see docs/custom.md."""

    def __init__(self, folder: Path, call: dict[str, Any]) -> None:
        import numpy as np
        import pandas as pd

        self.task = call["task"]
        self.targets = list(call["targets"])
        self.classes = call["classes"]
        self.outputs = list(call["outputs"])
        self.params = call["params"]
        self.seed = call["seed"]
        self.threads = call["threads"]
        self.rounds = call["rounds"]
        self.stop_rounds = call["stop_rounds"]
        self.metric = call["metric"]
        self.positive_weights = call["positive_weights"]
        self.scratch = Path(call["scratch"])

        def table(part: str) -> Any:
            return _table(folder / f"{part}.npy", call["rows"][part], call["columns"])

        def labels(name: str) -> Any:
            return pd.DataFrame(np.load(folder / name), columns=self.targets)

        self.train, self.valid, self.test = table("train"), table("valid"), table("test")
        self.labels = labels("labels.npy")
        self.weights = labels("weights.npy") if call["weighed"] else None
        self.stop = self.stop_labels = None
        if "stop" in call["rows"]:
            self.stop, self.stop_labels = table("stop"), labels("stop_labels.npy")


def _table(path: Path, rows: int, columns: list[dict[str, Any]]) -> Any:
    """A data frame over the mapped file: read as it is used, and changed in memory only."""
    import numpy as np
    import pandas as pd

    values = np.asarray(np.load(path, mmap_mode="c" if rows else None))
    names = [column["name"] for column in columns]
    if not any(column["levels"] or column["wide"] for column in columns):
        return pd.DataFrame(values, columns=names, copy=False)
    made = {}
    for j, column in enumerate(columns):
        made[column["name"]] = values[:, j]
        if column["wide"]:  # float64, in a file of its own
            made[column["name"]] = np.load(path.with_name(f"{path.stem}_{j}.npy"))
        if column["levels"]:
            codes = np.where(np.isnan(values[:, j]), -1, values[:, j]).astype(np.int32)
            levels = column["levels"]
            made[column["name"]] = pd.Categorical.from_codes(codes, categories=levels)
    return pd.DataFrame(made, copy=False)


def checked(answer: Any, fold: Fold) -> tuple[Any, Any]:
    """The two arrays of an answer, (rows, outputs): float32, of numbers float64.

    Raises:
        Refusal: an answer of another form, or predictions that are none of the task.
    """
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        found = f"{type(answer).__name__}"
        if isinstance(answer, (tuple, list)):
            found += f" of {len(answer)}"
        raise Refusal(
            f"fit_fold returned {found}. Return two: predictions of fold.valid and of fold.test."
        )
    return _predictions(answer[0], "valid", fold.valid, fold), _predictions(
        answer[1], "test", fold.test, fold
    )


def _predictions(given: Any, part: str, table: Any, fold: Fold) -> Any:
    import numpy as np
    import pandas as pd

    what = f"fit_fold's predictions of fold.{part}"
    outputs, kind = fold.outputs, np.float64 if fold.task == "regression" else np.float32
    of = "targets" if outputs == fold.targets else "outputs"
    if isinstance(given, pd.DataFrame):
        names = [str(name) for name in given.columns]
        if sorted(names) != sorted(outputs):
            raise Refusal(f"{what} have the columns {_few(names)}; the {of} are {_few(outputs)}.")
        if not given.index.equals(table.index):
            raise Refusal(f"{what} have another index than fold.{part}. Keep its rows in order.")
        given = given.set_axis(names, axis=1)[outputs]
    try:
        values = np.asarray(given, kind)
    except (TypeError, ValueError):
        raise Refusal(f"{what} are not numbers but {type(given).__name__}.") from None
    except Exception as error:  # a class of somebody's own, a tensor that still has a gradient
        name = f"{type(given).__name__} ({type(error).__name__}: {text_of(error)})"
        raise Refusal(f"{what} cannot be made an array of numbers: {name}") from None
    if values.ndim == 1 and len(outputs) == 1:
        values = values[:, None]
    expected = (len(table), len(outputs))
    if values.shape != expected:
        raise Refusal(
            f"{what} have the shape {values.shape}, not {expected}: one row per row of fold.{part}, one "
            f"column per {of[:-1]}."
        )
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise Refusal(
            f"{what}: {wrong.sum()} are NaN or infinite, the first in row {row}, {of[:-1]} "
            f"'{outputs[column]}'. Every row needs a prediction."
        )
    return values if fold.task == "regression" else _probabilities(values, what, of, fold)


def _probabilities(values: Any, what: str, of: str, fold: Fold) -> Any:
    """Values that may be probabilities, kept within [0, 1], those of several classes of sum 1."""
    import numpy as np

    wrong = (values < -TOLERANCE) | (values > 1 + TOLERANCE)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        mend = "a score x becomes one by 1 / (1 + exp(-x))."
        if fold.task == "multiclass":
            mend = "scores become such by softmax."
        raise Refusal(
            f"{what}: {wrong.sum()} lie outside [0, 1], the first ({values[row, column]:.6g}) in row "
            f"{row}, {of[:-1]} '{fold.outputs[column]}'. Return probabilities; {mend}"
        )
    values = np.clip(values, 0, 1)
    if fold.task != "multiclass":
        return values
    start = 0
    for target in fold.targets:
        part = slice(start, start + len(fold.classes[target]))
        start = part.stop
        sums = values[:, part].sum(axis=1, dtype=np.float64, keepdims=True)
        wrong = np.abs(sums[:, 0] - 1) > SUM
        if wrong.any():
            row = np.flatnonzero(wrong)[0]
            raise Refusal(
                f"{what}: in {wrong.sum()} rows the probabilities of the classes of '{target}' do not "
                f"have the sum 1, the first ({sums[row, 0]:.6g}) in row {row}."
            )
        values[:, part] /= sums
    return values


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def _function(file: Path) -> Any:
    """`fit_fold` of the user's file, whose folder is where its own imports are looked for last."""
    # Under its own name where that is free, so that processes it starts can import it.
    name = file.stem
    if not name.isidentifier() or importlib.util.find_spec(name) is not None:
        name = "blendmake_custom_file"
    sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Refusal("it is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    function = getattr(module, "fit_fold", None)
    if not callable(function):
        raise Refusal("it defines no function fit_fold(fold).")
    return function


def text_of(error: BaseException) -> str:
    """The first line of an exception's message, whatever the exception."""
    try:
        text = str(error).strip().split("\n")[0]
    except Exception:
        text = "(its message cannot be had: its own __str__ fails)"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + " …"


def places_of(error: BaseException, file: Path) -> list[str]:
    """Where it was raised: lines of the user's file and of what lies beside it, the last ones."""
    folder = str(file.parent) + os.sep
    places = []
    for frame in traceback.extract_tb(error.__traceback__):
        name = os.path.abspath(frame.filename)
        if name.startswith(folder) and "site-packages" not in name and name != _OWN:
            of = "" if name == str(file) else f"{name[len(folder) :]} "
            places.append(f"{of}line {frame.lineno} in {frame.name}: {frame.line}")
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        name = os.path.abspath(error.filename)
        of = (
            ""
            if name == str(file)
            else f"{name[len(folder) :] if name.startswith(folder) else name} "
        )
        places.append(f"{of}line {error.lineno}")
    return list(dict.fromkeys(places))[-FRAMES:]


def _raised(error: BaseException, file: Path) -> Refusal:
    """An exception of the user's code, told by the lines of their files that it passed through."""
    text = text_of(error)
    if isinstance(error, SyntaxError) and error.msg:
        text = error.msg
    kind = type(error).__name__
    places = places_of(error, file)
    where = f" ({'; '.join(places)})" if places else ""
    mend = " The log has the whole traceback."
    if isinstance(error, ModuleNotFoundError):
        mend = f" Install it into the environment of {sys.executable}, or name another by 'python'."
    elif isinstance(error, MemoryError):
        mend = " Run fewer jobs at a time (--cores), or let the function hold less."
    told = f"{kind}: {text}" if text else kind
    return Refusal(f"{told}{where}.{mend}", kind=kind, text=text)


def _show(error: BaseException) -> None:
    """The traceback, from the user's code on."""
    below = error.__traceback__
    while below is not None:
        name = below.tb_frame.f_code.co_filename
        if os.path.abspath(name) != _OWN and not name.startswith("<frozen importlib"):
            break
        below = below.tb_next
    with contextlib.suppress(Exception):  # the function may have closed the stream
        shown = traceback.format_exception(type(error), error, below)
        print("".join(shown).encode("utf-8", "backslashreplace").decode(), file=sys.stderr)


def run(folder: Path) -> int:
    """Answer the call in `folder`: predictions, or `answer.json` with what went wrong."""
    answer: dict[str, Any] = {}
    try:
        try:
            import numpy as np
            import pandas  # noqa: F401
        except ImportError as error:
            raise Refusal(
                f"the interpreter {sys.executable} lacks numpy or pandas ({error}). Install them: "
                f"{sys.executable} -m pip install numpy pandas"
            ) from error
        call = json.loads((folder / "call.json").read_text(encoding="utf-8"))
        fold = Fold(folder, call)
        file = Path(call["file"])
        try:
            given = _function(file)(fold)
        except Refusal:
            raise
        except (
            BaseException
        ) as error:  # SystemExit and KeyboardInterrupt, raised by the function, too
            _show(error)
            raise _raised(error, file) from None
        valid, test = checked(given, fold)
        np.save(folder / "valid_predictions.npy", valid)
        np.save(folder / "test_predictions.npy", test)
    except Refusal as refusal:
        answer = {"error": str(refusal), **refusal.about}
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return 1 if answer else 0


def live_with_caller() -> None:
    """Split in two; only the second half returns, the first waits for it and ends with its status.

    When the caller is gone, however it died, the pipe at standard input closes, and the first half
    kills the whole process group: it holds no lock and runs nothing else, so nothing can keep it
    from that. A signal that ended the second half is told as shells do, by 128 more than its number.
    """
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(awake)
        os.close(wake)
        _to_null(0)
        return
    _to_null(1, 2)
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            killed = os.WIFSIGNALED(status)
            os._exit(128 + os.WTERMSIG(status) if killed else os.WEXITSTATUS(status))
        if 0 in ready and not os.read(0, 4096):
            os.killpg(0, signal.SIGKILL)


def _to_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    live_with_caller()
    # This folder holds modules of blendmake, which must not stand before those of the environment.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if path != here]
    sys.exit(run(Path(sys.argv[1])))
