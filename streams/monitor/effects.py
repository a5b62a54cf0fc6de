"""What the monitor wants written: decisions, alerts and commands, as records of their topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rheostat.schemas import catalogue, codec
from rheostat.streams.models.commands import Command, ExcludedRange, sign_command
from rheostat.streams.models.signing import Signer

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "NO_DATA", "ERROR", "TIMEOUT"]
RULE = "loss-drift"
RULE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with everything it was reached from."""

    decision_id: str
    model: str
    verdict: Verdict
    value: float
    threshold: float
    reason: str
    inputs: Mapping[str, float] = field(default_factory=dict)
    ranges: tuple[ExcludedRange, ...] = ()
    command_id: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An incident opened or closed; the same id opens and closes it."""

    alert_id: str
    rule: str
    model: str
    state: Literal["open", "closed"]
    severity: Literal["info", "ticket", "page"]
    summary: str
    value: float = 0.0
    threshold: float = 0.0


Effect = Decision | Alert | Command


def to_record(effect: Effect, signer: Signer, now_ms: int) -> tuple[str, bytes, bytes]:
    """Return topic, key and value."""
    if isinstance(effect, Command):
        key, value = sign_command(effect, signer)
        return catalogue.MODELS_COMMANDS, key, value
    if isinstance(effect, Alert):
        alert = {name: getattr(effect, name) for name in Alert.__slots__} | {"at": now_ms}
        return catalogue.ALERTS, effect.rule.encode(), codec.encode_record(catalogue.ALERTS, alert)
    decision = {name: getattr(effect, name) for name in Decision.__slots__} | {
        "rule": RULE,
        "rule_version": RULE_VERSION,
        "ranges": [{"partition": each.partition, "start": each.start, "end": each.end} for each in effect.ranges],
        "actor": signer.key_id,
        "at": now_ms,
    }
    return catalogue.DECISIONS, effect.model.encode(), codec.encode_record(catalogue.DECISIONS, decision)
