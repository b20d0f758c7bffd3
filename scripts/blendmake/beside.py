"""What goes on beside the work: modules that decide nothing of what comes of it.

Time limits, GPUs, logs, lines of progress, the words for the system's refusals. They are asked for by
name, so that no digest of code follows them: a line that is worded otherwise fits nothing again.
"""

from __future__ import annotations

import importlib
from typing import Any


def beside(name: str) -> Any:
    """The module `blendmake.<name>`; no digest of the code that asks for it holds the module's."""
    return importlib.import_module(f"blendmake.{name}")
