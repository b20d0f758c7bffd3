"""The stacker across targets: products of log odds, chosen and fitted without the rows they score."""

from __future__ import annotations

from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from blendmake.blends.blending import Blended, blend
from blendmake.blends.members import BLEND_METHODS, CROSS_NEIGHBOURS, BlendOptions, Member, Split
from blendmake.config.blends import Method
from blendmake.stats.auc import auc
from blendmake.stats.logits import expit, logit_scale

FOLDS = 4
TARGETS = ("odd", "a", "b", "c")
TEST_ROWS = 600


class Planted:
    """Targets a and b that are predicted well; `odd` goes with the product of their log odds.

    `c` goes with nothing. The members' predictions of `odd` say little.
    """

    def __init__(self, rows: int = 1600, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rows = rows
        x = rng.normal(size=(rows + TEST_ROWS, 2))
        y = (2 * x + rng.logistic(size=x.shape) > 0).astype(float)
        noise = rng.normal(size=(rows + TEST_ROWS, 2))
        odds = 0.4 * noise[:, 0] + 1.5 * x[:, 0] * x[:, 1] + 0.3 * x[:, 0]
        odd = (odds + rng.logistic(size=rows + TEST_ROWS) > 0).astype(float)
        c = (rng.random(rows + TEST_ROWS) < 0.3).astype(float)
        self.every = np.column_stack([odd, y, c])
        self.labels = self.every[:rows].copy()
        self.folds = rng.permutation(np.arange(rows) % FOLDS)
        positions = np.arange(rows)
        self.splits = [
            Split(positions[self.folds != k], positions[self.folds == k]) for k in range(FOLDS)
        ]
        self.members = []
        for name in ("m", "n"):
            raw = np.column_stack([noise[:, 0], 2 * x, noise[:, 1]])
            raw += 0.3 * rng.normal(size=raw.shape)
            predicted = expit(raw).astype(np.float32)
            self.members.append(Member(name, TARGETS, predicted[:rows], predicted[rows:]))

    def blend(self, method: str = "cross_target", **options: Any) -> Blended:
        options = {"stack_c": 10.0, **options}
        return blend(
            self.members,
            self.labels,
            TARGETS,
            self.splits,
            self.folds,
            BlendOptions(method=method, **options),
        )

    def score(self, blended: Blended, target: str = "odd") -> float:
        column = TARGETS.index(target)
        return auc(self.labels[:, column], blended.oof[:, column])


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


@pytest.fixture(scope="module")
def crossed(planted: Planted) -> Blended:
    return planted.blend()


def terms(blended: Blended, target: str, fold: int | None) -> dict[str, float]:
    return {
        row["source"]: row["weight"]
        for row in blended.weights.to_pylist()
        if row["target"] == target and row["fold"] == fold
    }


def test_the_config_names_every_method() -> None:
    assert set(get_args(Method)) == set(BLEND_METHODS)


def test_a_product_is_found(planted: Planted, crossed: Blended) -> None:
    """Where a target goes with the product of two others, it beats the plain stack and neighbours."""
    plain = planted.blend("stack")
    single = planted.blend("stack", stack_neighbours=CROSS_NEIGHBOURS)
    scores = [planted.score(blended) for blended in (plain, single, crossed)]
    assert scores[2] > scores[1] + 0.05
    assert scores[2] > scores[0] + 0.05
    tested = [
        auc(planted.every[planted.rows :, 0], blended.test[:, 0])
        for blended in (plain, crossed)
        if blended.test is not None
    ]
    assert tested[1] > tested[0] + 0.05
    found = terms(crossed, "odd", None)
    products = {name: weight for name, weight in found.items() if " * " in name}
    pair = next(name for name in products if {"target:a", "target:b"} == set(name.split(" * ")))
    assert products[pair] > 0.1
    # Elsewhere it does no harm to speak of.
    for target in ("a", "b"):
        assert planted.score(crossed, target) > planted.score(plain, target) - 0.005
    assert abs(planted.score(crossed, "c") - 0.5) < 0.06


def test_rows_of_the_weights_table(crossed: Blended) -> None:
    """Own sources, each neighbour, each pair among the target itself and its neighbours, intercept."""
    for target in TARGETS:
        for fold in (None, *range(FOLDS)):
            names = list(terms(crossed, target, fold))
            assert len(set(names)) == len(names)
            near = [name for name in names if name.startswith("target:") and " * " not in name]
            assert 2 <= len(near) <= 3
            assert f"target:{target}" not in near
            pairs = {frozenset(name.split(" * ")) for name in names if " * " in name}
            own = f"target:{target}"
            assert pairs == {frozenset(pair) for pair in combinations([own, *near], 2)}
            assert len(names) == 2 + len(near) + len(pairs) + 1
            assert names[-1] == "(intercept)"
    rows = [row for row in crossed.weights.to_pylist() if " * " in row["source"]]
    assert {row["why"] for row in rows} == {"coefficient"}
    assert {(row["solo"], row["rank"]) for row in rows} == {(None, None)}


def rebuilt(
    planted: Planted, target: str, weights: dict[str, float], part: str
) -> NDArray[np.float64]:
    """Predictions from what the weights table says alone."""
    tables = {member.name: getattr(member, part) for member in planted.members}

    def logit(name: str, column: str) -> NDArray[np.float64]:
        return logit_scale(np.ascontiguousarray(tables[name][:, TARGETS.index(column)]))

    def value(term: str) -> Any:
        if term in tables:
            return logit(term, target)
        if term == "(intercept)":
            return 1.0
        others = [name.removeprefix("target:") for name in term.split(" * ")]
        return np.prod([np.mean([logit(m, t) for m in tables], axis=0) for t in others], axis=0)

    return expit(np.asarray(sum(weight * value(term) for term, weight in weights.items())))


def test_predictions_are_what_the_weights_table_says(planted: Planted, crossed: Blended) -> None:
    assert crossed.in_sample is not None and crossed.test is not None
    close = {"rtol": 0, "atol": 1e-6}
    for column, target in enumerate(TARGETS):
        whole = terms(crossed, target, None)
        np.testing.assert_allclose(
            crossed.in_sample[:, column], rebuilt(planted, target, whole, "oof"), **close
        )
        np.testing.assert_allclose(
            crossed.test[:, column], rebuilt(planted, target, whole, "test"), **close
        )
        for fold, split in enumerate(planted.splits):
            mine = rebuilt(planted, target, terms(crossed, target, fold), "oof")
            np.testing.assert_allclose(crossed.oof[split.apply, column], mine[split.apply], **close)


@pytest.mark.parametrize("target", ["odd", "a"])
def test_labels_of_the_applied_fold_do_not_matter(target: str) -> None:
    """Neither the target's own nor those of the others, which choose the neighbours."""
    small = Planted(rows=240, seed=3)
    before = small.blend(stack_neighbours=2)
    column = TARGETS.index(target)
    for fold, split in enumerate(small.splits):
        kept = small.labels.copy()
        small.labels[split.apply, column] = 1 - small.labels[split.apply, column]
        after = small.blend(stack_neighbours=2)
        small.labels = kept
        assert np.array_equal(before.oof[split.apply], after.oof[split.apply])
        for name in TARGETS:
            assert terms(before, name, fold) == terms(after, name, fold)
        others = np.concatenate([s.apply for k, s in enumerate(small.splits) if k != fold])
        assert not np.array_equal(before.oof[others], after.oof[others])


def test_without_neighbours_it_is_the_plain_stack(planted: Planted) -> None:
    alone, plain = planted.blend(stack_neighbours=0), planted.blend("stack")
    assert np.array_equal(alone.oof, plain.oof)
    assert alone.weights.equals(plain.weights)


def test_how_many_neighbours() -> None:
    given = {None: CROSS_NEIGHBOURS, 0: 0, 2: 2}
    for count, expected in given.items():
        assert BlendOptions("cross_target", stack_neighbours=count).neighbours == expected
    assert BlendOptions("stack").neighbours == 0
    few = Planted(rows=240).blend(stack_neighbours=1)
    near = [name for name in terms(few, "odd", None) if name.startswith("target:")]
    assert len(near) == 2  # the neighbour, and its product with the target itself


def test_unknown_labels_and_one_class(planted: Planted) -> None:
    small = Planted(rows=240, seed=5)
    rng = np.random.default_rng(2)
    small.labels[rng.random(240) < 0.3, 0] = np.nan
    small.labels[small.folds != 1, 3] = 0  # fold 1 alone has positives of c: its fit has none
    blended = small.blend()
    for table in (blended.oof, blended.test):
        assert table is not None and np.isfinite(table).all()
        assert table.min() >= 0 and table.max() <= 1
    fold = terms(blended, "c", 1)
    assert fold == {"m": 0.5, "n": 0.5}
    small.labels[:, 3] = np.nan
    assert set(terms(small.blend(), "c", None)) == {"m", "n"}


def test_a_target_that_no_member_covers_is_no_neighbour() -> None:
    small = Planted(rows=240, seed=6)
    small.members = [
        Member(m.name, TARGETS[:3], m.oof[:, :3], None if m.test is None else m.test[:, :3])
        for m in small.members
    ]
    blended = small.blend()
    assert blended.targets == TARGETS[:3]
    assert not [row for row in blended.weights["source"].to_pylist() if "target:c" in row]
