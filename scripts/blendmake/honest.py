"""On which folds a score is honest, where params were searched with the labels of the others.

Trials of a search train and validate inside its search folds, so that labels of the other folds had
no say in the params. A prediction file's note names these as `honest_folds`; without that key all
are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HONEST_FOLDS = "honest_folds"
TOLD_BY = "told_by"
"""Key of the notes of predictions: the columns that alone tell a target (tellers.py)."""
ALL = "all"
HONEST = ("oof", "cross_fitted")
"""Estimates by which entries are ranked: no row is scored by what was fitted on it."""


def common_folds(honest: Iterable[Collection[int] | None], n: int) -> tuple[list[int] | None, bool]:
    """The folds, of `n`, that are honest for everything listed.

    Args:
        honest: the honest folds of each; None: all.

    Returns:
        The folds in ascending order, None where all are honest; and whether a score is optimistic
        nevertheless. It is where no fold is honest for everything: then all rows are scored.
    """
    common = set(range(n))
    for folds in honest:
        common &= common if folds is None else set(folds)
    return sorted(common) if 0 < len(common) < n else None, not common


def honest_note(
    optimistic: Iterable[str],
    targets: Iterable[str],
    honest: Iterable[Collection[int] | None],
    n: int,
) -> dict[str, Any]:
    """What the note of predictions says of their honesty: `optimistic`, and `honest_folds`.

    Args:
        optimistic: targets that are optimistic already.
        targets: all that are predicted: without an honest fold every one is optimistic.
        honest, n: as for `common_folds`.
    """
    folds, flattered = common_folds(honest, n)
    marked = {*optimistic, *(targets if flattered else ())}
    return {"optimistic": sorted(marked)} | ({} if folds is None else {HONEST_FOLDS: folds})


def honest_rows(fold: NDArray[Any], honest: Sequence[int] | None) -> NDArray[np.bool_] | None:
    """Which rows lie in honest folds: bool (rows,); None: all.

    Args:
        fold: (rows,) the fold of each row.
        honest: the honest folds; None: all.
    """
    return None if honest is None else np.isin(fold, list(honest))


def folds_text(honest: Sequence[int] | None) -> str:
    """Folds as tables name them: `3 4`, or `all`."""
    return ALL if honest is None else " ".join(map(str, sorted(honest)))
