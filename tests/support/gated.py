"""A learner behind a publication gate, examples that were answered with a score, and what servers make of it all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from rheostat.learners.contract import Batch, Learner, Tensors
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.apply import PROBE_TOLERANCE
from rheostat.streams.models.update import UpdateAssembler
from rheostat.streams.serving.kept import KeptVersions
from rheostat.streams.serving.lineage import Lineage
from tests.support.examples import SCHEMA, an_example
from tests.support.learn_world import KEYS, World

BREAKS, EXPLODES = 5e5, 6e5
"""Values of the feature `a` that are too much for a `Fragile` learner."""


class Fragile(RiverLinear):
    """Has no finite parameters any more once it learned `BREAKS`, and huge ones while it just learned `EXPLODES`."""

    _broken = _huge = False

    def __init__(self) -> None:
        super().__init__(SCHEMA, LinearSettings(batch_rows=4))

    def learn(self, batch: Batch) -> None:
        self._broken |= bool((batch.numeric[:, 0] == BREAKS).any())
        self._huge = bool((batch.numeric[:, 0] == EXPLODES).any())
        super().learn(batch)

    def parameters(self) -> Tensors:
        tensors = dict(super().parameters())
        weights = np.array(tensors["weights"], np.float64)
        if self._broken:
            weights[1] = np.nan
        if self._huge:
            weights[1] = 1e9
        return {**tensors, "weights": weights}


def fragile() -> Learner:
    return Fragile()


def answered(
    world: World, numbers: Iterable[int], *, score: float | None = None, flipped: bool = False, **other: Any
) -> None:
    """Write examples whose prediction had this score, by default the label itself."""
    for number in numbers:
        record = an_example(number, flipped=flipped) | other
        record["score"] = record["label"] if score is None else score
        value, key = codec.encode_record(catalogue.EXAMPLES, record), str(record["prediction_id"]).encode()
        world.producer.send(catalogue.EXAMPLES, key, value, timestamp_ms=1_760_000_000_010)


def decisions(world: World) -> list[dict[str, Any]]:
    """What the learner wrote to `decisions`."""
    blocks = world.broker.log().read(catalogue.DECISIONS, 0)
    return [codec.decode_record(catalogue.DECISIONS, value) for block in blocks for value in block.values]


def served(world: World) -> list[tuple[str, str | None]]:
    """For each version, in order: its name, and that of the one which a server answers with from then on."""
    refused: list[str] = []
    assembler = UpdateAssembler(KEYS, lambda _, why: refused.append(str(why)))
    lineage, found = Lineage("toy", KeptVersions(2, 1 << 30), PROBE_TOLERANCE), []
    for block in world.broker.log().read(catalogue.MODELS, 0):
        for key, value in zip(block.keys, block.values, strict=True):
            update = assembler.feed(key, value)
            if update is not None:
                head = lineage.apply(update)
                serving = lineage.serving
                found.append((str(head.version), None if serving is None else str(serving.version)))
    assert not refused
    return found


def withheld(world: World) -> dict[str, tuple[str, ...]]:
    """Why each version that is withheld is."""
    facts = [each.manifest.facts for each in world.versions()]
    return {str(each.version): each.withheld for each in facts if each.withheld}
