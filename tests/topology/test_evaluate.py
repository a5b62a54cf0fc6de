"""What a learn stage tests is what the report of its evaluations says, over restarts of the learner too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rheostat.schemas import catalogue, codec
from rheostat.streams.evaluations import added_up, report
from rheostat.streams.status import records
from tests.support.examples import an_example
from tests.support.learn_world import World

HOUR = 3_600_000
T0 = 1_760_000_400_000


def test_every_example_is_in_the_report_once_by_its_final_label() -> None:
    world = World()
    world.clock.advance(T0 + 5 * HOUR - world.clock.now_ms())
    world.run(2)
    given: list[dict[str, Any]] = [
        an_example(number, at_ms=T0 + number % 2 * HOUR) | {"segment": "ab"[number % 2]} for number in range(60)
    ]
    changed = [
        each | {"label": 1.0 - each["label"], "revision": 1, "was_label": each["label"], "was_weight": 1.0}
        for each in given[:9]
    ]
    young = an_example(99, at_ms=T0 + 3 * HOUR)
    for number, example in enumerate([*given, *changed, young]):
        value = codec.encode_record(catalogue.EXAMPLES, example)
        key = str(example["prediction_id"]).encode()
        world.producer.send(catalogue.EXAMPLES, key, value, timestamp_ms=T0)
        if number % 25 == 0:
            world.run(5)
            world.start()
    world.run()
    found = report(added_up(records(world.broker.log(), catalogue.EVALUATIONS, 0), "toy", mature_ms=HOUR))
    final = [each["label"] for each in (*changed, *given[9:])]
    assert found["evaluations"] > 3
    assert (found["all"]["examples"], found["all"]["revised"], found["young_examples"]) == (60, 9, 1)
    assert found["all"]["rows"] == 60
    assert found["all"]["label"] == pytest.approx(np.mean(final))
    assert set(found["segments"]) == {"a", "b"}
    assert (found["predicted_from"], found["predicted_until"]) == (T0 // HOUR * HOUR, T0 // HOUR * HOUR + 2 * HOUR)
