"""What a change rebuilds: that, what stands on it, and nothing else."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from workflow.conftest import CONFIG, Run, Workspace, write_tables

FOLDS = ("0", "1", "2")
# Jobs that stand on everything.
TOP = {("build_leaderboard",), ("correlate_sources",), ("draw_figures",), ("all",)}


def fits(*sources: str) -> set[tuple[str, ...]]:
    return {("fit_fold", source, fold) for source in sources for fold in FOLDS}


def after_source(source: str) -> set[tuple[str, ...]]:
    return {("assemble_source", source), ("score_source", source)}


def blended(*blends: str) -> set[tuple[str, ...]]:
    rules = ("blend_sources", "score_blend", "draw_weights")
    return {(rule, blend) for rule in rules for blend in blends}


CHAMPION = blended("champion") | {("write_submission", "champion")}
COMPARED = {("compare_artifacts", "champion__vs__average"), ("draw_comparisons",)}


def test_editing_a_source_rebuilds_it_and_what_stands_on_it(copied: Workspace) -> None:
    sources = copy.deepcopy(CONFIG["sources"])
    sources["lgb"]["params"]["num_leaves"] = 15
    copied.write_config(sources=sources)
    assert copied.dry_run().jobs() == (
        fits("lgb") | after_source("lgb") | CHAMPION | blended("both") | COMPARED | TOP
    )


def test_editing_a_blend_rebuilds_no_source(copied: Workspace) -> None:
    blends = copy.deepcopy(CONFIG["blends"])
    blends["champion"]["steps"] = 5
    copied.write_config(blends=blends)
    assert copied.dry_run().jobs() == CHAMPION | COMPARED | TOP


def test_adding_a_source_builds_it_alone(copied: Workspace) -> None:
    sources = {**CONFIG["sources"], "second": {"family": "linear", "params": {"C": 3.0}}}
    blends = {**CONFIG["blends"], "champion": {"method": "greedy", "sources": ["lgb", "xgb"]}}
    copied.write_config(sources=sources, blends=blends)
    jobs = copied.dry_run().jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("second")


def test_a_group_used_by_one_source_rebuilds_that_source(copied: Workspace) -> None:
    copied.write_config(groups={"pair": ["t0", "t2"]})
    jobs = copied.dry_run().jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("part")


def test_another_feature_set_rebuilds_nothing(copied: Workspace) -> None:
    copied.write_config(features={"few": {"files": {"main": {"first": 3}}}})
    assert copied.snakemake().nothing


def test_comments_rebuild_nothing(copied: Workspace) -> None:
    for path in sorted((copied.folder / "scripts").rglob("*.py")):
        path.write_text(path.read_text() + "\n\n# A comment at the end.\n")
    for path in sorted((copied.folder / "rules").glob("*.smk")):
        path.write_text("# A comment at the start.\n" + path.read_text())
    assert copied.snakemake().nothing


def test_dates_rebuild_nothing(copied: Workspace) -> None:
    for folder in ("tables", "scripts", "rules", "results"):
        for path in (copied.folder / folder).rglob("*"):
            path.touch()
    (copied.folder / "problem.yaml").touch()
    assert copied.snakemake().nothing


@pytest.mark.parametrize(
    ("file", "old", "new", "rules"),
    [
        # A family's own file: its sources only (which ones: the next test).
        ("families/linear_rows.py", "CLIP = 10.0", "CLIP = 9.0", {"fit_fold"}),
        # The registry is no part of any fit.
        ("families/__init__.py", '    "linear":', '    "linea": "",\n    "linear":', set()),
        # Scales: what blends, never what fits or scores.
        ("stats/logits.py", "999_999", "499_999", {"blend_sources"}),
        # Figures: what draws.
        (
            "reports/figures.py",
            "figsize=(",
            "figsize=(0 + ",
            {"draw_figures", "draw_comparisons", "draw_weights"},
        ),
        ("reports/leaderboard_page.py", "1.5em", "1.6em", {"draw_figures"}),
        ("../write_submission.py", "out_csv=", "out_csv=None or ", {"write_submission"}),
        # What scores: never what fits or blends.
        (
            "scores.py",
            "_nullable(low)",
            "_nullable(low + 0.0)",
            {"score_source", "score_blend", "compare_artifacts"},
        ),
    ],
    ids=["family", "registry", "scale", "figures", "page", "script", "scores"],
)
def test_a_changed_constant_rebuilds_what_imports_it(
    copied: Workspace, file: str, old: str, new: str, rules: set[str]
) -> None:
    copied.edit(f"scripts/blendmake/{file}", old, new)
    assert rules_run_for_their_params(copied.dry_run()) == rules


def test_a_familys_constant_refits_its_sources_only(copied: Workspace) -> None:
    copied.edit("scripts/blendmake/families/linear_rows.py", "CLIP = 10.0", "CLIP = 9.0")
    jobs = copied.dry_run().jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("logistic")


def rules_run_for_their_params(run: Run) -> set[str]:
    """Rules that a dry run would run because their params (config, code) have changed."""
    found = re.search(r"params have changed since last execution:\n +([a-z_, ]+)\n", run.text)
    return set(found[1].split(", ")) if found else set()


def test_a_deleted_fold_is_rebuilt_with_what_stands_on_it(copied: Workspace) -> None:
    copied.path("sources", "xgb", "fold1", "oof.parquet").unlink()
    jobs = copied.dry_run().jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == {("fit_fold", "xgb", "1")}
    assert jobs == (
        {("fit_fold", "xgb", "1")}
        | after_source("xgb")
        | CHAMPION
        | blended("average", "both")
        | COMPARED
        | TOP
    )


@pytest.mark.parametrize(
    "file", ["report/honesty.svg", "leaderboard.csv", "submissions/champion.csv", "inner.parquet"]
)
def test_a_deleted_artifact_comes_back(copied: Workspace, file: str) -> None:
    copied.path(*file.split("/")).unlink()
    assert not copied.dry_run().nothing


def test_editing_a_keep_list_rebuilds_its_features(copied: Workspace) -> None:
    keep = copied.folder / "keep.txt"
    keep.write_text("x0\nx1\n")
    features = {"kept": {"files": {"main": {"keep": "keep.txt"}}}}
    copied.write_config(
        sources={"lin": {"family": "linear", "features": "kept"}},
        features=features,
        blends={},
        comparisons=[],
        submissions={},
    )
    copied.snakemake()
    keep.write_text("x0\nx1\nx2\n")
    jobs = copied.dry_run().jobs()
    assert ("make_features", "kept") in jobs
    assert fits("lin") <= jobs


def test_a_file_replaced_by_an_older_one_is_noticed(copied: Workspace) -> None:
    path = copied.folder / "tables" / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("x8", table["x0"]), path)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert ("read_tables",) in copied.dry_run().jobs()


def test_threads_and_cores_rebuild_nothing(copied: Workspace) -> None:
    assert copied.snakemake("--set-threads", "fit_fold=2").nothing


def test_finished_artifacts_can_be_accepted_after_a_refactoring(copied: Workspace) -> None:
    copied.edit("scripts/blendmake/families/linear_rows.py", "CLIP = 10.0", "CLIP = 5.0 + 5.0")
    assert not copied.dry_run().nothing
    copied.snakemake("--touch")
    assert copied.snakemake().nothing


def test_changed_data_rebuild_everything(copied: Workspace) -> None:
    write_tables(copied.folder / "tables", seed=1)
    jobs = copied.dry_run().jobs()
    assert fits("lgb", "xgb", "logistic", "part") <= jobs


def test_unchanged_data_written_again_rebuild_nothing(copied: Workspace) -> None:
    path: Path = copied.folder / "tables" / "train.parquet"
    path.write_bytes(path.read_bytes())
    assert copied.snakemake().nothing
