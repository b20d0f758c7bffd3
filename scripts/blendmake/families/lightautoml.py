"""LightAutoML (Vakhrushev et al. 2021, "LightAutoML: AutoML Solution for a Large Financial Services
Ecosystem", arXiv:2109.01528), in an environment of its own: its pins are not those of the rest.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from blendmake.errors import BlendmakeError
from blendmake.family import Family, Fit, Fitted, FoldData, refused
from blendmake.files import HOST
from blendmake.foreign import automl
from blendmake.foreign.calls import Exchange, Raised, interpreter, not_kept

PYTHON = ".venv-lightautoml/bin/python"
MEND = "Make its environment with `make lightautoml`, or name another by the source's key 'python'."
# Dicts that go to TabularAutoML by their own names; their keys are checked there.
SECTIONS = (
    "cb_params",
    "gbm_pipeline_params",
    "general_params",
    "lgb_params",
    "linear_l2_params",
    "linear_pipeline_params",
    "nested_cv_params",
    "reader_params",
    "rf_params",
    "selection_params",
    "timing_params",
    "tuning_params",
    "xgb_params",
)
ALGORITHMS = ("cb", "cb_tuned", "lgb", "lgb_tuned", "linear_l2", "rf", "xgb", "xgb_tuned")
# Wherever they stand in a section.
SET_HERE = {
    "device": "it runs on the CPU",
    "devices": "it runs on the CPU",
    "task_type": "it runs on the CPU",
    "n_jobs": "threads belong to the profile (set-threads)",
    "nthread": "threads belong to the profile (set-threads)",
    "num_threads": "threads belong to the profile (set-threads)",
    "thread_count": "threads belong to the profile (set-threads)",
    "random_seed": "use the problem's seed",
    "random_state": "use the problem's seed",
    "seed": "use the problem's seed",
    "use_algos": "use the param 'use_algos'",
}


class LightAutoML(Family):
    """TabularAutoML for one target at a time, on the rows whose label is known.

    It chooses, tunes and blends models by cross-validation inside the fold's training rows, stratified
    by the target; the held-out rows are predicted only. Where a class has fewer rows than there are
    inner folds, there are as many inner folds as it has rows; where it has one, the predictions are the
    shares of the classes. Results depend on what fits into the time, and so do not repeat to the byte.

    Params:
        timeout: seconds per fit; it stops starting models by then, and may take a little longer.
        use_algos: `auto`, or a list of levels, each a list of ALGORITHMS.
        cv: inner folds.
        memory_limit: gigabytes, a hint that it passes on.
        SECTIONS: its own dicts of settings, merged over its defaults.
    """

    SAVES: ClassVar[bool] = False
    STOPS = False
    EXACT: ClassVar[bool] = False  # time decides, so that results do not repeat to the byte
    ROUNDS = 0  # time limits it, not rounds
    DEFAULTS: ClassVar[dict[str, Any]] = {
        "timeout": 60,
        "use_algos": "auto",
        "cv": 5,
        "memory_limit": 16,
    }
    RESERVED: ClassVar[dict[str, str]] = {
        "config_path": "give its sections as params",
        "cpu_limit": "threads belong to the profile (set-threads)",
        "gpu_ids": "it runs on the CPU",
        "n_jobs": "threads belong to the profile (set-threads)",
        "random_state": "use the problem's seed",
        "seed": "use the problem's seed",
        "task": "it is that of the target",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(replace(data, stop=None), threads, options)
        python = self.options.get("python") or PYTHON
        self.python = interpreter(python, MEND)
        self._folder = _temporary_folder()
        self._exchange: Exchange | None = None

    def params(self, asked: Fit) -> dict[str, Any]:
        """The family's defaults with the task's params over them, checked.

        Raises:
            BlendmakeError: an unknown param, one that blendmake sets itself, or a value out of range.
        """
        found = super().params(asked)
        about = f"(target '{asked.title}')"
        for name, value in found.items():
            if name not in self.DEFAULTS and name not in SECTIONS:
                known = (*self.DEFAULTS, *SECTIONS)
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}."
                raise BlendmakeError(f"Param '{name}' {about} is unknown to lightautoml: {hint}")
            if name in SECTIONS:
                if not isinstance(value, Mapping):
                    raise BlendmakeError(f"Param '{name}' {about} must be a mapping of settings.")
                for key in _keys(value):
                    if key in SET_HERE or (name, key) == ("reader_params", "cv"):
                        why = SET_HERE.get(key, "use the param 'cv'")
                        raise BlendmakeError(
                            f"Param '{name}.{key}' {about} is set by blendmake: {why}."
                        )
        for name, least in (("timeout", 1), ("cv", 2), ("memory_limit", 1)):
            value = found[name]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not value >= least or (name == "cv" and value != int(value)):
                raise BlendmakeError(
                    f"Param '{name}' {about} must be a number of at least {least}; found {value!r}."
                )
        levels = found["use_algos"]
        if levels != "auto" and not _is_levels(levels):
            raise BlendmakeError(
                f"Param 'use_algos' {about} must be 'auto' or a list of levels, each a list of some of "
                f"{', '.join(ALGORITHMS)}; found {levels!r}."
            )
        return found

    def fit(self, asked: Fit) -> Fitted:
        if asked.rounds != self.ROUNDS:
            raise BlendmakeError(
                "Family 'lightautoml' knows no rounds: leave the key 'rounds' out and set the param "
                "'timeout' (seconds per fit)."
            )
        folder = Path(self._folder.name)
        one = replace(asked, params=self.params(asked), stop=None)
        if self._exchange is None:
            self._exchange = Exchange(self.data, folder / "exchange")
        own = folder / "own"
        try:
            valid, test = self._exchange.fit(
                one, Path(automl.__file__), self.python, self.threads, own
            )
        except Raised as error:
            if error.kind in ("AssertionError", "TypeError", "ValueError"):
                raise refused(asked, ValueError(error.text)) from error
            raise
        finally:
            shutil.rmtree(own, ignore_errors=True)
        return Fitted(valid, test, asked.rounds, not_kept)


def _keys(settings: Mapping[str, Any]) -> Iterator[str]:
    """The keys of settings, at every depth."""
    for key, value in settings.items():
        yield key
        if isinstance(value, Mapping):
            yield from _keys(value)


def _is_levels(levels: Any) -> bool:
    return (
        isinstance(levels, list)
        and bool(levels)
        and all(isinstance(level, list) and level for level in levels)
        and all(name in ALGORITHMS for level in levels for name in level)
    )


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder where TMPDIR says, removed with its owner; what a kill left of others goes now."""
    prefix = f"blendmake-{HOST}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-")


FAMILY = LightAutoML
predict_saved = not_kept
