"""Which entries may be ranked against each other: those with the same targets, on the same folds.

A mean over other targets, or a score of other rows, is another quantity. So entries come on boards, each
of which ranks by one metric, on the targets that all of it covers and the folds honest for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blendmake.honest import ALL

Folds = tuple[int, ...]


@dataclass(frozen=True)
class Standing:
    """What an entry is scored on: its targets of a metric, and the folds honest for it (None: all)."""

    name: str
    targets: tuple[str, ...]
    folds: Sequence[int] | None
    metric: str = "auc"

    def covers(self, board: Board) -> bool:
        """Whether it is honestly scored on all rows and targets of a board."""
        folds = self.folds is None or (
            board.folds is not None and set(board.folds) <= set(self.folds)
        )
        same = self.metric == board.metric
        return folds and same and set(board.targets) <= set(self.targets)


@dataclass(frozen=True)
class Board:
    """Names, sorted, of entries to be ranked together, and on what (folds None: all), by what."""

    names: tuple[str, ...]
    targets: tuple[str, ...]
    folds: Folds | None
    metric: str = "auc"


def make_boards(standings: Sequence[Standing]) -> list[Board]:
    """Every entry on one board, the first covering most targets; the standings' order is no matter.

    Entries with the same targets are a board if some folds are honest for all of them; where none are,
    as many as can be are, and the rest again.
    """
    boards = []
    for targets, metric in sorted({(tuple(sorted(s.targets)), s.metric) for s in standings}):
        waiting = [
            one
            for one in standings
            if (tuple(sorted(one.targets)), one.metric) == (targets, metric)
        ]
        while waiting:
            folds = _commonest(waiting)
            taken = [
                one for one in waiting if one.folds is None or set(folds or ()) <= set(one.folds)
            ]
            waiting = [one for one in waiting if one not in taken]
            names = tuple(sorted(one.name for one in taken))
            boards.append(Board(names, targets, folds, metric))
    # The sort is stable: of equals the one chosen first stands first.
    return sorted(boards, key=lambda board: (-len(board.targets), -len(board.names)))


def read_folds_text(text: str | None) -> Folds | None:
    """Folds from what `honest.folds_text` wrote; None: all."""
    return None if text in (None, ALL) else tuple(map(int, str(text).split()))


def _commonest(standings: Sequence[Standing]) -> Folds | None:
    """The folds honest for all of the most entries that have any in common; None: all folds."""
    named = sorted({fold for one in standings for fold in one.folds or ()})
    if not named:
        return None
    best = max(named, key=lambda fold: (sum(_is_honest(one, fold) for one in standings), -fold))
    common = set(named)
    for one in standings:
        if one.folds is not None and _is_honest(one, best):
            common &= set(one.folds)
    return tuple(sorted(common))


def _is_honest(one: Standing, fold: int) -> bool:
    return one.folds is None or fold in one.folds
