"""A version's tensors never change while anybody has them, in whosever memory the next ones are made."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from rheostat.streams.models.delta import ROWS, VALUES, apply_difference
from rheostat.streams.models.spares import Spares

ROW_COUNT, WIDTH = 50, 3
Table = NDArray[np.generic]


def a_delta(random: Random) -> dict[str, Table]:
    rows = sorted(random.sample(range(ROW_COUNT), random.randint(1, 6)))
    values = np.array([[random.random()] * WIDTH for _ in rows])
    return {"table" + ROWS: np.array(rows, np.int64), "table" + VALUES: values}


@pytest.mark.parametrize("seed", range(40))
def test_what_anybody_holds_never_changes(seed: int) -> None:
    random, spares = Random(seed), Spares(bytes_min=0)
    current: dict[str, Table] = {"table": np.zeros((ROW_COUNT, WIDTH))}
    expected = current["table"].copy()
    held: list[tuple[Table, Table]] = []
    for _ in range(60):
        delta = a_delta(random)
        following = apply_difference(current, delta, spares)
        if random.random() < 0.1:
            continue  # It was refused: the current one stays in use.
        current = following
        expected[delta["table" + ROWS]] = delta["table" + VALUES]
        del following, delta
        assert np.array_equal(current["table"], expected)
        if random.random() < 0.3:
            # By itself, or by nothing but a part of it.
            shown = current["table"] if random.random() < 0.5 else current["table"][3:7]
            held.append((shown, shown.copy()))
        if held and random.random() < 0.3:
            held.pop(random.randrange(len(held)))
        assert all(np.array_equal(seen, was) for seen, was in held)


def test_the_memory_of_a_version_that_nobody_has_is_used_again() -> None:
    random, spares, places = Random(0), Spares(bytes_min=0), []
    current: dict[str, Table] = {"table": np.zeros((ROW_COUNT, WIDTH))}
    for _ in range(10):
        current = apply_difference(current, a_delta(random), spares)
        places.append(current["table"].ctypes.data)
    assert len(set(places[1:])) == 2


def test_a_tensor_that_is_a_view_of_other_memory_is_never_written_to() -> None:
    """Who else has a view of that memory cannot be told."""
    random, spares = Random(0), Spares(bytes_min=0)
    memory = np.zeros(ROW_COUNT * WIDTH)
    current: dict[str, Table] = {"table": memory.reshape(ROW_COUNT, WIDTH)}
    for _ in range(3):
        current = apply_difference(current, a_delta(random), spares)
    assert not memory.any()
