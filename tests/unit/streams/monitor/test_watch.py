"""The watch over a model: no rollback without cause, one for every cause, and the same end whatever is repeated."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.control.rollback import ALLOWED, Phase, transition
from rheostat.streams.metrics import DRIFT_STATES
from rheostat.streams.models.commands import Command
from rheostat.streams.models.version import Version
from rheostat.streams.monitor.effects import Alert, Decision, Effect
from rheostat.streams.monitor.settings import MonitorSettings
from rheostat.streams.monitor.watch import ModelWatch

SETTINGS = MonitorSettings(
    arl_events=100_000, baseline_events=500, recover_events=200, margin_events=50, max_hold_ms=60_000, no_data_ms=10_000
)
BLOCK = 20


class Learner:
    """Produces evaluations as a learner would: one block after the other, losses around a mean."""

    def __init__(self, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.version = Version(0, 0)
        self.learned = True
        self.offset = 0
        self.now_ms = 1_760_000_000_000

    def block(self, mean: float) -> dict[str, Any]:
        losses = np.clip(self.draw.normal(mean, 0.1, BLOCK), 0.0, 1.0)
        self.offset += BLOCK
        self.now_ms += 50
        made = {
            "model": "toy",
            "epoch": self.version.epoch,
            "sequence": self.version.sequence,
            "learned": self.learned,
            "ranges": [{"partition": 0, "start": self.offset - BLOCK, "end": self.offset}],
            "cells": [
                {
                    "segment": "",
                    "label_age": "under 1m",
                    "count": BLOCK,
                    "brier_sum": float(losses.sum()),
                    "brier_squared_sum": float((losses**2).sum()),
                }
            ],
        }
        if self.learned:
            self.version = self.version.next()
        return made

    def obey(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Command) and effect.kind == "rollback":
                self.version, self.learned = Version(effect.epoch, 0), False
            elif isinstance(effect, Command) and effect.kind == "resume":
                self.learned = True


def run(watch: ModelWatch, learner: Learner, blocks: int, mean: float) -> list[Effect]:
    found: list[Effect] = []
    for _ in range(blocks):
        effects = watch.evaluated(learner.block(mean), learner.now_ms)
        effects += watch.time_passed(learner.now_ms)
        learner.obey(effects)
        found += effects
    return found


def commands(effects: list[Effect]) -> list[Command]:
    return [each for each in effects if isinstance(each, Command)]


def a_watch() -> ModelWatch:
    return ModelWatch("toy", SETTINGS, 2)


@pytest.mark.parametrize("seed", range(20))
def test_a_stationary_loss_is_left_alone(seed: int) -> None:
    assert run(a_watch(), Learner(seed), 400, 0.2) == []


def test_a_loss_that_rises_is_rolled_back_to_before_it_rose() -> None:
    watch, learner = a_watch(), Learner()
    run(watch, learner, 100, 0.2)
    good = learner.version
    found = run(watch, learner, 20, 0.5)
    (command,) = commands(found)
    assert command.kind == "rollback"
    assert command.target is not None
    assert Version(0, good.sequence - 10) <= command.target <= good
    assert command.exclude[0].start <= 100 * BLOCK
    assert command.exclude[0].start == command.target.sequence * BLOCK
    assert [each.end for each in command.exclude] == [-1, -1]
    assert next(each for each in found if isinstance(each, Decision)).verdict == "FAIL"
    assert watch.phase in (Phase.ROLLING_BACK, Phase.PROBATION)


def test_detection_takes_few_events() -> None:
    watch, learner = a_watch(), Learner()
    run(watch, learner, 100, 0.2)
    blocks = 0
    while blocks < 10:
        blocks += 1
        if commands(run(watch, learner, 1, 0.5)):
            break
    assert blocks * BLOCK <= 120


def test_it_learns_again_when_the_loss_is_normal_again_and_not_before() -> None:
    watch, learner = a_watch(), Learner()
    run(watch, learner, 100, 0.2)
    run(watch, learner, 10, 0.5)
    assert not commands(run(watch, learner, 40, 0.5))
    found = run(watch, learner, 30, 0.2)
    (command,) = commands(found)
    assert command.kind == "resume"
    assert command.epoch == 1
    assert {each.state for each in found if isinstance(each, Alert)} == {"closed"}
    assert run(watch, learner, 100, 0.2) == []


def test_a_change_that_stays_ends_the_hold_with_its_own_verdict() -> None:
    watch, learner = a_watch(), Learner()
    run(watch, learner, 100, 0.2)
    found = run(watch, learner, 60_000 // 50 + 20, 0.5)
    assert [each.kind for each in commands(found)] == ["rollback", "resume"]
    assert "TIMEOUT" in [each.verdict for each in found if isinstance(each, Decision)]
    assert run(watch, learner, 100, 0.5) == []


def test_a_dry_run_decides_and_commands_nothing() -> None:
    watch = ModelWatch("toy", MonitorSettings(enabled=False, arl_events=100_000, baseline_events=500), 2)
    learner = Learner()
    run(watch, learner, 100, 0.2)
    found = run(watch, learner, 20, 0.5)
    assert not commands(found)
    assert "FAIL" in [each.verdict for each in found if isinstance(each, Decision)]


def test_silence_is_an_alert_and_never_a_rollback() -> None:
    watch, learner = a_watch(), Learner()
    run(watch, learner, 100, 0.2)
    found = [effect for step in range(100) for effect in watch.time_passed(learner.now_ms + step * 1_000)]
    assert not commands(found)
    assert [each.verdict for each in found if isinstance(each, Decision)] == ["NO_DATA"]
    again = run(watch, learner, 1, 0.2)
    assert [each.state for each in again if isinstance(each, Alert)] == ["closed"]


def test_too_many_rollbacks_freeze_the_model_and_page() -> None:
    watch, learner = a_watch(), Learner()
    kinds: list[str] = []
    for _ in range(SETTINGS.rollbacks_per_hour_max + 1):
        kinds += [each.kind for each in commands(run(watch, learner, 100, 0.2) + run(watch, learner, 12, 0.5))]
    assert kinds.count("rollback") == SETTINGS.rollbacks_per_hour_max
    assert kinds[-1] == "freeze"
    assert watch.phase is Phase.FROZEN


def say(member: str, at_ms: int, command_id: str | None = None) -> dict[str, Any]:
    return {"member": member, "state": "live", "command_id": command_id, "at": at_ms}


def rolled_back() -> tuple[ModelWatch, Learner, Command]:
    watch, learner = a_watch(), Learner()
    run(watch, learner, 100, 0.2)
    for member in ("server-1", "learner-toy"):
        watch.member_said(say(member, learner.now_ms))
    found = run(watch, learner, 20, 0.5)
    return watch, learner, commands(found)[0]


@given(st.permutations(["server-1", "learner-toy"] * 3))
@settings(max_examples=30, deadline=None)
def test_repeated_and_reordered_acknowledgements_give_the_same_time_to_safe(order: list[str]) -> None:
    watch, _, command = rolled_back()
    delay = {"server-1": 300, "learner-toy": 900}
    for member in order:
        watch.member_said(say(member, command.issued_at_ms + delay[member], command.command_id))
    assert watch.safe_seconds == [0.9]


def test_a_member_that_does_not_acknowledge_is_named() -> None:
    watch, learner, command = rolled_back()
    watch.member_said(say("server-1", learner.now_ms, command.command_id))
    (alert,) = watch.time_passed(command.issued_at_ms + SETTINGS.ack_deadline_ms)
    assert isinstance(alert, Alert)
    assert "learner-toy" in alert.summary
    assert "server-1" not in alert.summary
    (closed,) = watch.member_said(say("learner-toy", learner.now_ms + 9_000, command.command_id))
    assert isinstance(closed, Alert)
    assert closed.state == "closed"


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5]), st.integers(1, 40)), max_size=8), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_a_restart_changes_nothing(phases: list[tuple[float, int]], restart_at: int) -> None:
    straight, restarted = a_watch(), a_watch()
    learners = Learner(), Learner()
    plan = [mean for mean, blocks in [(0.2, 60), *phases] for _ in range(blocks)]
    log: list[dict[str, Any]] = []
    for step, mean in enumerate(plan):
        if step == restart_at:
            state = json.loads(json.dumps(restarted.to_json()))
            restarted = ModelWatch.from_json("toy", SETTINGS, 2, state)
            last = restarted.block
            for back, record in enumerate(log):
                restarted.block = last - len(log) + 1 + back
                restarted.remember(record)
            restarted.block = last
        made = learners[1].block(mean)
        if made["epoch"] == restarted.epoch:
            log.append(made)
        first = straight.evaluated(learners[0].block(mean), learners[0].now_ms)
        second = restarted.evaluated(made, learners[1].now_ms)
        assert first == second
        learners[0].obey(first)
        learners[1].obey(second)


def test_the_metrics_know_every_phase() -> None:
    assert set(DRIFT_STATES) == set(Phase)


def test_only_the_drawn_transitions_are_allowed() -> None:
    for now in Phase:
        for then in Phase:
            if then is now or then in ALLOWED[now]:
                assert transition(now, then) is then
            else:
                with pytest.raises(ValueError, match="cannot become"):
                    transition(now, then)
