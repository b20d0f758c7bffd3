from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from blendmake.code_digest import imported_files
from blendmake.config.folds import Folds
from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.folds import SCHEMES
from blendmake.folds.file import read_folds, read_inner, write_folds, write_inner
from blendmake.folds.inner import inner_split
from blendmake.folds.making import make_folds
from blendmake.folds.scheme import indicators
from blendmake.folds.schemes.group import group_folds
from blendmake.folds.schemes.stratified import stratified_folds
from blendmake.labels import labels_of
from blendmake.tasks import TASKS
from blendmake.tasks.base import NOTE, Target, targets_of_note

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ROWS = 600
RATES = (0.5, 0.2, 0.05, 0.02)
NAMES = tuple(f"t{j}" for j in range(len(RATES)))


def labels_at(
    rates: tuple[float, ...] = RATES, rows: int = ROWS, missing: float = 0.0, seed: int = 0
) -> NDArray[np.float32]:
    """Labels with exactly `rates` of positives, a share of them then forgotten."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((rows, len(rates)), np.float32)
    for j, rate in enumerate(rates):
        labels[rng.permutation(rows)[: round(rate * rows)], j] = 1
    labels[rng.random(labels.shape) < missing] = np.nan
    return labels


def ids_of(labels: NDArray[Any]) -> pa.Table:
    return pa.table({"id": np.arange(len(labels))})


def make(labels: NDArray[Any], scheme: str, n: int = 5, **options: Any) -> NDArray[np.int32]:
    names = [f"t{j}" for j in range(labels.shape[1])]
    options = {"seed": 1, "targets": targets_of_note(names, {}), **options}
    return make_folds(labels, n=n, scheme=SCHEMES[scheme], **options)


def counts(values: NDArray[Any], fold: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Sums of each column per fold: (n, columns)."""
    return np.stack([np.asarray(values, float)[fold == k].sum(axis=0) for k in range(n)])


def groups_of(rows: int = ROWS, seed: int = 0) -> NDArray[np.int64]:
    """Groups of very different size."""
    sizes = np.random.default_rng(seed).geometric(0.1, rows)
    return np.repeat(np.arange(rows), sizes)[:rows].astype(np.int64)


# Schemes


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_stratified_folds_balance_every_label(missing: float, n: int) -> None:
    labels = labels_at((0.5, 0.2, 0.05), missing=missing)
    fold = make(labels, "stratified", n)
    for values in (labels == 1, ~np.isnan(labels)):
        found, fair = counts(values, fold, n), values.sum(axis=0) / n
        assert (np.abs(found - fair) <= np.maximum(2.0, 0.12 * fair)).all()
    assert np.ptp(np.bincount(fold)) <= 0.1 * ROWS / n


def test_stratified_folds_spread_rare_labels() -> None:
    labels = labels_at((0.3, 5 / ROWS, 10 / ROWS))
    found = counts(labels == 1, make(labels, "stratified"), 5)
    assert found[:, 1].tolist() == [1] * 5
    assert found[:, 2].tolist() == [2] * 5


def test_stratified_folds_of_one_label() -> None:
    labels = labels_at((0.05,))
    assert counts(labels, stratified_folds(labels, 5, 0), 5)[:, 0].tolist() == [6] * 5


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_group_folds_are_whole_and_balanced(missing: float, seed: int) -> None:
    labels, groups = labels_at(missing=missing, seed=seed), groups_of(seed=seed)
    fold = make(labels, "group", groups=groups, seed=seed)
    homes = {group: set(fold[groups == group]) for group in np.unique(groups)}
    assert all(len(folds) == 1 for folds in homes.values())

    def imbalance(fold: NDArray[Any]) -> float:
        values = np.hstack([labels == 1, np.ones((ROWS, 1))])
        found = counts(values, fold, 5)
        return float(((found / found.sum(axis=0) - 0.2) ** 2).mean())

    rng = np.random.default_rng(seed)
    by_chance = [imbalance(rng.integers(0, 5, groups.max() + 1)[groups]) for _ in range(200)]
    assert imbalance(fold) < min(by_chance)
    rows = np.bincount(fold)
    assert rows.max() - rows.min() <= 0.1 * ROWS / 5


def test_group_folds_go_by_the_groups_not_by_their_codes() -> None:
    labels, groups = labels_at(), groups_of()
    fold = group_folds(labels, groups, 5, 0)
    np.testing.assert_array_equal(group_folds(labels, groups * 1000 - 7, 5, 0), fold)


def test_kfold_is_plain_and_shuffled() -> None:
    fold = make(labels_at(), "kfold", 7)
    assert sorted(np.bincount(fold)) == [85, 85, 86, 86, 86, 86, 86]
    assert not np.array_equal(fold, np.arange(ROWS) % 7)


@pytest.mark.parametrize("scheme", ["stratified", "group", "kfold"])
def test_folds_follow_the_seed(scheme: str) -> None:
    labels, groups = labels_at(), groups_of()
    first, again, other = (make(labels, scheme, groups=groups, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_in_the_registry_uses_every_fold(scheme: str) -> None:
    fold = make(labels_at(), scheme, 4, groups=groups_of(), given=groups_of() % 4)
    assert (fold.dtype, fold.shape) == (np.int32, (ROWS,))
    assert np.unique(fold).tolist() == [0, 1, 2, 3]


def test_the_config_names_the_schemes_of_the_registry() -> None:
    names = get_args(Folds.model_fields["scheme"].annotation)
    assert set(names) == {"auto", *SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_folds_of_one_scheme_depend_on_no_other(scheme: str) -> None:
    files = [
        SCRIPTS / "make_folds.py",
        SCRIPTS.joinpath(*SCHEMES[scheme].split(".")).with_suffix(".py"),
    ]
    covered = {path.relative_to(SCRIPTS).as_posix() for path in imported_files(files, SCRIPTS)}
    assert {path for path in covered if path.startswith("blendmake/folds/schemes/")} == {
        f"blendmake/folds/schemes/{scheme}.py"
    }
    assert "blendmake/folds/__init__.py" not in covered


# Folds given by a column


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64])
def test_folds_given_by_a_column(dtype: Any) -> None:
    given = (np.arange(ROWS) % 3).astype(dtype)
    fold = make(labels_at(), "column", 3, given=given)
    assert fold.dtype == np.int32
    np.testing.assert_array_equal(fold, given)


@pytest.mark.parametrize("values", [[1, 2, 3], [0, 1, 3], [0, 0.5, 1], [0, -1, 1], [0], ["a", "b"]])
def test_wrong_fold_columns_are_refused(values: list[Any]) -> None:
    given = np.resize(np.array(values), ROWS)
    with pytest.raises(BlendmakeError, match="whole numbers 0 to n-1") as error:
        make(labels_at(), "column", 3, given=given)
    assert str(values[-1]) in str(error.value)


@pytest.mark.parametrize(("found", "n"), [(3, 5), (4, 2)])
def test_a_column_of_another_number_of_folds_is_refused(found: int, n: int) -> None:
    with pytest.raises(BlendmakeError) as error:
        make(labels_at(), "column", n, given=np.arange(ROWS) % found)
    assert f"holds {found} folds, but folds.n is {n}" in str(error.value)
    assert str(error.value).endswith(f"folds.n: {found}")


# Targets that cannot be folded


@pytest.mark.parametrize("scheme", ["stratified", "group", "kfold"])
def test_too_few_positives_are_refused(scheme: str) -> None:
    labels = labels_at((0.5, 4 / ROWS, 0.5, 0.0))
    with pytest.raises(BlendmakeError) as error:
        make(labels, scheme, groups=groups_of())
    for part in (
        "5 folds",
        "'t1' (4), 't3' (0)",
        "folds.n",
        "data.targets.columns",
        "folds.column",
    ):
        assert part in str(error.value)
    assert "t0" not in str(error.value) and "t2" not in str(error.value)


@pytest.mark.parametrize(("value", "word"), [(1, "positives"), (0, "negatives")])
def test_a_target_untrainable_in_a_fold_is_refused(value: int, word: str) -> None:
    labels = labels_at((0.5, 0.5))
    given = np.arange(ROWS) % 3
    labels[:, 1] = np.where(given == 2, value, 1 - value)
    with pytest.raises(BlendmakeError, match=rf"Fold 2 leaves target 't1' no {word} to train on"):
        make(labels, "column", 3, given=given)


def test_positives_all_in_one_group_are_refused() -> None:
    labels, groups = labels_at((0.5, 0.0)), groups_of()
    labels[groups == np.bincount(groups).argmax(), 1] = 1
    with pytest.raises(BlendmakeError, match="leaves target 't1' no positives"):
        make(labels, "group", groups=groups)


# Files


def test_folds_round_trip(tmp_path: Path) -> None:
    labels = labels_at()
    fold = make(labels, "stratified", 4)
    write_folds(tmp_path / "folds.parquet", ids_of(labels), fold, {"seed": 1})
    folds = read_folds(tmp_path / "folds.parquet")
    assert folds.n == 4
    np.testing.assert_array_equal(folds.fold, fold)
    held_out = [folds.rows(k).valid for k in range(4)]
    np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), np.arange(ROWS))
    for k in range(4):
        rows = folds.rows(k)
        assert not set(rows.train) & set(rows.valid)
        assert len(rows.train) + len(rows.valid) == ROWS
    with pytest.raises(BlendmakeError, match="no fold 4: the problem has folds 0 to 3"):
        folds.rows(4)


def test_labels_round_trip(tmp_path: Path) -> None:
    table = pa.table(
        {"a": [1, 2, 3], "b": [4, 5, 6], "t": pa.array([1, None, 0], pa.int8()), "u": [0, 1, 1]}
    )
    write_parquet(table, tmp_path / "targets.parquet")
    names, labels = labels_of(table, ["a", "b"])
    assert names == ["t", "u"]
    np.testing.assert_array_equal(labels, np.array([[1, 0], [np.nan, 1], [0, 1]], np.float32))


# Inner splits


@pytest.mark.parametrize(
    ("share", "met"),
    [(0.2, 0.2), (0.1, 0.1), (0.25, 0.25), (0.4, 0.4), (0.5, 0.5), (0.02, 0.02), (0.15, 0.15)],
)
def test_inner_split_meets_its_share(share: float, met: float) -> None:
    labels = labels_at((0.5, 0.25))
    aside = inner_split(labels, np.arange(ROWS), share, 0)
    assert aside.dtype == bool
    assert aside.mean() == pytest.approx(met, abs=0.01)


def test_inner_split_is_stratified_and_of_training_rows_only() -> None:
    labels = labels_at(missing=0.1)
    train = np.flatnonzero(np.arange(ROWS) % 5 != 2)
    aside = inner_split(labels, train, 0.2, 0)
    assert aside.shape == train.shape
    positives = labels[train] == 1
    np.testing.assert_allclose(positives[aside].sum(axis=0), positives.sum(axis=0) / 5, atol=2)
    np.testing.assert_array_equal(inner_split(labels, train, 0.2, 0), aside)
    assert not np.array_equal(inner_split(labels, train, 0.2, 1), aside)


def test_inner_split_keeps_groups_whole() -> None:
    labels, groups = labels_at(), groups_of()
    train = np.flatnonzero(group_folds(labels, groups, 5, 0) != 0)
    aside = inner_split(labels, train, 0.2, 0, groups)
    assert not set(groups[train[aside]]) & set(groups[train[~aside]])
    assert aside.mean() == pytest.approx(0.2, abs=0.03)


def test_inner_splits_round_trip(tmp_path: Path) -> None:
    labels = labels_at()
    splits = []
    for k in range(3):
        train = np.flatnonzero(np.arange(ROWS) % 3 != k)
        splits.append((train, inner_split(labels, train, 0.2, k)))
    path = tmp_path / "inner.parquet"
    write_inner(path, ids_of(labels), splits, {})
    for k, (train, aside) in enumerate(splits):
        rows = read_inner(path, k)
        assert rows.shape == (ROWS,)
        np.testing.assert_array_equal(np.flatnonzero(rows), train[aside])


# Other tasks

OTHERS = {
    "y=multiclass": {"task": "multiclass", "classes": ["a", "b", "c"]},
    "y=regression": {"task": "regression"},
}


def of_task(task: str, rows: int = ROWS, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    if task == "regression":
        return np.exp(rng.normal(size=(rows, 1))).astype(np.float32)
    if task == "multiclass":
        return rng.choice(3, (rows, 1), p=[0.6, 0.3, 0.1]).astype(np.float32)
    return labels_at((0.2,), rows, seed=seed)


def target_of(task: str) -> tuple[Target, ...]:
    return targets_of_note([f"y={task}"], {NOTE: OTHERS})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scheme", ["stratified", "group"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_folds_balance_the_labels_of_every_task(task: str, scheme: str, missing: float) -> None:
    labels = of_task(task)
    labels[np.random.default_rng(1).random(labels.shape) < missing] = np.nan
    targets = target_of(task)
    groups = groups_of() if scheme == "group" else None
    fold = make(labels, scheme, targets=targets, groups=groups)
    marks = np.hstack([targets[0].task.strata(labels[:, 0]), ~np.isnan(labels)])
    spread = counts(marks, fold, 5) / marks.sum(axis=0)
    by_chance = [
        counts(marks, np.random.default_rng(s).permutation(fold), 5) / marks.sum(axis=0)
        for s in range(50)
    ]
    means = np.mean([((one - 0.2) ** 2).mean() for one in by_chance])
    # Groups are hard to balance, rows by themselves are not.
    assert ((spread - 0.2) ** 2).mean() < (0.05 if scheme == "stratified" else 1.5) * means
    inner = inner_split(labels, np.flatnonzero(fold != 0), 0.2, 3, None, targets)
    inside = marks[fold != 0]
    taken = inside[inner].sum(axis=0) / inside.sum(axis=0)
    assert np.abs(taken - 0.2).max() < 0.05


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_other_tasks_leave_binary_folds_as_they_are(missing: float) -> None:
    labels = labels_at(missing=missing)
    binary = targets_of_note(NAMES, {})
    for scheme, groups in (("stratified", None), ("group", groups_of())):
        found = make(labels, scheme, groups=groups, targets=binary)
        plain = labels == 1
        known = ~np.isnan(labels)
        some = ~known.all(axis=0)
        marks = np.hstack([plain, known[:, some]]).astype(np.int8)
        assert (indicators(labels, binary) == marks).all()
        np.testing.assert_array_equal(found, make(labels, scheme, groups=groups))


def test_mixed_targets_are_balanced_together() -> None:
    labels = np.hstack([of_task(task) for task in TASKS]).astype(np.float64)
    targets = targets_of_note([f"y={task}" for task in TASKS], {NOTE: OTHERS})
    fold = make(labels, "stratified", targets=targets)
    for column, target in zip(labels.T, targets, strict=True):
        found = counts(target.task.strata(column), fold, 5)
        assert np.ptp(found, axis=0).max() <= 6


def test_classes_that_a_model_has_not_seen_are_told() -> None:
    labels = of_task("multiclass")
    labels[labels == 2] = 0
    labels[:3] = 2
    told: list[str] = []
    fold = make(labels, "stratified", targets=target_of("multiclass"), warn=told.append)
    assert len(set(fold[:3])) == 3
    assert told == [
        "target 'y=multiclass': class 'c' (3 rows) has fewer rows than the 5 folds, so that some folds "
        "have none to score it by"
    ]
    told.clear()
    groups = np.arange(ROWS)
    groups[:3] = 0
    make(labels, "group", groups=groups, targets=target_of("multiclass"), warn=told.append)
    assert told == [
        "target 'y=multiclass': all rows of class 'c' (3 rows) lie in one fold, whose model has not "
        "seen it"
    ]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_folds_that_leave_nothing_to_learn_are_refused(task: str) -> None:
    labels = of_task(task)
    given = np.arange(ROWS) % 5
    labels[given != 2] = 1
    with pytest.raises(BlendmakeError, match=r"Fold 2 leaves target 'y=\w+' nothing to learn from"):
        make(labels, "column", given=given, targets=target_of(task))
