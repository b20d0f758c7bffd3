"""What is edited while a run goes on is for the next run: jobs elsewhere read the workflow anew."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake.api  # noqa: F401 (its modules import each other, this one first)
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ConfigSettings, SharedFSUsage, StorageSettings
from snakemake.spawn_jobs import SpawnedJobArgsFactory

from blendmake.config.reading import as_written
from blendmake.job_digests import serialised
from plan import Plan
from plan_requests import OFFERED, PLANNED
from workflow.conftest import CONFIG, REPO, write_tables


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tables(tmp_path / "tables", rows=20, test_rows=5)
    (tmp_path / "problem.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    for name in (OFFERED, PLANNED, "BLENDMAKE_STARTED"):
        monkeypatch.setenv(name, "")  # so that what a plan leaves is taken back
        monkeypatch.delenv(name)
    return tmp_path


def began(folder: Path, shared: bool = True) -> tuple[Plan, Any]:
    """A run's plan, and its workflow once the run has handed on what jobs need."""
    path = folder / "problem.yaml"
    usage = SharedFSUsage.all() if shared else SharedFSUsage.all() - {SharedFSUsage.SOURCES}
    settings = ConfigSettings(configfiles=[path])
    plan = Plan(settings.overwrite_config, str(REPO), files=[path])
    workflow = SimpleNamespace(
        config_settings=settings, storage_settings=StorageSettings(shared_fs_usage=usage)
    )
    plan.hand_on(workflow)
    return plan, workflow


def test_jobs_are_given_the_config_that_the_run_began_with(folder: Path) -> None:
    plan, workflow = began(folder)
    edited = copy.deepcopy(CONFIG)
    edited["sources"]["lgb"]["rounds"] = 41
    (folder / "problem.yaml").write_text(yaml.safe_dump(edited)[:-20])  # and not even whole
    workflow.overwrite_configfiles = workflow.config_settings.configfiles
    words = SpawnedJobArgsFactory(workflow).get_configfiles_arg()
    (frozen,) = workflow.config_settings.configfiles
    assert str(frozen) in words and "problem.yaml" not in words
    read = ConfigSettings(configfiles=[frozen]).overwrite_config
    job = Plan(read, str(REPO), files=[frozen])
    assert job.slices == plan.slices
    assert as_written(read, [frozen]) == plan.config


def test_without_shared_files_jobs_read_the_config_that_was_deployed(folder: Path) -> None:
    _, workflow = began(folder, shared=False)
    assert workflow.config_settings.configfiles == [folder / "problem.yaml"]


def test_a_job_of_an_edited_plan_does_not_begin(folder: Path) -> None:
    source = folder / "mine.py"
    source.write_text("def fit_fold(fold):\n    return 1\n")
    sources = {**CONFIG["sources"], "mine": {"family": "custom", "file": "mine.py"}}
    (folder / "problem.yaml").write_text(yaml.safe_dump({**CONFIG, "sources": sources}))
    plan, _ = began(folder)
    assert os.environ[PLANNED] == plan.digest
    again = {**plan.config}
    source.write_text("# a remark\ndef fit_fold(fold):\n    return 1\n")
    Plan(again, str(REPO))
    source.write_text("def fit_fold(fold):\n    return 2\n")
    with pytest.raises(WorkflowError, match="was edited while the run went on"):
        Plan(again, str(REPO))


def test_order_in_the_config_is_no_matter(folder: Path) -> None:
    params = {"num_leaves": 7, "lambda_l2": 0.5, "min_data_in_leaf": 20}
    override = {"targets": {"t0": {"params": {"num_leaves": 3, "lambda_l2": 1.0}}}}
    lgb = {"family": "lightgbm", "params": params, "overrides": override}

    def slices(backwards: bool) -> list[str]:
        def turned(value: Any) -> Any:
            if not isinstance(value, dict) or not backwards:
                return value
            return {key: turned(value[key]) for key in reversed(value)}

        names = ["x6", "kind"]
        ignored = {**CONFIG["data"], "ignore": names[::-1] if backwards else names}
        sources = {**CONFIG["sources"], "lgb": turned(lgb)}
        plan = Plan(turned({**CONFIG, "data": ignored, "sources": sources}), str(REPO))
        of = [plan.slices["tables"], *(plan.slices["fit"][name] for name in sorted(sources))]
        return [str(serialised(one)) for one in of]  # as records keep them: in order

    assert slices(True) == slices(False)
