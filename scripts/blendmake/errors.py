"""The one exception that is meant for a person."""

from __future__ import annotations


class BlendmakeError(Exception):
    """Bad input, told in one sentence or two: what is wrong, where, and the mend.

    Raised for anything the user can put right (a file, a column, a config key). It is printed
    without a traceback; every other exception is a defect of the program and keeps its traceback.
    """
