"""A model of the user's own: a Python file with a function that fits a fold (docs/custom.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from blendmake.errors import BlendmakeError
from blendmake.family import Family, Fit, Fitted, FoldData
from blendmake.foreign.calls import Exchange, interpreter, not_kept
from blendmake.user_code import hold

MEND = (
    "The source's key 'python' names the interpreter of an environment that has numpy and pandas: "
    "python3 -m venv envs/mine && envs/mine/bin/pip install numpy pandas"
)


class Custom(Family):
    """`fit_fold` of the file that option `file` names, run by the interpreter of option `python`.

    Params go to the function as they are. It runs in a process of its own, whatever the interpreter,
    so that what it imports, changes or breaks stays there. Results repeat if the function's do. What it
    is must be what option `file_code` (user_code.user_digest) says, before and after.
    """

    MULTI_OUTPUT: ClassVar[bool] = True
    SAVES: ClassVar[bool] = False
    ROUNDS = 300  # what fold.rounds says where the config says nothing

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        if not self.options.get("file"):
            raise BlendmakeError("Family 'custom' needs the key 'file': the Python file to run.")
        self.file = Path(self.options["file"])
        self.python = interpreter(self.options.get("python"), MEND)

    def fit(self, asked: Fit) -> Fitted:
        assert asked.scratch is not None
        self._hold()
        exchange = Exchange(self.data, asked.scratch / "exchange")
        try:
            valid, test = exchange.fit(
                asked,
                self.file,
                self.python,
                self.threads,
                asked.scratch / "own",
                self.options.get("environment") or (),
            )
        finally:
            exchange.remove()
        self._hold()
        return Fitted(valid, test, asked.rounds, not_kept, device="unknown")

    def _hold(self) -> None:
        """Refuse a file that was edited since the run was planned."""
        if self.options.get("file_code"):
            hold(self.file, self.options["file_code"])


FAMILY = Custom
predict_saved = not_kept
