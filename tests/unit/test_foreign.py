"""Sources that run in an interpreter of their own: custom files, and LightAutoML."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendmake.code_digest import imported_files
from blendmake.errors import BlendmakeError
from blendmake.families.custom import Custom
from blendmake.families.lightautoml import LightAutoML
from blendmake.family import Fit, Fitted, FoldData
from blendmake.features.files import FeatureSetFiles
from blendmake.files import HOST
from blendmake.stats.auc import auc
from fold_data import changed, fold_data, joint_fit, labels_at, one_fit
from helpers import files_below, heed_interrupts
from problems import Problem, run_fold, synthetic

REPO = Path(__file__).resolve().parents[2]
EXAMPLE = REPO / "config" / "custom" / "example.py"
AUTOML = os.environ.get(
    "BLENDMAKE_LIGHTAUTOML_PYTHON", str(REPO / ".venv-lightautoml" / "bin" / "python")
)


def named(problem: Problem, inner: bool = False) -> FoldData:
    """A fold whose categories have names."""
    inputs = problem.inputs
    files = FeatureSetFiles(inputs.columns, inputs.tables["train"], inputs.made["train"])
    return replace(fold_data(problem, inner=inner), level_names=files.level_names)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240)


@pytest.fixture(scope="module")
def data(problem: Problem) -> FoldData:
    return named(problem)


@pytest.fixture
def task(problem: Problem, data: FoldData, tmp_path: Path) -> Fit:
    return joint_fit(problem, data, tmp_path / "scratch")


def written(folder: Path, body: str, name: str = "mine.py") -> str:
    """A file whose fit_fold has the given body."""
    path = folder / name
    path.write_text("def fit_fold(fold):\n" + textwrap.indent(textwrap.dedent(body), "    "))
    return str(path)


HALVES = "return [np.full((len(t), len(fold.targets)), 0.5) for t in (fold.valid, fold.test)]\n"


def fit(
    data: FoldData, task: Fit, file: str | Path, python: str | None = None, threads: int = 1
) -> Fitted:
    return Custom(data, threads, {"file": str(file), "python": python}).fit(task)


def message(data: FoldData, task: Fit, file: str | Path, python: str | None = None) -> str:
    with pytest.raises(BlendmakeError) as caught:
        fit(data, task, file, python)
    return str(caught.value)


def score(problem: Problem, data: FoldData, target: str, predicted: Any) -> float:
    truth = labels_at(problem, data.valid)[:, problem.targets.index(target)]
    known = ~np.isnan(truth)
    return auc(truth[known], predicted[known])


# the shipped example


@pytest.mark.parametrize("inner", [False, True])
def test_the_example(problem: Problem, tmp_path: Path, inner: bool) -> None:
    data = named(problem, inner)
    task = joint_fit(problem, data, tmp_path, params={"neighbours": 20})
    fitted = fit(data, task, EXAMPLE)
    assert fitted.valid.shape == (len(data.valid), 4) and fitted.test.shape == (60, 4)
    for values in (fitted.valid, fitted.test):
        assert values.dtype == np.float32
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    for j, target in enumerate(problem.targets[:3]):
        assert score(problem, data, target, fitted.valid[:, j]) > 0.7, target
    assert not files_below(tmp_path), "the tables go when the fit is done"


def test_the_example_repeats_and_heeds_its_params(
    data: FoldData, task: Fit, tmp_path: Path
) -> None:
    one, again, other = (
        fit(data, changed(task, params={"neighbours": k}, scratch=tmp_path / str(i)), EXAMPLE)
        for i, k in enumerate([20, 20, 3])
    )
    assert np.array_equal(one.valid, again.valid) and np.array_equal(one.test, again.test)
    assert not np.array_equal(one.valid, other.valid)


def test_the_example_without_test_rows_and_with_one_class(tmp_path: Path) -> None:
    problem = synthetic(tmp_path / "p", rows=120, test_rows=0)
    data = named(problem)
    task = joint_fit(problem, data, tmp_path / "s")
    task.labels[:, 1] = 1
    fitted = fit(data, task, EXAMPLE)
    assert fitted.test.shape == (0, 4) and fitted.valid.shape == (40, 4)
    assert (fitted.valid[:, 1] == 1).all() and len(np.unique(fitted.valid[:, 0])) > 5


def test_models_are_not_kept(data: FoldData, task: Fit, tmp_path: Path) -> None:
    fitted = fit(data, task, written(tmp_path, "import numpy as np\n" + HALVES))
    assert not Custom.SAVES and not LightAutoML.SAVES
    with pytest.raises(BlendmakeError, match="leave out keep_models"):
        fitted.save(tmp_path / "model")


# what arrives

SEEN = """
import json, os, sys
import numpy as np
import pandas as pd
def listed(values):
    return [None if pd.isna(value) else value for value in values.tolist()]
def shown(table):
    return None if table is None else {
        name: [str(table[name].dtype), listed(table[name])] for name in table.columns
    }
tables = {part: shown(getattr(fold, part)) for part in
          ("train", "valid", "test", "labels", "stop", "stop_labels")}
plain = {name: getattr(fold, name) for name in
         ("targets", "params", "seed", "threads", "rounds", "stop_rounds", "positive_weights")}
fold.train["n0"] = 0.0  # allowed, and of no consequence
fold.valid.iloc[0, 0] = 7.0
seen = {**tables, **plain, "environment": dict(os.environ), "path": sys.path,
        "levels": list(fold.train["city"].cat.categories), "executable": sys.executable}
(fold.scratch / "seen.json").write_text(json.dumps(seen))
"""


def seen(data: FoldData, task: Fit, folder: Path, **options: Any) -> dict[str, Any]:
    fit(data, task, written(folder, SEEN + HALVES), **options)
    found: dict[str, Any] = json.loads((task.scratch / "own" / "seen.json").read_text())
    return found


def as_lists(values: Any) -> list[Any]:
    return [None if value != value else value for value in np.asarray(values).tolist()]


@pytest.mark.parametrize("inner", [False, True])
def test_what_the_function_is_given(problem: Problem, tmp_path: Path, inner: bool) -> None:
    data = named(problem, inner)
    task = joint_fit(
        problem,
        data,
        tmp_path,
        params={"depth": 3, "names": ["a", None]},
        seed=77,
        stop_rounds=5 if inner else None,
        positive_weights=np.array([1.0, 2.5, 1.0, 9.0]),
    )
    got = seen(data, task, tmp_path, threads=2)
    for part in ("train", "valid", "test", "stop"):
        rows = getattr(data, part)
        if rows is None:
            assert got[part] is None and not inner
            continue
        dense = rows.dense()
        assert list(got[part]) == [column.name for column in rows.columns]
        for j, column in enumerate(rows.columns):
            kind, values = got[part][column.name]
            if column.is_category:
                names = data.level_names[column.name]
                codes = as_lists(dense[:, j])
                expected = [None if code is None else names[int(code)] for code in codes]
                assert (kind, values) == ("category", expected), column.name
            else:
                assert (kind, values) == ("float32", as_lists(dense[:, j])), column.name
    # Levels that training does not have are named, but read as missing.
    assert "only in fold 0" in got["levels"]
    assert "only in fold 0" not in got["valid"]["city"][1] and None in got["valid"]["city"][1]
    for j, target in enumerate(problem.targets):
        assert got["labels"][target] == ["float32", as_lists(task.labels[:, j])]
        if inner:
            assert task.stop is not None
            assert got["stop_labels"][target][1] == as_lists(task.stop.labels[:, j])
    assert None in got["labels"]["gaps"][1]
    assert got["targets"] == list(problem.targets) and got["params"] == task.params
    assert (got["seed"], got["threads"], got["rounds"]) == (77, 2, 12)
    assert got["stop_rounds"] == (5 if inner else None)
    assert got["positive_weights"] == {"full": 1, "other": 2.5, "gaps": 1, "rare": 9}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        assert got["environment"][name] == "2"
    assert got["executable"] == sys.executable
    assert not [path for path in got["path"] if "foreign" in path], "would shadow its packages"


def test_stop_rows_without_labels_to_watch(problem: Problem, tmp_path: Path) -> None:
    data = named(problem, inner=True)
    task = changed(joint_fit(problem, data, tmp_path), stop_labels=None)
    assert seen(data, task, tmp_path)["stop"] is None


def test_another_interpreter(
    data: FoldData, task: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, a virtual environment, and a PYTHONPATH that is not meant for it."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", "env"],
        check=True,
    )
    # The packages of this environment, whichever it is.
    places = [path for path in sys.path if path.endswith("site-packages")]
    (site,) = (tmp_path / "env").glob("lib/*/site-packages")
    (site / "places.pth").write_text("\n".join(places))
    monkeypatch.setenv("PYTHONPATH", "/nowhere/packages")
    got = seen(data, task, tmp_path, python="env/bin/python")
    assert Path(got["executable"]) == tmp_path / "env" / "bin" / "python"
    assert "/nowhere/packages" not in got["path"]
    task = changed(task, scratch=tmp_path / "own interpreter")
    assert "/nowhere/packages" in seen(data, task, tmp_path)["path"]


def test_modules_beside_the_file(data: FoldData, task: Fit, tmp_path: Path) -> None:
    """They can be imported, do not stand before packages, and count in the digest."""
    (tmp_path / "half_helper.py").write_text("HALF = 0.5\n")
    (tmp_path / "pandas.py").write_text("raise RuntimeError('not this one')\n")
    body = (
        f"import half_helper\nimport numpy as np\nimport pandas\nassert half_helper.HALF\n{HALVES}"
    )
    file = written(tmp_path, body, "numpy_like.model-2.py")
    assert (fit(data, task, file).valid == 0.5).all()
    assert tmp_path / "half_helper.py" in imported_files([Path(file)], tmp_path)


# what it may return


@pytest.mark.parametrize(
    "body",
    [
        "made = [pd.DataFrame({t: np.full(len(x), j / 8) for j, t in enumerate(fold.targets)})"
        " for x in (fold.valid, fold.test)]\n"
        "return [table[table.columns[::-1]] for table in made]",
        "return tuple(np.tile(np.arange(4) / 8, (len(x), 1)) for x in (fold.valid, fold.test))",
        "return [(np.arange(4) / 8 + np.zeros((len(x), 4))).tolist() for x in (fold.valid, fold.test)]",
    ],
)
def test_forms_of_an_answer(data: FoldData, task: Fit, tmp_path: Path, body: str) -> None:
    fitted = fit(data, task, written(tmp_path, "import numpy as np, pandas as pd\n" + body))
    for values in (fitted.valid, fitted.test):
        assert values.dtype == np.float32 and (values == np.arange(4) / 8).all()


def test_one_target_may_be_an_array_of_one_dimension(
    data: FoldData, task: Fit, tmp_path: Path
) -> None:
    one = changed(task, targets=task.targets[:1], labels=task.labels[:, :1])
    # Rounding may leave a probability a hair above 1.
    body = "import numpy as np\nreturn [np.full(len(t), 1 + 1e-7) for t in (fold.valid, fold.test)]"
    fitted = fit(data, one, written(tmp_path, body))
    assert fitted.valid.shape == (80, 1) and (fitted.valid == 1).all()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return valid", ["returned ndarray", "Return two"]),
        ("return valid, test, test", ["returned tuple of 3", "Return two"]),
        ("return None", ["returned NoneType"]),
        (
            "class Odd:\n    def __array__(self, *a, **k): raise RuntimeError('call detach()')\n"
            "return Odd(), test",
            ["cannot be made an array of numbers: Odd (RuntimeError: call detach())"],
        ),
        ("def rows():\n    yield valid\nreturn rows()", ["returned generator", "Return two"]),
        ("return valid[1:], test", ["fold.valid", "(79, 4), not (80, 4)", "one row per row"]),
        ("return valid, test[:, :2]", ["fold.test", "(60, 2), not (60, 4)"]),
        ("return valid, test.T", ["fold.test", "(4, 60)"]),
        ("valid[3, 2] = np.nan\nreturn valid, test", ["1 are NaN", "row 3, target 'gaps'"]),
        ("test[5, 0] = -np.inf\nreturn valid, test", ["fold.test", "infinite", "row 5"]),
        ("valid[4, 1] = 1.5\nreturn valid, test", ["1 lie outside [0, 1]", "(1.5)", "'other'"]),
        ("return valid - 0.6, test", ["320 lie outside", "Return probabilities"]),
        ("return valid.astype(str) + 'x', test", ["fold.valid are not numbers"]),
        (
            "return pd.DataFrame(valid, columns=['full', 'other', 'gaps', 'more']), test",
            ["the columns full, other, gaps, more", "the targets are full, other, gaps, rare"],
        ),
        (
            "return pd.DataFrame(valid, columns=fold.targets).iloc[::-1], test",
            ["another index than fold.valid", "rows in order"],
        ),
    ],
)
def test_an_answer_that_is_none(
    data: FoldData, task: Fit, tmp_path: Path, body: str, words: list[str]
) -> None:
    start = (
        "import numpy as np, pandas as pd\n"
        "valid, test = (np.full((len(t), 4), 0.5) for t in (fold.valid, fold.test))\n"
    )
    file = written(tmp_path, start + body)
    found = message(data, task, file)
    assert found.startswith(f"{file}: ") and "\n" not in found
    assert all(word in found for word in words), found


# what may go wrong in the file


def test_an_exception_is_told_by_the_lines_of_the_file(
    data: FoldData, task: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import pandas as pd\n\n\ndef helper(table):\n"
        "    return table.loc[:, 'no such column']\n\n\n"
        "def fit_fold(fold):\n    return helper(fold.train)\n"
    )
    with caplog.at_level(logging.INFO, "blendmake"):
        found = message(data, task, path)
    assert found == (
        f"{path}: KeyError: 'no such column' (line 9 in fit_fold: return helper(fold.train); "
        "line 5 in helper: return table.loc[:, 'no such column']). The log has the whole traceback."
    )
    assert "Traceback (most recent call last):" in caplog.text
    assert "site-packages/pandas" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def fit_fold(fold):\n    return (1,\n", ["SyntaxError", "(line 2)", "never closed"]),
        ("x = 1 / 0\n", ["ZeroDivisionError: division by zero (line 1 in <module>: x = 1 / 0)"]),
        ("def fit(fold):\n    pass\n", ["it defines no function fit_fold(fold)"]),
        ("fit_fold = 3\n", ["it defines no function fit_fold(fold)"]),
        (
            "import no_such_package\n",
            ["No module named 'no_such_package'", "Install it into the environment of", "'python'"],
        ),
        ("def fit_fold(fold):\n    raise SystemExit(0)\n", ["SystemExit: 0 (line 2 in fit_fold"]),
        (
            "def fit_fold(fold):\n    print('so far')\n    import os; os._exit(3)\n",
            [sys.executable, "exit code 3 and without an answer", "Its last words: so far"],
        ),
        (
            "import os, signal\ndef fit_fold(fold):\n    os.kill(os.getpid(), signal.SIGSEGV)\n",
            ["was killed by SIGSEGV, exit code 139"],
        ),
    ],
)
def test_a_file_that_fails(
    data: FoldData, task: Fit, tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    found = message(data, task, path)
    assert found.startswith(f"{path}: ") and "\n" not in found
    assert all(word in found for word in words), found


def test_no_file(data: FoldData, task: Fit, tmp_path: Path) -> None:
    assert "gone.py does not exist. Correct the source's key 'file'" in message(
        data, task, tmp_path / "gone.py"
    )
    with pytest.raises(BlendmakeError, match="needs the key 'file'"):
        Custom(data, 1)
    text = tmp_path / "model.txt"
    text.write_text("")
    assert "its name must end in .py" in message(data, task, text)


def test_interpreters_that_are_none(data: FoldData, task: Fit, tmp_path: Path) -> None:
    gone = str(tmp_path / "env" / "bin" / "python")
    assert f"The interpreter {gone} does not exist. The source's key 'python'" in message(
        data, task, EXAMPLE, gone
    )
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\necho what is this >&2\nexit 4\n")
    assert f"{plain} cannot be run" in message(data, task, EXAMPLE, str(plain))
    plain.chmod(plain.stat().st_mode | stat.S_IXUSR)
    found = message(data, task, EXAMPLE, str(plain))
    assert f"{plain} ended with exit code 4" in found and "what is this" in found
    plain.write_text("#!/no/such/interpreter\n")
    assert f"{plain} cannot be run: No such file" in message(data, task, EXAMPLE, str(plain))


def test_an_interpreter_without_numpy(data: FoldData, task: Fit, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = str(bare / "bin" / "python")
    found = message(data, task, EXAMPLE, python)
    assert f"{python} lacks numpy or pandas (No module named 'numpy')" in found
    assert f"{python} -m pip install numpy pandas" in found


# killed, resumed


def test_a_kill_keeps_its_partial_work(data: FoldData, task: Fit, tmp_path: Path) -> None:
    body = """
    import os, signal
    import numpy as np
    half = fold.scratch / "half.npy"
    if not half.exists():
        np.save(half, np.full((len(fold.valid), 4), 0.25))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    file = written(
        tmp_path,
        textwrap.dedent(body) + "return np.load(half), np.full((len(fold.test), 4), 0.5)\n",
    )
    found = message(data, task, file)
    assert "was killed by SIGKILL, exit code 137, as the system does when memory runs out" in found
    assert files_below(task.scratch) == ["own/half.npy"]
    assert (fit(data, task, file).valid == 0.25).all()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def waits(condition: Any, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


HELPER = """
import os, subprocess, time
import numpy as np
worker = subprocess.Popen(["sleep", "600"])
note = fold.scratch / "pids.tmp"
note.write_text(f"{os.getpid()} {worker.pid}")
note.rename(fold.scratch / "pids")
"""
PARENT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from fold_data import joint_fit
from problems import synthetic
from test_foreign import Custom, named
folder = Path({folder!r})
problem = synthetic(folder / "problem", rows=90)
data = named(problem)
Custom(data, 1, {{"file": {file!r}}}).fit(joint_fit(problem, data, folder / "scratch"))
"""
on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks for processes in /proc"
)


@on_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_killed_job(tmp_path: Path, number: int) -> None:
    heed_interrupts()
    # It holds the interpreter's lock, so that no thread of its own could end it.
    file = written(tmp_path, HELPER + "import ctypes\nctypes.PyDLL(None).sleep(600)\n")
    code = PARENT.format(
        path=[str(Path(__file__).parent), *sys.path], folder=str(tmp_path), file=file
    )
    job = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    note = tmp_path / "scratch" / "own" / "pids"
    try:
        assert waits(note.exists, 60)
        pids = [int(pid) for pid in note.read_text().split()]
        assert not any(is_gone(pid) for pid in pids)
        job.send_signal(number)
        assert job.wait(20) != 0
        assert waits(lambda: all(is_gone(pid) for pid in pids))
    finally:
        job.kill()
        job.wait()


@on_linux
def test_what_the_function_leaves_running_ends_with_it(
    data: FoldData, task: Fit, tmp_path: Path
) -> None:
    started = time.monotonic()
    fit(data, task, written(tmp_path, HELPER + HALVES))
    assert time.monotonic() - started < 30
    pids = [int(pid) for pid in (task.scratch / "own" / "pids").read_text().split()]
    assert waits(lambda: all(is_gone(pid) for pid in pids))


def test_lines_reach_the_log_as_they_come(
    data: FoldData, task: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = tmp_path / "heard"

    class Answers(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "mine.py: is anybody there? ä":
                heard.touch()

    body = f"""
    import pathlib, sys, time
    import numpy as np
    print("is anybody there? \\x1b[1mä\\x1b[0m")
    end = time.monotonic() + 20
    while not pathlib.Path({str(heard)!r}).exists():
        assert time.monotonic() < end, "nobody answered"
        time.sleep(0.01)
    print("good", file=sys.stderr)
    """
    handler = Answers()
    log = logging.getLogger("blendmake")
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "blendmake"):
            fit(data, task, written(tmp_path, textwrap.dedent(body) + HALVES))
    finally:
        log.removeHandler(handler)
    assert caplog.messages[-1] == "mine.py: good"


# LightAutoML: what needs no environment of it


def of_one(
    problem: Problem, data: FoldData, target: str, params: Mapping[str, Any], **more: Any
) -> Fit:
    labels = labels_at(problem, data.train)[:, problem.targets.index(target)]
    settings = {"rounds": 0, "stop_rounds": None, "positive_weight": 1.0, "seed": 5, **more}
    return one_fit(target, params, labels=settings.pop("labels", labels), **settings)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"time_out": 5}, "Param 'time_out'.*did you mean 'timeout'"),
        ({"nn_params": {}}, "Param 'nn_params' .* is unknown"),
        ({"cpu_limit": 2}, "Param 'cpu_limit' .* is set by blendmake: threads belong"),
        (
            {"lgb_params": {"default_params": {"num_threads": 9}}},
            "'lgb_params.num_threads' .* set by",
        ),
        ({"reader_params": {"random_state": 1}}, "'reader_params.random_state' .* problem's seed"),
        ({"reader_params": {"cv": 3}}, "'reader_params.cv' .* use the param 'cv'"),
        ({"general_params": {"use_algos": [["lgb"]]}}, "use the param 'use_algos'"),
        ({"tuning_params": 5}, "'tuning_params' .* must be a mapping"),
        ({"use_algos": ["lgb"]}, "'use_algos' .* a list of levels"),
        ({"use_algos": [["lgb", "tabicl"]]}, "'use_algos' .* found .*tabicl"),
        ({"timeout": 0}, "'timeout' .* at least 1; found 0"),
        ({"timeout": "60"}, "'timeout' .* found '60'"),
        ({"cv": 1}, "'cv' .* at least 2; found 1"),
        ({"cv": 2.5}, "'cv' .* found 2.5"),
    ],
)
def test_params_of_lightautoml(
    problem: Problem, data: FoldData, params: dict[str, Any], words: str
) -> None:
    family = LightAutoML(data, 1, {"python": sys.executable})
    with pytest.raises(BlendmakeError, match=words):
        family.fit(of_one(problem, data, "full", params))


def test_lightautoml_knows_no_rounds(problem: Problem, data: FoldData) -> None:
    family = LightAutoML(data, 1, {"python": sys.executable})
    with pytest.raises(BlendmakeError, match=r"leave the key 'rounds' out.*'timeout'"):
        family.fit(of_one(problem, data, "full", {}, rounds=100))


def test_lightautoml_without_its_environment(
    problem: Problem, data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BlendmakeError, match=r"\.venv-lightautoml.*does not exist.*make lightaut"):
        LightAutoML(data, 1)
    family = LightAutoML(data, 1, {"python": sys.executable})
    with pytest.raises(BlendmakeError, match=r"No module named .*Install it into the environment"):
        family.fit(of_one(problem, data, "full", {}))


def test_one_positive_leaves_nothing_to_validate_on(problem: Problem, data: FoldData) -> None:
    labels = np.zeros(len(data.train), np.float32)
    labels[7], labels[:5] = 1, np.nan
    family = LightAutoML(data, 1, {"python": sys.executable})
    fitted = family.fit(of_one(problem, data, "rare", {}, labels=labels))
    assert fitted.valid.shape == (80, 1) and fitted.test.shape == (60, 1)
    assert np.allclose(fitted.valid, 1 / 155) and np.allclose(fitted.test, 1 / 155)
    assert fitted.device == "cpu"


@on_linux
def test_tables_of_killed_jobs_go(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = tmp_path / f"blendmake-{HOST}-{ended.pid}-abc"
    alive = tmp_path / f"blendmake-{HOST}-{os.getppid()}-abc"
    dead.mkdir()
    alive.mkdir()
    family = LightAutoML(data, 1, {"python": sys.executable})
    assert not dead.exists() and alive.exists()
    assert len(list(tmp_path.iterdir())) == 2
    del family
    assert list(tmp_path.iterdir()) == [alive]


# LightAutoML itself

with_lightautoml = pytest.mark.skipif(
    not Path(AUTOML).exists(), reason=f"no {AUTOML}: make lightautoml"
)


@with_lightautoml
def test_lightautoml_learns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    problem = synthetic(tmp_path / "p", rows=450)
    data = named(problem)
    family = LightAutoML(data, 1, {"python": AUTOML})
    params = {"timeout": 30, "use_algos": [["linear_l2", "lgb"]], "cv": 4}
    with caplog.at_level(logging.INFO, "blendmake"):
        fitted = family.fit(of_one(problem, data, "gaps", params))
        # The next target, on the same tables: fewer positives than inner folds, which weigh more.
        labels = labels_at(problem, data.train)[:, 0]
        labels[np.flatnonzero(labels == 1)[3:]] = np.nan
        more = {"labels": labels, "positive_weight": 5.0}
        rare = family.fit(of_one(problem, data, "full", params, **more))
    assert "full: 3 inner folds, as many as the rows of its rarest class" in caplog.text
    for made in (fitted, rare):
        assert made.valid.shape == (150, 1) and made.test.shape == (60, 1)
        for values in (made.valid, made.test):
            assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    assert score(problem, data, "gaps", fitted.valid[:, 0]) > 0.7
    assert len(np.unique(fitted.valid)) > 5
    known = int((~np.isnan(labels_at(problem, data.train)[:, 2])).sum())
    assert f"Train data shape: ({known}, " in caplog.text, "rows with a known label only"


@with_lightautoml
def test_lightautoml_refuses_what_it_does_not_know(problem: Problem, data: FoldData) -> None:
    family = LightAutoML(data, 1, {"python": AUTOML})
    params = {"selection_params": {"no_such_setting": 1}}
    with pytest.raises(BlendmakeError, match=r"'full' was refused: selection_params.no_such_sett"):
        family.fit(of_one(problem, data, "full", params))


RAISING = {
    "helper": (
        "import helper_of_mine\nhelper_of_mine.f()",
        "helper_of_mine.py line 2 in f: ",
    ),
    "broken helper": ("import broken_of_mine", "SyntaxError: invalid syntax (line 2 in fit_fold"),
    "no text": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E()",
        "E: (its message cannot be had: its own __str__ fails) (line 4 in fit_fold",
    ),
    "surrogate": ("raise ValueError(chr(0xd800))", "ValueError: \\ud800"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt (line 2 in fit_fold"),
    "exit": ("raise GeneratorExit", "GeneratorExit (line 2 in fit_fold"),
    "long": ("raise ValueError('x' * 100_000)", "xxx … (line 2 in fit_fold"),
    "memory": (
        "raise MemoryError",
        "MemoryError (line 2 in fit_fold: raise MemoryError). Run fewer",
    ),
    "closed": ("import sys\nsys.stderr.close()\nsys.stdout.close()\n1 / 0", "ZeroDivisionError"),
}


@pytest.mark.parametrize("case", RAISING)
def test_an_exception_is_one_message_of_the_users_lines(
    data: FoldData, task: Fit, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "helper_of_mine.py").write_text("def f():\n    return 1 / 0\n")
    (tmp_path / "broken_of_mine.py").write_text("def f(:\n")
    body, told = RAISING[case]
    with caplog.at_level(logging.INFO, logger="blendmake"):
        text = message(data, task, written(tmp_path, body))
    assert told in text
    assert "\n" not in text and len(text) < 1000
    text.encode()
    assert "runner.py" not in text + caplog.text
    assert caplog.text.count("Traceback (most recent call last)") == (case != "closed")


# what it is told of the environment

SECRETS = (
    *(
        "BLENDMAKE_OPTUNA_URL",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "HF_TOKEN",
        "SLURM_JWT",
    ),
    *("SNAKEMAKE_STORAGE_S3_SECRET_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "PGPASSWORD"),
    *(
        "AZURE_STORAGE_CONNECTION_STRING",
        "DATABASE_URL",
        "GITHUB_TOKEN",
        "KAGGLE_KEY",
        "http_proxy",
    ),
    *(
        "WANDB_API_KEY",
        "PYTHON_KEYRING_BACKEND",
        "XDG_SESSION_COOKIE",
        "TF_API_TOKEN",
        "OMP_SECRET",
    ),
    *("SSH_AUTH_SOCK", "MY_PASSPHRASE", "SOMETHING_NEW"),
)


def test_credentials_are_not_handed_on(
    data: FoldData, task: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    for name in ("CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR", "LC_TIME"):
        monkeypatch.setenv(name, "0")
    body = """
        import json, os
        (fold.scratch / "seen.json").write_text(json.dumps(dict(os.environ)))
        import numpy as np
    """
    file = written(tmp_path, textwrap.dedent(body) + HALVES)
    options = {"file": file, "python": None, "environment": ["HF_TOKEN", "SOMETHING_NEW"]}
    Custom(data, 1, options).fit(task)
    seen = json.loads((task.scratch / "own" / "seen.json").read_text())
    assert set(SECRETS) & set(seen) == {"HF_TOKEN", "SOMETHING_NEW"}
    assert {"PATH", "HOME", "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR", "LC_TIME"} <= set(seen)
    assert list(seen.values()).count("secret") == 2


def test_a_variable_that_is_not_set_or_not_asked_for_is_told(
    data: FoldData, task: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "secret")
    monkeypatch.delenv("NOT_SET", raising=False)
    file = written(tmp_path, "import os\nos.environ['MY_SECRET']")
    assert "to hand it on: the source's key 'environment: [MY_SECRET]'" in message(data, task, file)
    options = {"file": file, "python": None, "environment": ["NOT_SET"]}
    with pytest.raises(BlendmakeError, match=r"NOT_SET, which .* names, is not set\. Set it"):
        Custom(data, 1, options).fit(task)


def test_an_exception_stays_one_message_in_a_job(problem: Problem, tmp_path: Path) -> None:
    file = written(tmp_path, "return fold.params['nothing']")
    with pytest.raises(BlendmakeError) as caught:
        run_fold(problem, "custom", tmp_path / "out", file=file)
    told = r"sources\.\S+: \S+mine\.py: KeyError: 'nothing' \(line 2 in fit_fold: "
    assert re.match(told, str(caught.value))
    assert caught.value.__cause__ is None
