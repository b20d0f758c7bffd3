"""One campaign in a bucket: checkouts that share nothing else, an endpoint that goes away, secrets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moto", reason="moto is not installed (envs/services.txt)")
pytest.importorskip("snakemake_storage_plugin_s3", reason="the S3 plugin is not installed")

from services.buckets import BUCKET, KEY, SECRET, Door, Store, gcs_server
from workflow.conftest import Run, Workspace, digests, make_workspace

SMALL: dict[str, Any] = {
    "groups": {},
    "sources": {
        "xgb": {"family": "xgboost", "rounds": 10, "params": {"max_depth": 3}},
        "logistic": {"family": "linear"},
    },
    "blends": {"champion": {"method": "greedy", "sources": "all"}},
    "comparisons": [],
    "campaigns": {"one": ["champion"]},
}
HALF = "results/small/sources/xgb/oof.parquet"


class Checkout(Workspace):
    """A checkout whose artifacts stand in a bucket."""

    profile = "s3"

    def command(self, *arguments: str) -> list[str]:
        profile = f"profiles/{self.profile}"
        return super().command("--profile", profile, *arguments)

    def build(self, *targets: str, check: bool = True) -> Run:
        """Build by a command whose targets stand before all options, of which some take many words."""
        command = [*super().command()[:3], *targets, *self.command()[3:]]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        run = Run(done.returncode, done.stdout + done.stderr)
        assert run.code == 0 or not check, run.text[-6000:]
        return run


def checkout(folder: Path, **changes: Any) -> Checkout:
    space = make_workspace(folder, **{**SMALL, **changes})
    return Checkout(space.folder, space.config)


def built(run: Run) -> set[str]:
    """Rules of jobs that a run has finished, but `all`."""
    return set(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", run.text, re.M)) - {"all"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same campaign on one machine, without a bucket."""
    space = make_workspace(tmp_path_factory.mktemp("local") / "work", **SMALL)
    space.snakemake()
    return space


def assert_same_bytes(store: Store, folder: Path, local: Workspace) -> None:
    """What stands in the bucket is what one machine alone makes."""
    there = Workspace(store.download(folder) / "team", local.config)
    assert len(digests(local)) > 20
    assert digests(there) == digests(local)


def test_two_checkouts_share_one_campaign(
    door: Door, store: Store, local: Workspace, tmp_path: Path
) -> None:
    first = checkout(tmp_path / "first")
    done = built(first.build(HALF))
    assert done >= {"read_tables", "make_folds", "fit_fold", "assemble_source"}
    assert not first.results.exists()
    before = store.dates()
    kept = [tmp_path / "of_first", tmp_path / "of_second"]
    shutil.move(first.folder, kept[0])

    # The user's files are there too, and newer than the tables made of them.
    second = checkout(tmp_path / "second")
    run = second.build()
    assert built(run) & {"read_tables", "read_targets", "make_folds", "make_features"} == set()
    assert len(re.findall(r"^Finished jobid: \d+ \(Rule: fit_fold\)", run.text, re.M)) == 3
    after = store.dates()
    assert {key for key in before if after[key] != before[key]} == set()
    assert_same_bytes(store, tmp_path / "bucket", local)
    shutil.move(second.folder, kept[1])

    # A third has none of the user's files: nothing is to be done, and what there is can be read.
    third = checkout(tmp_path / "third")
    shutil.rmtree(third.folder / "tables")
    assert third.dry_run().nothing
    assert "champion" in third.build("show_leaderboard").text
    assert '"built"' in _campaign(third)

    secrets = re.compile(f"{KEY}|{SECRET}".encode())
    folders = [*kept, third.folder, tmp_path / "bucket"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 200
    assert [path for path in files if secrets.search(path.read_bytes())] == []


def _campaign(space: Checkout) -> str:
    space.build("campaign_one")
    return space.path("campaigns", "one.json").read_text()


def test_other_settings_are_noticed_on_a_machine_that_built_nothing(
    door: Door, store: Store, tmp_path: Path
) -> None:
    first = checkout(tmp_path / "first")
    first.build()
    before = store.dates()

    second = checkout(tmp_path / "second")
    second.write_config(
        blends={"champion": {"method": "mean", "sources": "all"}},
    )
    jobs = second.dry_run().jobs()
    assert ("blend_sources", "champion") in jobs
    assert not [job for job in jobs if job[0] in ("fit_fold", "assemble_source", "read_tables")]

    # Fits that stand are not thrown away by a checkout that would make them otherwise.
    changed = {**SMALL["sources"]["xgb"], "rounds": 12}
    second.write_config(blends=SMALL["blends"], sources={**SMALL["sources"], "xgb": changed})
    refused = second.build(check=False)
    assert refused.code == 1
    assert "would be replaced:" in refused.text
    assert f"s3://{BUCKET}/team/results/small/sources/xgb/fold1/oof.parquet" in refused.text
    assert "logistic/fold" not in refused.text.split("would be replaced:")[1]
    assert "--config replace=true" in refused.text
    assert store.dates() == before

    asked = second.build(HALF, "--config", "replace=true")
    assert built(asked) == {"fit_fold", "assemble_source"}

    # The first has built these as they no longer are: records of its own do not count.
    first.write_config(sources=second.config["sources"])
    assert not [job for job in first.dry_run().jobs() if job[0] in ("fit_fold", "assemble_source")]

    # What came into the bucket in another way is not taken on trust.
    key = "team/results/small/sources/logistic/fold0/oof.parquet"
    store.client.delete_object(Bucket=BUCKET, Key=f"team/records/{key.removeprefix('team/')}.json")
    assert ("fit_fold", "logistic", "0") in first.dry_run().jobs()


def test_an_endpoint_that_goes_away_costs_a_rerun_only(
    door: Door, store: Store, local: Workspace, tmp_path: Path
) -> None:
    space = checkout(tmp_path / "work")
    log = tmp_path / "run.log"
    with log.open("w") as out:
        process = subprocess.Popen(space.command(), cwd=space.folder, stdout=out, stderr=out)
        _wait_until("sources/xgb/fold0/fits.parquet", store, process, log)
        door.shut()
        assert process.wait(300) != 0
    text = log.read_text()
    assert "Traceback" not in text
    assert f'Could not connect to the endpoint URL: "{door.address}' in text

    door.open()
    rerun = space.build()
    assert "read_tables" not in built(rerun)
    assert_same_bytes(store, tmp_path / "bucket", local)
    assert space.dry_run().nothing


def _wait_until(name: str, store: Store, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until an object is there."""
    for _ in range(1200):
        assert process.poll() is None, log.read_text()[-4000:]
        found = store.client.list_objects_v2(Bucket=BUCKET, Prefix=f"team/results/small/{name}")
        if found["KeyCount"]:
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} did not come: {log.read_text()[-4000:]}")


def test_what_cannot_be_is_refused_in_one_sentence(door: Door, tmp_path: Path) -> None:
    kept = {"xgb": {**SMALL["sources"]["xgb"], "keep_models": True, "targets_per_job": 2}}
    space = checkout(tmp_path / "work", sources=kept)
    run = space.build("status", check=False)
    assert run.code == 1
    assert "sources.xgb.keep_models: models stand beside the predictions" in run.text
    assert "sources.xgb.targets_per_job: its jobs leave their fits in scratch" in run.text
    assert "status: it looks into results/ and scratch/ of this folder" in run.text
    space.write_config(sources={}, preset="quick", blends={}, submissions={}, campaigns={})
    run = space.build("-n", check=False)
    assert run.code == 1
    assert "preset: it is chosen by the machine" in run.text


def test_a_bucket_that_is_not_named_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLENDMAKE_BUCKET", raising=False)
    run = checkout(tmp_path / "work").build("-n", check=False)
    assert run.code == 1
    assert "BLENDMAKE_BUCKET is not set" in run.text


def test_google_cloud_storage(
    local: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("snakemake_storage_plugin_gcs", reason="the plugin is not installed")
    pytest.importorskip("gcp_storage_emulator", reason="the emulator is not installed")
    with gcs_server(tmp_path) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv("SNAKEMAKE_STORAGE_GCS_PROJECT", "test")
        monkeypatch.setenv("BLENDMAKE_BUCKET", f"gs://{BUCKET}/team")
        first, second = checkout(tmp_path / "first"), checkout(tmp_path / "second")
        first.profile = second.profile = "gcs"
        done = built(first.build(HALF))
        assert done >= {"read_tables", "make_folds", "fit_fold", "assemble_source"}
        shutil.rmtree(first.folder)
        jobs = second.dry_run().jobs()
        assert ("fit_fold", "logistic", "0") in jobs
        assert not [job for job in jobs if job[:2] == ("fit_fold", "xgb")]
        assert "read_tables" not in {job[0] for job in jobs}
        downloaded = _downloaded(second, address, tmp_path)
    assert downloaded == local.path("sources", "xgb", "oof.parquet").read_bytes()


def _downloaded(space: Checkout, address: str, folder: Path) -> bytes:
    """HALF as it stands in the bucket."""
    code = (
        "import sys; from google.cloud import storage; "
        f"storage.Client(project='test').bucket('{BUCKET}').blob(sys.argv[1])"
        ".download_to_filename(sys.argv[2])"
    )
    path = folder / "downloaded.parquet"
    command = [sys.executable, "-c", code, f"team/{HALF}", str(path)]
    subprocess.run(command, check=True, env={**os.environ, "STORAGE_EMULATOR_HOST": address})
    return path.read_bytes()
