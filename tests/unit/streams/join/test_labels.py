"""The label rule, kind by kind."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rheostat.schemas.signals import KINDS, codes_of, normalise
from rheostat.streams.join.labels import labels, teaches


@pytest.mark.parametrize(
    ("kind", "value", "score", "label"),
    [
        ("correct", 1.0, 0.9, 1.0),
        ("correct", 1.0, 0.1, 0.0),
        ("incorrect", 1.0, 0.9, 0.0),
        ("incorrect", 1.0, 0.1, 1.0),
        ("correct", 1.0, 0.5, 1.0),
        ("incorrect", 0.0, 0.9, 1.0),
        ("correction", 0.0, 0.9, 0.0),
        ("thumb", 0.0, 0.1, 0.0),
        ("rating", 4.0, 0.1, 0.75),
        ("dismiss", 1.0, 0.9, 0.0),
        ("escalated", 1.0, 0.2, 0.0),
        ("conversion", 1.0, 0.2, 1.0),
    ],
)
def test_label_of_a_signal(kind: str, value: float, score: float, label: float) -> None:
    found = labels(codes_of(pa.array([kind])), np.array([normalise(kind, value)]), np.array([score >= 0.5]))
    assert found.tolist() == [label]


def test_only_control_signals_and_unknown_kinds_give_no_label() -> None:
    kinds = [*KINDS, "no such kind"]
    assert [kind for kind, does in zip(kinds, teaches(codes_of(pa.array(kinds))), strict=True) if not does] == [
        "retraction",
        "no such kind",
    ]
