"""Every shipped config gives a plan: job counts by dry run, the cheapest test of the DAG there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]

COMMON = {"read_tables": 1, "read_targets": 1, "make_folds": 1, "build_leaderboard": 1}
COMMON |= {"correlate_sources": 1, "draw_figures": 1, "all": 1}


def counts(
    sources: int, folds: int, blends: int, comparisons: int, sets: int = 1, **more: int
) -> dict[str, int]:
    """What a config of so many sources, … must plan."""
    expected = {
        **COMMON,
        "make_features": sets,
        "fit_fold": sources * folds,
        "assemble_source": sources,
        "score_source": sources,
        "blend_sources": blends,
        "score_blend": blends,
        "draw_weights": blends,
        "compare_artifacts": comparisons,
        "draw_comparisons": min(1, comparisons),
        **more,
    }
    return {rule: count for rule, count in expected.items() if count}


EXPECTED = {
    "yeast": counts(
        6, 5, 3, 2, sets=2, write_data=1, read_test_targets=1, read_sample=1, write_submission=1
    ),
    "toxcast41": counts(3, 5, 3, 2, read_groups=1),
    "tox21": counts(4, 5, 2, 1, read_groups=1, split_inner=1),
    "diabetes130": counts(3, 5, 2, 1, read_groups=1),
    "covertype": counts(3, 3, 1, 1),
    "cal_housing": counts(3, 5, 1, 0),
    "letter": counts(2, 5, 1, 0),
    "soybean": counts(3, 5, 1, 0),
    "covertype_classes": counts(2, 3, 1, 0),
    "adult": counts(2, 5, 1, 0, read_test_targets=1, write_submission=1),
    "cyberpolka": counts(
        15,
        5,
        5,
        17,
        sets=5,
        write_data=1,
        read_test_targets=1,
        read_sample=1,
        write_submission=2,
        split_inner=1,
        build_group=2,
        make_fold_features=15,
        audit_fold=5,
        judge_audit=5,
        assemble_audit=1,
        draw_audit=1,
    ),
    "template": counts(
        4,
        5,
        3,
        1,
        sets=4,
        read_groups=1,
        read_sample=1,
        write_submission=1,
        split_inner=1,
        build_group=1,
        make_fold_features=5,
        audit_fold=5,
        judge_audit=5,
        assemble_audit=1,
        draw_audit=1,
    ),
}


def test_every_shipped_config_is_counted() -> None:
    assert set(EXPECTED) == {path.stem for path in (REPO / "config").glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_job_counts(name: str, tmp_path: Path) -> None:
    config = REPO / "config" / f"{name}.yaml"
    content = yaml.safe_load(config.read_text())
    own = [source["file"] for source in content["sources"].values() if "file" in source]
    for path in [*_files(content["data"]), *own]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert _dry_run(config, tmp_path) == EXPECTED[name]


def _files(section: object) -> list[str]:
    if isinstance(section, dict):
        return [path for value in section.values() for path in _files(value)]
    return [section] if isinstance(section, str) and "/" in section else []


def _dry_run(config: Path, folder: Path) -> dict[str, int]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"),
            *("--snakefile", str(REPO / "Snakefile"), "--directory", str(folder)),
            *("--configfile", str(config)),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = re.search(r"^job +count\n[- ]+\n(.+?)\n\n", done.stdout + done.stderr, re.M | re.S)
    assert table, done.stdout + done.stderr
    rows = [line.split() for line in table[1].splitlines()]
    return {rule: int(count) for rule, count in rows if rule != "total"}
