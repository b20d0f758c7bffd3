"""Neural families: what they learn, that fits repeat and resume to the byte, and their feeder."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch", reason="envs/neural.txt is not installed")

from test_leakage import interval, null_problem  # noqa: E402

from blendmake.errors import BlendmakeError  # noqa: E402
from blendmake.family import Fitted  # noqa: E402
from blendmake.features.files import FeatureSetFiles  # noqa: E402
from blendmake.link import Link  # noqa: E402
from blendmake.matrix import Rows  # noqa: E402
from blendmake.neural import data as neural_data  # noqa: E402
from blendmake.neural import trainer  # noqa: E402
from blendmake.neural.checkpoints import Checkpoints  # noqa: E402
from blendmake.neural.data import Feeder, Preparation, prepare  # noqa: E402
from blendmake.neural.layers import embedding_size  # noqa: E402
from blendmake.neural.losses import Loss  # noqa: E402
from blendmake.neural.schedules import Schedule  # noqa: E402
from blendmake.stats.auc import auc  # noqa: E402
from fold_data import fold_data, joint_fit  # noqa: E402
from helpers import flip_byte  # noqa: E402
from problems import FOLDS, Problem, synthetic, synthetic_columns, write_problem  # noqa: E402

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [32], "batch_size": 32},
    "tabm": {"k": 4, "d_block": 32, "batch_size": 32, "n_bins": 8, "d_embedding": 4},
}
ADABELIEF = {"optimizer": "adabelief", "schedule": "plateau", "plateau_epochs": 1}
RESTARTS = {"schedule": "cosine_restarts", "restart_epochs": 2, "warmup_epochs": 1.5}
CPU = torch.device("cpu")
each_family = pytest.mark.parametrize("family", sorted(SMALL))


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"))


def run(
    problem: Problem, family: str, scratch: Path, *, fold: int = 0, params: Any = None, **more: Any
) -> Fitted:
    """A fit of all targets with small networks; stops early if `stop_rounds` is given."""
    stopping = more.get("stop_rounds") is not None
    data = fold_data(problem, fold, inner=stopping)
    settings = {"rounds": 6, "seed": 3, "params": {**SMALL[family], **(params or {})}, **more}
    task = joint_fit(problem, data, scratch, **settings)
    made: Fitted = importlib.import_module(f"blendmake.families.{family}").FAMILY(data, 1).fit(task)
    return made


def aucs(problem: Problem, fitted: Fitted, fold: int = 0) -> dict[str, float]:
    truth = problem.labels[problem.rows(fold).valid]
    known = ~np.isnan(truth)
    return {
        target: auc(truth[known[:, j], j], fitted.valid[known[:, j], j])
        for j, target in enumerate(problem.targets)
    }


def same(one: Fitted, other: Fitted) -> bool:
    return np.array_equal(one.valid, other.valid) and np.array_equal(one.test, other.test)


# what is learnt

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {}),
    ("mlp", {"scaling": "quantile", "embedding_size": 3, "activation": "relu", "amp": "bf16"}),
    ("mlp", {"batch_norm": False, "label_smoothing": 0.1, "gradient_clip": None}),
    ("tabm", {}),
    (
        "tabm",
        {
            "arch_type": "tabm-mini",
            "num_embeddings": "periodic",
            "frequency_init_scale": 0.2,
            "one_hot_max": 0,
        },
    ),
    ("tabm", {"num_embeddings": "none", "share_training_batches": False}),
]


@pytest.mark.parametrize(("family", "params"), VARIANTS)
def test_a_signal_is_learnt_and_models_are_kept(
    family: str, params: dict[str, Any], problem: Problem, tmp_path: Path
) -> None:
    fitted = run(problem, family, tmp_path, rounds=20, stop_rounds=6, params=params)
    assert fitted.valid.shape == (120, 4) and fitted.test.shape == (60, 4)
    assert fitted.valid.dtype == fitted.test.dtype == np.float32
    assert fitted.valid.min() >= 0 and fitted.valid.max() <= 1
    found = aucs(problem, fitted)
    assert min(found["full"], found["other"], found["gaps"]) > 0.75, found
    assert fitted.device == "cpu"
    assert isinstance(fitted.stop_scores, np.ndarray) and fitted.stop_scores.shape == (4,)
    assert 1 <= fitted.rounds <= 20
    path = fitted.save(tmp_path / "model")
    module = importlib.import_module(f"blendmake.families.{family}")
    data = fold_data(problem, inner=True)
    assert np.array_equal(module.predict_saved(path, data.test, 1), fitted.test)
    assert np.array_equal(module.predict_saved(path, data.valid, 1), fitted.valid)
    assert path.read_bytes() == fitted.save(tmp_path / "again").read_bytes()
    flip_byte(path, path.stat().st_size // 3)
    with pytest.raises(BlendmakeError, match=r"model\.npz is damaged"):
        module.predict_saved(path, data.test, 1)


@each_family
def test_missing_values_and_categories_tell_something(family: str, tmp_path: Path) -> None:
    """The label is whether a number is missing, or which of two cities a row is in."""
    rng = np.random.default_rng(0)
    missing, city = rng.random(300) < 0.3, rng.choice(["aachen", "bonn", "celle"], 300)
    values = rng.normal(size=300)
    labels = np.column_stack([missing, city == "bonn"]).astype(float)
    train = {"n": pa.array(values, mask=missing), "city": pa.array(city)}
    made = write_problem(tmp_path / "p", train, train, labels, ["null", "bonn"], seed=2)
    found = aucs(made, run(made, family, tmp_path / "fit", rounds=25))
    assert found["null"] > 0.99 and found["bonn"] > 0.99, found


@each_family
@pytest.mark.parametrize(
    "kept", [["city", "blank"], ["constant", "n0"], ["empty", "n0"], ["constant", "empty"]]
)
def test_columns_without_content(family: str, kept: list[str], tmp_path: Path) -> None:
    train, test, odds = synthetic_columns(240, 0, np.arange(240) % FOLDS)
    made = write_problem(
        tmp_path / "p",
        {name: train[name] for name in kept},
        {name: test[name] for name in kept},
        (odds > 0).astype(float)[:, None],
        ["y"],
        fold=np.arange(240) % FOLDS,
    )
    fitted = run(made, family, tmp_path / "fit", rounds=12)
    assert fitted.test.shape == (0, 1) and np.isfinite(fitted.valid).all()
    assert aucs(made, fitted)["y"] > 0.7 or "n0" not in kept
    if kept == ["constant", "empty"]:
        assert len(np.unique(fitted.valid)) == 1


@each_family
def test_rows_without_any_label_do_not_count(family: str, problem: Problem, tmp_path: Path) -> None:
    data = fold_data(problem)
    train = data.train.positions
    drop = np.arange(len(train)) % 3 == 0
    few = replace(data, train=replace(data.train, positions=train[~drop]))
    settings = {"rounds": 6, "seed": 3, "params": SMALL[family]}
    blank = joint_fit(problem, data, tmp_path / "a", **settings)
    blank.labels[drop] = np.nan
    less = joint_fit(problem, few, tmp_path / "b", **settings)
    module = importlib.import_module(f"blendmake.families.{family}")
    one, other = module.FAMILY(data, 1).fit(blank), module.FAMILY(few, 1).fit(less)
    assert same(one, other)


@pytest.mark.parametrize("members", [None, 5])
def test_unknown_labels_are_masked_in_the_loss(members: int | None) -> None:
    rng = np.random.default_rng(1)
    shape = (7, 3) if members is None else (7, members, 3)
    logits = torch.tensor(rng.normal(size=shape), requires_grad=True)
    labels = torch.tensor((rng.random((7, 3)) < 0.5).astype(float))
    labels[rng.random((7, 3)) < 0.4] = np.nan
    weights = torch.tensor([1.0, 2.0, 5.0])
    link = Link("binary", (1, 1, 1))
    loss = Loss(link, weights, 0.0, weighed=False)(logits, labels)
    torch.autograd.backward(loss)
    terms = []
    for index in np.ndindex(shape):
        truth = float(labels[index[0], index[-1]])
        chance = 1 / (1 + np.exp(-logits[index].item()))
        if not np.isnan(truth):
            weight = float(weights[index[-1]])
            terms.append(-weight * np.log(chance) if truth else -np.log(1 - chance))
        else:
            assert float(logits.grad[index]) == 0
    assert loss.item() == pytest.approx(np.mean(terms))


@each_family
def test_weights_of_positives(family: str, problem: Problem, tmp_path: Path) -> None:
    train = problem.labels[problem.rows(0).train]
    ratio = (train == 0).sum(axis=0) / (train == 1).sum(axis=0)
    assert ratio[-1] > 5
    none = run(problem, family, tmp_path / "none")
    given = run(problem, family, tmp_path / "given", positive_weights=np.maximum(ratio, 0))
    capped = run(problem, family, tmp_path / "capped", params={"pos_weight_cap": 4.0})
    loose = run(problem, family, tmp_path / "loose", params={"pos_weight_cap": 1e6})
    assert same(given, loose)
    assert none.test[:, -1].mean() + 0.05 < capped.test[:, -1].mean() < given.test[:, -1].mean()


# params


@each_family
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rat", 0.1, "there is no param 'learning_rat'; did you mean 'learning_rate'"),
        ("learning_rate", 0, "learning_rate = 0 must be a number, more than 0"),
        ("dropout", True, "dropout = True must be a number"),
        ("schedule", "linear", "schedule = 'linear' must be one of constant, plateau"),
        ("batch_size", 1, "batch_size = 1 must be a whole number of at least 2"),
    ],
)
def test_a_wrong_param_is_refused(
    family: str, name: str, value: Any, message: str, problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(BlendmakeError, match=f"The fit of target .* was refused: {message}"):
        run(problem, family, tmp_path, params={name: value})


@each_family
@pytest.mark.parametrize("name", ["max_epochs", "patience", "device", "seed", "class_weight"])
def test_a_reserved_param_is_refused_with_the_mend(
    family: str, name: str, problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(BlendmakeError, match=f"Param '{name}' .* is set by blendmake: .+"):
        run(problem, family, tmp_path, params={name: 7})


@each_family
@pytest.mark.parametrize("stopping", [None, 3])
def test_divergence_names_the_learning_rate(
    family: str, stopping: int | None, problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(BlendmakeError, match=r"diverged in epoch 1: .*Lower .*learning_rate"):
        run(problem, family, tmp_path, params={"learning_rate": 1e30}, stop_rounds=stopping)


# the same bytes


@each_family
def test_a_seed_gives_the_same_bytes(family: str, problem: Problem, tmp_path: Path) -> None:
    one = run(problem, family, tmp_path / "one")
    torch.rand(3)  # what else drew from the generator
    assert same(one, run(problem, family, tmp_path / "two"))
    assert not same(one, run(problem, family, tmp_path / "three", seed=4))


@each_family
def test_epochs_after_the_best_are_not_used(family: str, problem: Problem, tmp_path: Path) -> None:
    params = {"learning_rate": 0.03}
    stopped = run(problem, family, tmp_path / "a", rounds=60, stop_rounds=4, params=params)
    assert stopped.rounds < 56
    kwargs: dict[str, Any] = {"rounds": stopped.rounds, "stop_rounds": 60}
    again = run(problem, family, tmp_path / "b", params=params, **kwargs)
    assert same(stopped, again) and again.rounds == stopped.rounds
    assert np.array_equal(stopped.stop_scores, again.stop_scores)


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Write a checkpoint after every epoch; gives the epochs that are trained."""
    epochs: list[int] = []
    plain = trainer.Trainer._epoch

    def counted(self: trainer.Trainer, number: int) -> None:
        epochs.append(number)
        plain(self, number)

    monkeypatch.setattr(trainer.Trainer, "_epoch", counted)
    monkeypatch.setattr("blendmake.neural.checkpoints.SHARE", 1e9)
    return epochs


@each_family
@pytest.mark.parametrize("params", [ADABELIEF, RESTARTS])
@pytest.mark.parametrize("stopping", [None, 30])
def test_a_killed_fit_goes_on_to_the_same_bytes(
    family: str,
    params: dict[str, Any],
    stopping: int | None,
    problem: Problem,
    every_epoch: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"rounds": 7, "stop_rounds": stopping, "params": params}
    whole = run(problem, family, tmp_path / "whole", **settings)
    plain = Checkpoints.write

    def killing(self: Checkpoints, content: dict[str, Any]) -> None:
        plain(self, content)
        if len(content["scores"]) % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "write", killing)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(problem, family, tmp_path / "killed", **settings)
    every_epoch.clear()
    resumed = run(problem, family, tmp_path / "killed", **settings)
    assert every_epoch == [6]
    assert same(whole, resumed) and whole.rounds == resumed.rounds
    assert np.array_equal(whole.stop_scores, resumed.stop_scores) or stopping is None


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from blendmake.neural import checkpoints
checkpoints.SHARE = 1e9
plain = checkpoints.Checkpoints.write
def killing(self, content):
    plain(self, content)
    if len(content["scores"]) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.Checkpoints.write = killing
from test_neural import run
from problems import synthetic
run(synthetic(Path({folder!r}) / "problem"), "tabm", Path({folder!r}) / "scratch", rounds=5)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_fit_killed_by_the_system_goes_on(
    problem: Problem, every_epoch: list[int], tmp_path: Path
) -> None:
    code = KILLED.format(path=[*sys.path, str(Path(__file__).parent)], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    resumed = run(problem, "tabm", tmp_path / "scratch", rounds=5)
    assert every_epoch == [3, 4]
    assert same(resumed, run(problem, "tabm", tmp_path / "whole", rounds=5))


@pytest.mark.parametrize("damage", ["byte", "cut", "empty", "settings"])
def test_a_checkpoint_that_cannot_be_used_is_not_used(
    damage: str,
    problem: Problem,
    every_epoch: list[int],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = run(problem, "mlp", tmp_path, rounds=3)
    path = tmp_path / "checkpoint.pt"
    settings: dict[str, Any] = {"rounds": 3}
    if damage == "byte":
        flip_byte(path, path.stat().st_size // 2)
    elif damage == "settings":
        settings["params"] = {"weight_decay": 0.5}
    else:
        path.write_bytes(path.read_bytes()[: -100 if damage == "cut" else 0])
    every_epoch.clear()
    with caplog.at_level(logging.WARNING):
        again = run(problem, "mlp", tmp_path, **settings)
    assert every_epoch == [0, 1, 2] and "checkpoint.pt" in caplog.text
    assert same(whole, again) == (damage != "settings")


# the feeder


def feeder_of(problem: Problem, buffer_bytes: int, **more: Any) -> tuple[Feeder, Any]:
    """A feeder whose labels are row numbers, and all rows as they are prepared."""
    data = fold_data(problem)
    train = data.train.positions
    preparation = Preparation.learn(data.train, "robust")
    numbers = np.arange(len(train), dtype=np.float32)[:, None]
    given = {"batch_size": 16, "seed": 1, "device": CPU, **more}
    feeder = Feeder(data.train, numbers, preparation, buffer_bytes=buffer_bytes, **given)
    return feeder, prepare(data.train, preparation)


@pytest.mark.parametrize("buffer_bytes", [1, 4000, 1 << 20])
@pytest.mark.parametrize("members", [1, 3])
def test_every_row_comes_once_an_epoch(buffer_bytes: int, members: int, problem: Problem) -> None:
    feeder, whole = feeder_of(problem, buffer_bytes, members=members)
    orders = []
    for epoch in (0, 0, 1):
        seen = []
        for inputs, labels in feeder.epoch(epoch):
            rows = labels[..., 0].long()
            seen.append(rows.reshape(len(rows), -1))
            assert 2 <= len(rows) <= 17
            assert torch.equal(inputs.numbers, whole.numbers[rows])
            assert torch.equal(inputs.codes, whole.codes[rows])
        order = torch.cat(seen)
        assert order.shape == (240, members)
        for member in order.T:
            assert torch.equal(member.sort().values, torch.arange(240))
        orders.append(order)
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    if members > 1:
        assert not torch.equal(orders[0][:, 0], orders[0][:, 1])
    assert feeder.most_rows <= feeder.buffer_rows
    assert (feeder.most_rows == 240) == (buffer_bytes > 4000)


def test_rows_within_the_bound_are_prepared_once(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(rows: Rows, *more: Any) -> Any:
        made.append(len(rows))
        return prepare(rows, *more)

    monkeypatch.setattr(neural_data, "prepare", counted)
    large, _ = feeder_of(problem, 1 << 20)
    small, _ = feeder_of(problem, 4000)
    for epoch in range(2):
        assert sum(len(labels) for _, labels in large.epoch(epoch)) == 240
    assert made == [240]
    made.clear()
    for epoch in range(2):
        assert sum(len(labels) for _, labels in small.epoch(epoch)) == 240
    assert sum(made) == 480 and max(made) * small.preparation.row_bytes <= 4000


@each_family
def test_a_fit_of_more_rows_than_the_bound_learns(
    family: str, problem: Problem, every_epoch: list[int], tmp_path: Path
) -> None:
    params = {"buffer_mb": 0.004}
    fitted = run(problem, family, tmp_path / "a", rounds=15, params=params)
    assert aucs(problem, fitted)["full"] > 0.75
    # The rows that early stopping watches are beyond their bound too.
    stopped = run(problem, family, tmp_path / "b", rounds=4, stop_rounds=9, params=params)
    assert same(
        stopped, run(problem, family, tmp_path / "c", rounds=4, stop_rounds=9, params=params)
    )


# columns


def column_of(folder: Path, values: Any, levels: bool = False) -> tuple[Rows, Rows]:
    """Two rows sets, train and test, of one column; `values` are (train, test)."""
    kind = pa.string() if levels else pa.float64()
    train, test = ({"x": pa.array(part, kind)} for part in values)
    labels = (np.arange(len(values[0])) % 2).astype(float)[:, None]
    made = write_problem(folder, train, test, labels, ["y"], folds=2)
    inputs = made.inputs
    files = FeatureSetFiles(inputs.columns, inputs.tables["train"], inputs.made["train"])
    return (
        Rows(files.files, files.columns, np.arange(len(values[0]))),
        Rows(made.test_files().files, files.columns, np.arange(len(values[1]))),
    )


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_numbers_are_scaled_and_missing_ones_flagged(scaling: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(sigma=3, size=400) * 1e6
    given = [None if i % 5 == 0 else v for i, v in enumerate(values)]
    train, test = column_of(tmp_path, (given, [None, 0.0, 1e30, -1e30]))
    preparation = Preparation.learn(train, scaling)
    known = prepare(train, preparation).numbers.numpy()
    assert np.array_equal(known[:, 1], (np.arange(400) % 5 == 0).astype(np.float32))
    assert (known[::5, 0] == 0).all() and abs(np.median(known[known[:, 1] == 0, 0])) < 0.05
    assert np.abs(known).max() <= 3.1 and known[:, 0].std() > 0.5
    order = np.argsort(values[known[:, 1] == 0])
    assert (np.diff(known[known[:, 1] == 0, 0][order]) >= 0).all()
    new = prepare(test, preparation).numbers.numpy()
    assert new[0].tolist() == [0, 1] and np.isfinite(new).all()
    assert new[3, 0] < new[1, 0] + 1e-3 < 0 and 2.5 < new[2, 0] <= 3.1
    back = Preparation.from_arrays(preparation.to_arrays())
    assert torch.equal(prepare(test, back).numbers, prepare(test, preparation).numbers)


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_a_number_that_is_mostly_one_value_keeps_its_others(scaling: str, tmp_path: Path) -> None:
    values = [0.0] * 95 + [1.0] * 5
    train, _ = column_of(tmp_path, (values, [0.0]))
    known = prepare(train, Preparation.learn(train, scaling)).numbers.numpy()[:, 0]
    assert abs(known[0]) < 0.2 and 0.5 < known[-1] < 2.5


def test_unseen_and_missing_levels_are_0(tmp_path: Path) -> None:
    train, test = column_of(tmp_path, (["b", "a", None, "c"] * 5, ["new", None, "a", "c"]), True)
    preparation = Preparation.learn(replace(train, positions=np.array([0, 1, 2, 4])), "robust")
    assert prepare(train, preparation).codes[:4, 0].tolist() in ([2, 1, 0, 0], [1, 2, 0, 0])
    codes = prepare(test, preparation).codes[:, 0].tolist()
    assert codes[:2] == [0, 0] and codes[2] > 0 and codes[3] == 0
    back = Preparation.from_arrays(preparation.to_arrays())
    assert prepare(test, back).codes[:, 0].tolist() == codes


def test_sizes_of_embeddings_follow_the_rule() -> None:
    assert [embedding_size(n) for n in (1, 2, 10, 100, 10**6)] == [2, 2, 6, 21, 600]


# schedules


def test_schedules() -> None:
    rising = [0.5, 0.6, 0.7, 0.8]
    constant = Schedule("constant", 10, warmup=2)
    assert constant(0, []) < constant(1, []) < 0.6 and constant(2, []) == constant(9, []) == 1
    cosine = Schedule("cosine", 10)
    assert [cosine(at, []) for at in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    restarts = Schedule("cosine_restarts", 10, period=4)
    assert [restarts(at, []) for at in (0, 2, 4, 6, 8)] == pytest.approx([1, 0.5, 1, 0.5, 1])
    plateau = Schedule("plateau", 10, wait=2, factor=0.1)
    assert plateau(4, rising) == 1
    assert plateau(5, [*rising, 0.8]) == 1
    assert plateau(6, [*rising, 0.8, 0.7]) == pytest.approx(0.1)
    assert plateau(7, [*rising, 0.8, 0.7, 0.9]) == pytest.approx(0.1)
    assert plateau(8, [*rising, 0.8, 0.7, 0.6, 0.6]) == pytest.approx(0.01)


# leaks


def within_fold(problem: Problem, family: str, out: Path, **more: Any) -> Any:
    """Mean over folds of the AUC within a fold, per target."""
    found = [
        list(aucs(problem, run(problem, family, out / str(k), fold=k, **more), k).values())
        for k in range(FOLDS)
    ]
    return np.mean(found, axis=0)


@each_family
@pytest.mark.parametrize("stopping", [None, 3])
def test_permuted_labels_are_not_predicted(
    family: str, stopping: int | None, tmp_path: Path
) -> None:
    made = null_problem(tmp_path / "p", 1, leaky=False)
    low, high = interval(within_fold(made, family, tmp_path, rounds=8, stop_rounds=stopping))
    assert low < 0.5 < high and high - low < 0.06


@each_family
def test_an_encoding_made_with_held_out_labels_is_caught(family: str, tmp_path: Path) -> None:
    made = null_problem(tmp_path / "p", 1, leaky=True)
    params = {"learning_rate": 0.01, "dropout": 0.0}
    low, _ = interval(within_fold(made, family, tmp_path, rounds=20, params=params))
    assert low > 0.6
