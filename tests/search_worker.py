"""A small search for tests, and a worker of it as a process of its own: `search_worker.py SPEC.json`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from blendmake.config.searches import Search as SearchConfig
from blendmake.config.sources import Source
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES
from blendmake.searches import storage
from blendmake.searches.search import Search, search_of
from blendmake.searches.table import Trial
from blendmake.searches.trials import TrialFits
from blendmake.searches.working import Worker, trials_of
from problems import FOLDS, Problem

SPACE = {
    "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
    "max_depth": {"low": 1, "high": 5},
    "subsample": {"low": 0.5, "high": 1.0},
}


def search_files(problem: Problem, sources: Sequence[str]) -> dict[str, Any]:
    """Files of a search as its rules name them."""
    inputs, many = problem.inputs, len(sources) * FOLDS
    return {
        "train": str(inputs.tables["train"]),
        "test": str(inputs.tables["test"]),
        "columns": [str(inputs.columns)] * many,
        "made_train": [str(inputs.made["train"])] * many,
        "made_test": [str(inputs.made["test"])] * many,
        "fold_train": [],
        "fold_test": [],
        "targets": str(inputs.targets),
        "folds": str(inputs.folds),
        "inner": [str(inputs.inner)],
    }


def search_params(
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    folds: Sequence[int] = (0, 1),
    seed: int = 1,
    **config: Any,
) -> dict[str, Any]:
    """What a search's rules pass; `config` are keys of config.searches.Search."""
    own = sources or {"xgb": {"family": "xgboost", "rounds": 20}}
    given = {"source": list(own), "targets": ["full"], "space": SPACE, **config}
    return {
        "search": SearchConfig.model_validate(given).slice(),
        "sources": {
            name: {
                "source": Source.model_validate(dict(one)).slice(),
                "family": FAMILIES[one["family"]],
                "seed": seed,
                "code": "code",
                "folds_made": False,
            }
            for name, one in own.items()
        },
        "groups": {},
        "folds": list(folds),
        "n_folds": FOLDS,
    }


def search_in(problem: Problem, params: Mapping[str, Any], name: str = "search") -> Search:
    return search_of(params, "problem", name, search_files(problem, list(params["sources"])), {})


@contextlib.contextmanager
def before_trials(act: Callable[[int], None]) -> Iterator[None]:
    """Have something done before each trial's fits, told how many this process has begun before."""
    run, begun = TrialFits.run, 0

    def acting(fits: TrialFits, *given: Any) -> list[float | None]:
        nonlocal begun
        begun += 1
        act(begun - 1)
        return run(fits, *given)

    with mock.patch.object(TrialFits, "run", acting):
        yield


def ran(search: Search, folder: Path, *, finished: bool = True, **options: Any) -> list[Trial]:
    """The trials of a search after one worker has worked on it."""
    Worker(search, folder / "scratch", folder, **options).run()
    return rows_of(search, folder, finished=finished)


def rows_of(search: Search, folder: Path, *, finished: bool = True) -> list[Trial]:
    return trials_of(search, folder / "scratch", finished=finished)


def start_worker(
    problem: Problem, params: Mapping[str, Any], folder: Path, number: int, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a worker; its studies stand in `folder/scratch`.

    Args:
        options: `slow`: seconds that each trial takes beside its fits; `die_in`: the trial of this
            process, from 0, in which it is killed; `grace`, `outage`: of a database, in seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "params": params,
        "files": search_files(problem, list(params["sources"])),
        "folder": str(folder),
        "number": number,
        "options": options,
    }
    path = folder / f"worker{number}.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    log = open(folder / f"worker{number}.log", "ab")  # noqa: SIM115 - the process has it
    return subprocess.Popen(
        [sys.executable, __file__, str(path)],
        stdout=log,
        stderr=log,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def main(path: str) -> None:
    logging.basicConfig(level=logging.INFO)
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    folder = Path(spec["folder"])
    options = spec["options"]
    storage.DatabasePlace.grace = options.get("grace", storage.DatabasePlace.grace)
    storage.OUTAGE = options.get("outage", storage.OUTAGE)
    search = search_of(spec["params"], "problem", "search", spec["files"], {})

    def act(begun: int) -> None:
        if begun == options.get("die_in"):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(options.get("slow", 0))

    try:
        with before_trials(act):
            Worker(search, folder / "scratch", folder, spec["number"]).run()
    except BlendmakeError as error:
        logging.error("ERROR: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
