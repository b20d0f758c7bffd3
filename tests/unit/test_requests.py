"""What jobs ask for: by table size, past fits and attempt; and how a source's work is best cut."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import snakemake.api  # noqa: F401 (its modules import each other, this one first)
from snakemake.settings.types import SharedFSUsage, StorageSettings

from blendmake.files import write_parquet
from blendmake.fits.table import FITS
from blendmake.preflight.units import unit_findings
from blendmake.window import STARTED
from helpers import enter_folder, write_user_file
from plan import Plan
from plan_requests import MINUTES, MOST_MINUTES, OFFERED, PROCESS, UNKNOWN_MINUTES

REPO = Path(__file__).resolve().parents[2]
SOURCES = {
    "xgb": {"family": "xgboost"},
    "lgb": {"family": "lightgbm"},
    "cat": {"family": "catboost"},
}
SEARCHES = {
    "both": {"source": ["lgb", "xgb"], "trials": 20, "workers": 4, "space": {"max_depth": [2, 3]}},
    "light": {"source": "lgb", "trials": 20, "time_limit": "2h", "space": {"num_leaves": [7, 15]}},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = range(40)
    columns = {"id": list(rows), "x": [float(i) for i in rows], "y": [i % 2 for i in rows]}
    write_user_file(tmp_path / "train.parquet", columns)
    return enter_folder(tmp_path, monkeypatch)


WORKFLOW = SimpleNamespace(  # of a machine that shares no sources: the config is not frozen
    storage_settings=StorageSettings(shared_fs_usage=SharedFSUsage.all() - {SharedFSUsage.SOURCES})
)


def plan(gpus: int | None = 0, **changes: Any) -> Plan:
    config = {
        "problem": "small",
        "data": {"train": "train.parquet", "id": "id", "targets": {"columns": ["y"]}},
        "folds": {"n": 4},
        "sources": SOURCES,
        "searches": SEARCHES,
        **changes,
    }
    return Plan(config, str(REPO), 2, (), gpus)


def of(source: str) -> Any:
    return SimpleNamespace(source=source, fold="0", chunk="1", chunks="4")


def grown_table(folder: Path, megabytes: int) -> None:
    path = folder / "results/small/tables/train.arrow"
    path.parent.mkdir(parents=True)
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)


def fitted(folder: Path, source: str, megabytes: float, seconds: float, name: str = "") -> None:
    """Leave fits.parquet of one fold, or of the whole source."""
    row = {"source": source, "target": "y", "fold": 0, "bag": 0, "seconds": seconds}
    table = pa.Table.from_pylist([{**row, "peak_rss_mb": megabytes}], schema=FITS)
    write_parquet(table, folder / "results/small/sources" / source / name / "fits.parquet")


def test_memory_goes_by_the_table(folder: Path) -> None:
    small = plan().fit_memory(of("xgb"), 1)
    assert PROCESS <= small < PROCESS + 10
    grown_table(folder, 1000)
    large = plan()
    assert 2000 < large.fit_memory(of("xgb"), 1) - small < 3000
    assert large.fit_memory(of("cat"), 1) > large.fit_memory(of("xgb"), 1)
    assert large.table_memory(None, 1) > 2000
    assert large.audit_memory(None, 1) > 2000


def labelled(folder: Path) -> None:
    write_parquet(
        pa.table({"id": [0, 1], "y": pa.array([0, 1], pa.int8())}),
        folder / "results/small/tables/targets.parquet",
        {"id_columns": ["id"]},
    )


def test_memory_and_time_go_by_past_fits_where_there_are_any(folder: Path) -> None:
    grown_table(folder, 1000)
    fitted(folder, "xgb", megabytes=5000, seconds=600, name="fold0")
    known = plan()
    assert known.fit_memory(of("xgb"), 1) == 6500
    assert known.fit_memory(of("lgb"), 1) == plan().fit_memory(of("lgb"), 1) < 4000
    labelled(folder)
    # Three folds are missing, ten minutes each.
    for part in ("oof", "test"):
        (folder / f"results/small/sources/xgb/fold0/{part}.parquet").touch()
    assert plan().fit_minutes(of("xgb"), 1) == MINUTES + 2 * 10
    assert plan().chunk_minutes(of("xgb"), 1) == MINUTES + 2 * 10 / 4


def test_fits_of_smaller_tables_or_of_another_process_do_not_starve_a_job(folder: Path) -> None:
    grown_table(folder, 4000)
    fitted(folder, "xgb", megabytes=700, seconds=1, name="fold0")
    assert plan().fit_memory(of("xgb"), 1) > 5000
    foreign = {"lama": {"family": "lightautoml", "params": {"timeout": 60}}}
    before = plan(sources={**SOURCES, **foreign}).fit_memory(of("lama"), 1)
    fitted(folder, "lama", megabytes=900, seconds=1, name="fold0")
    assert plan(sources={**SOURCES, **foreign}).fit_memory(of("lama"), 1) == before > 12_000


def test_files_that_grow_when_they_are_read(folder: Path) -> None:
    rows = 400_000
    zeros = {f"x{j}": np.zeros(rows, np.int8) for j in range(20)}
    columns = {"id": np.arange(rows), **zeros, "y": np.arange(rows) % 2}
    write_user_file(folder / "train.parquet", columns)
    assert (folder / "train.parquet").stat().st_size < 5e6
    one = plan()
    asked = one.fit_memory(of("xgb"), 1)
    assert asked > PROCESS + 2.5 * rows * 20 * 4 / 2**20
    grown_table(folder, 1000)
    assert one.fit_memory(of("xgb"), 1) > asked + 1500  # the table, once it stands


def test_a_request_never_fails(folder: Path) -> None:
    labelled(folder)
    (folder / "results/small/tables/targets.parquet").write_bytes(b"damaged")
    one = plan()
    assert one.fit_minutes(of("xgb"), 1) == MINUTES + 2 * UNKNOWN_MINUTES
    assert one.fit_memory(of("xgb"), 1) > 0
    assert one.audit_minutes(None, 1) > 0


def test_each_attempt_asks_for_more(folder: Path) -> None:
    one = plan()
    for ask in (one.fit_memory, one.fit_minutes, one.chunk_minutes):
        assert ask(of("xgb"), 1) < ask(of("xgb"), 2) < ask(of("xgb"), 3)
        assert ask(of("xgb"), 2) >= 1.4 * ask(of("xgb"), 1)
    for ask in (one.audit_memory, one.audit_minutes, one.table_memory, one.table_minutes):
        assert ask(None, 2) >= 1.4 * ask(None, 1)
    assert one.blend_memory(None, ["train.parquet"], 2) >= 1.4 * one.blend_memory(None, [], 1)
    assert one.blend_minutes(None, [], 2) == 2 * MINUTES
    assert one.fit_minutes(of("xgb"), 30) == MOST_MINUTES  # what no partition gives, waits for ever


def test_no_attempt_asks_for_less_though_other_folds_have_taken_less_meanwhile(
    folder: Path,
) -> None:
    grown_table(folder, 1000)
    first = plan().fit_memory(of("xgb"), 1)
    fitted(folder, "xgb", 300, 1, "fold1")
    assert plan().fit_memory(of("xgb"), 1) < first
    assert plan().fit_memory(of("xgb"), 2) == pytest.approx(1.5 * first, abs=2)


def test_gpus_are_asked_for_where_they_are_offered_and_of_use(folder: Path) -> None:
    without, offered = plan(), plan(gpus=2)
    for source in SOURCES:
        assert without.fit_gpu(of(source)) == 0
    assert [offered.fit_gpu(of(name)) for name in SOURCES] == [1, 0, 1]
    shared = plan(gpus=2, sources={**SOURCES, "xgb": {"family": "xgboost", "targets_per_job": 1}})
    assert shared.chunk_files["xgb"]["0"] == []  # there is one target
    shared.chunk_files["xgb"]["0"] = ["0of2.json", "1of2.json"]
    whole = SimpleNamespace(source="xgb", fold="0")
    assert shared.fit_gpu(of("xgb")) == 1
    assert shared.fit_gpu(whole) == 0
    for name in shared.chunk_files["xgb"]["0"]:
        (folder / name).touch()
    assert shared.fit_gpu(whole) == 1  # their fits have gone with scratch
    (folder / "scratch/small/sources/xgb/fold0").mkdir(parents=True)
    assert shared.fit_gpu(whole) == 0
    searched = [SimpleNamespace(search=name) for name in SEARCHES]
    assert [without.trials_gpu(one) for one in searched] == [0, 0]
    assert [offered.trials_gpu(one) for one in searched] == [1, 0]


def test_a_worker_asks_for_its_time_limit_or_its_share(folder: Path) -> None:
    labelled(folder)
    for source in SOURCES:
        fitted(folder, source, megabytes=500, seconds=120, name="fold0")
    one = plan()
    assert one.trials_minutes(SimpleNamespace(search="light"), 1) == MINUTES + 2 * 120
    more = plan(searches={**SEARCHES, "both": {**SEARCHES["both"], "workers": 1}})
    both = SimpleNamespace(search="both")
    assert more.trials_minutes(both, 1) > 2 * one.trials_minutes(both, 1)
    assert one.trials_memory(both, 1) == one.fit_memory(of("xgb"), 1)


def advice(rows: int, chosen: int | None, family: str = "xgboost") -> list[str]:
    one = {"family": family, "source": {"rounds": 300}, "targets_per_job": chosen}
    return [f"{x.found}: {x.mend}" for x in unit_findings({"s": one}, rows, 2440, 41, 5)]


def test_advice_on_the_size_of_jobs() -> None:
    assert advice(20_000, None) == []
    (long,) = advice(750_000, None)
    assert "in one job: on a cluster: sources.s.targets_per_job: " in long
    number = int(long.split("targets_per_job: ")[1].split(",")[0])
    assert 1 <= number < 41
    assert advice(750_000, number) == []
    assert advice(750_000, None, "mlp") == []  # one model for all targets
    (short,) = advice(2_000, 1)
    least = int(short.split("targets_per_job: ")[1].split()[0])
    assert advice(2_000, least) == []


def test_a_job_on_a_cluster_knows_what_the_profile_offers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFERED, "")  # restored in the end
    plan(gpus=2).hand_on(WORKFLOW)
    assert plan(gpus=None).fit_gpu(of("xgb")) == 1
    plan(gpus=0).hand_on(WORKFLOW)
    assert plan(gpus=None).fit_gpu(of("xgb")) == 0
    monkeypatch.delenv(OFFERED)
    assert plan(gpus=None).fit_gpu(of("xgb")) == 0


def test_jobs_know_when_their_run_began(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFERED, "")
    monkeypatch.setenv(STARTED, "of a run before")
    run = plan()
    run.hand_on(WORKFLOW)
    plan()  # in a job of the run
    assert os.environ[STARTED] == repr(run.started)
    again = plan()
    again.hand_on(WORKFLOW)
    assert os.environ[STARTED] == repr(again.started) != repr(run.started)
