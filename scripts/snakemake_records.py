"""Snakemake's records of how files were made: all that is known here of their format.

A record says of which file it is. Where there is none of the file that stands (lost, torn, of another
moment), the file's own note takes its place (blendmake.made); what has neither is made anew.
"""

import os
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.persistence import (
    RECORD_FORMAT_VERSION,
    UNREPRESENTABLE,
    MetadataRecord,
    ParamsChange,
)
from snakemake.persistence.file import FilePersistence

from blendmake.digests import sha256
from blendmake.job_digests import is_mark, params_digest, quick_digest, serialised
from blendmake.refusals import refusal

SHA256 = "sha256:"
# Stands for the params of an artifact of which nothing is known: no job has such, so it is made anew.
UNKNOWN = "made in a way that is not on record"
OTHERWISE = "what the file says of itself"
FIELDS = dict.fromkeys(MetadataRecord.model_fields) | {
    "record_format_version": 0,
    "input_checksums": {},
    "artifact": None,  # size, mtime in ns and quick digest of the file that this is of
    "seen": {},  # by input: its size and mtime in ns when the job began
    "made": None,  # in place of params and inputs: what the file's own note says
}


class Record(SimpleNamespace):
    """A record with the fields of Snakemake's own, and those that are added here."""

    def __init__(self, **fields):
        super().__init__(**{**FIELDS, **{k: v for k, v in fields.items() if k in FIELDS}})

    def __getitem__(self, key):
        return vars(self)[key]

    def get(self, key, default=None):
        return vars(self).get(key, default)

    def keys(self):
        return vars(self).keys()

    def items(self):
        return vars(self).items()


class ContentRecords(FilePersistence):
    """Records by which content decides: of params, of each input, and of the file itself.

    Only the main process reads and writes them. What has the size and date it had is taken to be
    what it was; of all else the content is compared, whatever the dates say.

    Args:
        forcing: what is to be made anew: `files`, and `done(files)` once some have been; or None.
    """

    def __init__(self, *arguments, forcing=None, **options):
        super().__init__(*arguments, **options)
        self._forcing = forcing
        self._standing = {}
        self._known, self._stats = {}, {}
        self._sums, self._contents, self._notes = {}, {}, {}  # by file and its size and date
        self._begun = {}
        self._finishing = set()

    def _io_write(self, *arguments, **options):
        try:
            super()._io_write(*arguments, **options)
        except OSError as error:
            reason = refusal(error, self.path) or f"{error.strerror}."
            raise WorkflowError(
                f"{self.path}, where the records of finished jobs stand, cannot be written: {reason}"
            ) from None

    # Which record holds

    def _clear_cache(self):
        super()._clear_cache()
        self._known, self._stats = {}, {}

    def _read_record(self, key):
        if key in self._finishing:
            return None  # about to be written
        if key not in self._known:
            self._known[key] = self._found(key)
        return self._known[key]

    def _found(self, key):
        kept, stat = self._kept(key), self._stat(key)
        if stat is None or (kept is not None and self._is_of(kept, key, stat)):
            return kept
        made = self._made(key)
        if made is None:
            return Record(record_format_version=RECORD_FORMAT_VERSION, params=[UNKNOWN])
        return Record(record_format_version=RECORD_FORMAT_VERSION, made=made)

    def _kept(self, key):
        """The record that is kept of a file; None if it is absent or torn."""
        try:
            found = self._io_read(self._metadata_path, key)
        except (OSError, ValueError):
            return None
        return Record(**found) if isinstance(found, dict) and found else None

    def _is_of(self, record, key, stat):
        match record.artifact:
            case [size, date, digest]:
                return [size, date] == stat or (size == stat[0] and quick_digest(key) == digest)
        return False

    def _write_record(self, key, record):
        fields, seen = dict(record.items()), {}
        begun = self._begun.get(key, {})
        for path in fields["input"] or []:
            now = self._stat_now(path)
            seen[path] = begun.get(path, now)
            if seen[path] != now:  # replaced while the job ran: nobody knows what it has read
                fields["input_checksums"].pop(path, None)
        stat = self._stat_now(key)
        fields["artifact"] = [*stat, quick_digest(key)] if stat else None
        super()._write_record(key, Record(**fields | {"seen": seen, "made": None}))
        self._known.pop(key, None)

    def started(self, job, external_jobid=None):
        super().started(job, external_jobid)
        seen = {str(path): self._stat(str(path)) for path in job.input}
        for key in map(self._get_key, job.output):
            self._begun[key], self._standing[key] = seen, self._stat_now(key)

    async def finished(self, job):
        if getattr(job, "has_failed", False):
            return  # what stands is marked as unfinished, so that the next run makes it
        keys = {self._get_key(file) for file in job.output}
        # What stands is not removed before a job, so that a job which has left it would go unnoticed.
        before = {key: self._standing.pop(key, None) for key in sorted(keys)}
        left = [key for key, stat in before.items() if stat and stat == self._stat_now(key)]
        if left and not self.dag.workflow.touch:
            raise WorkflowError(f"Rule {job.rule.name} has ended and left {left[0]} as it was.")
        self._finishing |= keys
        try:
            await super().finished(job)
        finally:
            self._finishing -= keys
            for key in keys:
                self._begun.pop(key, None)
        if self._forcing is not None:
            self._forcing.done(keys)

    async def incomplete(self, job):
        """Outputs of jobs that were killed, and those that are to be made anew."""
        found = list(await super().incomplete(job))
        forced = self._forcing.files if self._forcing is not None else set()
        return found + [file for file in job.output if str(file) in forced and file not in found]

    # What is compared

    @property
    def _serialize_param(self):
        def told(value):
            text = serialised(value)
            return UNREPRESENTABLE if text is None else text

        return told

    def params_changed(self, job, file=None):
        changes = super().params_changed(job, file)
        for one in job.output if file is None else [file]:
            record = self.metadata(one)
            if record is not None and record.made and not self._has_params(record, job):
                changes |= ParamsChange(only_old={OTHERWISE}, files={one})
        return changes

    def _has_params(self, record, job):
        return record.made["params"] == params_digest(self._params(job))

    def input_changed(self, job, file=None):
        if file is not None:
            return super().input_changed(job, file)
        changed, looked = self._changed_inputs(job)
        self.dag.reason(job).updated_input.update(changed)
        others = list(super().input_changed(job))
        if looked and not changed and not any(others) and not self.params_changed(job):
            self._renew(job)
        return others

    def _changed_inputs(self, job):
        """The inputs of other content than a job's files were made of; whether more was looked at
        than sizes and dates."""
        changed, looked = set(), False
        files = [file for file in job.input if not is_mark(file)]
        paths = [str(file) for file in files]
        for output in job.output:
            key = self._get_key(output)
            record = self._read_record(key)
            if record is None or record.params == [UNKNOWN]:
                continue
            seen, stat = record.seen or {}, self._stat(key)
            looked |= bool(record.made) or (record.artifact or [])[:2] != stat
            for number, (path, file) in enumerate(zip(paths, files, strict=True)):
                stat = self._stat(path)
                if stat is None or seen.get(path) == stat:
                    continue
                looked = True
                if not self._is_same(key, record, path, number, len(paths)):
                    changed.add(file)
        return changed, looked

    def _is_same(self, key, record, path, number, count):
        """Whether an input holds what it held when a file was made."""
        made = record.made or self._made(key)
        told = made["inputs"] if made else []
        if len(told) == count and self._holds(path, told[number]):
            return True
        known = (record.input_checksums or {}).get(path)
        return known is not None and known == self._sum(path)

    def _renew(self, job):
        """Write down again what has proved fresh, unless nothing is to be written."""
        plugin = self.dag.workflow.executor_plugin
        if plugin is None or self.dag.workflow.dryrun:
            return
        sums = {}
        for output in job.output:
            old = self.metadata(output)
            known, seen = (old.input_checksums or {}), (old.seen or {})
            for path in map(str, job.input):
                if path not in sums and self._stat(path) is not None:
                    same = path in known and seen.get(path) == self._stat(path)
                    sums[path] = known[path] if same else self._sum(path)
        fields = {
            "rule": job.rule.name,
            "input": self._input(job),
            "log": self._log(job),
            "params": self._params(job),
            "software_stack_hash": self._software_stack_hash(job),
            "record_format_version": RECORD_FORMAT_VERSION,
            "incomplete": False,
            "input_checksums": sums,
        }
        for output in job.output:
            key = self._get_key(output)
            if self._stat(key) is not None:
                self._write_record(key, Record(**fields, endtime=os.stat(key).st_mtime))

    # Files, each looked at once

    def _stat(self, path):
        if path not in self._stats:
            self._stats[path] = self._stat_now(path)
        return self._stats[path]

    @staticmethod
    def _stat_now(path):
        """Size and mtime in ns; None of what is not there."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        return [found.st_size, found.st_mtime_ns]

    def _once(self, known, path, ask):
        key = (path, *(self._stat_now(path) or ()))
        if key not in known:
            known[key] = ask(Path(path))
        return known[key]

    def _made(self, path):
        from blendmake.made import made_of  # costs an import that is seldom needed

        return self._once(self._notes, path, made_of)

    def _holds(self, path, content):
        if content.startswith(SHA256):
            return content == self._sum(path)
        from blendmake.made import content_of  # as above

        return content == self._once(self._contents, path, content_of)

    def _sum(self, path):
        return SHA256 + self._once(self._sums, path, sha256)


class SnakemakeRecords:
    """The records below .snakemake of the present folder (packing.records.Records).

    They are read and written by Snakemake's own class, which knows where they stand.
    """

    format = f"Snakemake's format {RECORD_FORMAT_VERSION}, with the files that records are of"

    def __init__(self):
        self._store = ContentRecords(nolock=True, path=Path(".snakemake").absolute())

    def refresh(self):
        self._store._clear_cache()

    def read(self, path):
        record = self._store._read_record(path)
        if record is None or record.rule is None or self.is_unfinished(path):
            return None
        known = record.record_format_version == RECORD_FORMAT_VERSION
        return dict(record.items()) if known else None

    def write(self, path, record):
        # Sizes and dates are those of another machine.
        FilePersistence._write_record(self._store, path, Record(**record | {"seen": {}}))

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
