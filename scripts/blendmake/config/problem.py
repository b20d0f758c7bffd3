"""A whole problem: its sections, and the names they refer to each other by."""

from __future__ import annotations

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from blendmake.config.references import complaints
from blendmake.config.sections import Sections


class Problem(Sections):
    """One problem: tables in, blends out."""

    @model_validator(mode="after")
    def _references(self) -> Problem:
        # What a preset adds is not known yet; all names are checked once it is written out.
        found = list(complaints(self)) if self.preset is None else []
        if found:
            raise PydanticCustomError("references", "{text}", {"text": "\n".join(found)})
        return self
