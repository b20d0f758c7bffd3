"""Snakemake's records of how files were made, for packing: all that is known here of their format."""

from pathlib import Path

from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

SHA256 = "sha256:"


class SnakemakeRecords:
    """The records below .snakemake of the present folder (packing.records.Records).

    They are read and written by Snakemake's own class, which knows where they stand.
    """

    format = f"Snakemake's format {RECORD_FORMAT_VERSION}"

    def __init__(self):
        self._store = FilePersistence(nolock=True, path=Path(".snakemake").absolute())

    def read(self, path):
        record = self._store._read_record(path)
        if record is None or self.is_unfinished(path):
            return None
        known = record.record_format_version == RECORD_FORMAT_VERSION
        return record.model_dump() if known else None

    def write(self, path, record):
        self._store._write_record(path, MetadataRecord.model_validate(record))

    def is_unfinished(self, path):
        return bool(self._store._filter_incomplete_keys([path]))

    def placed(self, path):
        self._store._unmark_incomplete(path)

    def job_of(self, record):
        # Every rule has a log, and every job one of its own.
        return " ".join([record["rule"], *record["log"]])

    def inputs_of(self, record):
        sums = record["input_checksums"] or {}
        return {path: _hex(sums.get(path)) for path in record["input"] or []}

    def with_inputs(self, record, digests):
        new = {path: f"{SHA256}{digest}" for path, digest in digests.items()}
        return {**record, "input_checksums": {**(record["input_checksums"] or {}), **new}}


def _hex(checksum):
    """A SHA-256 in hex; records of old have it without the name of the algorithm."""
    return checksum.removeprefix(SHA256) if checksum else None
