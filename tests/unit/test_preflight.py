from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blendmake.errors import BlendmakeError
from blendmake.families import ON_GPU
from blendmake.labels import read_labels
from blendmake.matrix import TableFile
from blendmake.preflight.checks import fit_finding, preflight
from blendmake.preflight.findings import (
    FAIL,
    PASS,
    WARN,
    Finding,
    finding_text,
    raise_if_failed,
    totals_text,
)
from blendmake.preflight.inputs import Inputs
from blendmake.preflight.machine import (
    GPU_LIBRARIES,
    SERVICE,
    folder_findings,
    git_findings,
    gpu_findings,
    interpreter_findings,
    package_findings,
    service_findings,
)
from blendmake.preflight.process import ask, run_limited
from blendmake.preflight.record import record_findings
from blendmake.preflight.sample import TRAIN_ROWS, Miniature, choose_rows
from blendmake.preflight.sizes import Sizes, available_memory, disk_findings, memory_findings
from blendmake.preflight.tasks import GPU_FITS
from blendmake.tables.user_files import UserTable
from helpers import files_below, write_user_file
from plan import Plan
from plan_preflight import preflight_plan
from workflow.conftest import write_tables

REPO = Path(__file__).resolve().parents[2]
DATA: dict[str, Any] = {
    "train": "tables/train.parquet",
    "test": "tables/test.parquet",
    "id": "id",
    "targets": "tables/targets.parquet",
    "sample_submission": "tables/sample.parquet",
}
CONFIG: dict[str, Any] = {
    "problem": "small",
    "data": DATA,
    "folds": {"n": 3},
    "submissions": {"rename": {"pattern": "^t", "replace": "p"}},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: a problem's tables, and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SERVICE, raising=False)
    write_tables(tmp_path / "tables", rows=600, test_rows=80)
    return tmp_path


def planned(**changes: Any) -> dict[str, Any]:
    return preflight_plan(Plan({**CONFIG, **changes}, str(REPO), asked=["preflight"]))


def found_in(plan: dict[str, Any], gpus: int = 0) -> list[Finding]:
    return list(preflight(plan, cores=2, gpus=gpus))


def failures(findings: list[Finding]) -> dict[str, str]:
    """What failed, by what was checked."""
    return {finding.check: finding.found for finding in findings if finding.level == FAIL}


def input_failures(plan: dict[str, Any], folder: Path, memory: int | None = None) -> dict[str, str]:
    return failures(list(Inputs(plan, folder).findings(memory)))


def change(name: str, edit: Callable[[pa.Table], pa.Table]) -> None:
    path = Path("tables") / f"{name}.parquet"
    pq.write_table(edit(pq.read_table(path)), path)


def with_column(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    """An edit: a column whose first values are these; of text, all of them are text."""

    def edit(table: pa.Table) -> pa.Table:
        old = table[name].to_pylist()
        if isinstance(values[0], str):
            old = [str(value) for value in old]
        new = pa.array([*values, *old[len(values) :]])
        return table.set_column(table.column_names.index(name), name, new)

    return edit


# The whole


def test_a_clean_pass(folder: Path) -> None:
    sources = {"logistic": {"family": "linear", "targets": ["t1", "t2"]}}
    before = files_below(folder)
    findings = found_in(planned(sources=sources))
    assert failures(findings) == {}
    assert [f.check for f in findings if f.check.startswith("fit")] == ["fit logistic"]
    fit = findings[-1]
    assert fit.level == PASS
    assert "1 target, 200 rows × 9 columns" in fit.found
    # Nothing of the problem is built, and nothing is left behind.
    assert files_below(folder) == sorted([*before, "results/small/preflight.json"])
    raise_if_failed(findings)
    text = "\n".join(map(finding_text, findings))
    assert "3, stratified" in text
    assert totals_text(findings).endswith("0 failed")


def test_failures_end_it_and_are_named() -> None:
    findings = [
        Finding(PASS, "a", "x"),
        Finding(WARN, "b", "y", "mend it"),
        Finding(FAIL, "c", "z"),
    ]
    assert totals_text(findings) == "1 passed, 1 to look at, 1 failed"
    assert "mend: mend it" in finding_text(findings[1])
    with pytest.raises(BlendmakeError, match=r"has failed: c\."):
        raise_if_failed(findings)


def test_data_that_is_not_written_yet_is_tried_elsewhere(folder: Path) -> None:
    findings = found_in(planned(data={"adapter": "yeast"}, submissions={}))
    assert failures(findings) == {}
    assert any(f.check == "columns" and "103 features" in f.found for f in findings)
    assert not (folder / "results").exists()


# What the user gives


@pytest.mark.parametrize("key", ["sample_submission", "targets"])
def test_a_missing_file(key: str) -> None:
    plan = planned(data={**DATA, key: "tables/none.parquet"})
    findings = found_in(plan)
    what = {"sample_submission": "file sample", "targets": "file targets"}[key]
    assert "tables/none.parquet does not exist" in failures(findings)[what]
    # The other checks go on, and what stands on the file says so.
    assert any(finding.check == "columns" and finding.level == PASS for finding in findings)


def test_tables_that_are_gone(folder: Path) -> None:
    plan = planned(sources={"logistic": {"family": "linear"}})
    Path("tables/train.parquet").unlink()
    findings = found_in(plan)
    assert "train.parquet does not exist" in failures(findings)["file train.main"]
    skipped = {finding.check for finding in findings if finding.level == WARN}
    assert {"room", "fit logistic"} <= skipped


@pytest.mark.parametrize(
    ("file", "edit", "check", "words"),
    [
        (
            "test",
            lambda t: t.drop_columns(["x3"]),
            "columns",
            "tables/test.parquet, 'x3', absent from test",
        ),
        ("test", with_column("x3", ["a"]), "columns", "tables/test.parquet, 'x3' is string"),
        (
            "targets",
            with_column("t0", [float("inf")]),
            "targets",
            "tables/targets.parquet, 't0' holds inf",
        ),
        ("targets", with_column("t3", [0] * 600), "targets", "'t3' has no positives"),
        (
            "train",
            lambda t: pa.concat_tables([t, t.slice(0, 1)]),
            "ids",
            "train.parquet, duplicate",
        ),
        (
            "test",
            with_column("id", ["r00003"]),
            "ids",
            "test.parquet, (1 in all) are in train and in test",
        ),
        ("targets", lambda t: t.slice(1), "targets", "targets.parquet, lacks ids 'r00000'"),
        ("sample", lambda t: t.slice(1), "sample submission", "sample.parquet, lacks ids"),
        ("sample", lambda t: t.drop_columns(["p1"]), "sample submission", "no column for 'p1'"),
        (
            "targets",
            with_column("t3", [1, 1] + [0] * 598),
            "folds",
            "'t3' has 2 positives, 3 folds",
        ),
    ],
)
def test_wrong_tables(
    file: str, edit: Callable[[pa.Table], pa.Table], check: str, words: str
) -> None:
    change(file, edit)
    found = failures(found_in(planned()))
    assert list(found) == [check]
    for word in words.split(", "):
        assert word in found[check]
    assert "preflight-" not in found[check], "a path of the sample's own is shown"


def test_what_targets_are_is_told_and_tried() -> None:
    change("targets", with_column("t0", [2]))
    findings = found_in(planned(task={"t1": "binary"}))
    assert failures(findings) == {}
    told = [finding.found for finding in findings if finding.check == "targets"]
    assert "target 't0': 3 whole numbers, taken for classes" in told[0]
    assert any("holds '2' (1 rows) beside 0 and 1" in text for text in told)
    assert any("of class '2' there is one row" in text for text in told)
    assert "'t0' of 3 classes; fewest rows: '2' (1)" in told[-1]
    assert next(f.found for f in findings if f.check == "folds").startswith(
        "target 't0': class '2 (1)'"
    )
    metrics = [finding.found for finding in findings if finding.check == "metrics"]
    assert metrics[0].startswith("classification by log_loss; shown beside it: accuracy")
    assert metrics[1].startswith("binary classification by auc; shown beside it: ")
    found = failures(found_in(planned(task="binary")))
    assert "'t0' holds 2.0" in found["targets"]


def test_a_metric_of_ones_own_is_tried(folder: Path) -> None:
    mine = folder / "mine.py"
    mine.write_text("def score(labels, predictions):\n    return 'high'\n")
    found = failures(found_in(planned(metric="mine.py")))
    assert list(found) == ["metrics"] and "mine.py: score failed: ValueError" in found["metrics"]
    mine.write_text("tasks = ['regression']\ndef score(labels, predictions):\n    return 1.0\n")
    found = failures(found_in(planned(metric={"t1": "mine.py"})))
    assert "target 't1': Metric 'mine' is not of binary classification" in found["metrics"]
    mine.write_text("def score(labels, predictions):\n    return float((labels == 1).mean())\n")
    assert failures(found_in(planned(metric="mine.py", also=["auc"]))) == {}


def test_ids_of_test_may_begin_again_where_the_config_says_so() -> None:
    again = [f"r{i:05d}" for i in range(80)]
    for name in ("test", "sample"):
        change(name, with_column("id", again))
    assert "(80 in all) are in train and in test" in failures(found_in(planned()))["ids"]
    sources = {"logistic": {"family": "linear"}}
    plan = planned(data={**DATA, "ids": {"distinct": "per_table"}}, sources=sources)
    assert failures(found_in(plan)) == {}


def test_ids_called_like_columns_of_ours_and_folds_of_others() -> None:
    files = {}
    for name in ("train", "test", "targets", "sample"):
        change(
            name, lambda t: t.rename_columns(["fold" if n == "id" else n for n in t.column_names])
        )
    for part, name in (("oof", "train"), ("test", "test")):
        ids = pq.read_table(f"tables/{name}.parquet")["fold"]
        files[part] = f"tables/their_{part}.parquet"
        pq.write_table(pa.table({"fold": ids, "t0": [0.5] * len(ids)}), files[part])
    data = {**DATA, "id": "fold"}
    findings = found_in(planned(data=data, external={"theirs": files}))
    assert failures(findings) == {}
    assert any(finding.check == "external theirs" for finding in findings)


def with_new(name: str, values: list[str]) -> Callable[[pa.Table], pa.Table]:
    """An edit: one column more, of the first values."""
    return lambda table: table.append_column(name, pa.array(values[: table.num_rows]))


def test_what_columns_are_is_told_from_all_rows() -> None:
    names = [f"n{i:03}" for i in range(600)]
    for part, levels in (("train", ["a", "b", "c"] * 200), ("test", ["u"] * 80)):
        change(part, with_new("name", names))
        change(part, with_new("level", levels))
    warned = [f.found for f in found_in(planned()) if f.check == "columns" and f.level == WARN]
    assert any("as many levels as rows: name (600 of 600)" in text for text in warned)
    assert any("level (1 of 1 levels of test are not in train" in text for text in warned)


def test_a_column_that_tells_a_target_is_told() -> None:
    labels = pq.read_table("tables/targets.parquet")["t1"].to_numpy()
    for part, values in (("train", labels + np.arange(600) / 1e4), ("test", np.arange(80.0))):
        change(part, lambda table, values=values: table.append_column("answer", pa.array(values)))
    warned = [f.found for f in found_in(planned()) if f.check == "columns" and f.level == WARN]
    told = "one column tells the target: 'answer' alone has an AUC of 1.0000 for 't1'. If"
    assert [text for text in warned if text.startswith(told)]


def test_a_text_among_numbers_is_found_though_its_row_is_not_tried() -> None:
    for part in ("train", "test"):
        change(part, with_new("rare", [str(i / 7) for i in range(599)] + ["-"]))
    found = failures(found_in(planned()))
    assert "tables/train.parquet, row 600: column 'rare' holds '-'" in found["columns"]
    assert failures(found_in(planned(data={**DATA, "missing": ["-"]}))) == {}


def test_a_target_among_the_features() -> None:
    labels = pq.read_table("tables/targets.parquet")
    change("train", lambda t: t.append_column("t2", labels["t2"]))
    change("test", lambda t: t.append_column("t2", pa.array([0] * t.num_rows)))
    found = failures(found_in(planned()))
    assert "tables/targets.parquet: target 't2' is also a feature" in found["columns"]


def test_groups_that_leave_a_fold_nothing_to_learn(folder: Path) -> None:
    positive = pq.read_table("tables/targets.parquet")["t3"].to_numpy() == 1
    groups = np.where(positive, 0, 1 + np.arange(600) % 50)
    ids = pq.read_table("tables/train.parquet")["id"]
    pq.write_table(pa.table({"id": ids, "g": groups}), "tables/groups.parquet")
    plan = planned(data={**DATA, "groups": {"file": "tables/groups.parquet", "column": "g"}})
    assert "'t3' are in one group" in input_failures(plan, folder)["folds"]


def test_given_folds_are_checked(folder: Path) -> None:
    ids = pq.read_table("tables/train.parquet")["id"]
    pq.write_table(pa.table({"id": ids, "k": np.arange(600) % 4}), "tables/folds.parquet")
    folds = {"n": 3, "scheme": "column", "column": "k", "file": "tables/folds.parquet"}
    assert "holds 4 folds" in input_failures(planned(folds=folds), folder)["folds"]


def test_test_labels_of_other_targets(folder: Path) -> None:
    ids = pq.read_table("tables/test.parquet")["id"]
    names = ("t0", "t1", "t2", "odd")
    pq.write_table(pa.table({"id": ids, **{n: [0] * 80 for n in names}}), "tables/truth.parquet")
    found = input_failures(planned(data={**DATA, "test_targets": "tables/truth.parquet"}), folder)
    assert "'odd', 't3'" in found["test targets"]


def test_text_that_memory_does_not_hold_is_not_read(folder: Path) -> None:
    write_user_file(folder / "tables" / "train.csv", pq.read_table("tables/train.parquet"))
    plan = planned(data={**DATA, "train": "tables/train.csv"})
    assert "Turn it into parquet" in input_failures(plan, folder, memory=5000)["file train.main"]
    assert input_failures(plan, folder, memory=2**30) == {}


def write_predictions_of_others(stem: str, **columns: Any) -> dict[str, str]:
    files = {}
    for part, table in (("oof", "train"), ("test", "test")):
        ids = pq.read_table(f"tables/{table}.parquet")["id"]
        values = {"t0": np.linspace(0, 1, len(ids)), **columns}
        files[part] = f"tables/{stem}_{part}.parquet"
        pq.write_table(pa.table({"id": ids, **values}), files[part])
    return files


def test_manifests_whose_paths_do_not_exist(folder: Path) -> None:
    good = write_predictions_of_others("good")
    entries = [
        {"label": "good", "oof_path": good["oof"], "test_path": good["test"]},
        {"label": "gone", "oof_path": "theirs/oof.parquet", "test_path": "theirs/test.parquet"},
    ]
    Path("others.json").write_text(json.dumps(entries))
    findings = list(Inputs(planned(manifests="others.json"), folder).findings(None))
    failed = [finding.found for finding in findings if finding.level == FAIL]
    assert len(failed) == 2, "each path is named"
    for path, text in zip(("theirs/oof.parquet", "theirs/test.parquet"), failed, strict=True):
        assert f"{path} does not exist" in text
        assert "others.json" in text
    assert Finding(PASS, "external good", f"{good['oof']}, {good['test']}") in findings


def test_a_manifest_that_is_gone() -> None:
    plan = planned()
    findings = found_in({**plan, "manifests": ["theirs.json"]})
    assert failures(findings) == {"manifests": "theirs.json does not exist"}


def test_predictions_of_others_that_are_none(folder: Path) -> None:
    files = write_predictions_of_others("odd")
    Path(files["test"]).unlink()
    shutil.copy(files["oof"], files["test"])
    found = input_failures(planned(external={"odd": files}), folder)
    assert "odd_test.parquet" in found["external odd"]
    assert "unknown ids 'r00000'" in found["external odd"]


# Changes since the last time


def recorded(folder: Path) -> list[Finding]:
    files = {"train": "tables/train.parquet", "list": "keep.txt"}
    tables = {"tables/train.parquet": UserTable("tables/train.parquet", ["id"])}
    return list(record_findings(folder / "results" / "record.json", files, tables, ["id"]))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.drop_columns(["x3"]), ["columns gone: 'x3'"]),
        (lambda t: t.append_column("more", t["x1"]), ["columns new: 'more'"]),
        (with_column("x3", ["a"]), ["types: 'x3 float → string'"]),
        (lambda t: t.slice(10), ["rows: 600 → 590", "other ids"]),
        (lambda t: t.take(pa.array(np.arange(600)[::-1])), ["other ids, or their order"]),
        (with_column("x3", [0.5, 0.25]), ["other content"]),
        (
            lambda t: t.select([*t.column_names[:1], *t.column_names[:0:-1]]),
            ["order of the columns"],
        ),
    ],
)
def test_changed_inputs_are_told(
    folder: Path, edit: Callable[[pa.Table], pa.Table], words: list[str]
) -> None:
    Path("keep.txt").write_text("x0\n")
    assert [finding.level for finding in recorded(folder)] == [PASS]
    assert [finding.level for finding in recorded(folder)] == [PASS]
    change("train", edit)
    (finding,) = recorded(folder)
    assert finding.level == WARN
    for word in (*words, "train (tables/train.parquet)"):
        assert word in finding.found
    # What was told is recorded.
    assert [finding.level for finding in recorded(folder)] == [PASS]
    Path("keep.txt").write_text("x1\n")
    (finding,) = recorded(folder)
    assert "list (keep.txt)" in finding.found


def test_inputs_that_come_and_go(folder: Path) -> None:
    Path("keep.txt").write_text("x0\n")
    recorded(folder)
    text = json.loads(Path("results/record.json").read_text())
    text["inputs"]["old"] = {"path": "old.parquet", "content": "00"}
    del text["inputs"]["list"]
    Path("results/record.json").write_text(json.dumps(text))
    found = [finding.found for finding in recorded(folder)]
    assert any("old (old.parquet) is no longer an input" in line for line in found)
    assert any("list (keep.txt)" in line and "it is new" in line for line in found)


def test_a_changed_input_in_the_whole() -> None:
    plan = planned()
    found_in(plan)
    change("train", with_column("x3", [0.5]))
    warned = [finding.found for finding in found_in(plan) if finding.check == "inputs"]
    assert len(warned) == 1
    assert "train.main" in warned[0] and "other content" in warned[0]


# The miniature


def cut(plan: dict[str, Any], folder: Path) -> Miniature:
    inputs = Inputs(plan, folder)
    assert failures(list(inputs.findings(None))) == {}
    small = Miniature(folder / "small", 1)
    small.cut(inputs, plan["slices"]["tables"])
    return small


def test_the_miniature_holds_the_users_rows(folder: Path) -> None:
    # A second file in another order, in row groups, with a dictionary whose levels differ by batch.
    draw = np.random.default_rng(0)
    for part, rows in (("train", 600), ("test", 80)):
        ids = pq.read_table(f"tables/{part}.parquet")["id"]
        order = pa.array(draw.permutation(rows))
        texts = pa.array([f"level {i // 100}" for i in range(rows)]).dictionary_encode()
        more = pa.table({"id": ids, "e": np.arange(rows, dtype=float), "text": texts}).take(order)
        pq.write_table(more, f"tables/{part}_more.parquet", row_group_size=150)
    data = {
        **DATA,
        "train": {"main": DATA["train"], "more": "tables/train_more.parquet"},
        "test": {"main": DATA["test"], "more": "tables/test_more.parquet"},
    }
    small = cut(planned(data=data), folder)
    table = TableFile(small.tables["train"])
    rows = np.array([int(name[1:]) for name in table.table(["id"])["id"].to_pylist()])
    assert len(rows) == TRAIN_ROWS
    assert (np.diff(rows) > 0).all()
    assert (table.values("e") == rows).all()
    whole = pq.read_table("tables/train.parquet")["x1"].to_numpy()
    assert np.array_equal(table.values("x1"), whole[rows], equal_nan=True)
    ids, names, labels = read_labels(folder / "small" / "targets.parquet")
    truth = pq.read_table("tables/targets.parquet")
    assert ids["id"].to_pylist() == [f"r{row:05d}" for row in rows]
    for j, name in enumerate(names):
        assert (labels[:, j] == truth[name].to_numpy()[rows]).all()


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "arrow", "parquet"])
def test_the_miniature_without_ids(folder: Path, suffix: str) -> None:
    data: dict[str, str] = {}
    for key, name in (("train", "train"), ("test", "test"), ("targets", "targets")):
        table = pq.read_table(f"tables/{name}.parquet").drop_columns(["id"])
        data[key] = write_user_file(folder / "tables" / f"plain_{name}.{suffix}", table)
    small = cut(planned(data=data, submissions={}), folder)
    assert small.columns == 9
    assert small.labelled


def test_rare_labels_are_among_the_chosen_rows() -> None:
    labels = np.zeros((5000, 6), np.float32)
    labels[::2, 0] = 1
    labels[[4000, 4900], 1] = 1
    labels[:, 2] = 1
    labels[4999, 2] = 0
    labels[:, 3] = np.nan
    rows = choose_rows(labels, 100)
    assert len(rows) == 100
    assert (np.diff(rows) > 0).all()
    assert {4000, 4900, 4999} <= set(rows.tolist())
    assert 20 < labels[rows, 0].sum() < 80


def test_sets_are_made_as_far_as_a_few_rows_allow(folder: Path) -> None:
    features = {
        "rich": {
            "row_stats": "main",
            "svd": {"files": ["main"], "components": 6},
            "target_encoding": {"columns": ["kind"], "targets": "each"},
        },
        "wrong": {"svd": {"files": ["main"], "components": 9}},
    }
    sources = {name: {"family": "linear", "features": name} for name in features}
    plan = planned(features=features, sources=sources)
    small = cut(plan, folder)
    sets, with_labels = plan["slices"]["features"], plan["slices"]["fold_features"]
    small.make("rich", sets["rich"], with_labels["rich"])
    assert small.made["rich"] == 8 + 6
    assert small.fold_made["rich"] == 4
    assert small.width["rich"] == 9 + 8 + 6 + 4
    with pytest.raises(BlendmakeError, match="9 are asked for"):
        small.make("wrong", sets["wrong"], {})


# The smallest fit


def fit_failure(folder: Path, **source: Any) -> str:
    plan = planned(sources={"one": source})
    small = cut(plan, folder)
    small.make("all", plan["slices"]["features"]["all"], {})
    found = fit_finding("one", plan["sources"]["one"], small, plan["seed"])
    return f"{found.level}: {found.found}"


def test_an_unknown_param_is_found_by_the_smallest_fit(folder: Path) -> None:
    overrides = {"targets": {"t2": {"params": {"max_dept": 3}}}}
    text = fit_failure(folder, family="xgboost", rounds=500, overrides=overrides)
    assert text.startswith(FAIL)
    assert "sources.one" in text and "max_dept" in text


def test_a_target_that_is_none_is_found(folder: Path) -> None:
    text = fit_failure(folder, family="linear", targets=["t0", "t9"])
    assert text.startswith(FAIL) and "'t9' is no target" in text


def test_a_model_of_ones_own_that_dies(folder: Path) -> None:
    Path("mine.py").write_text("import os\ndef fit_fold(fold):\n    os.kill(os.getpid(), 9)\n")
    text = fit_failure(folder, family="custom", file="mine.py", python=sys.executable)
    assert text.startswith(FAIL) and "SIGKILL" in text


# Processes


def test_a_process_is_stopped_with_all_that_it_started(folder: Path) -> None:
    started = time.monotonic()
    ended = run_limited(["sh", "-c", "echo begun; sleep 60 & echo $! > pid; wait"], 0.7)
    assert ended.code is None and ended.last_words == "begun"
    assert time.monotonic() - started < 20
    stat = Path(f"/proc/{Path('pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    # Killed; what is left of it may wait for the system to note its end.
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_task_that_dies_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("dying.py").write_text(
        "import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    reply = ask("packages_of", {"modules": {"dying": "dying"}}, 60)
    assert reply.error is not None
    assert "SIGKILL" in reply.error and "last words" in reply.error


# The machine


def test_packages(folder: Path) -> None:
    pins = folder / "pins.txt"
    pins.write_text("# words\nnumpy==0.1.2\nno-such-package==1.0 # why\n")
    more = folder / "more.txt"
    more.write_text("not-there==2.0\nscikit-learn==0.1\n")
    families = {"linear": "blendmake.families.linear", "odd": "blendmake.families.not_there"}
    findings = list(package_findings(families, [str(pins)], [str(more)]))
    text = "\n".join(map(finding_text, findings))
    assert f"numpy {np.__version__} is installed, {pins} pins 0.1.2" in text
    assert "no-such-package is not installed" in text
    assert "scikit-learn" in text, "more pins count where a family needs one of them"
    assert {f.found.split(" ")[1] for f in findings if f.level == FAIL} == {"'odd'"}
    without = package_findings({}, [], [str(more)])
    assert {finding.level for finding in without} <= {PASS, WARN}


def test_interpreters(folder: Path) -> None:
    broken = folder / "python"
    broken.write_text("#!/bin/sh\necho no library >&2\nexit 3\n")
    broken.chmod(0o755)
    custom = {"family": "custom", "module": "blendmake.families.custom"}
    sources = {
        "good": {**custom, "python": sys.executable},
        "none": {**custom, "python": "envs/none/bin/python"},
        "broken": {**custom, "python": str(broken)},
        "other": {"family": "linear", "module": "blendmake.families.linear", "python": None},
    }
    found = {f.check: f for f in interpreter_findings(sources)}
    levels = {name.split(" ")[1]: finding.level for name, finding in found.items()}
    assert levels == {"good": PASS, "none": FAIL, "broken": FAIL}
    assert "envs/none/bin/python does not exist" in found["interpreter none"].found
    assert "no library" in found["interpreter broken"].found


def test_no_gpu_where_the_profile_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", "")
    found = failures(list(gpu_findings(2, [])))
    assert "asks for 2 (resources: gpu=2), and there is none" in found["gpu"]


def test_more_gpus_wanted_than_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\nfor i in 1 2 3 4; do echo 'Pretend, 16000, 570.86'; done\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    levels = {finding.found: finding.level for finding in gpu_findings(5, [])}
    (text,) = (text for text in levels if "asks for 5, there are 4" in text)
    assert levels[text] == WARN and "gpu_mem_mb" in text


def test_every_library_that_can_use_a_gpu_is_tried() -> None:
    users = {family for _, families in GPU_LIBRARIES.values() for family in families}
    assert users == ON_GPU
    assert GPU_LIBRARIES.keys() == GPU_FITS.keys()


def test_libraries_that_cannot_fit_on_the_gpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A GPU by name, hidden from the libraries: XGBoost alone would go on without one, silently.
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 570.86'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    findings = list(gpu_findings(1, ["xgboost"]))
    assert findings[0] == Finding(PASS, "gpu", "NVIDIA H200, 140.4 GB, driver 570.86")
    assert list(failures(findings)) == ["gpu xgboost"]
    assert "instead" in failures(findings)["gpu xgboost"]
    others = {f.check: f.level for f in findings[1:] if f.check != "gpu xgboost"}
    wanted = {f"gpu {name}" for name in ("catboost", "torch") if importlib.util.find_spec(name)}
    assert {name for name, level in others.items() if level == WARN} >= wanted


def test_folders_that_cannot_be_written(folder: Path) -> None:
    Path("taken").write_text("a file")
    found = {
        f.check: f
        for f in folder_findings(
            {"good": "results/small", "file": "taken/results", "system": "/proc/results"}
        )
    }
    assert found["writable good"].level == PASS
    assert found["writable file"].level == FAIL
    assert str(folder / "taken") in found["writable file"].found
    assert found["writable system"].level == FAIL
    assert files_below(folder) == sorted(["taken", *(f for f in files_below(folder) if "/" in f)])


def test_the_checkout(folder: Path) -> None:
    git = partial(subprocess.run, check=True, capture_output=True, cwd=folder)
    (outside,) = git_findings(folder)
    assert outside.level == PASS and "no repository" in outside.found
    git(["git", "init", "-q"])
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    git(["git", "add", "."])
    git(["git", *who, "commit", "-q", "-m", "all"])
    (clean,) = git_findings(folder)
    assert clean.level == PASS
    Path("tables/new.txt").write_text("x")
    change("train", with_column("x3", [0.5]))
    (changed,) = git_findings(folder)
    assert changed.level == WARN
    assert "2 uncommitted" in changed.found and "tables/train.parquet" in changed.found


# Services


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def service(url: str) -> Finding:
    (found,) = service_findings({SERVICE: url})
    for secret in ("hunter2", "alice", url):
        assert secret not in finding_text(found)
    return found


def test_services_that_are_not_there(server: int) -> None:
    (none,) = service_findings({})
    assert none.level == PASS
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        closed = other.getsockname()[1]
    found = service(f"postgresql+psycopg://alice:hunter2@127.0.0.1:{closed}/optuna")
    assert found.level == FAIL
    assert f"127.0.0.1:{closed} cannot be reached" in found.found


def test_a_service_that_answers_is_tried_as_far_as_can_be(server: int) -> None:
    found = service(f"postgresql://alice:hunter2@127.0.0.1:{server}/optuna?connect_timeout=2")
    assert f"127.0.0.1:{server} answers" in found.found
    assert found.level == (FAIL if importlib.util.find_spec("psycopg") else WARN)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:hun/hunter2@db.example/optuna",
        "postgresql://alice:12/hunter2@db.example/optuna",
        "postgresql://alice:hunter2#@db.example/optuna",
        "postgresql://alice:hunter2@db.example:port/optuna",
        "alice hunter2",
    ],
)
def test_a_url_that_hides_where_the_password_ends(url: str) -> None:
    found = service(url)
    assert found.level == FAIL
    assert "no URL that can be read" in found.found


def test_a_file_in_place_of_a_server() -> None:
    assert service("sqlite:////tmp/alice/hunter2.db").level == PASS


# Room


def sizes(rows: int, **changes: Any) -> Sizes:
    one: dict[str, Any] = {
        "rows": rows,
        "test_rows": rows // 2,
        "columns": 100,
        "targets": 10,
        "folds": 5,
        "features": {"a": "all", "b": "rich"},
        "bags": {"a": 1, "b": 3},
        "made": {"all": 0, "rich": 20},
        "fold_made": {"rich": 4},
        "width": {"all": 100, "rich": 124},
    }
    return Sizes(**{**one, **changes})


def test_too_little_disk(folder: Path) -> None:
    huge = sizes(10**13)
    needs = {"results/small": huge.results(), "scratch/small": huge.scratch()}
    (finding,) = disk_findings(needs)
    assert finding.level == FAIL
    assert "results/small and scratch/small" in finding.found and finding.mend
    small = sizes(1000)
    (finding,) = disk_findings({"results": small.results(), "scratch": small.scratch()})
    assert finding.level == PASS


def test_disk_that_is_nearly_full_and_what_stands_already(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    (finding,) = disk_findings({"results": int(0.9 * free)})
    assert finding.level == WARN
    held = folder / "results" / "small" / "x.bin"
    held.parent.mkdir(parents=True)
    with open(held, "wb") as file:
        file.truncate(int(0.5 * free))  # its length counts, a hole or not
    (finding,) = disk_findings({"results": int(0.9 * free)})
    assert finding.level == PASS


def test_what_the_estimate_counts() -> None:
    bare = sizes(1000, features={}, bags={}, made={}, fold_made={}, width={})
    tables = 1500 * (4 * 100 + 24) + 1000 * (4 * 10 + 24)
    assert bare.results() == tables
    assert bare.scratch() == 0
    # One source: by fold 1000 rows and five times 500 test rows, then 1500 rows of 10 targets.
    one = sizes(1000, features={"a": "all"}, bags={"a": 1}, made={}, fold_made={})
    assert one.results() == tables + (1000 + 5 * 500 + 1500) * (4 * 10 + 24)
    assert one.scratch() == 4 * 10 * (1000 + 5 * 500)
    more = sizes(
        1000, features={"a": "all"}, bags={"a": 1}, made={"rich": 20}, fold_made={"rich": 4}
    )
    assert more.results() - one.results() == 1500 * (4 * 20 + 24) + 5 * 1500 * (4 * 4 + 24)


def test_memory() -> None:
    there = available_memory()
    assert there is not None and there > 2**26
    (fine,) = memory_findings(sizes(1000), 1, 2**40)
    assert fine.level == PASS
    (tight,) = memory_findings(sizes(10**6), 1, int(1.1 * sizes(10**6).fit()))
    assert tight.level == WARN
    (short,) = memory_findings(sizes(10**6), 3, int(1.1 * sizes(10**6).fit()))
    assert short.level == FAIL and "3 fits at once" in short.found
    (unknown,) = memory_findings(sizes(10), 1, None)
    assert unknown.level == WARN


# Files as people have them


def test_what_is_not_plain_about_files_is_told(folder: Path) -> None:
    """A raw CSV with a label of text, no id, and a folder of parquet files beside it."""
    rows = 60
    text = "".join(f"{i};{i % 7},5; {'>50K' if i % 3 == 0 else '<=50K'}\n" for i in range(rows))
    (folder / "raw.csv").write_text(";x;income\n" + text)
    for i in range(2):
        (folder / "more").mkdir(exist_ok=True)
        part = pa.table({"z": np.arange(rows / 2) % (i + 5)})
        pq.write_table(part, folder / "more" / f"part-{i}.parquet")
    data = {
        "train": {"raw": "raw.csv", "more": "more"},
        "targets": {"columns": ["income"], "positive": ">50K"},
    }
    sources = {"logistic": {"family": "linear"}}
    findings = found_in(planned(data=data, submissions={}, sources=sources))
    assert failures(findings) == {}
    told = [(f.level, f.found) for f in findings if f.check.startswith(("file ", "ids", "targets"))]
    for level, says in (
        (WARN, "raw.csv is read so: delimiter ';', spaces around fields left out, decimal comma"),
        (WARN, "raw.csv: 'Unnamed: 0' is the index of a pandas table, no feature"),
        (PASS, "data.id is not given, so that the row's number is its id (column 'row': 0 to 59"),
        (PASS, "target 'income': '>50K' (20 rows) is 1, '<=50K' (40 rows) is 0"),
    ):
        assert len([found for known, found in told if known == level and says in found]) == 1, told
    assert any(f.check == "columns" and f.found.startswith("2 features") for f in findings)
    # A file more in the folder is a change.
    assert "first run" in next(f.found for f in findings if f.check == "inputs")
    pq.write_table(part, folder / "more" / "part-2.parquet")
    again = list(Inputs(planned(data=data, submissions={}), folder).findings(None))
    assert "60 rows" not in str(failures(again)) and "more has 90 rows" in str(failures(again))
