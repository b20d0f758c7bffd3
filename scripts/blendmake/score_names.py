"""Names in tables of scores."""

from __future__ import annotations

MACRO = "macro"
"""Stands for the mean over targets; so no target may be called that."""
