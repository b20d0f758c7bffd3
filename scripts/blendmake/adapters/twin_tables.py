"""The calibration tables of the contest twin, read without numpy, which a plan can do without."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from blendmake.errors import BlendmakeError

FOLDER = Path(__file__).with_name("twin_calibration")
# Code digests see code alone: what is read with other digests than these is refused, so that a
# change of the tables is a change of code.
DIGESTS = {
    "columns.csv": "381556a65dc9792b962005ccc215ba1e",
    "targets.csv": "b35203f3ccd88d6ff25e048c84565faf",
}
ROWS, TEST_ROWS = 750_000, 250_000  # of the published tables
MIN_POSITIVES = 12  # of each target in the train table


def calibration(name: str) -> list[dict[str, str]]:
    """The rows of a table, as text by column.

    Raises:
        BlendmakeError: if the table is missing or is not the one that this version came with.
    """
    path = FOLDER / name
    content = path.read_bytes() if path.exists() else b""
    if hashlib.blake2b(content, digest_size=16).hexdigest() != DIGESTS[name]:
        raise BlendmakeError(
            f"{path} is not the table that this version came with. Take it from there again."
        )
    return list(csv.DictReader(content.decode().splitlines()))


def positives_in(rows: int) -> list[int]:
    """Positives of each target among `rows` train rows: its published rate, MIN_POSITIVES at least."""
    counts = [int(row["positives"]) for row in calibration("targets.csv")]
    return [max(round(count / ROWS * rows), MIN_POSITIVES) for count in counts]
