"""What every rule must have, read from the rule files themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from blendmake.cluster import PREFIX

REPO = Path(__file__).resolve().parents[2]
FILES = sorted((REPO / "rules").glob("*.smk"))
RULES = {
    match[1]: match[0]
    for path in FILES
    for match in re.finditer(r"^ *rule (\w+):\n(?:(?!^ *rule ).*\n?)*", path.read_text(), re.M)
}
PRINTING = {
    "pack",
    "unpack",
    "preflight",
    "status",
    "show_config",
    "show_leaderboard",
    "lint_search",
    "search_status",
    "cancel_leftovers",
    "wait_for_leftovers",
    "cancel_jobs",
}
# On a cluster these are jobs; all others run on the submitting machine.
HEAVY = {
    "audit_fold",
    "blend_sources",
    "correlate_sources",
    "fit_chunk",
    "fit_fold",
    "make_features",
    "make_fold_features",
    "read_tables",
    "run_trials",
    "write_data",
}


def test_rules_are_found() -> None:
    assert len(RULES) >= 18


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_looked_up_costs_nothing(path: Path) -> None:
    # Snakemake's `lookup` goes through all of a mapping for every job (plan.at).
    assert not re.search(r"\blookup\(", path.read_text())


@pytest.mark.parametrize("name", sorted(set(RULES) - PRINTING))
def test_a_rule_that_computes_passes_the_digest_of_its_code(name: str) -> None:
    assert re.search(r"^ +code=(plan\.code\[|at\(plan\.code)", RULES[name], re.M)


@pytest.mark.parametrize("name", sorted(name for name in RULES if "benchmark:" in RULES[name]))
def test_a_rule_that_takes_time_asks_for_memory_and_time(name: str) -> None:
    if name in {"make_folds", "split_inner"}:  # seconds at any size
        return
    assert re.search(r"^ +mem_mb=plan\.\w+_memory,$", RULES[name], re.M)
    assert re.search(r"^ +runtime=plan\.\w+_minutes,$", RULES[name], re.M)


@pytest.mark.parametrize("name", sorted(RULES))
def test_light_rules_run_on_the_submitting_machine(name: str) -> None:
    assert bool(re.search(r"^ +localrule: True$", RULES[name], re.M)) == (name not in HEAVY)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_has_docstring_log_and_no_message(name: str) -> None:
    text = RULES[name]
    assert re.search(r'rule \w+:\n +"""', text)
    assert re.search(r"^ +log:", text, re.M)
    assert "message:" not in text


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_script_is_named_after_its_rule(name: str) -> None:
    shared = {
        "read_test_targets": "read_targets",
        "score_source": "score_predictions",
        "score_blend": "score_predictions",
        "preflight": "run_preflight",
        "fit_chunk": "fit_fold",
        "status": "show_status",
        "cancel_leftovers": "handle_jobs",
        "wait_for_leftovers": "handle_jobs",
        "cancel_jobs": "handle_jobs",
    }
    script = re.search(r'script:\n +"\.\./scripts/(\w+)\.py"', RULES[name])
    assert script
    assert script[1] == shared.get(name, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rule_files_are_short_and_open_with_what_they_do(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert "#   in:" in text
    assert "#   out:" in text
    assert len(text.splitlines()) <= 250
    assert not re.search(r"^ *def ", text, re.M)


def test_the_package_knows_neither_snakemake_nor_the_rules() -> None:
    for path in (REPO / "scripts" / "blendmake").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) (snakemake|plan)\b", text, re.M), path
        assert "snakemake." not in re.sub(r'""".*?"""|#.*', "", text, flags=re.S), path


def test_profiles_share_their_settings() -> None:
    # A profile given by hand replaces the default one: what all share stands in each.
    shared = (
        "rerun-triggers",
        "max-checksum-file-size",
        "nolock",
        "rerun-incomplete",
        "keep-going",
        "printshellcmds",
        "configfile",
        "__use_yte__",
        "__definitions__",
    )
    profiles = {
        path.parent.name: yaml.safe_load(path.read_text())
        for path in (REPO / "profiles").glob("*/config.yaml")
    }
    assert {"s3", "gcs"} <= set(profiles)
    for name, profile in profiles.items():
        if "default-storage-provider" in profile:
            # Given beside another profile: it says where artifacts stand, and nothing else.
            storage = r"default-storage-|storage-|shared-fs-usage|keep-storage-local"
            assert [key for key in profile if not re.match(storage, key)] == []
            continue
        for key in shared:
            assert profile.get(key) == profiles["default"][key], f"{key} in profiles/{name}"


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_profiles_of_clusters(name: str) -> None:
    folder = REPO / "profiles" / name
    profile = yaml.safe_load((folder / "config.yaml").read_text())
    assert profile["retries"] == 2
    assert profile["default-resources"] == ["mem_mb=1000", "runtime=30"]
    assert "resources" not in profile  # GPUs are offered by whoever has some
    assert "slurm-array-jobs" not in profile
    # Jobs are found again by their names.
    named = profile.get("slurm-jobname-prefix", "") + "_"
    assert named == PREFIX or f'PREFIX = "{PREFIX}"' in (folder / "submit.py").read_text()


def test_snakemakes_own_lint() -> None:
    # One environment for all rules is meant: .venv, made from envs/.
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint", "json", "--configfile", "config/yeast.yaml"],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    findings = yaml.safe_load(done.stdout) or {}
    titles = {lint["title"] for rule in findings.get("rules", []) for lint in rule["lints"]}
    assert titles <= {"Specify a conda environment or container for each rule."}, titles
