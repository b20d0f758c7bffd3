"""What the workers of a search have seen, put together once all have ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blendmake.files import damaged


def joined(files: Sequence[str]) -> dict[str, Any]:
    """Trials by study, as each worker has seen them done, and how many workers there were.

    Args:
        files: `workers/<k>.json`, one of each; all have seen the same number of trials.

    Raises:
        BlendmakeError: one is damaged.
    """
    seen = [_seen(Path(file)) for file in files]
    return {"trials": seen[0], "workers": len(files)}


def _seen(path: Path) -> dict[str, int]:
    try:
        trials: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["trials"]
        if not all(type(number) is int for number in trials.values()):
            raise ValueError("it holds no numbers of trials")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"{error}; the trials themselves are kept") from None
    return trials
