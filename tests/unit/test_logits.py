"""Log odds against scipy's, and at the ends of what a float holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit as scipy_expit
from scipy.special import logit

from blendmake.stats.logits import expit, logit_scale


def test_logits_and_back() -> None:
    values = np.array([2e-6, 0.2, 0.5, 0.9, 1 - 2e-6], dtype=np.float32)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(logit_scale(values), logit(exact), rtol=1e-12)
    np.testing.assert_allclose(expit(logit_scale(values)), exact, rtol=1e-12)
    far = np.array([-1e4, -30.0, 0.0, 30.0, 1e4])
    np.testing.assert_allclose(expit(far), scipy_expit(far), rtol=1e-12)


FLOATS = {"float32": (np.float32, 32), "float64": (np.float64, 64)}


@pytest.mark.parametrize("kind", FLOATS)
@given(data=st.data())
def test_different_predictions_have_different_logits(kind: str, data: st.DataObject) -> None:
    dtype, width = FLOATS[kind]
    drawn = data.draw(st.lists(st.floats(0, 1, width=width), min_size=2, max_size=20))
    # Log odds in float64 tell apart what differs by a part in 10^13.
    near = np.array([0.0, 1e-40, 1e-9, 1.2e-9, 1 - 1e-6, 1 - 4e-7, 1 - 2e-7, 1.0])
    values = np.unique(np.array([*drawn, *near], dtype))
    apart = [values[0]]
    for value in values[1:]:
        last = float(apart[-1])
        if float(value) > last * (1 + 1e-13):
            apart.append(value)
    found = logit_scale(np.array(apart, dtype))
    assert np.isfinite(found).all() and np.abs(found).max() < 21
    assert (np.diff(found) > 0).all()


def test_logits_close_to_one_in_float64() -> None:
    draws = np.sort(np.random.default_rng(3).uniform(1e-9, 1e-8, 500))
    assert len(np.unique(logit_scale(1 - draws))) == 500
