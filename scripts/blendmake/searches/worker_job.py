"""The jobs of a search: a worker, and what is written of the trials once all are done, or before."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendmake.beside import beside
from blendmake.errors import BlendmakeError
from blendmake.scratch import locked
from blendmake.searches.checking import check_search
from blendmake.searches.lint_text import refuse
from blendmake.searches.search import Search
from blendmake.searches.storage import StorageAway
from blendmake.searches.table import write_trials
from blendmake.searches.working import Worker, trials_of

log = logging.getLogger(__name__)
PARTIAL = "partial"
TOP = 10  # trials that the analysis of an unfinished search lists


def work(
    search: Search,
    *,
    scratch: Path,
    folder: Path,
    number: int,
    time_limit: float | None,
    criteria: Mapping[str, float] | None,
    note: Mapping[str, Any],
) -> dict[str, int]:
    """Fit trials with the other workers of a search until every study has its trials.

    Args:
        scratch: where the studies' journal stands.
        folder: of the search's results, where STOP is looked for and `partial/` written.
        number: of this worker.
        time_limit: seconds that it has.
        criteria, note: of the analysis of a search that ends early (config.searches.Search; note: its
            provenance).

    Returns:
        Trials done (complete and pruned) by study.

    Raises:
        BlendmakeError: the search is wrong, too many trials fail, or it ends early (Unfinished).
    """
    refuse(check_search(search), search.name)
    try:
        return Worker(search, scratch, folder, number, time_limit).run()
    except StorageAway:
        raise  # there is nothing to read trials from
    except BlendmakeError:
        with locked(scratch / PARTIAL, patient=True):
            _write_partial(search, scratch, folder / PARTIAL, criteria, note)
        raise


def _write_partial(
    search: Search,
    scratch: Path,
    folder: Path,
    criteria: Mapping[str, float] | None,
    note: Mapping[str, Any],
) -> None:
    """The analysis of what there is of a search."""
    # An analysis is nothing that a trial depends on, and a change in it no change of workers.
    outputs, ranking = beside("searches.outputs"), beside("searches.ranking")
    trials = folder / "trials.parquet"
    try:
        collect(search, scratch=scratch, out=trials, note=note, finished=False)
        ranking.rank_trials(trials, folder / "best.parquet", note, partial=True)
        outputs.write_analysis(trials, folder, search.space, top=TOP, note=note)
        outputs.write_summary(trials, criteria, folder / "summary.md")
    except BlendmakeError as error:
        log.warning("there is no analysis of what stands: %s", error)


def collect(
    search: Search, *, scratch: Path, out: Path, note: Mapping[str, Any], finished: bool = True
) -> None:
    """Write trials.parquet from the studies of a search; its note says what follows needs to know.

    Args:
        finished: whether every study must have its trials.

    Raises:
        BlendmakeError: it has not.
    """
    made = {
        **note,
        "search": search.name,
        "metric": search.metric,
        "targets": search.targets,
        "studies": list(search.study_targets()),
        "wanted": search.config["trials"],
        "space": [param.name for param in search.space.params],
        "search_folds": list(search.folds),
        "n_folds": search.n_folds,
        "folds": search.folds_digest,
    }
    write_trials(out, trials_of(search, scratch, finished=finished), made)
    if finished:  # what was written when the search ended early is out of date
        shutil.rmtree(out.parent / PARTIAL, ignore_errors=True)
