"""Linear models on imputed and scaled numbers and one-hot or hashed categories.

Logistic regression, or with `solver: sgd` an elastic net by stochastic gradient descent. All that
columns become is learnt from the fold's own training rows.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from blendmake.family import Family, Fit, Fitted, FoldData, JointFit, known_rows, refused
from blendmake.files import write_text
from blendmake.matrix import Floats, Rows

CLIP = 10.0  # standard deviations: one wild value must not rule the fit


HASH_BITS = 12
MOST_HASH_BITS = 24


@dataclass(frozen=True)
class Preparation:
    """How columns become regressors.

    Numbers: the median for missing ones, a flag column where some were missing in training,
    standardised and clipped. Categories: one column per level seen in training; a missing or unseen
    one has none. With `hash_bits` above 0, instead, all levels of all columns share
    2 ** hash_bits columns (see hashed).
    """

    numbers: NDArray[np.intp]
    medians: Floats
    means: Floats
    scales: Floats
    flagged: NDArray[np.intp]  # indices into `numbers`
    categories: NDArray[np.intp]
    levels: tuple[NDArray[np.intp], ...]  # codes seen, per category column; none if hashed
    hash_bits: int = 0

    @staticmethod
    def learn(rows: Rows, hash_bits: int = 0) -> Preparation:
        """Learn from training rows, without labels; one column is held at a time."""
        is_category = np.array([column.is_category for column in rows.columns], bool)
        numbers, categories = np.flatnonzero(~is_category), np.flatnonzero(is_category)
        medians = np.zeros(len(numbers), np.float32)
        means, scales = np.zeros(len(numbers), np.float32), np.ones(len(numbers), np.float32)
        flagged = []
        for j, index in enumerate(numbers):
            column = rows.codes(int(index))
            null = np.isnan(column)
            if null.any():
                flagged.append(j)
            present = column[~null]
            if len(present) == 0:
                continue
            medians[j] = np.median(present)
            filled = np.where(null, medians[j], column).astype(np.float64)
            means[j] = filled.mean()
            deviation = np.float32(filled.std())
            # A constant column stays at zero instead of being blown up.
            scales[j] = deviation if deviation > 0 and np.isfinite(deviation) else 1
        levels = []
        for index in categories if hash_bits == 0 else ():
            codes = rows.codes(int(index))
            levels.append(np.unique(codes[~np.isnan(codes)]).astype(np.intp))
        return Preparation(
            numbers,
            medians,
            means,
            scales,
            np.array(flagged, np.intp),
            categories,
            tuple(levels),
            hash_bits,
        )

    @property
    def width(self) -> int:
        """Number of regressors."""
        hot = 2**self.hash_bits if self.hash_bits else sum(len(part) for part in self.levels)
        return len(self.numbers) + len(self.flagged) + (hot if len(self.categories) else 0)

    def apply(self, rows: Rows) -> Any:
        """Regressors (rows, width): a float32 array, or a CSR matrix where there are categories.

        None if there are no rows. Made in blocks, in the place where they stay.
        """
        if len(rows) == 0:
            return None
        if len(self.categories):
            return self._sparse(rows)
        made = np.empty((len(rows), self.width), np.float32)
        start = 0
        for block in rows.blocks():
            made[start : start + len(block)] = self._scaled(block)
            start += len(block)
        return made

    def _sparse(self, rows: Rows) -> Any:
        # A row has at most so many entries; pages of memory that are not written are not used.
        most = len(rows) * (len(self.numbers) + len(self.flagged) + len(self.categories))
        kind = sparse.get_index_dtype(maxval=max(most, self.width))
        data, indices = np.empty(most, np.float32), np.empty(most, kind)
        ends = np.zeros(len(rows) + 1, kind)
        row = filled = 0
        for block in rows.blocks():
            hot = self._hashed(block) if self.hash_bits else self._one_hot(block)
            part = sparse.hstack([sparse.csr_matrix(self._scaled(block)), *hot], format="csr")
            data[filled : filled + part.nnz] = part.data
            indices[filled : filled + part.nnz] = part.indices
            ends[row + 1 : row + 1 + len(block)] = filled + part.indptr[1:]
            row, filled = row + len(block), filled + part.nnz
        return sparse.csr_matrix(
            (data[:filled], indices[:filled], ends), shape=(len(rows), self.width)
        )

    def _scaled(self, block: Floats) -> Floats:
        """Of a block, the numbers and the flags of missing ones."""
        numbers = block[:, self.numbers]
        null = np.isnan(numbers)
        filled = np.where(null, self.medians, numbers)
        with np.errstate(over="ignore"):  # clipped in the next step
            scaled = np.clip((filled - self.means) / self.scales, -CLIP, CLIP)
        return np.hstack([scaled, null[:, self.flagged]]).astype(np.float32)

    def _one_hot(self, block: Floats) -> list[Any]:
        """Of a block, for each category column a matrix of its levels."""
        hot = []
        for index, levels in zip(self.categories, self.levels, strict=True):
            codes = np.nan_to_num(block[:, index], nan=-1).astype(np.intp)
            place = np.searchsorted(levels, codes).clip(max=max(len(levels) - 1, 0))
            seen = np.flatnonzero(levels[place] == codes) if len(levels) else np.empty(0, np.intp)
            shape = (len(block), len(levels))
            hot.append(
                sparse.csr_matrix(
                    (np.ones(len(seen), np.float32), (seen, place[seen])), shape=shape
                )
            )
        return hot

    def _hashed(self, block: Floats) -> list[Any]:
        """Of a block, the one matrix that all category columns share."""
        seen, places, signs = [], [], []
        for index in self.categories:
            present = np.flatnonzero(~np.isnan(block[:, index]))
            place, sign = hashed(int(index), block[present, index].astype(np.int64), self.hash_bits)
            seen.append(present)
            places.append(place)
            signs.append(sign)
        at = (np.concatenate(seen), np.concatenate(places))
        shape = (len(block), 2**self.hash_bits)
        # Levels of one row that meet in a column add up.
        return [sparse.csr_matrix((np.concatenate(signs), at), shape=shape)]

    def to_json(self) -> dict[str, Any]:
        """Everything needed to apply it to new rows."""
        arrays = {name: v.tolist() for name, v in vars(self).items() if isinstance(v, np.ndarray)}
        levels = [part.tolist() for part in self.levels]
        return {**arrays, "levels": levels, "hash_bits": self.hash_bits}

    @staticmethod
    def from_json(stored: dict[str, Any]) -> Preparation:
        """The inverse of to_json."""
        return Preparation(
            numbers=np.array(stored["numbers"], np.intp),
            medians=np.array(stored["medians"], np.float32),
            means=np.array(stored["means"], np.float32),
            scales=np.array(stored["scales"], np.float32),
            flagged=np.array(stored["flagged"], np.intp),
            categories=np.array(stored["categories"], np.intp),
            levels=tuple(np.array(part, np.intp) for part in stored["levels"]),
            hash_bits=stored["hash_bits"],
        )


def hashed(
    column: int, codes: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Places and signs of the levels of a category column (Weinberger et al. 2009).

    "Feature Hashing for Large Scale Multitask Learning", ICML: the sign, a hash of its own, makes
    what meets in one place cancel out on average. The hash of (column, code) is the finaliser of
    SplitMix64 (Steele, Lea and Flood 2014), the same everywhere.

    Args:
        column: index of the column in the feature set.
        codes: (n,) codes ≥ 0.
        bits: places are below 2 ** bits.

    Returns:
        places (n,) and signs (n,), 1 or -1.
    """
    x = np.uint64((column + 1) << 32) + codes.astype(np.uint64)
    x *= np.uint64(0x9E3779B97F4A7C15)  # runs over, as it must
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    places = (x >> np.uint64(64 - bits)).astype(np.intp)
    return places, np.where(x & np.uint64(1), np.float32(1), np.float32(-1))


class _Regressors(NamedTuple):
    """The rows of a fold as regressors, by one way to make them."""

    preparation: Preparation
    train: Any
    valid: Any
    test: Any


class Linear(Family):
    """Logistic regression, or an elastic net by stochastic gradient descent.

    Params: those of scikit-learn's LogisticRegression; with `solver: sgd` those of its SGDClassifier
    (`penalty` l2, l1 or elasticnet, `alpha`, `l1_ratio`, `average`, `tol`, …), but for `alpha`,
    0.01 here: at 0.0001 it did not settle on 5,800 × 895. `rounds` are epochs then, at most: it
    ends when for five of them the training loss has not fallen by `tol` (0.001; null for all
    epochs). `categories`: `onehot`, or `hashed` into 2 ** `hash_bits` columns (12 bits) that all
    category columns share.
    """

    PACKAGES = ("scikit-learn", "scipy")
    ROUNDS = 300  # iterations at most
    STOPS = False
    DEFAULTS: ClassVar[dict[str, Any]] = {"C": 0.1, "solver": "lbfgs"}
    SGD_DEFAULTS: ClassVar[dict[str, Any]] = {"alpha": 0.01, "penalty": "l2", "tol": 1e-3}
    RESERVED: ClassVar[dict[str, str]] = {
        "random_state": "use the problem's seed",
        "n_jobs": "threads belong to the profile (set-threads)",
        "max_iter": "use the source's key 'rounds'",
        "class_weight": "use the source's key 'class_weight'",
        "loss": "targets are binary, their loss is logistic",
        "early_stopping": "it would set rows of its own aside",
        "warm_start": "it would tie the targets together",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._blas = ThreadpoolController()
        self._made: tuple[int, _Regressors] | None = None

    def _regressors(self, hash_bits: int) -> _Regressors:
        """The fold's rows; kept until categories are wanted otherwise."""
        if self._made is None or self._made[0] != hash_bits:
            self._made = None  # the old ones go before the new ones come
            preparation = Preparation.learn(self.data.train, hash_bits)
            parts = (self.data.train, self.data.valid, self.data.test)
            applied = (preparation.apply(rows) for rows in parts)
            self._made = (hash_bits, _Regressors(preparation, *applied))
        return self._made[1]

    def params(self, task: Fit | JointFit) -> dict[str, Any]:
        """As in the base, over the defaults of the solver that is asked for."""
        params = super().params(task)
        if params["solver"] != "sgd":
            return params
        return {**self.SGD_DEFAULTS, **task.params}

    def _model(self, task: Fit, params: dict[str, Any]) -> Any:
        shared = {
            "max_iter": task.rounds,
            "class_weight": {0: 1.0, 1: task.positive_weight},
            "random_state": task.seed,
        }
        if params["solver"] == "sgd":
            del params["solver"]
            return SGDClassifier(**params, loss="log_loss", **shared)
        return LogisticRegression(**params, **shared)

    def fit(self, task: Fit) -> Fitted:
        params = self.params(task)
        regressors = self._regressors(_hash_bits(task, params))
        known = known_rows(task.labels)
        x = regressors.train if known is None else regressors.train[known]
        y = task.labels if known is None else task.labels[known]
        # BLAS would otherwise take every core, and its sums depend on the number of threads.
        with self._blas.limit(limits=self.threads), warnings.catch_warnings():
            # Stopping at `rounds` is what was asked for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                model = self._model(task, params).fit(x, y.astype(np.int8))
            except (TypeError, ValueError) as error:
                raise refused(task, error) from error
        coefficients, intercept = model.coef_[0].astype(np.float64), float(model.intercept_[0])

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".json")
            stored = {
                "coefficients": coefficients.tolist(),
                "intercept": intercept,
                "preparation": regressors.preparation.to_json(),
            }
            write_text(json.dumps(stored), path)
            return path

        with self._blas.limit(limits=self.threads):
            valid = _predict(regressors.valid, coefficients, intercept)
            test = _predict(regressors.test, coefficients, intercept)
        return Fitted(valid, test, int(np.max(model.n_iter_)), save)


def _hash_bits(task: Fit, params: dict[str, Any]) -> int:
    """Take the params that say what becomes of categories; 0 bits for one column per level."""
    ways = ("onehot", "hashed")
    way, bits = params.pop("categories", "onehot"), params.pop("hash_bits", None)
    if way not in ways:
        raise refused(task, ValueError(f"categories is one of {', '.join(ways)}; found {way!r}"))
    if way == "onehot":
        if bits is not None:
            raise refused(task, ValueError("hash_bits goes with 'categories: hashed' only"))
        return 0
    bits = HASH_BITS if bits is None else bits
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MOST_HASH_BITS:
        raise refused(task, ValueError(f"hash_bits is a whole number from 1 to {MOST_HASH_BITS}"))
    return bits


def _predict(x: Any, coefficients: NDArray[np.float64], intercept: float) -> Floats:
    if x is None:
        return np.empty(0, np.float32)
    margin = np.clip(np.asarray(x @ coefficients) + intercept, -500, 500)
    return (1 / (1 + np.exp(-margin))).astype(np.float32)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    x = Preparation.from_json(stored["preparation"]).apply(rows)
    with ThreadpoolController().limit(limits=threads):
        return _predict(x, np.array(stored["coefficients"]), stored["intercept"])


FAMILY = Linear
