"""A fad of a day and a change that lasts, through learners with and without protection (simulated, see `fad_world`).

Every hour is tested before it is learned. What a model says of a topic is the mean logit over fixed rows. The *trace*
of the fad is how far that is from what the model said in the two days before it, and *taken over* is how far it has
come after the change, each as a share of the true jump, averaged over the last twelve hours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from rheostat.learners.contract import Floats, Learner, Predictor
from rheostat.learners.prequential import LOG_LOSS_CLIP
from rheostat.learners.surface import logits
from rheostat.learners.two_timescale import TwoTimescale
from rheostat.learners.wrapper_settings import AnchorSettings, ReplaySettings, TimescaleSettings
from rheostat.streams.bench.fad_world import CHANGED, DAY_MS, FAD, HOURS, SCHEMA, World, probes
from rheostat.streams.config import ModelConfig
from rheostat.streams.worker import learner_maker

TRACE_GONE = 0.1
TAKEN_OVER = 0.9
TRACE_HOURS = 12

PROTECTIONS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "two_timescale": {"timescales": TimescaleSettings()},
    "replay": {"replay": ReplaySettings()},
    "anchored": {"anchor": AnchorSettings(renew_ms=7 * DAY_MS)},
    "elastic": {"anchor": AnchorSettings(renew_ms=7 * DAY_MS, elastic=True)},
}
"""What is compared, as settings of a model; an anchor is moved to the model as it stands once a week."""


def bench_fads(
    learner: Literal["linear", "hashed-mlp"],
    world: World,
    *,
    worlds: int = 3,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Run every protection around this learner through the same `worlds` worlds; return the median of each figure.

    `excess_loss_*`: mean log loss in nats a row, less that of the true probabilities. `*_days`: from the end of the fad
    or from the change; None for never. `surface_against_core`: mean absolute difference of logits on recent rows.
    """
    plain = ModelConfig(learner=learner, feature_set=SCHEMA.id)
    steps = [(name, seed) for name in PROTECTIONS for seed in range(1, worlds + 1)]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in PROTECTIONS}
    for number, (name, seed) in enumerate(steps):
        made = learner_maker(replace(plain, **PROTECTIONS[name]), SCHEMA)()
        runs[name].append(_run(made, world, seed))
        progress((number + 1) / len(steps))
    return {
        "simulated": True,
        "learner": learner,
        "worlds": worlds,
        "rows": world.days * HOURS * world.rows_per_hour,
        "models": {name: middle(of_model) for name, of_model in runs.items()},
    }


def middle(runs: Sequence[Any]) -> Any:
    """Return the median of each number in runs of one layout; None is larger than any number."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: middle([run[key] for run in runs]) for key in first}
    if isinstance(first, list):
        return [middle(entries) for entries in zip(*runs, strict=True)]
    ranked = sorted(runs, key=lambda value: math.inf if value is None else value)
    return ranked[len(ranked) // 2]


def _run(learner: Learner, world: World, seed: int) -> dict[str, Any]:
    random, began = default_rng(seed), time.process_time()
    slow = learner if isinstance(learner, TwoTimescale) else None
    hours = world.days * HOURS
    excess, gap = np.zeros(hours), np.zeros(hours)
    said, core_said = np.zeros((2, hours)), np.zeros((2, hours))
    moved = dict.fromkeys((*SCHEMA.numeric, *SCHEMA.categorical), 0.0)
    for hour in range(hours):
        batch, truth = world.rows(hour, random)
        excess[hour] = _log_loss(learner.predict(batch), batch.label) - _log_loss(truth, batch.label)
        learner.learn(batch)
        learner.flush()
        said[:, hour] = _says(learner)
        if slow is not None:
            core_said[:, hour] = _says(slow.core())
            gap[hour] = slow.metrics()["surface_against_core"]
            if hour == (world.fad_day + 1) * HOURS - 1:
                moved |= slow.features_moved()
    figures = {**_losses(excess, world), **_preferences(said, world), "cpu_s": round(time.process_time() - began, 2)}
    if slow is None:
        return figures
    surface = {
        "surface_against_core": {name: _rounded(gap[when].mean()) for name, when in _spans(world).items()},
        "features_moved_by_fad": {name: _rounded(value) for name, value in moved.items()},
    }
    return {**figures, **surface, **{f"core_{name}": each for name, each in _preferences(core_said, world).items()}}


def _spans(world: World) -> dict[str, slice]:
    """Return the hours that figures are given for."""
    fad, change = world.fad_day * HOURS, world.change_day * HOURS
    return {
        "before": slice(max(fad - 7 * HOURS, 0), fad),
        "fad": slice(fad, fad + HOURS),
        "after_fad": slice(fad + HOURS, change),
        "change": slice(change, change + 3 * HOURS),
        "final": slice(-7 * HOURS, None),
    }


def _losses(excess: Floats, world: World) -> dict[str, float]:
    return {f"excess_loss_{name}": _rounded(excess[when].mean()) for name, when in _spans(world).items()}


def _preferences(said: Floats, world: World) -> dict[str, Any]:
    """Return what became of the fad's trace and of the change, from what was said of both topics hour by hour."""
    fad_ended, change = (world.fad_day + 1) * HOURS, world.change_day * HOURS
    trace = _share(said[0], world.fad_day * HOURS, *world.fad_terms)
    taken = _share(said[1], change, *world.change_terms)
    return {
        "fad_trace_max": _rounded(trace[world.fad_day * HOURS :].max()),
        "fad_gone_days": _days_until(trace[fad_ended:] < TRACE_GONE),
        "change_taken_over_days": _days_until(taken[change:] >= TAKEN_OVER),
        "fad_trace_by_day": _by_day(trace, world.fad_day),
        "change_by_day": _by_day(taken, world.change_day),
    }


def _share(said: Floats, event: int, before: float, after: float) -> Floats:
    """Return by hour how far what is said has moved, in true jumps, from what was said in the two days before."""
    usual = said[event - 2 * HOURS : event].mean()
    share = (said - usual) / (after - before)
    return np.array([share[max(hour - TRACE_HOURS, 0) : hour].mean() for hour in range(1, len(share) + 1)])


def _by_day(course: Floats, day: int) -> list[float]:
    """Return the course at the end of a day and of those that follow, two weeks in all at most."""
    return [_rounded(value) for value in course[(day + 1) * HOURS - 1 :: HOURS][:14]]


def _days_until(reached: NDArray[np.bool_]) -> float | None:
    """Return the days until it is first so, None if it never is."""
    found = np.flatnonzero(reached)
    return round((int(found[0]) + 1) / HOURS, 2) if len(found) else None


def _says(model: Predictor) -> Floats:
    return np.array([logits(model.predict(probes(topic))).mean() for topic in (FAD, CHANGED)])


def _log_loss(scores: Floats, label: Floats) -> float:
    clipped = np.clip(scores, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    return float(-(label * np.log(clipped) + (1.0 - label) * np.log1p(-clipped)).mean())


def _rounded(value: float) -> float:
    return round(float(value), 4)
