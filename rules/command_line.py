"""The command as a person has typed it, and its folder: looked at before Snakemake stumbles.

Snakemake reads config files before the Snakefile, so that the profiles call `check_config_files`; what
else the command names is looked at once the rules are known (command_targets).
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

scripts = str(Path(__file__).resolve().parents[1] / "scripts")
if scripts not in sys.path:
    sys.path.insert(0, scripts)

from blendmake.config.reading import read_config  # noqa: E402
from blendmake.errors import BlendmakeError  # noqa: E402
from blendmake.refusals import refusal  # noqa: E402

PROBE = 65536  # bytes: about what Snakemake writes of small files at once
LEAST_FILES = 32  # open at once
CONFIGS = (".yaml", ".yml", ".json")
SETTING = re.compile(r"[a-zA-Z_][\w-]*\w=")
TABLES = (".parquet", ".arrow", ".csv", ".jsonl", ".svg", ".html", ".txt", ".md", ".tar")


@contextmanager
def told() -> Iterator[None]:
    """Say what is wrong with config or command in one message, without lines of our code."""
    from snakemake.exceptions import WorkflowError

    try:
        yield
    except (BlendmakeError, WorkflowError) as error:
        _end(str(error))


def _end(message: str) -> None:
    sys.stdout.flush()
    print(f"\nERROR: {message}\n", file=sys.stderr, flush=True)
    raise SystemExit(1)


# The folder


def check_folder() -> None:
    """End with one message where Snakemake could not keep its records here, or open its files."""
    path = Path(".snakemake").absolute()
    where = path / "metadata"
    with told():
        try:
            where.mkdir(parents=True, exist_ok=True)
            where = path
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(bytes(PROBE))
        except OSError as error:
            reason = refusal(error, path) or f"{error.strerror}."
            raise BlendmakeError(
                f"{where} cannot be written, and Snakemake keeps its records there: {reason}"
            ) from error
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= files < LEAST_FILES:
            raise BlendmakeError(
                f"A process may open {files} files here (ulimit -n), and Snakemake needs {LEAST_FILES}. "
                "Allow more, then run the same command again: ulimit -n 8192"
            )


# Config files


def check_config_files(words: Sequence[str]) -> None:
    """End with one message where a config file of the command is wrong, or is none.

    Args:
        words: sys.argv.
    """
    with told():
        files = config_words(words)
        swallowed = [word for word in files if not _may_be_config(word)]
        if swallowed:
            raise BlendmakeError(_swallowed(words, files, swallowed))
        for file in files:
            if not file.startswith("-"):
                read_config(file)
        _check_settings(words)


def config_words(words: Sequence[str]) -> list[str]:
    """What the command gives as config files: all words behind --configfile, up to the next option."""
    found: list[str] = []
    takes = False
    for word in words[1:]:
        if word.startswith("-"):
            option, _, value = word.partition("=")
            named = len(option) > len("--config") and "--configfiles".startswith(option)
            found += [value] if named and value else []
            takes = named and not value
        elif takes:
            found.append(word)
    return found


def _check_settings(words: Sequence[str]) -> None:
    """Refuse what stands behind --config and is no key=value: Snakemake ends with a traceback.

    Raises:
        BlendmakeError: with what was meant.
    """
    takes = False
    for word in words[1:]:
        if word.startswith("-"):
            takes = word in ("--config", "-C")
        elif takes and not SETTING.match(word):
            raise BlendmakeError(
                f"'{word}' stands behind --config, which takes each word behind it for a key=value. "
                "Write it without spaces (--config only=lgb,champion), and artifacts in front of it."
            )


def _may_be_config(word: str) -> bool:
    if word.endswith(CONFIGS):
        return True
    return os.path.isfile(word) and not word.endswith(TABLES) and "=" not in word


def _swallowed(words: Sequence[str], files: Sequence[str], swallowed: Sequence[str]) -> str:
    configs = [word for word in files if word not in swallowed]
    one = len(swallowed) == 1
    named = ", ".join(f"'{word}'" for word in swallowed)
    rest = [w for w in words[1:] if w not in files and not w.startswith("--configfile")]
    mended = ["snakemake", *swallowed, *rest, "--configfile", *(configs or ["config/mine.yaml"])]
    return (
        f"{named} {'stands' if one else 'stand'} behind --configfile, which takes every name that "
        f"follows it for a config. Put it last: {shlex.join(mended)}"
    )
