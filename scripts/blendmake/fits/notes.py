"""Keys of the notes that fits write, beside those of provenance."""

from __future__ import annotations

SEARCH_FOLDS = "search_folds"
"""The folds whose labels params were searched with."""
FELL_BACK = "fell_back"
"""Targets with a fit that was made otherwise than asked for, for lack of GPU memory."""
