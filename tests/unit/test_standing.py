"""What is to be made anew though it is fresh, and that nothing is removed for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake.api  # noqa: F401 (first: its modules import each other)
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job

from blendmake.errors import BlendmakeError
from snakemake_records import ContentRecords
from standing import Forcing, keep_standing

FORCED = Path("scratch/p/forced.json")
LGB = ["results/p/sources/lgb/fold0/oof.parquet", "results/p/sources/lgb/oof.parquet"]
CHUNK = "results/p/sources/lgb/fold0/chunks/0of2.json"
BLEND = ["results/p/blends/champion/oof.parquet"]


def plan(*force: str) -> Any:
    files = {"lgb": LGB, "champion": BLEND}
    return SimpleNamespace(
        scratch="scratch/p",
        run=SimpleNamespace(force=list(force) or None),
        artifacts=list(files),
        problem=SimpleNamespace(audits={"main": None}),
        searches=["tune"],
        chunk_files={"lgb": {"0": [CHUNK], "1": []}},
        item_files=files.__getitem__,
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for kind in ("kept", "sources"):
        for name in ("lgb", "xgb"):
            Path(f"scratch/p/{kind}/{name}/fold0").mkdir(parents=True)
    return tmp_path


def test_it_goes_on_where_a_killed_run_was() -> None:
    assert Forcing(plan(), []).files == set() and not FORCED.exists()
    first = Forcing(plan("lgb"), ["build"])
    assert first.files == {CHUNK, *LGB}
    assert not FORCED.exists() and Path("scratch/p/kept/lgb").exists()  # as in a dry run
    first.begin()
    assert not Path("scratch/p/kept/lgb").exists() and not Path("scratch/p/sources/lgb").exists()
    assert Path("scratch/p/kept/xgb").exists() and Path("scratch/p/sources/xgb").exists()
    first.done([LGB[0], "results/p/sources/xgb/oof.parquet"])
    Path("scratch/p/kept/lgb").mkdir()  # what is new may be taken over
    # The same command, another one that names more, and one that names nothing.
    for words in ((), ("lgb",)):
        assert Forcing(plan(*words), ["build"]).files == {CHUNK, LGB[1]}
    more = Forcing(plan("lgb", "champion"), ["build"])
    more.begin()
    assert Path("scratch/p/kept/lgb").exists()
    assert more.files == {CHUNK, LGB[1], *BLEND}
    more.done([CHUNK, LGB[1]])
    assert json.loads(FORCED.read_text()) == {"champion": BLEND}
    more.done(BLEND)
    assert not FORCED.exists()
    # Whatever was forced before, it can be again.
    assert Forcing(plan("lgb"), ["build"]).files == {CHUNK, *LGB}


def test_what_the_config_names_no_longer_is_not_waited_for() -> None:
    FORCED.write_text(json.dumps({"lgb": ["results/p/sources/lgb/fold7/oof.parquet"]}))
    assert Forcing(plan("lgb"), ["build"]).files == {CHUNK, *LGB}


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("lbg", ["build"], "force=lbg: there is no 'lbg' here; did you mean 'lgb'?"),
        ("tune", ["build"], "force=tune: a search is not made anew"),
        ("lgb", ["campaign_night"], "force=lgb: .* snakemake build --config force=lgb"),
        ("lgb", [], "force=lgb: .* snakemake build --config force=lgb"),
    ],
)
def test_names_and_commands_that_are_refused(name: str, words: list[str], told: str) -> None:
    with pytest.raises(BlendmakeError, match=told):
        Forcing(plan(name), words)


def test_a_damaged_list_names_the_way_out() -> None:
    FORCED.write_text("{")
    with pytest.raises(BlendmakeError, match=r"rm scratch/p/forced\.json"):
        Forcing(plan(), [])


class File(str):
    """An output, as far as records ask about it."""

    is_storage = False

    async def exists(self) -> bool:
        return Path(self).exists()


class Records(ContentRecords):
    def _get_key(self, f: Any) -> str:
        return str(f)


def job_of(*files: str) -> Any:
    return SimpleNamespace(
        output=[File(file) for file in files], input=[], rule=SimpleNamespace(name="fit_fold")
    )


def test_records_report_what_is_to_be_made_anew_as_unfinished(folder: Path) -> None:
    forcing = Forcing(plan("lgb"), ["build"])
    records = Records(nolock=True, path=folder / ".snakemake", forcing=forcing)
    fold, other = job_of(LGB[0]), job_of("results/p/sources/xgb/oof.parquet")
    assert asyncio.run(records.incomplete(fold)) == [LGB[0]]
    assert asyncio.run(records.incomplete(other)) == []
    forcing.done([LGB[0]])
    assert asyncio.run(records.incomplete(fold)) == []
    records = Records(nolock=True, path=folder / ".snakemake")
    assert asyncio.run(records.incomplete(fold)) == []


def test_a_job_that_has_left_an_output_as_it_was_is_an_error(folder: Path) -> None:
    """It was not removed before, so that nobody else would notice."""
    path = Path("out.parquet")
    path.write_text("old")
    records = Records(nolock=True, path=folder / ".snakemake")
    settings = SimpleNamespace(execution_settings=SimpleNamespace(keep_metadata=False), touch=False)
    records.dag = SimpleNamespace(workflow=settings)
    one = job_of("out.parquet", "new.parquet")
    records.started(one)
    with pytest.raises(WorkflowError, match=r"fit_fold has ended and left out\.parquet as it was"):
        asyncio.run(records.finished(one))
    records.started(one)
    path.unlink()
    path.write_text("anew")
    asyncio.run(records.finished(one))


def test_a_failed_job_leaves_no_record_of_what_stood_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise what was made by other settings would pass for made by these."""

    async def by_snakemake(self: Any, error: bool = False) -> None:
        await records.finished(self)

    for name in ("remove_existing_output", "cleanup"):
        monkeypatch.setattr(Job, name, getattr(Job, name))
    monkeypatch.setattr(Job, "postprocess", by_snakemake)
    keep_standing(bucket=None)
    Path("out.parquet").write_text("old")
    records = Records(nolock=True, path=folder / ".snakemake")
    settings = SimpleNamespace(execution_settings=SimpleNamespace(keep_metadata=False), touch=False)
    records.dag = SimpleNamespace(workflow=settings)
    one = job_of("out.parquet")
    records.started(one)
    asyncio.run(Job.postprocess(one, error=True))
    assert asyncio.run(records.incomplete(one)) == ["out.parquet"]
    # The next attempt ends well.
    records.started(one)
    Path("out.parquet").write_text("made anew")
    asyncio.run(Job.postprocess(one))
    assert asyncio.run(records.incomplete(one)) == []


def test_outputs_stay_and_logs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "remove_existing_output", Job.remove_existing_output)
    monkeypatch.setattr(Job, "cleanup", Job.cleanup)
    monkeypatch.setattr(Job, "postprocess", Job.postprocess)
    removed = []

    class Log(File):
        async def remove(self, remove_non_empty_dir: bool) -> None:
            removed.append(str(self))

    job = SimpleNamespace(output=[Log("oof.parquet")], log=[Log("fold0.log")])
    before = Job.cleanup
    keep_standing(bucket=object())
    assert Job.cleanup is before  # copies of a bucket's come and go as Snakemake has it
    keep_standing(bucket=None)
    asyncio.run(Job.remove_existing_output(job))
    asyncio.run(Job.cleanup(job, []))
    assert removed == ["fold0.log"]
