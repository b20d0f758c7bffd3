"""One campaign in a bucket for several machines: records that travel with the artifacts, and a guard.

Snakemake keeps what it knows of an output (params, inputs, checksums) in `.snakemake/`, so that on
another machine only existence and dates would count: what was made by other settings would be taken
for up to date. With a default storage provider the records therefore stand in the bucket, one JSON
file for each output under `<prefix>/records/`, read and written through Snakemake's own storage plugin.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import snakemake.workflow as engine
from snakemake.exceptions import WorkflowError
from snakemake.io import IOCache, _IOFile
from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence
from snakemake.settings.enums import RerunTrigger
from snakemake_interface_storage_plugins.exceptions import FileOrDirectoryNotFoundError

from snakemake_records import UNKNOWN, ContentRecords

RESOLUTION = 2  # seconds, of dates in object storage
ASK_AGAIN = 10  # seconds, for what is not there yet: thousands of jobs go by it
SHOWN = 20
FITTING = ("fit_chunk", "fit_fold", "audit_fold", "run_trials")  # what takes long


class Bucket:
    """Where artifacts stand.

    Args:
        storage: the provider of the default storage.
        prefix: the default prefix, ending in a slash.

    Attributes:
        copies: this machine's folder for copies of artifacts.
    """

    def __init__(self, storage: Any, prefix: str) -> None:
        self.prefix = prefix
        self._storage = storage
        self.copies: Path = self.object("any").local_path().parent
        self._listed, self._at = IOCache(max_wait_time=0), -math.inf

    def object(self, path: str) -> Any:
        """What stands under a path."""
        return self._storage.object(f"{self.prefix}{path}")

    def written(self, path: str) -> float | None:
        """When an object was written, as last listed; None if it was not there."""
        found = self._listed.mtime.get(self.object(path).cache_key())
        return None if found is None else float(found.storage())

    def megabytes(self, path: str) -> float | None:
        """Size of an object, None before it is there. Not while the Snakefile is read: it asks."""
        name = self.object(path).cache_key()
        if name not in self._listed.mtime and time.monotonic() - self._at > ASK_AGAIN:
            self.list()
        size = self._listed.size.get(name)
        return None if size is None else size / 2**20

    def forget(self) -> None:
        """List again before the next answer about what was not there."""
        self._at = -math.inf

    def list(self) -> None:
        """List all under the prefix, by the plugin's own means.

        Raises:
            WorkflowError: the bucket does not answer, or not to these keys.
        """
        listed = IOCache(max_wait_time=0)
        try:
            # Snakemake's own loop runs when it asks for records: this needs one of its own.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, self.object("any").inventory(listed)).result()
            if not listed.mtime:
                # The S3 plugin takes a bucket that does not answer for none; this raises.
                self.object("any").exists()
        except Exception as error:  # of whatever library the provider stands on
            raise WorkflowError(
                f"{self.prefix} cannot be read: {error}\nCheck address, keys and network, then run "
                "the same command again: what is built stands."
            ) from error
        self._listed, self._at = listed, time.monotonic()


class SharedRecords(FilePersistence):
    """Snakemake's records, those of outputs in the bucket kept beside them.

    Only the main process reads and writes records, so that jobs need not.

    Args:
        bucket: where the artifacts stand.
    """

    def __init__(self, *arguments: Any, bucket: Bucket, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bucket, self._prefix = bucket, bucket.prefix
        bucket.list()
        self._known: dict[str, MetadataRecord | None] = {}

    def _address(self, key: str) -> str:
        """Where the record of an output stands, by its address."""
        return f"records/{key.removeprefix(self._prefix)}.json"

    def _read_record(self, key: str) -> MetadataRecord | None:
        if not key.startswith(self._prefix):
            return super()._read_record(key)
        if key not in self._known:
            self._known[key] = self._fetched(key)
        record = self._known[key]
        if record is None and self._artifact_written(key) is not None:
            return MetadataRecord(record_format_version=RECORD_FORMAT_VERSION, params=[UNKNOWN])
        return record

    def _fetched(self, key: str) -> MetadataRecord | None:
        one, written = (
            self._bucket.object(self._address(key)),
            self._bucket.written(self._address(key)),
        )
        path = one.local_path()
        if written is None:
            return None
        if not path.exists() or path.stat().st_mtime != written:
            path.parent.mkdir(parents=True, exist_ok=True)
            one.retrieve_object()
            os.utime(path, (written, written))
        found = json.loads(path.read_text(encoding="utf-8"))
        record = MetadataRecord.model_validate(found) if found else None
        artifact = self._artifact_written(key)
        if record is None or record.endtime is None or artifact is None:
            return record
        # What was written later is not what the record is of: a run ended between the two.
        return None if artifact > record.endtime + RESOLUTION else record

    def _artifact_written(self, key: str) -> float | None:
        return self._bucket.written(key.removeprefix(self._prefix))

    def _write_record(self, key: str, record: MetadataRecord) -> None:
        if key.startswith(self._prefix):
            self._store(key, dict(record.items()))
            self._known[key] = record
            self._bucket.forget()  # there is something new
        else:
            super()._write_record(key, record)

    def _delete_record(self, key: str) -> bool:
        if not key.startswith(self._prefix):
            return super()._delete_record(key)
        # Emptied, not removed: the S3 plugin removes a bucket with its last object.
        there = self._read_record(key) is not None and self._known[key] is not None
        if there:
            self._store(key, {})
        self._known[key] = None
        return there

    def _store(self, key: str, content: dict[str, Any]) -> None:
        one = self._bucket.object(self._address(key))
        path = one.local_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            one.store_object()
        except Exception as error:  # of whatever library the provider stands on
            raise WorkflowError(f"The record of {key} cannot be written: {error}") from error


def bucket_of(workflow: Any) -> Bucket | None:
    """The bucket of a run, if it has one."""
    storage = workflow.storage_registry.default_storage_provider
    if storage is None:
        return None
    prefix = workflow.storage_settings.default_storage_prefix or ""
    if prefix.startswith("$"):
        raise WorkflowError(
            f"{prefix[1:]} is not set, which the storage profile reads: "
            f"export {prefix[1:]}=s3://bucket/prefix (or gs://…)"
        )
    bucket = Bucket(storage, storage.postprocess_query(f"{prefix.rstrip('/')}/"))
    tell_outages(type(bucket.object("any")))
    return bucket


def tell_outages(objects: type) -> None:
    """Let an address that no longer answers be an error of a sentence, whatever is asked of an object.

    After a question that failed Snakemake asks whether the object is there at all, and what that
    raises would end the run with a traceback.
    """
    asked = objects._raise_object_not_found_if_not_exists  # type: ignore[attr-defined]

    def told(self: Any) -> None:
        try:
            asked(self)
        except FileOrDirectoryNotFoundError:
            raise
        except Exception as error:  # of whatever library the provider stands on
            raise WorkflowError(f"{self.print_query} cannot be asked for: {error}") from error

    objects._raise_object_not_found_if_not_exists = told  # type: ignore[attr-defined]


def keep_records(workflow: Any, bucket: Bucket | None, forcing: Any = None) -> None:
    """Keep records by which content decides: in the bucket, where the run has one.

    Args:
        forcing: what is to be made anew though it is fresh (standing.Forcing).
    """
    if not workflow.is_main_process:
        return
    # Snakemake has no plugins for records; it makes its own by this name.
    if bucket is not None:
        engine.FilePersistence = partial(SharedRecords, bucket=bucket)
    else:
        engine.FilePersistence = partial(ContentRecords, forcing=forcing)
        ignore_dates()


def ignore_dates() -> None:
    """Let no date of a file here decide: the records compare what it holds.

    A date in the future would hide every change, and a clock that was put back what came after.
    """
    by_dates = _IOFile.is_newer

    async def is_newer(self: Any, time: float) -> bool:
        triggers = self.rule.workflow.rerun_triggers
        # The trigger on code asks whether an output is newer than a script.
        by_content = RerunTrigger.INPUT in triggers and RerunTrigger.CODE not in triggers
        return False if by_content and not self.is_storage else bool(await by_dates(self, time))

    _IOFile.is_newer = is_newer


def refuse_replacing(workflow: Any, allowed: bool) -> None:
    """Before the first job: refuse to fit again what stands in the bucket, unless that is said.

    Another checkout, older or with other settings, would otherwise throw away what took hours on
    another machine.

    Raises:
        WorkflowError: naming what would be fitted again, and the ways on.
    """
    if workflow.storage_registry.default_storage_provider is None or allowed:
        return
    dag = workflow.dag
    jobs = [
        job
        for job in dag.needrun_jobs()
        if job.rule.name in FITTING
        and not dag.reason(job).forced
        and not _is_left_here(job, dag.reason(job))
    ]
    standing = [str(job.output[0].storage_object.query) for job in jobs if _stands(workflow, job)]
    if standing:
        more = [f"  … {len(standing) - SHOWN} more"] if len(standing) > SHOWN else []
        raise WorkflowError(
            "These stand in the bucket, made by other settings, data or code than this checkout's (or "
            "without a record of it, where a run was cut off), and would be replaced:\n"
            + "\n".join([*(f"  {query}" for query in sorted(standing)[:SHOWN]), *more])
            + "\nBring config and code in step with the checkout that made them, use another prefix, "
            "or let them be made anew: --config replace=true (snakemake -n tells the reasons)."
        )


def _is_left_here(job: Any, reason: Any) -> bool:
    """Whether a run of this machine was cut off before its record: the fits are in scratch."""
    change = reason.params_changed
    return bool(change) and UNKNOWN in change.only_old and Path(job.params.scratch).exists()


def _stands(workflow: Any, job: Any) -> bool:
    """Whether all outputs of a job are there, whole."""

    async def found() -> bool:
        if await workflow.persistence.incomplete(job):
            return False
        return all([await file.exists_in_storage() for file in job.output])

    return bool(workflow.async_run(found()))
