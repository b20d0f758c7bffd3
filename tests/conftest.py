"""What holds for all tests."""

from __future__ import annotations

import os

# Several tests run side by side: threads of a fit that wait must not spin, which would keep the
# cores from those of another.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Jobs find modules compiled, as a user's do: a test may start a dozen interpreters.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests compare with the wrappers of XGBoost and LightGBM, which jobs import without scikit-learn.
import sklearn  # noqa: F401
