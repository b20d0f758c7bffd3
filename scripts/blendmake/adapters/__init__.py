"""Built-in data sets: an adapter writes a problem's files, shaped as a user's own would be."""

from __future__ import annotations

from types import ModuleType

from blendmake.adapters import yeast

# An adapter is a module with
#   FILES, TARGETS   its feature files by name, and the names of its targets,
#   DATA             the `data:` section that reads what it wrote ({folder} is filled in),
#   write(folder)    which writes the files.
ADAPTERS: dict[str, ModuleType] = {"yeast": yeast}
