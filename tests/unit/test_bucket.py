"""A bucket that does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import snakemake.api  # noqa: F401 (its modules import each other, this one first)
from snakemake.exceptions import WorkflowError
from snakemake_interface_storage_plugins.storage_object import StorageObjectRead

from bucket import tell_outages


def test_whatever_is_asked_of_an_object_an_outage_is_told_in_a_sentence() -> None:
    class Objects:
        print_query = "s3://somewhere/oof.parquet"
        _raise_object_not_found_if_not_exists = (
            StorageObjectRead._raise_object_not_found_if_not_exists
        )

        def __init__(self, found: bool | Exception) -> None:
            self.found = found

        def exists(self) -> bool:
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

        def local_path(self) -> Path:
            return Path("oof.parquet")

    tell_outages(Objects)
    with pytest.raises(WorkflowError, match=r"oof\.parquet cannot be asked for: gone"):
        Objects(ConnectionError("gone"))._raise_object_not_found_if_not_exists()
    with pytest.raises(WorkflowError, match="not found"):
        Objects(False)._raise_object_not_found_if_not_exists()
    Objects(True)._raise_object_not_found_if_not_exists()
