"""Scaling: the mean and variance of everything seen, however it came in pieces and however large it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from river.preprocessing import StandardScaler

from rheostat.learners.contract import Floats
from rheostat.learners.running_scale import RunningScale
from rheostat.learners.scaling import Scale, shape_inputs
from tests.unit.learners.support import ANY_SPEED

inputs = arrays(np.float64, (12, 2), elements=st.floats(-1e6, 1e6))


@ANY_SPEED
@given(inputs, st.lists(st.integers(1, 11), max_size=4))
def test_pieces_give_the_mean_and_deviation_of_the_whole(rows: Floats, cuts: list[int]) -> None:
    running = RunningScale(2, signed_log=False, clip=1e9)
    for piece in np.split(rows, sorted(set(cuts))):
        running.update(piece)
    scale = running.frozen()
    np.testing.assert_allclose(scale.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-6)
    deviation = rows.std(axis=0)
    clear = deviation > 1e-3
    np.testing.assert_allclose(scale.factor[clear] * deviation[clear], 1.0, rtol=1e-6)


def test_equals_rivers_scaler_where_that_is_exact() -> None:
    random = np.random.default_rng(1)
    river, ours = StandardScaler(), RunningScale(3, signed_log=False, clip=1e9)
    for rows in (5, 40, 7):
        piece = random.normal(3.0, 2.0, (rows, 3))
        river.learn_many(pd.DataFrame(piece, columns=["a", "b", "c"]))
        ours.update(piece)
    test = random.normal(size=(20, 3))
    expected = river.transform_many(pd.DataFrame(test, columns=["a", "b", "c"])).to_numpy()
    np.testing.assert_allclose(ours.frozen().apply(test), expected, rtol=1e-10)


def test_timestamps_keep_their_variance() -> None:
    """A mean 1e9 deviations away, where E[x^2] - mean^2 is negative or noise."""
    random = np.random.default_rng(2)
    running = RunningScale(1, signed_log=False, clip=10.0)
    times = 1.7e9 + random.normal(size=(5_000, 1))
    for piece in np.split(times, 50):
        running.update(piece)
    assert running.frozen().apply(times).std() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -1.7e9, 1e90])
def test_constant_features_say_nothing(value: float) -> None:
    running = RunningScale(1, signed_log=False, clip=10.0)
    for rows in (1, 7, 13):
        running.update(np.full((rows, 1), value))
    assert running.frozen().apply(np.array([[value], [value + 1.0], [5.0]])).tolist() == [[0.0]] * 3


@ANY_SPEED
@given(arrays(np.float64, (6, 2), elements=st.floats(allow_nan=False, allow_infinity=False)), st.booleans())
def test_always_finite_and_within_the_clip(rows: Floats, signed_log: bool) -> None:
    running = RunningScale(2, signed_log, clip=5.0)
    running.update(rows)
    scaled = running.frozen().apply(rows)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() <= 5.0


@ANY_SPEED
@given(arrays(np.float64, (8, 1), elements=st.floats(-1e300, 1e300)))
def test_signed_log_keeps_order_and_sign(rows: Floats) -> None:
    shaped = shape_inputs(rows, signed_log=True)
    assert np.array_equal(np.sign(shaped), np.sign(rows))
    order = np.argsort(rows[:, 0])
    assert (np.diff(shaped[order, 0]) >= 0.0).all()


@ANY_SPEED
@given(inputs)
def test_tensors_carry_the_scale_and_the_running_state(rows: Floats) -> None:
    running, other = RunningScale(2, True, 4.0), RunningScale(2, True, 4.0)
    running.update(rows)
    other.restore(running.tensors())
    scales = running.frozen(), other.frozen(), Scale.from_tensors(running.frozen().tensors(), 2)
    assert len({scale.apply(rows).tobytes() for scale in scales}) == 1


def test_tensors_that_do_not_fit_are_refused() -> None:
    tensors = RunningScale(2, True, 4.0).frozen().tensors()
    with pytest.raises(ValueError, match=r"'scale.mean' is float64 \(2,\), expected float64 \(3,\)"):
        Scale.from_tensors(tensors, 3)
    with pytest.raises(ValueError, match=r"'running\.count' is missing"):
        RunningScale(2, True, 4.0).restore({})
    with pytest.raises(ValueError, match="clip"):
        RunningScale(2, True, 0.0)
