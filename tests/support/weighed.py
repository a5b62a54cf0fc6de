"""Intake driven by hand, and what its ledger and corrections leave of each event's weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.intake.settings import IntakeSettings, WeightSettings
from rheostat.streams.intake.stage import IntakeStage
from tests.support.feedback import KEY, NOW_MS, block_of, encoded, event, key_of, records_of
from tests.support.written_log import Driver

EXPLICIT, IMPLICIT, OUTCOME = catalogue.FEEDBACK
Given = tuple[str, dict[str, Any]]
"""A topic and an event on it."""


def intake(now_ms: int = NOW_MS, **weights: Any) -> Driver:
    """Intake of one partition, without bursts."""
    settings = IntakeSettings(KEY, bursts_enabled=False, weights=WeightSettings(**weights))
    return Driver(IntakeStage(settings), now_ms)


def signal(event_id: str, kind: str = "thumb", value: float = 1.0, **fields: Any) -> Given:
    """An event on the prediction `p`, unless `fields` say otherwise, on the topic of its kind."""
    topic = {"click": IMPLICIT, "dismiss": IMPLICIT, "copy": IMPLICIT, "conversion": OUTCOME, "escalated": OUTCOME}
    fields = {"prediction_id": "p", "kind": kind, "value": value, **fields}
    return topic.get(kind, EXPLICIT), event(event_id, **fields)


def blocks(given: Sequence[Given], first_offset: int = 0) -> list[Block]:
    """Events as blocks, one for each topic."""
    return [
        block_of(
            [encoded(each, topic) for each in own],
            topic=topic,
            keys=[key_of(each) for each in own],
            first_offset=first_offset,
        )
        for topic in catalogue.FEEDBACK
        if (own := [each for at, each in given if at == topic])
    ]


def tell(driver: Driver, *given: Given) -> list[dict[str, Any]]:
    """Feed events in one call; return what was written to the ledger."""
    return records_of(driver.feed(*blocks(given)).records, catalogue.LEDGER)


def standing(written: Iterable[OutBlock]) -> dict[str, float]:
    """What every event weighs after all corrections: for each cause the newest stands."""
    outputs = list(written)
    keeps: dict[str, dict[str, float]] = {}
    for each in records_of(outputs, catalogue.CORRECTIONS):
        keeps.setdefault(each["event_id"], {})[each["cause"]] = each["keeps"]
    weights = {each["event_id"]: each["weight"] for each in records_of(outputs, catalogue.LEDGER)}
    for event_id, shares in keeps.items():
        for share in shares.values():
            weights[event_id] *= share
    return weights
