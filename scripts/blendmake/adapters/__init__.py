"""Built-in data sets: an adapter writes a problem's files, shaped as a user's own would be."""

from __future__ import annotations

from types import ModuleType

from blendmake.adapters import contest_twin, yeast

# An adapter is a module with
#   FILES, TARGETS   its feature files by name, and the names of its targets,
#   DATA             the `data:` section that reads what it wrote ({folder} is filled in),
#   OPTIONS          what else may be said in `data:`, with defaults,
#   facts(**options) its shape before it is written (the fields of facts.Facts),
#   write(folder, **options)   which writes the files.
ADAPTERS: dict[str, ModuleType] = {"contest_twin": contest_twin, "yeast": yeast}
