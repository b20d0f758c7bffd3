"""The columns of fits.parquet: what varies by nature (seconds, memory, device) stands there only."""

from __future__ import annotations

import pyarrow as pa

from blendmake.files import RESULT_KEY, content_digest

MEASURED = ["seconds", "peak_rss_mb", "anonymous_mb"]

FITS = pa.schema(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("fold", pa.int32()),
        ("bag", pa.int32()),
        ("rows", pa.int64()),
        ("positives", pa.int64()),  # null of targets that are not binary
        ("rounds", pa.int32()),
        ("stopped_on", pa.string()),  # inner, fold, or null: all rounds were run
        ("seconds", pa.float64()),
        ("device", pa.string()),  # where it was really fitted: cpu or cuda
        ("fallback", pa.string()),  # for lack of GPU memory: cpu, or the param that was halved
        ("threads", pa.int32()),
        ("peak_rss_mb", pa.float64()),  # of the job so far, mapped pages included
        ("anonymous_mb", pa.float64()),  # at the end of the fit, without mapped pages
        ("metric", pa.string()),  # by which early stopping goes, and the two scores
        ("score", pa.float64()),  # on the fold, null where it is undefined, as of one class only
        ("stop_score", pa.float64()),  # on the rows that early stopping watched
        ("seed", pa.int64()),
    ]
)


def result_note(fits: pa.Table) -> dict[str, str]:
    """For the note of a table of fits: what fits of the same would say, without what was measured."""
    measured = [name for name in MEASURED if name in fits.column_names]
    return {RESULT_KEY: content_digest(fits.drop_columns(measured))}
