"""The publication gate: whether servers may answer with a version, judged when it is published.

    finite     a parameter is NaN or infinite: never published, see `NotFinite`
    magnitude  a parameter has exploded
    probes     what servers would rebuild from the parameters does not score golden inputs as the learner does
    golden     an input whose score is known to be right gets another
    worse      on examples with labels, the loss is above that of the scores that were served

A version that fails is published and withheld: servers take it, as the next delta builds on it, and go on answering
with the last one that was not. So nothing is to be made up for when the gate opens again, and what a version is made
of, and with that its digest, does not depend on the gate. What changes is written to `decisions`.

`worse` compares, for each new example of this model, the Brier loss of the learner's score just before it learns it
with that of the score that went out. It is looked at with every block, which sequential evidence allows
(`learners.paired_bets`): withheld once there is evidence of a loss larger by more than the tolerance, released once
there is evidence that it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Floats, Learner, Tensors
from rheostat.learners.paired_bets import Bets, bet, loss_gains
from rheostat.learners.predictors import TORCH_MODULE, predictor
from rheostat.streams.learn.examples import Examples
from rheostat.streams.learn.golden import GoldenInputs
from rheostat.streams.learn.settings import GateSettings
from rheostat.streams.models.apply import PROBE_TOLERANCE
from rheostat.streams.models.delta import VALUES
from rheostat.streams.models.manifest import GATE_CHECKS

STEPPING = ("linear", "hashed-mlp", "bayes-logistic", "torch-module", "river-linear", "river-fm")
"""Families of learners whose parameters grow without bound when their steps are too large."""

_NOT_LEARNED = ("scale.", "ids.", "basis.", "odds.")


class NotFinite(Exception):
    """A parameter is NaN or infinite, so the version must not be published."""

    def __init__(self, tensor: str) -> None:
        super().__init__(f"tensor {tensor!r} holds NaN or infinity")
        self.tensor = tensor


@dataclass(frozen=True, slots=True)
class GateState:
    """What the gate knows as of a version: the checks that fail, in order, and the evidence for a change of `worse`."""

    failed: tuple[str, ...] = ()
    bets: Bets = field(default_factory=Bets)

    def to_json(self) -> tuple[Any, ...]:
        """Return it as what JSON can hold; minus infinity becomes null."""
        log_sr = [None if math.isinf(each) else each for each in self.bets.log_sr]
        return list(self.failed), log_sr, self.bets.count

    @staticmethod
    def from_json(given: Sequence[Any]) -> GateState:
        """Return the state that `to_json` wrote, the first one for nothing."""
        if not given:
            return GateState()
        failed, log_sr, count = given
        return GateState(tuple(failed), Bets(tuple(-math.inf if each is None else each for each in log_sr), count))


@dataclass(frozen=True, slots=True)
class Finding:
    """That a check began or ceased to fail, and what it was found from; `value` is compared with `bound`."""

    check: str
    failed: bool
    value: float
    bound: float
    reason: str
    inputs: Mapping[str, float] = field(default_factory=dict)


class Gate:
    """The gate of one model. `found` gathers what changed; whoever writes it empties it."""

    def __init__(self, settings: GateSettings, golden: GoldenInputs, state: GateState) -> None:
        self._settings = settings
        self._golden = golden
        self.state = state
        self.found: list[Finding] = []

    def compare(self, model: str, examples: Examples, score: Floats, examples_total: int) -> None:
        """Take in new examples with the learner's scores from before it learned them; others are passed over."""
        settings = self._settings
        if not settings.enabled or examples_total < settings.from_examples:
            return
        rows = examples.records
        told = pc.equal(rows.column("model"), model).to_numpy(zero_copy_only=False) & (_column(rows, "revision") == 0)
        weight = np.where(told, examples.batch.weight, 0.0)
        self.weigh(score, _column(rows, "score"), examples.batch.label, weight)

    def weigh(self, score: Floats, served: Floats, label: Floats, weight: Floats) -> None:
        """Take in examples: the learner's scores, those that went out, labels and weights; weight 0 says nothing."""
        worse, settings = "worse" in self.state.failed, self._settings
        loss, served_loss, count = _brier(score, label), _brier(served, label), float(np.minimum(weight, 1.0).sum())
        gains = loss_gains(loss, served_loss, weight, settings.tolerance)
        events = settings.release_events if worse else settings.hold_events
        bets = bet(self.state.bets, -gains if worse else gains, count)
        self.state = replace(self.state, bets=bets)
        if bets.nats < math.log(events):
            return
        told = weight > 0.0
        inputs = {
            "compared": bets.count,
            "block_examples": float(told.sum()),
            "block_loss": float(loss[told].mean()),
            "block_served_loss": float(served_loss[told].mean()),
            "tolerance": settings.tolerance,
        }
        above = f"{'no longer ' if worse else ''}more than {settings.tolerance:g} above that of what was served"
        last = f"last block {inputs['block_loss']:.3f} to {inputs['block_served_loss']:.3f}"
        words = f"the loss is {above} ({last}, {bets.count:.0f} compared)"
        self._turn(Finding("worse", not worse, bets.nats, math.log(events), words, inputs))
        self.state = replace(self.state, bets=Bets())

    def judge(
        self,
        learner: Learner,
        tensors: Tensors,
        carried: Tensors,
        probes: Batch | None,
        examples_total: int,
        *,
        base: bool,
    ) -> tuple[str, ...]:
        """Return the checks that a version fails, in order. Raises NotFinite, whatever is set.

        carried: what its update brings. base: there is one for this version, with all of `tensors`, and perhaps probes.
        """
        peak = _peak(learner.kind, carried)
        if not self._settings.enabled:
            self.state = GateState()
            return ()
        if base and "magnitude" in self.state.failed:
            # A delta may leave out what exploded before it.
            peak = _peak(learner.kind, tensors)
        self._judge_magnitude(peak, whole=base)
        if probes is not None:
            self._judge_probes(learner, tensors, probes)
        if examples_total >= self._settings.from_examples:
            self._judge_golden(learner)
        return self.state.failed

    def _judge_magnitude(self, peak: float, *, whole: bool) -> None:
        bound = self._settings.magnitude_max
        if peak > bound:
            self._turn(Finding("magnitude", True, peak, bound, f"a parameter has grown to {peak:.3g}"))
        elif whole:
            self._turn(Finding("magnitude", False, peak, bound, f"no parameter is larger than {peak:.3g}"))

    def _judge_probes(self, learner: Learner, tensors: Tensors, probes: Batch) -> None:
        if learner.kind == TORCH_MODULE:
            return  # It is rebuilt as the same module, by whoever has what makes it.
        error, reason = _rebuilt_error(learner, tensors, probes)
        failed = not error <= PROBE_TOLERANCE
        self._turn(Finding("probes", failed, error, PROBE_TOLERANCE, reason))

    def _judge_golden(self, learner: Learner) -> None:
        if not len(self._golden):
            return
        wrong = self._golden.wrong(learner)
        if wrong is None:
            self._turn(Finding("golden", False, 0.0, 0.0, "every golden input gets a score that is right"))
            return
        inputs = {"input": float(wrong.number), "least": wrong.least, "most": wrong.most}
        reason = f"golden input {wrong.number} scores {wrong.score:.4g}, not {wrong.least:g} to {wrong.most:g}"
        bound = wrong.least if not wrong.score > wrong.most else wrong.most
        self._turn(Finding("golden", True, wrong.score, bound, reason, inputs))

    def _turn(self, finding: Finding) -> None:
        """Take in what a check says; note it if it says something else than before."""
        if finding.failed == (finding.check in self.state.failed):
            return
        failed = {*self.state.failed} ^ {finding.check}
        self.state = replace(self.state, failed=tuple(each for each in GATE_CHECKS if each in failed))
        self.found.append(finding)


def not_finite_finding(error: NotFinite, count: int) -> Finding:
    """Return what is to be written of examples that were left out, as the learner was not finite after them."""
    return Finding("finite", True, math.inf, 0.0, f"{error}; {count} examples are left out", {"examples": float(count)})


def _peak(kind: str, carried: Tensors) -> float:
    """Return the largest magnitude of what steps change, 0 for other learners. Raises NotFinite for any tensor."""
    stepping, largest = kind.partition("/")[0] in STEPPING, 0.0
    for name, tensor in carried.items():
        if not np.issubdtype(tensor.dtype, np.floating) or not tensor.size:
            continue
        numbers: NDArray[np.floating[Any]] = tensor  # type: ignore[assignment]
        peak = max(abs(float(numbers.max())), abs(float(numbers.min())))
        if not math.isfinite(peak):
            raise NotFinite(name.removesuffix(VALUES))
        if stepping and not name.startswith(_NOT_LEARNED):
            largest = max(largest, peak)
    return largest


def _rebuilt_error(learner: Learner, tensors: Tensors, probes: Batch) -> tuple[float, str]:
    try:
        rebuilt = predictor(learner.kind, learner.schema, tensors, copy=False)
        with np.errstate(all="ignore"):
            error = float(np.abs(rebuilt.predict(probes) - learner.predict(probes)).max())
    except (ValueError, KeyError, IndexError) as reason:
        return math.inf, f"servers could not score with these parameters: {reason}"
    return error, f"servers would score golden inputs with a difference of {error:.3g}"


def _brier(score: Floats, label: Floats) -> Floats:
    """Return losses in [0, 1]; what is no number counts as the worst."""
    losses: Floats = np.fmin((score - label) ** 2, 1.0)
    return losses


def _column(records: Any, name: str) -> NDArray[Any]:
    column: NDArray[Any] = records.column(name).to_numpy(zero_copy_only=True)
    return column
