"""Too little GPU memory: how it is told from other errors, what is tried, and how scores say so."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tight_family
from artifacts import Artifacts, cells
from blendmake.config.sources import Source
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES, ON_GPU
from blendmake.family import DEVICE_PARAMS, Family, Fit, Fitted, Smaller, refused
from blendmake.files import note_of, read_note, read_parquet
from blendmake.fits.assembly import assemble_source
from blendmake.fits.fitting import FoldWork, fit_fold
from blendmake.fits.gpu_memory import fit_or_fall_back, out_of_memory
from blendmake.reports.board_text import leaderboard_text
from blendmake.reports.leaderboard import Entry, build_leaderboard
from blendmake.scoring import score_artifact
from fold_data import fold_data, one_fit
from problems import FOLDS, Done, Problem, outputs_in, read_done, source, synthetic

NEURAL = ("mlp", "tabm")
TOLD = [
    # What the libraries have been reported to say.
    "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 31.75 GiB total capacity; 612.33 MiB "
    "already allocated; 14.75 MiB free; 622.00 MiB reserved in total by PyTorch)",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: out of memory",
    "[10:02:11] /workspace/src/c_api/../data/../common/device_helpers.cuh:428: Memory allocation error "
    "on worker 0: std::bad_alloc: cudaErrorMemoryAllocation: out of memory\n- Free memory: 511705088",
    "No GPU memory is left, are you using RMM? If so, please install XGBoost with RMM support.",
    "catboost/cuda/cuda_lib/memory_pool/stack_like_memory_pool.h:303: Error: Out of memory. Requested "
    "8880 MB; Free 5902.061425 MB",
]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=120, test_rows=20)


def run(
    problem: Problem,
    out: Path,
    *,
    gpu: float = 1.0,
    out_of_memory: str = "error",
    fold: int = 0,
    scratch: Path | None = None,
    **settings: Any,
) -> Done:
    """Fit the targets `full` and `other` by the family that finds too little memory."""
    outputs = outputs_in(out)
    work = FoldWork(
        "source",
        source("linear", targets=["full", "other"], **settings),
        {},
        fold,
        problem.inputs,
        family="tight_family",
        seed=1,
        code="code",
        scratch=scratch or out / "scratch",
        threads=1,
        note={},
        gpu=gpu,
        out_of_memory=out_of_memory,
    )
    fit_fold(work, outputs)
    return read_done(outputs)


def task_of(**params: Any) -> Fit:
    return one_fit("full", params, 5, None, 1.0, 1, np.zeros(0, np.float32))


# how it is told


@pytest.mark.parametrize("text", TOLD)
def test_what_the_libraries_say(text: str) -> None:
    assert out_of_memory(RuntimeError(text))
    # As the families pass it on, it stands behind the error.
    try:
        try:
            raise ValueError(text)
        except ValueError as error:
            raise refused(task_of(), error) from error
    except BlendmakeError as error:
        words = out_of_memory(error)
    assert words is not None and words in text


def test_the_kind_of_an_error_tells_too() -> None:
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    assert out_of_memory(kind("")) == "OutOfMemoryError"
    torch = pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    assert out_of_memory(torch.cuda.OutOfMemoryError("no more"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 2.00 GiB for an array with shape (9, 9)"),
        ValueError("Check failed: max_bin >= 2"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        BlendmakeError("The window of this run is over. Param 'out_of_memory' is set by blendmake"),
    ],
)
def test_other_errors_are_others(error: Exception) -> None:
    assert out_of_memory(error) is None


# what is tried


def test_without_a_word_from_the_source_it_is_an_error(problem: Problem, tmp_path: Path) -> None:
    tight_family.released.clear()
    with pytest.raises(
        BlendmakeError, match=r"sources\.source: .*'full' .*CUDA out of memory.*out_of_memory"
    ):
        run(problem, tmp_path, params={"room": 20})
    assert tight_family.released


def test_a_fit_is_tried_smaller(
    problem: Problem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    room = {"overrides": {"targets": {"full": {"params": {"room": 20}}}}}
    done = run(problem, tmp_path / "tight", out_of_memory="smaller", **room)
    assert {t: row["fallback"] for t, row in done.fits.items()} == {
        "full": "width=16",
        "other": None,
    }
    assert {row["device"] for row in done.fits.values()} == {"cuda"}
    assert done.note["fell_back"] == ["full"]
    assert "full: too little GPU memory (CUDA out of memory" in caplog.text
    small = {"overrides": {"targets": {"full": {"params": {"width": 16}}}}}
    asked = run(problem, tmp_path / "small", **small)
    assert "fell_back" not in asked.note
    assert np.array_equal(done.oof.values, asked.oof.values)


def test_there_is_an_end_to_smaller(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match=r"also with width=8\. Set .*'cpu'"):
        run(problem, tmp_path / "a", out_of_memory="smaller", params={"room": 2})
    with pytest.raises(BlendmakeError, match=r"width cannot be less than 12"):
        run(problem, tmp_path / "b", out_of_memory="smaller", params={"room": 2, "width": 12})
    # Three tries, be there room for a fourth.
    with pytest.raises(BlendmakeError, match=r"also with width=128"):
        run(problem, tmp_path / "c", out_of_memory="smaller", params={"room": 70, "width": 1024})


def test_a_fit_is_done_again_on_the_cpu(problem: Problem, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"params": {"room": 20}}
    done = run(problem, tmp_path / "tight", out_of_memory="cpu", **settings)
    assert {(row["device"], row["fallback"]) for row in done.fits.values()} == {("cpu", "cpu")}
    assert done.note["fell_back"] == ["full", "other"]
    there = run(problem, tmp_path / "cpu", gpu=0.0, **settings)
    assert {(row["device"], row["fallback"]) for row in there.fits.values()} == {("cpu", None)}
    assert np.array_equal(done.oof.values, there.oof.values)


def test_an_error_without_a_gpu_is_no_matter_of_its_memory(problem: Problem) -> None:
    family = tight_family.Tight(fold_data(problem), 1)
    assert family.gpu == 0
    with pytest.raises(BlendmakeError, match="set by blendmake"):
        fit_or_fall_back(family, task_of(device="cuda"), "cpu")


class Together(Family):
    """Notes where it was to keep checkpoints, and finds room for half of what it wants."""

    MULTI_OUTPUT = True
    GPU = True
    SMALLER = Smaller("batch_size", 64, 8)

    def fit(self, asked: Fit) -> Fitted:
        size = asked.params.get("batch_size", 64)
        assert asked.scratch is not None and asked.scratch.is_dir()
        (asked.scratch / "checkpoint").write_text(str(size))
        if self.gpu and size > 32:
            raise RuntimeError(TOLD[0])
        return Fitted(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), 1, Path)


@pytest.mark.parametrize("policy", ["smaller", "cpu"])
def test_checkpoints_of_a_second_try_are_its_own(
    problem: Problem, tmp_path: Path, policy: str
) -> None:
    labels = np.zeros((1, 1), np.float32)
    task = replace(task_of(), labels=labels, scratch=tmp_path)
    family = Together(fold_data(problem), 1, {"gpu": 1.0})
    fitted = fit_or_fall_back(family, task, policy)
    assert fitted.fallback == {"smaller": "batch_size=32", "cpu": "cpu"}[policy]
    assert (tmp_path / "checkpoint").read_text() == "64"
    size = {"smaller": "32", "cpu": "64"}[policy]
    assert (tmp_path / str(fitted.fallback) / "checkpoint").read_text() == size
    assert family.gpu == 1.0


# where fits run identifies nothing


def test_fits_of_a_gpu_count_without_one(problem: Problem, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    there = run(problem, tmp_path / "there", scratch=scratch)
    here = run(problem, tmp_path / "here", scratch=scratch, gpu=0.0, out_of_memory="cpu")
    assert [row["device"] for row in here.fits.values()] == ["cuda"] * 2
    assert here.note == there.note
    assert here.outputs.oof.read_bytes() == there.outputs.oof.read_bytes()


def test_where_is_no_part_of_a_sources_slice() -> None:
    told = Source(family="xgboost", device="cpu", out_of_memory="smaller")
    assert told.slice_of_results() == Source(family="xgboost").slice_of_results()
    assert [Source(family="xgboost").may_use_gpu, told.may_use_gpu] == [True, False]
    assert not Source(family="lightgbm").may_use_gpu


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_registry_knows_which_families_can_use_a_gpu(name: str) -> None:
    if name in NEURAL:
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    family = importlib.import_module(FAMILIES[name]).FAMILY
    assert (name in ON_GPU) == family.GPU
    assert (family.SMALLER is not None) == family.GPU


@pytest.mark.parametrize("param", sorted([*DEVICE_PARAMS, "gpu_id", "gpu_ram_part"]))
@pytest.mark.parametrize("name", ["catboost", "lightgbm", "linear", "xgboost", "xgboost_vector"])
def test_params_that_name_a_device_are_refused(problem: Problem, name: str, param: str) -> None:
    family = importlib.import_module(FAMILIES[name]).FAMILY
    with pytest.raises(BlendmakeError, match=rf"'{param}'.*source's key 'device'"):
        family.params(family.__new__(family), task_of(**{param: "cuda"}))


@pytest.mark.parametrize("name", ["catboost", "mlp", "tabm", "xgboost", "xgboost_vector"])
def test_a_library_that_sees_no_gpu_fits_on_the_cpu(
    problem: Problem, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEURAL:
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = []
    for gpu in (1.0, 0.0):
        outputs = outputs_in(tmp_path / str(gpu))
        work = FoldWork(
            "source",
            source(name, targets=["full", "other"], rounds=2),
            {},
            0,
            problem.inputs,
            family=FAMILIES[name],
            seed=1,
            code="code",
            scratch=tmp_path / str(gpu) / "scratch",
            threads=1,
            note={},
            gpu=gpu,
        )
        fit_fold(work, outputs)
        found.append(read_done(outputs))
    assert [row["device"] for row in found[0].fits.values()] == ["cpu", "cpu"]
    assert found[0].outputs.oof.read_bytes() == found[1].outputs.oof.read_bytes()


# how scores say so


def test_the_mark_reaches_scores_and_leaderboard(problem: Problem, tmp_path: Path) -> None:
    parts = []
    for fold in range(FOLDS):
        out = tmp_path / f"fold{fold}"
        room = {"overrides": {"targets": {"full": {"params": {"room": 20 if fold == 1 else 99}}}}}
        run(problem, out, fold=fold, out_of_memory="smaller", **room)
        parts.append({part: out / f"{part}.parquet" for part in ("oof", "test", "fits")})
    files = {part: tmp_path / f"{part}.parquet" for part in ("oof", "test", "fits", "scores")}
    note = {"config": {"family": "tight"}}
    assemble_source(parts, problem.inputs.folds, files, note)
    assert read_note(files["oof"])["fell_back"] == ["full"]
    fits = read_parquet(files["fits"]).to_pylist()
    marked = [(row["target"], row["fold"]) for row in fits if row["fallback"]]
    assert marked == [("full", 1)]
    inputs = problem.inputs
    score_artifact(
        files["oof"],
        files["test"],
        inputs.targets,
        inputs.folds,
        files["scores"],
        estimate="oof",
        groups=None,
        test_targets=None,
        in_sample=None,
        note={},
    )
    scores = cells(files["scores"])
    assert {t: scores[t, "auc"]["fell_back"] for t in ("full", "other", "macro")} == {
        "full": True,
        "other": False,
        "macro": True,
    }
    table = build_leaderboard([Entry("tight", "source", files["oof"], files["scores"])])
    assert table["fell_back"].to_pylist() == [True]
    text = leaderboard_text(table)
    assert f"{table['score'][0].as_py():.4f}!" in text
    assert "! a fit, its own or a member's, was made smaller or on the CPU" in text


def test_a_blend_says_so_of_its_members(tmp_path: Path) -> None:
    made = Artifacts(tmp_path)
    values = np.random.default_rng(0).random((300, 2))
    members = {"plain": made.predictions("plain", values), "tight": tmp_path / "tight.parquet"}
    made.predictions("tight", values[::-1], fell_back=["b"])
    out = made.blend(members)
    assert note_of(read_parquet(out["oof"]))["fell_back"] == ["b"]
    assert "fell_back" not in read_note(made.blend({"plain": members["plain"]})["oof"])
