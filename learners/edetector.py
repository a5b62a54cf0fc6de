"""Sequential detection that the mean of a loss in [0, 1] rose above a bound, with a stated rate of false alarms.

After Shin, Ramdas and Rinaldo, "E-detectors" (2024). Under the hypothesis "every loss has mean at most m0, given the
past", a block of n losses with sum S has the e-value

    e = exp(lam * S - n * log(1 - m0 + m0 * exp(lam))),    lam = log(m1 (1 - m0) / (m0 (1 - m1))),  m1 > m0

whose expectation is at most 1, because exp(lam x) <= 1 - x + x exp(lam) on [0, 1]. For losses 0 and 1 it is exactly
the likelihood ratio of Bernoulli(m1) to Bernoulli(m0). m1 is a target, not a claim: several are mixed with equal
weights, and a wrong one costs delay, never validity. From the e-values, per block:

    e-SR      R = (R + n) * e      alarm at R >= arl_events
    e-CUSUM   C = max(C, 1) * e    tells where the present excursion began

R less the number of events seen is a supermartingale, so that the expected number of *events* (not blocks) until a
false alarm is at least `arl_events`, whatever the sizes of the blocks, as long as a size does not depend on the losses
in its block. There is nothing to tune. m0 must be fixed before the losses it judges are seen (see `baseline`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Detector:
    """What to detect: a mean above `m0`, at most one false alarm per `arl_events` events on average.

    targets: the means `m1` to be quick for, each in (m0, 1); see `targets_above`.
    """

    m0: float
    targets: tuple[float, ...]
    arl_events: float

    def __post_init__(self) -> None:
        if not 0.0 < self.m0 < 1.0 or not self.targets or not all(self.m0 < m1 < 1.0 for m1 in self.targets):
            raise ValueError(f"need 0 < m0 < every target < 1, got m0 = {self.m0}, targets = {self.targets}")
        if not self.arl_events >= 1.0:
            raise ValueError(f"arl_events must be at least 1, got {self.arl_events}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the losses so far say; values are natural logarithms, one for each target.

    onset: for each target the id of the block where the present excursion of its e-CUSUM began.
    alarm_at: the id of the block that raised the alarm; it stays raised until a new `Evidence` is begun.
    """

    log_sr: tuple[float, ...]
    log_cusum: tuple[float, ...]
    onset: tuple[int, ...]
    events: int = 0
    alarm_at: int | None = None
    alarm_onset: int | None = None

    @property
    def alarm(self) -> bool:
        """Whether the evidence has reached `arl_events` at some block."""
        return self.alarm_at is not None

    def to_json(self) -> dict[str, Any]:
        """Return the state as what JSON can hold; minus infinity becomes null."""
        return {
            "log_sr": [None if math.isinf(value) else value for value in self.log_sr],
            "log_cusum": list(self.log_cusum),
            "onset": list(self.onset),
            "events": self.events,
            "alarm_at": self.alarm_at,
            "alarm_onset": self.alarm_onset,
        }

    @staticmethod
    def from_json(state: Mapping[str, Any]) -> Evidence:
        """Return the state that `to_json` wrote; ValueError or KeyError if it is not one."""
        log_sr = tuple(-math.inf if value is None else float(value) for value in state["log_sr"])
        log_cusum = tuple(float(value) for value in state["log_cusum"])
        onset = tuple(int(block) for block in state["onset"])
        if not len(log_sr) == len(log_cusum) == len(onset) > 0:
            raise ValueError("evidence must have the same number of values for e-SR, e-CUSUM and onset")
        return Evidence(log_sr, log_cusum, onset, int(state["events"]), state["alarm_at"], state["alarm_onset"])


def begin(detector: Detector, block: int = 0) -> Evidence:
    """Return the evidence before any loss; `block` is the id of the block that comes first."""
    count = len(detector.targets)
    return Evidence((-math.inf,) * count, (0.0,) * count, (block,) * count)


def observe(detector: Detector, evidence: Evidence, count: int, total: float, block: int) -> Evidence:
    """Return the evidence after a block of `count` losses in [0, 1] with sum `total`; `block` is its id, rising.

    An empty block changes nothing. Another m0 may be used from one block to the next if it was chosen before the block
    was seen; the number of targets must stay. Raises ValueError if the sum cannot be that of such losses.
    """
    if len(evidence.log_sr) != len(detector.targets):
        raise ValueError(f"evidence for {len(evidence.log_sr)} targets, the detector has {len(detector.targets)}")
    if count < 0 or not -1e-9 <= total <= count * (1 + 1e-9):
        raise ValueError(f"{count} losses in [0, 1] cannot have the sum {total}")
    if count == 0:
        return evidence
    log_e = [_log_e_value(detector.m0, m1, count, total) for m1 in detector.targets]
    reset = [value <= 0.0 for value in evidence.log_cusum]
    after = replace(
        evidence,
        log_sr=tuple(_log_add(sr, math.log(count)) + e for sr, e in zip(evidence.log_sr, log_e, strict=True)),
        log_cusum=tuple(max(value, 0.0) + e for value, e in zip(evidence.log_cusum, log_e, strict=True)),
        onset=tuple(block if new else begun for new, begun in zip(reset, evidence.onset, strict=True)),
        events=evidence.events + count,
    )
    if evidence.alarm or log_evidence(after) < math.log(detector.arl_events):
        return after
    strongest = max(range(len(after.log_sr)), key=lambda index: after.log_sr[index])
    return replace(after, alarm_at=block, alarm_onset=after.onset[strongest])


def log_evidence(evidence: Evidence) -> float:
    """Return the logarithm of the mixed e-SR value, to be compared with log(arl_events)."""
    top = max(evidence.log_sr)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in evidence.log_sr) / len(evidence.log_sr))


def targets_above(m0: float, effect_min: float, count: int = 5) -> tuple[float, ...]:
    """Return `count` targets: m0 + effect_min, then geometrically growing effects up to halfway from m0 to 1.

    The least one is where the detector is meant to become sensitive; the others make large changes fast to find.
    """
    if not 0.0 < m0 < 1.0 or not 0.0 < effect_min < 1.0 - m0 or count < 1:
        raise ValueError(f"need 0 < m0 < 1, 0 < effect_min < 1 - m0 and count >= 1, got {m0}, {effect_min}, {count}")
    largest = max(effect_min, (1.0 - m0) / 2.0)
    steps = max(count - 1, 1)
    effects = [effect_min * (largest / effect_min) ** (step / steps) for step in range(count)]
    return tuple(m0 + effect for effect in effects)


def _log_e_value(m0: float, m1: float, count: int, total: float) -> float:
    # With lam as above, 1 - m0 + m0 exp(lam) = (1 - m0) / (1 - m1).
    lam = math.log(m1) + math.log1p(-m0) - math.log(m0) - math.log1p(-m1)
    return lam * total - count * (math.log1p(-m0) - math.log1p(-m1))


def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log1p(math.exp(min(a, b) - top))
