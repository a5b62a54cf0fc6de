"""The columns of a basis are what they are said to be; waves together are a smooth function's kernel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rheostat.learners.basis import INPUTS_MAX, ROOM, WIDTH, Basis, make_basis
from rheostat.learners.contract import FeatureSchema
from tests.unit.learners.support import CATEGORICAL, MIXED


def _basis(schema: FeatureSchema, inputs: int, waves: int = 6, lengths: tuple[float, ...] = (1.0, 2.0)) -> Basis:
    return make_basis(
        schema, inputs, steps=4, waves=waves, bins=5, lengths=lengths, mixed=2, amplitude=3.0, seed=1
    )  # fmt: skip


def test_columns_are_one_inputs_steps_waves_bins() -> None:
    basis = _basis(MIXED, 4)
    scaled, odds = np.array([[0.1, -1.7, 3.0], [-0.2, 0.0, 0.6]]), np.array([[0.5], [-0.25]])
    categorical = np.array([[13], [0]], np.uint64)
    found = basis.apply(scaled, odds, categorical)
    assert found.shape == (2, basis.columns)
    for row in range(2):
        inputs = [*scaled[row], *odds[row]]
        steps = [float(number > edge) for number in scaled[row] for edge in (-1.5, -0.5, 0.5, 1.5)]
        waves = [
            3.0 * math.sqrt(2 / 6) * math.cos(sum(map(float.__mul__, map(float, inputs), direction)) + phase)
            for direction, phase in zip(basis.waves.T.tolist(), basis.phases.tolist(), strict=True)
        ]
        bins = [float(categorical[row, 0] != 0 and each == 13 % 5) for each in range(5)]
        np.testing.assert_allclose(found[row], [1.0, *inputs, *steps, *waves, *bins], atol=1e-5)


def test_waves_together_are_a_kernel() -> None:
    """Rahimi and Recht (2007): the product of two rows' waves is amplitude² exp(-|x - y|² length² / (2 inputs))."""
    schema = FeatureSchema("two@1", ("x", "y"))
    basis = _basis(schema, 2, waves=40_000, lengths=(1.5,))
    rows = np.array([[0.3, -0.4], [1.0, 0.2], [-1.1, 0.9]])
    waves = basis.apply(rows, np.zeros((3, 0)), np.zeros((3, 0), np.uint64))[:, -40_000:]
    distance = ((rows[:, None] - rows[None, :]) ** 2).sum(axis=2)
    np.testing.assert_allclose(waves @ waves.T, 9.0 * np.exp(-distance * 1.5**2 / 4.0), atol=0.2)


def test_a_wave_runs_through_few_inputs_and_all_inputs_have_waves() -> None:
    taken = _basis(CATEGORICAL, 12, waves=200).waves != 0.0
    assert set(taken.sum(axis=0).tolist()) == {2}
    assert taken.any(axis=1).all()


def test_many_features_leave_fewer_columns_for_each() -> None:
    schema = FeatureSchema(
        "wide@1", tuple(f"n{index}" for index in range(60)), tuple(f"c{index}" for index in range(50))
    )
    basis = _basis(schema, 110)
    assert (len(basis.edges), basis.bins) == (ROOM // 60, ROOM // 50)
    np.testing.assert_allclose(basis.edges, [-WIDTH / 2, WIDTH / 2])


def test_too_many_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 256"):
        _basis(MIXED, INPUTS_MAX + 1)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("basis.waves", np.zeros((3, 6))),
        ("basis.phases", np.zeros(5)),
        ("basis.edges", np.zeros((2, 2))),
        ("basis.options", np.array([1.0, 2.5])),
        ("basis.options", np.array([1.0, np.nan])),
        ("basis.options", np.array([1.0, 1e9])),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name: str, tensor: np.ndarray) -> None:
    tensors = _basis(MIXED, 4).tensors()
    assert Basis.from_tensors(tensors, MIXED, 4).columns == _basis(MIXED, 4).columns
    with pytest.raises(ValueError, match=r"basis\."):
        Basis.from_tensors({**tensors, name: tensor}, MIXED, 4)
    del tensors[name]
    with pytest.raises(ValueError, match="missing"):
        Basis.from_tensors(tensors, MIXED, 4)
