"""The contract of a learner as code: `check_learner(factory)` raises `LawBroken` for the first law that is broken.

Run it in the tests of every learner, with a factory that makes a fresh learner with the settings it will have. `LAWS`
hold for every learner; `FURTHER_LAWS` for those whose method allows it, and are checked when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import (
    Batch,
    Context,
    FeatureSchema,
    Floats,
    KnowsTouchedRows,
    Learner,
    Predictor,
    Snapshot,
    Tensors,
    Unlearns,
)
from rheostat.learners.digest import Rows, tensors_digest
from rheostat.learners.features import no_context, select
from rheostat.learners.tensorfile import dump

Factory = Callable[[], Learner]
Serve = Callable[[str, FeatureSchema, Tensors], Predictor]

SERVING_TOLERANCE = 1e-6

GROWTH_MAX = 2.0
GROWTH_FREE_BYTES = 1 << 16
"""A state that learned four times as many rows, all of them new, may be this many times as large, and these bytes."""


class LawBroken(AssertionError):
    """A learner does not keep its contract; `law` names the law."""

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(f"{law}: {detail}")
        self.law = law


def check_learner(
    factory: Factory,
    serve: Serve | None = None,
    *,
    also: Collection[str] = (),
    excused: Mapping[str, str] | None = None,
) -> None:
    """Check every law on learners made by `factory`; raises LawBroken.

    serve: makes a predictor from (kind, schema, parameters); with it, served scores are compared with the learner's.
    also: names of `FURTHER_LAWS`. excused: laws that the method cannot keep, each with the reason (a detector of
    anomalies learns no labels, for example). Raises ValueError for a name that is no law.
    """
    excused = excused or {}
    unknown = ({*excused} - {*LAWS}) | ({*also} - {*FURTHER_LAWS})
    if unknown:
        raise ValueError(f"no such law: {', '.join(sorted(unknown))}")
    laws = {**LAWS, **{law: FURTHER_LAWS[law] for law in also}}
    for law, check in laws.items():
        if law not in excused:
            _run(law, check, factory)
    if serve is not None:
        _check_serving(factory, serve)


def toy_batch(schema: FeatureSchema, rows: int, seed: int) -> Batch:
    """Return random rows whose label follows from the first feature; features without a part in it are noise."""
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(rows, len(schema.numeric)))
    values = random.integers(0, 8, (rows, len(schema.categorical)))
    # Any fixed odd factor spreads eight values over 64 bits; zero stays the missing value.
    categorical = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    if schema.numeric:
        label = (numeric[:, 0] > 0.0).astype(np.float64)
    elif schema.categorical:
        label = (values[:, 0] % 2).astype(np.float64)
    else:
        label = np.ones(rows)
    weight = random.choice([0.5, 1.0, 2.0], rows)
    return Batch(schema.id, numeric, categorical, label, weight, _toy_context(schema, rows, random))


def _toy_context(schema: FeatureSchema, rows: int, random: np.random.Generator) -> Context | None:
    """Return actions chosen at random, where the schema has any."""
    if not schema.actions:
        return None
    action = random.integers(0, len(schema.actions), rows)
    return replace(no_context(rows), action=action, propensity=np.full(rows, 1.0 / len(schema.actions)))


def _learned(factory: Factory, rows: int = 700, seed: int = 1) -> Learner:
    learner = factory()
    learner.learn(toy_batch(learner.schema, rows, seed))
    learner.flush()
    return learner


def _digest(learner: Learner) -> str:
    return tensors_digest(learner.snapshot().tensors)


def _run(law: str, check: Callable[[Factory], str | None], factory: Factory) -> None:
    detail = check(factory)
    if detail is not None:
        raise LawBroken(law, detail)


def _input_untouched(factory: Factory) -> str | None:
    learner = factory()
    batch = toy_batch(learner.schema, 300, 1)
    before = _bytes(batch)
    learner.learn(batch)
    learner.flush()
    learner.predict(batch)
    return None if _bytes(batch) == before else "learn or predict changed an array of the batch"


def _input_not_kept(factory: Factory) -> str | None:
    """A caller may write over its arrays after `learn` returned, though rows still wait for their micro-batch."""
    learner, other = factory(), factory()
    for number in range(5):
        batch = toy_batch(learner.schema, 7, number)
        other.learn(select(batch, np.arange(7)))
        learner.learn(batch)
        for array in _arrays(batch):
            array[...] = 0
    learner.flush()
    other.flush()
    return None if _digest(learner) == _digest(other) else "learn kept a reference to an array of the batch"


def _predict_pure(factory: Factory) -> str | None:
    learner = _learned(factory)
    batch = toy_batch(learner.schema, 50, 2)
    before = _digest(learner)
    first, second = learner.predict(batch), learner.predict(batch)
    if not np.array_equal(first, second):
        return "two predictions for one batch differ"
    if _digest(learner) != before:
        return "predict changed the state"
    blind = replace(batch, label=1.0 - batch.label, weight=batch.weight * 0.0)
    return None if np.array_equal(first, learner.predict(blind)) else "predict looks at label or weight"


def _probabilities(factory: Factory) -> str | None:
    for learner in (factory(), _learned(factory)):
        for rows in (0, 1, 33):
            scores = learner.predict(toy_batch(learner.schema, rows, 3))
            if scores.dtype != np.float64 or scores.shape != (rows,):
                return f"scores of {rows} rows are {scores.dtype} {scores.shape}"
            if not _in_unit_interval(scores):
                return "a score is not in [0, 1]"
    return None


def _copies(factory: Factory) -> str | None:
    learner = _learned(factory)
    before = _digest(learner)
    for tensors in (learner.parameters(), learner.snapshot().tensors):
        for tensor in tensors.values():
            if tensor.flags.writeable:
                tensor[...] = 0
    return None if _digest(learner) == before else "parameters or snapshot gave away an array of the state"


def _restart(factory: Factory) -> str | None:
    learner, restored = _learned(factory), factory()
    restored.restore(learner.snapshot())
    if _digest(restored) != _digest(learner):
        return "the state after restore is not the one of the snapshot"
    batch = toy_batch(learner.schema, 333, 4)
    if not np.array_equal(restored.predict(batch), learner.predict(batch)):
        return "predictions after restore differ"
    for each in (learner, restored):
        each.learn(batch)
        each.flush()
    return None if _digest(restored) == _digest(learner) else "learning after restore goes elsewhere"


def _snapshot_independent(factory: Factory) -> str | None:
    learner = _learned(factory)
    snapshot = learner.snapshot()
    taken = tensors_digest(snapshot.tensors)
    other = factory()
    other.restore(snapshot)
    for each in (learner, other):
        each.learn(toy_batch(learner.schema, 200, 5))
        each.flush()
    return None if tensors_digest(snapshot.tensors) == taken else "learning changed a snapshot taken before"


def _changes_told(factory: Factory) -> str | None:
    learner = _learned(factory)
    _touched_rows(learner)
    given = learner.parameters()
    before = {name: np.array(tensor) for name, tensor in given.items()}
    learner.learn(toy_batch(learner.schema, 100, 14))
    learner.flush()
    touched, after = _touched_rows(learner), learner.parameters()
    for name, tensor in before.items():
        if name not in touched:
            if given[name].tobytes() != tensor.tobytes():
                return f"parameter {name!r}, given away before, changed without being named by touched_rows"
            continue
        others = np.setdiff1d(np.arange(len(tensor)), touched[name])
        if after[name][others].tobytes() != tensor[others].tobytes():
            return f"rows of parameter {name!r} changed that touched_rows did not name"
        if (np.diff(touched[name]) <= 0).any():
            return f"touched rows of parameter {name!r} do not rise"
    return None


def _touched_rows(learner: Learner) -> Mapping[str, Rows]:
    return learner.touched_rows() if isinstance(learner, KnowsTouchedRows) else {}


def _stable_bytes(factory: Factory) -> str | None:
    first, second = _learned(factory), _learned(factory)
    for name in ("parameters", "snapshot"):
        one, two = (_tensors(each, name) for each in (first, second))
        if tensors_digest(one) != tensors_digest(two) or dump(one) != dump(two):
            return f"two learners that learned the same differ in {name}"
    return None


def _refuses_foreign(factory: Factory) -> str | None:
    learner = _learned(factory)
    good = learner.snapshot()
    before = _digest(learner)
    for foreign in (Snapshot("foreign/9", good.schema_id, good.tensors), Snapshot(good.kind, "other@9", good.tensors)):
        if not _refuses(lambda foreign=foreign: learner.restore(foreign)):  # type: ignore[misc]
            return f"restore took a snapshot of {foreign.kind!r} and {foreign.schema_id!r}"
    batch = replace(toy_batch(learner.schema, 3, 6), schema_id="other@9")
    if not _refuses(lambda: learner.learn(batch)) or not _refuses(lambda: learner.predict(batch)):
        return "learn or predict took a batch of another schema"
    return None if _digest(learner) == before else "a refusal changed the state"


def _refuses(action: Callable[[], object]) -> bool:
    try:
        action()
    except ValueError:
        return True
    return False


def _weight_zero(factory: Factory) -> str | None:
    learner, without = factory(), factory()
    batch = toy_batch(learner.schema, 500, 7)
    unseen = np.arange(500) % 3 == 0
    batch = replace(batch, weight=np.where(unseen, 0.0, batch.weight))
    learner.learn(batch)
    learner.flush()
    without.learn(select(batch, ~unseen))
    without.flush()
    return None if _digest(learner) == _digest(without) else "rows of weight 0 left a trace"


def _weights_matter(factory: Factory) -> str | None:
    light, heavy = factory(), factory()
    batch = toy_batch(light.schema, 500, 8)
    for learner, factor in ((light, 1.0), (heavy, 4.0)):
        weight = np.where(batch.label > 0.5, factor, 1.0)
        learner.learn(replace(batch, weight=weight))
        learner.flush()
    lift = float((heavy.predict(batch) - light.predict(batch)).mean())
    return None if lift > 0.0 else f"weighing positives four times moved scores by {lift:.3g}, expected up"


def _cuts(factory: Factory) -> str | None:
    """What is learned depends on the order of rows and on flushes, not on how rows were handed over."""
    whole, parts = factory(), factory()
    batch = toy_batch(whole.schema, 613, 9)
    whole.learn(batch)
    whole.flush()
    for start, end in ((0, 0), (0, 1), (1, 38), (38, 39), (39, 512), (512, 613)):
        parts.learn(select(batch, slice(start, end)))
    parts.flush()
    parts.flush()
    return None if _digest(whole) == _digest(parts) else "the same rows in other pieces gave another state"


def _finite(factory: Factory) -> str | None:
    learner = _learned(factory)
    batch = toy_batch(learner.schema, 64, 10)
    extremes = np.array([1e300, -1e300, np.finfo(np.float64).max, 5e-324, 0.0, 1e20])
    numeric = np.resize(extremes, batch.numeric.shape)
    categorical = np.full_like(batch.categorical, np.iinfo(np.uint64).max)
    wild = replace(batch, numeric=numeric, categorical=categorical, weight=np.full(64, 1e12))
    for _ in range(5):
        learner.learn(wild)
    learner.flush()
    if not all(np.isfinite(tensor).all() for tensor in learner.snapshot().tensors.values()):
        return "extreme inputs left a number in the state that is not finite"
    return None if _in_unit_interval(learner.predict(wild)) else "extreme inputs got a score outside [0, 1]"


def _bounded(factory: Factory) -> str | None:
    """Rows whose values were never seen before: what keeps something of each of them grows with their number."""
    learner, sizes = factory(), []
    for block in range(4):
        batch = toy_batch(learner.schema, 1_000, 20 + block)
        new = np.random.default_rng(block).integers(1, 1 << 63, batch.categorical.shape, np.uint64)
        learner.learn(replace(batch, categorical=new))
        learner.flush()
        sizes.append(sum(tensor.nbytes for tensor in learner.snapshot().tensors.values()))
    if sizes[-1] <= GROWTH_MAX * sizes[0] + GROWTH_FREE_BYTES:
        return None
    return f"the state grew from {sizes[0]} bytes after 1000 rows to {sizes[-1]} after 4000"


def _weight_two(factory: Factory) -> str | None:
    heavy, twice = factory(), factory()
    batch = toy_batch(heavy.schema, 400, 15)
    weight = np.where(np.arange(400) % 3 == 0, 2.0, 1.0)
    heavy.learn(replace(batch, weight=weight))
    repeated = select(batch, np.repeat(np.arange(400), weight.astype(np.int64)))
    twice.learn(replace(repeated, weight=np.ones(len(repeated))))
    for learner in (heavy, twice):
        learner.flush()
    gap = float(np.abs(heavy.predict(batch) - twice.predict(batch)).max())
    return None if gap <= SERVING_TOLERANCE else f"scores after weight 2 and after two rows differ by {gap:.3g}"


def _taken_back(factory: Factory) -> str | None:
    """Asked of learners that can take back; others keep it by having nothing to take back with."""
    learner, without = factory(), factory()
    if not isinstance(learner, Unlearns):
        return None
    batch = toy_batch(learner.schema, 400, 16)
    gone = np.arange(400) % 4 == 0
    learner.learn(batch)
    without.learn(select(batch, ~gone))
    for each in (learner, without):
        each.flush()
    learner.unlearn(select(batch, gone))
    gap = float(np.abs(learner.predict(batch) - without.predict(batch)).max())
    return None if gap <= SERVING_TOLERANCE else f"scores differ by {gap:.3g} from those of one that never saw the rows"


def _learns(factory: Factory) -> str | None:
    learner = _learned(factory, rows=6_000, seed=11)
    test = toy_batch(learner.schema, 1_000, 12)
    accuracy = float(((learner.predict(test) >= 0.5) == (test.label >= 0.5)).mean())
    return None if accuracy >= 0.8 else f"accuracy on a separable problem is {accuracy:.2f}, expected at least 0.8"


def _check_serving(factory: Factory, serve: Serve) -> None:
    learner = _learned(factory)
    batch = toy_batch(learner.schema, 500, 13)
    served = serve(learner.kind, learner.schema, learner.parameters()).predict(batch)
    error = float(np.abs(served - learner.predict(batch)).max())
    if not error <= SERVING_TOLERANCE:
        raise LawBroken("served scores are the learner's", f"they differ by {error:.3g}")


def _tensors(learner: Learner, name: str) -> Tensors:
    return learner.parameters() if name == "parameters" else learner.snapshot().tensors


def _bytes(batch: Batch) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in _arrays(batch))


def _arrays(batch: Batch) -> list[NDArray[np.generic]]:
    arrays: list[NDArray[np.generic]] = [batch.numeric, batch.categorical, batch.label, batch.weight]
    if batch.context is not None:
        arrays += [batch.context.action, batch.context.propensity, batch.context.occurred_at_ms, batch.context.stratum]
    return arrays


def _in_unit_interval(scores: Floats) -> bool:
    return bool(((scores >= 0.0) & (scores <= 1.0)).all())


LAWS: dict[str, Callable[[Factory], str | None]] = {
    "the input is not changed": _input_untouched,
    "the input is not kept": _input_not_kept,
    "predict changes nothing": _predict_pure,
    "scores are probabilities": _probabilities,
    "parameters and snapshot are copies": _copies,
    "a restored learner continues exactly": _restart,
    "a snapshot stays as it was taken": _snapshot_independent,
    "changes of parameters are told": _changes_told,
    "equal state gives equal bytes": _stable_bytes,
    "what is foreign is refused": _refuses_foreign,
    "weight 0 is not seen": _weight_zero,
    "weight moves the model": _weights_matter,
    "only order and flushes matter": _cuts,
    "the state stays finite": _finite,
    "memory is bounded": _bounded,
    "what is taken back leaves no trace": _taken_back,
    "it learns": _learns,
}
"""Every law by its name; a check returns what is wrong, or None."""

FURTHER_LAWS: dict[str, Callable[[Factory], str | None]] = {"weight 2 is seen twice": _weight_two}
"""Laws that a method may have good reason not to keep: one step twice as long is not two steps."""
