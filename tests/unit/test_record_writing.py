"""Snakemake's records on a disk that refuses: one message, no traceback."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from snakemake.exceptions import WorkflowError
from snakemake.persistence.file import FilePersistence

from snakemake_records import ContentRecords


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left on the device. Free some"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EBUSY, os.strerror(errno.EBUSY)),
    ],
)
def test_a_record_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "/a/record")

    records = ContentRecords(nolock=True, path=tmp_path / ".snakemake")
    monkeypatch.setattr(FilePersistence, "_io_write", refused)
    with pytest.raises(WorkflowError, match="where the records of finished jobs stand") as caught:
        records._io_write(records._metadata_path, {}, "results/x.parquet")
    assert words in str(caught.value) and str(tmp_path / ".snakemake") in str(caught.value)
    assert caught.value.__cause__ is None
