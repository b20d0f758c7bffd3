"""A seeded twin of the home case: customers, 2,440 columns in two files, 41 targets.

Made from public statistics of the competition's tables (`twin_calibration/`): names, null rates,
cardinalities, unseen categories, positive rates, correlations among targets and of columns with
targets. Signal is about half linear, half of bands, products, turned signs and effects of
categories; many columns are noise. Rows and columns can be fewer: features of what is left are the
same. A rare target then has more positives than its rate, 12 at least (4 in test), so that five
folds work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from blendmake.adapters.twin_profile import Column, Profile
    from blendmake.adapters.twin_rows import Chunk

FILES = ("main", "extra")
PRODUCTS = {1: 5, 2: 8, 3: 5, 4: 1, 5: 2, 6: 5, 7: 3, 8: 3, 9: 8, 10: 1}
TARGETS = tuple(f"target_{g}_{i}" for g, count in PRODUCTS.items() for i in range(1, count + 1))
DATA: dict[str, Any] = {
    "train": {name: f"{{folder}}/train_{name}_features.parquet" for name in FILES},
    "test": {name: f"{{folder}}/test_{name}_features.parquet" for name in FILES},
    "id": ["customer_id"],
    "targets": {"file": "{folder}/train_target.parquet"},
    "test_targets": "{folder}/test_target.parquet",
    "sample_submission": "{folder}/sample_submit.parquet",
    "categories": {"patterns": ["cat_feature_*"]},
}
LEAST_ROWS, LEAST_TEST_ROWS = 1000, 250
CATEGORIES, MAIN_NUMBERS, EXTRA_COLUMNS = 67, 132, 2241
# `test_rows` left out are a third of `rows`, the seed left out is 0.
OPTIONS: dict[str, Any] = {
    "rows": 750_000,
    "test_rows": None,
    "seed": None,
    "extra_columns": EXTRA_COLUMNS,
    "drift": [],
}
# Ids are a linear sequence modulo a prime: unique, and in no order.
PRIME, FIRST_TEST = 2_147_483_647, 1_000_000_000


def facts(
    *, rows: int = 750_000, extra_columns: int = EXTRA_COLUMNS, **others: Any
) -> dict[str, Any]:
    """Its shape: train rows, numeric and category columns, positives per target."""
    from blendmake.adapters.twin_tables import positives_in

    return {
        "rows": rows,
        "numbers": MAIN_NUMBERS + extra_columns,
        "categories": CATEGORIES,
        "positives": tuple(positives_in(rows)),
    }


def write(
    folder: Path,
    *,
    rows: int = 750_000,
    test_rows: int | None = None,
    seed: int | None = None,
    extra_columns: int = EXTRA_COLUMNS,
    drift: Sequence[str] = (),
) -> None:
    """Write train and test features, targets of both, and sample_submit into `folder`.

    Args:
        rows, test_rows: 1,000 and 250 at least.
        seed: of the customers; what the columns and targets mean stays the same.
        extra_columns: how many columns of the extra file are written, from the first.
        drift: columns whose values are shifted in test, by 0.6 standard deviations of what is
            behind them.

    Raises:
        BlendmakeError: for an option out of its range, or a damaged calibration.
    """
    import numpy as np
    import pyarrow as pa

    from blendmake.adapters.twin_profile import read_profile
    from blendmake.adapters.twin_rows import Rows, cut_labels
    from blendmake.adapters.twin_tables import positives_in
    from blendmake.files import write_parquet

    test_rows = rows // 3 if test_rows is None else test_rows
    _check_options(rows, test_rows, extra_columns)
    profile = read_profile()
    columns = _columns(profile, extra_columns, drift)
    seed = 0 if seed is None else seed
    sizes = {"train": rows, "test": test_rows}
    parts = {part: Rows(profile, seed, part, count) for part, count in sizes.items()}
    scores = [made.scores() for made in parts.values()]
    labels = cut_labels(scores[0], scores[1], positives_in(rows), profile.exclusive)
    del scores
    ids = {part: customer_ids(seed, part, count) for part, count in sizes.items()}
    for part, values in zip(parts, labels, strict=True):
        table = pa.table([ids[part], *values], ["customer_id", *TARGETS])
        write_parquet(table, folder / f"{part}_target.parquet")
    zeros = [np.zeros(test_rows)] * len(TARGETS)
    names = [name.replace("target_", "predict_") for name in TARGETS]
    sample = pa.table([ids["test"], *zeros], ["customer_id", *names])
    write_parquet(sample, folder / "sample_submit.parquet")
    for part, made in parts.items():
        shifted = drift if part == "test" else ()
        _write_features(folder, part, ids[part], columns, made.chunks(columns, drift=shifted))


def _check_options(rows: int, test_rows: int, extra_columns: int) -> None:
    from blendmake.errors import BlendmakeError

    for name, value, least, most in (
        ("rows", rows, LEAST_ROWS, FIRST_TEST),
        ("test_rows", test_rows, LEAST_TEST_ROWS, PRIME - FIRST_TEST),
        ("extra_columns", extra_columns, 1, EXTRA_COLUMNS),
    ):
        if not least <= value <= most:
            raise BlendmakeError(
                f"contest_twin: {name} is {value:,}; give a number from {least:,} to {most:,}"
            )


def _columns(profile: Profile, extra_columns: int, drift: Sequence[str]) -> list[Column]:
    """The columns that are written, main file first."""
    from blendmake.errors import BlendmakeError

    main = [column for column in profile.columns if column.file == "main"]
    extra = [column for column in profile.columns if column.file == "extra"][:extra_columns]
    unknown = sorted(set(drift) - {column.name for column in main + extra})
    if unknown:
        raise BlendmakeError(
            f"contest_twin: drift names '{unknown[0]}', which is not written; its columns are "
            f"cat_feature_1 … 67 and num_feature_1 … {MAIN_NUMBERS + len(extra)}"
        )
    return main + extra


def customer_ids(seed: int, part: str, rows: int) -> NDArray[np.int64]:
    """Ids (rows,) of the customers of `part`: no two alike, train and test together."""
    import numpy as np

    from blendmake.seeds import derive_seed

    first = FIRST_TEST if part == "test" else 0
    factor = 1 + derive_seed(seed, "customer_id") % (PRIME - 1)
    begin = derive_seed(seed, "first customer_id")
    return 1 + (np.arange(first, first + rows, dtype=np.int64) * factor + begin) % PRIME


def _write_features(
    folder: Path,
    part: str,
    ids: NDArray[np.int64],
    columns: Sequence[Column],
    chunks: Iterator[Chunk],
) -> None:
    """Write the feature files of one part, a row group per chunk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from blendmake.files import replacing

    where = {name: [j for j, c in enumerate(columns) if c.file == name] for name in FILES}
    with ExitStack() as stack:
        writers = {}
        for name, places in where.items():
            types = [pa.float32() if columns[j].shares is None else pa.int32() for j in places]
            named = zip((columns[j].name for j in places), types, strict=True)
            schema = pa.schema([("customer_id", pa.int64()), *named])
            path = stack.enter_context(replacing(folder / f"{part}_{name}_features.parquet"))
            writers[name] = stack.enter_context(
                pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
            )
        start = 0
        for chunk in chunks:
            stop = start + len(chunk[0][0])
            for name, places in where.items():
                arrays = [pa.array(chunk[j][0], mask=chunk[j][1]) for j in places]
                schema = writers[name].schema
                table = pa.table([pa.array(ids[start:stop]), *arrays], schema=schema)
                writers[name].write_table(table, row_group_size=stop - start)
            start = stop
