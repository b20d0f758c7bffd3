"""What is built by name: `snakemake build --config only=… from=…`."""

from __future__ import annotations

from workflow.conftest import Workspace

FOLDS = ("0", "1", "2")


def fits(*sources: str) -> set[tuple[str, ...]]:
    return {("fit_fold", source, fold) for source in sources for fold in FOLDS}


def remove(space: Workspace, *names: str) -> None:
    """Remove artifacts with everything that was fitted for them."""
    for name in names:
        for path in sorted(space.results.glob(f"*/{name}/**/*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_what_is_named_is_built_with_what_it_stands_on(copied: Workspace) -> None:
    remove(copied, "lgb", "xgb", "average")
    jobs = copied.dry_run("build", "--config", "only=lgb").jobs()
    assert jobs == fits("lgb") | {("assemble_source", "lgb"), ("score_source", "lgb"), ("build",)}
    jobs = copied.dry_run("build", "--config", "only=average,part").jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("xgb")
    # From an item on: lgb stands above average in the config, and part has its files.
    jobs = copied.dry_run("build", "--config", "from=part").jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("lgb", "xgb")  # for champion
    copied.write_config(campaigns={"mine": ["lgb", "average", "logistic"]})
    jobs = copied.dry_run("campaign_mine", "--config", "from=average").jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("xgb")


def test_names_that_there_are_not(copied: Workspace) -> None:
    copied.write_config(campaigns={"mine": ["lgb"]})
    for arguments, told in (
        (
            ["build", "--config", "only=lgbm"],
            "only=lgbm: there is no 'lgbm' here; did you mean 'lgb'?",
        ),
        (["campaign_mine", "--config", "only=lgbm"], "only=lgbm: there is no 'lgbm' here"),
        (
            ["campaign_mine", "--config", "from=xgb"],
            "from=xgb: there is no 'xgb' here; did you mean 'lgb'?",
        ),
    ):
        run = copied.snakemake("--dry-run", *arguments, check=False)
        assert run.code != 0 and told in run.text and "Traceback" not in run.text
