"""When a fit finds too little GPU memory: what is tried instead, and what is said of it."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from blendmake.errors import BlendmakeError
from blendmake.family import Family, Fit, Fitted

log = logging.getLogger(__name__)

TRIES = 3  # each with half of what the one before had
# What the libraries say: PyTorch ("CUDA out of memory. Tried to allocate …"), what lies below it,
# XGBoost ("Memory allocation error on worker 0: … cudaErrorMemoryAllocation", "No GPU memory is left,
# …"), CatBoost ("… Error: Out of memory. Requested … MB; Free … MB").
WORDS = re.compile(
    r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|Memory allocation error on worker"
    r"|No GPU memory is left|STATUS_ALLOC_FAILED",
    re.I,
)


def out_of_memory(error: BaseException) -> str | None:
    """What an error, or one that it comes from, says of memory running out; None if nothing."""
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        seen.add(id(here))
        if not isinstance(here, BlendmakeError):  # whose words are ours
            for line in [*str(here).strip().split("\n"), type(here).__name__]:
                if WORDS.search(line):
                    return line.strip()[:300]
        here = here.__cause__ or here.__context__
    return None


def fit_or_fall_back(family: Family, asked: Fit, policy: str) -> Fitted:
    """Fit; on a GPU that has too little memory, do what the source says.

    Args:
        family: with the rows of the fit.
        policy: config.sources.Source.out_of_memory.

    Returns:
        What the fit gave; `fallback` says what was given up for it.

    Raises:
        BlendmakeError: there is too little memory, and nothing is (or nothing more can be) tried.
    """
    found = _tried(family, asked)
    if isinstance(found, Fitted):
        return found
    if policy == "cpu":
        log.warning("%s: too little GPU memory (%s): on the CPU", asked.title, found)
        return replace(_on_cpu(family, _apart(asked, "cpu")), fallback="cpu")
    if policy == "smaller":
        return _smaller(family, asked, found)
    raise BlendmakeError(
        f"The fit of '{asked.title}' found too little GPU memory ({found}). Set the source's key "
        "'out_of_memory' to 'smaller' (another try with half the batch or bins) or 'cpu', or keep it "
        "from the GPU by 'device: cpu'."
    )


def _smaller(family: Family, asked: Fit, words: str) -> Fitted:
    """Try with half of what memory hangs on, and half of that."""
    how, done = family.SMALLER, ""
    if how is None:
        raise BlendmakeError(
            f"The fit of '{asked.title}' found too little GPU memory ({words}), and its family has no "
            "param that would make it smaller. Set the source's key 'out_of_memory' to 'cpu'."
        )
    params = {**family.DEFAULTS, **asked.params}
    value = int(params.get(how.param, how.default))
    for _ in range(TRIES):
        if value // 2 < how.least:
            break
        value //= 2
        done = f"{how.param}={value}"
        log.warning("%s: too little GPU memory (%s): again with %s", asked.title, words, done)
        less = replace(_apart(asked, done), params={**asked.params, how.param: value})
        found = _tried(family, less)
        if isinstance(found, Fitted):
            return replace(found, fallback=done)
        words = found
    last = f", also with {done}" if done else f", and {how.param} cannot be less than {value}"
    raise BlendmakeError(
        f"The fit of '{asked.title}' found too little GPU memory ({words}){last}. Set the source's key "
        "'out_of_memory' to 'cpu', or its params to a smaller model."
    )


def _tried(family: Family, asked: Fit) -> Fitted | str:
    """What a fit gives, or what it says of memory running out: then nothing of it is left."""
    words = None
    try:
        return family.fit(asked)
    except Exception as error:
        words = out_of_memory(error) if family.gpu else None
        if words is None:
            raise
    # Behind the handler: the error holds the fit's frames, and they hold its memory.
    family.release()
    return words


def _on_cpu(family: Family, asked: Fit) -> Fitted:
    share, family.gpu = family.gpu, 0.0
    try:
        return family.fit(asked)
    finally:
        family.gpu = share


def _apart(asked: Fit, name: str) -> Fit:
    """The fit with scratch of its own: checkpoints of another size or device are no use to it."""
    if asked.scratch is None:
        return asked
    scratch = asked.scratch / name
    scratch.mkdir(parents=True, exist_ok=True)
    return replace(asked, scratch=scratch)
