"""A preset with a budget: what the run that spends it needs to know, and what it leaves to others."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from plan_window import PlanWindow

SPENT = "BLENDMAKE_BUDGET"
"""Environment variable of runs that build for a budget: it is spent elsewhere."""
PLANNED = "BLENDMAKE_PLANNED"
"""Environment variable of jobs: digest of all that their run has planned; empty where none has."""
# Options with which Snakemake builds nothing, and those that would build all anew with every source.
LOOKING = (
    *(
        "--dry-run",
        "--dryrun",
        "--report",
        "--summary",
        "--detailed-summary",
        "--touch",
        "--unlock",
    ),
    *("--lint", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--archive", "--list"),
    *("--delete-all-output", "--delete-temp-output", "--cleanup-metadata", "--list-rules"),
    *("--list-target-rules", "--list-changes", "--list-input-changes", "--list-params-changes"),
    *("--print-compilation", "--export-cwl", "--containerize", "--generate-unit-tests"),
)
SHORT = re.compile(r"-[a-zA-Z]*[nStlD][a-zA-Z]*")
TAKING_ALL = {"-c", "--cores", "-j", "--jobs", "-q", "--quiet"}
FORCING = {"-F", "--forceall", "-f", "--force"}


class PlanBudget(PlanWindow):
    """What a budget is spent on.

    Attributes:
        window: seconds that this run has.
    """

    window: float | None
    bucket: Any

    @property
    def builds_for_budget(self) -> bool:
        """Whether this is one of the runs by which a budget is spent."""
        return bool(os.environ.get(SPENT))

    def spends_budget(self, words: Sequence[str]) -> bool:
        """Whether this run is to spend a budget: one that builds `all`, with something left to do.

        Args:
            words: of the command.
        """
        if self.problem.budget is None or self.preset is None or self.bucket:
            return False
        if self.builds_for_budget or self.preset.get("finished") or _only_looks(words):
            return False
        return _is_for_all(words)

    def left_by_budget(self) -> dict[str, str]:
        """What a budget that was begun has left out, and what stands on it, with the reason."""
        if self.problem.budget is None or not (self.preset or {}).get("whole"):
            return {}
        left = dict((self.preset or {}).get("left", {}))
        for name in self.blends:
            missing = [one for one in self.stands_on(name) if one in left]
            if missing and name not in left:
                left[name] = f"stands on {missing[0]}"
        return left

    @property
    def budget_facts(self) -> dict[str, Any]:
        """What spend_budget.py is told."""
        p = self.problem
        own = [name for name in self.sources if name not in (self.preset or {})["sources"]]
        common = self.set_files("all")
        return {
            "arguments": _arguments(sys.argv[1:]),
            "rules": str(Path(self.scripts).parent / "rules"),
            "spent": SPENT,
            "planned": PLANNED,
            "preset": p.preset,
            "preset_file": str(self.preset_file),
            "asked": (self.preset or {})["asked"],
            "results": self.results,
            "scratch": self.scratch,
            "seconds": self.window,
            "folds": p.folds.n,
            "seed": p.seed,
            "by_auc": self.by_auc,
            "own": {name: p.sources[name].slice() for name in own},
            "threads": self.fit_threads,
            "cores": self.cores,
            "prepare": [
                f"{self.results}/tables/targets.parquet",
                f"{self.results}/folds.parquet",
                *(common[part] for part in ("columns", "train", "test")),
                *(self.sample_artifact if self._hands_in else []),
            ],
            "grounds": {name: self._ground_of(name) for name in p.sources},
            "groups": self.groups_artifact(),
            "files": {
                "train": list((self.data.train or {}).values()),
                "test": self.test_tables,
                "targets": self.targets_file,
                "sample": self.data.sample_submission,
                "taken": self.id_settings.get("taken", []),
            },
            "targets": self.slices["targets"],
            "sample": self.sample_artifact,
            "submissions": self.submission_files if self._hands_in else {},
            "submission": self.slices["submission"],
            "log": f"logs/{self.name}/budget.log",
        }

    def _ground_of(self, name: str) -> list[str]:
        """What a source reads beside what all of them read: made once it is its turn."""
        files = self.set_files(self.problem.sources[name].features)
        common = self.set_files("all")
        own = [files[part] for part in ("train", "test") if files[part] != common[part]]
        return [*self.inner_files[name], *(file for file in own if isinstance(file, str))]

    @property
    def _hands_in(self) -> bool:
        return bool(self.problem.data.adapter or self.problem.data.test)

    scripts: Path


def _only_looks(words: Iterable[str]) -> bool:
    return any(word.split("=")[0] in LOOKING or SHORT.fullmatch(word) is not None for word in words)


def _is_for_all(words: Sequence[str]) -> bool:
    """Whether a command of Snakemake names no target but `all`."""
    if "snakemake" not in words[0] or any(w.startswith(("--mode", "--target-jobs")) for w in words):
        return False
    from snakemake.cli import get_argument_parser

    targets = get_argument_parser().parse_args(list(words[1:])).targets or []
    return {str(target) for target in targets} <= {"all"}


def _arguments(words: Sequence[str]) -> list[str]:
    """The options of a command: its target stands for what is built each time."""
    pairs = zip(["", *words], words, strict=False)
    return [
        word
        for before, word in pairs
        if word not in FORCING and (word != "all" or before in TAKING_ALL)
    ]
