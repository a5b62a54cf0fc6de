"""An ONNX file scores as the model does, whatever it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.predictors import predictor
from rheostat.streams.errors import ConfigError
from rheostat.streams.models.apply import Rebuilt, rebuild
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.onnx_file import onnx_file
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.update import UpdateAssembler, build_update
from rheostat.streams.models.version import Version
from tests.support.model_updates import LEARNER, Arrays

ROWS = 200
SCHEMAS = {
    "both": FeatureSchema("s@1", ("a", "b", "c"), ("x", "y")),
    "numbers": FeatureSchema("s@1", ("a", "b"), ()),
    "texts": FeatureSchema("s@1", (), ("x",)),
}


def version(kind: str, schema: FeatureSchema, tensors: Arrays) -> Rebuilt:
    facts = Facts(model="sites", version=Version(0, 0), learner=kind, schema=schema, published_at_ms=0)
    refused: list[object] = []
    assembler = UpdateAssembler(KeyRing.of(LEARNER), lambda _, why: refused.append(why))
    (update,) = (assembler.feed(*each) for each in build_update(facts, tensors, None, LEARNER).records)
    assert update is not None, refused
    return rebuild(None, update)


def scale(random: np.random.Generator, columns: int, signed_log: bool) -> Arrays:
    return {
        "scale.mean": random.normal(size=columns),
        "scale.factor": random.uniform(0.1, 3, columns),
        "scale.options": np.array([float(signed_log), 4.0]),
    }


def linear(schema: FeatureSchema, signed_log: bool) -> Arrays:
    random, bins = np.random.default_rng(7), 11
    columns = len(schema.numeric) + bins * len(schema.categorical)
    learned: Arrays = {
        "bins": np.array([bins], np.uint64),
        "weights": random.normal(size=columns),
        "intercept": random.normal(size=1),
    }
    return {**learned, **scale(random, columns, signed_log)}


def hashed(schema: FeatureSchema, signed_log: bool) -> Arrays:
    random, units, width = np.random.default_rng(7), 6, 3
    inputs = len(schema.numeric) + width * len(schema.categorical)

    def some(*shape: int) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    learned: Arrays = {
        "table": some(32, width),
        "hidden.weight": some(inputs, units),
        "hidden.bias": some(units),
        "output.weight": some(units),
        "output.bias": some(1),
    }
    return {**learned, **scale(random, len(schema.numeric), signed_log)}


def of_task(task: str) -> Callable[[FeatureSchema, bool], Arrays]:
    told: Arrays = {"task": np.frombuffer(task.encode(), np.uint8)}
    return lambda schema, signed_log: {**hashed(schema, signed_log), **told}


KINDS = {"linear/1": linear, "hashed-mlp/1": hashed, "hashed-mlp/2": of_task("regression")}


def inputs(schema: FeatureSchema) -> Batch:
    """Numbers of all sizes, and hashes from all over 64 bits, the ends and the missing one among them."""
    random = np.random.default_rng(3)
    numeric = random.normal(size=(ROWS, len(schema.numeric))) * 10.0 ** random.integers(-9, 9, (ROWS, 1))
    numeric[:3] = np.array([[1e300], [-1e300], [0.0]])
    hashes = random.integers(0, 2**64, (ROWS, len(schema.categorical)), np.uint64, endpoint=False)
    for row, value in enumerate([0, 1, 2**63 - 1, 2**63, 2**64 - 1]):
        hashes[row] = value
    hashes[::7] = 0
    return Batch(schema.id, numeric, hashes, np.zeros(ROWS), np.ones(ROWS))


def scores(file: bytes, batch: Batch) -> Floats:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = {"numeric": batch.numeric, "categorical": batch.categorical.view(np.int64)}
    wanted = {each.name for each in session.get_inputs()}
    (found,) = session.run(["score"], {name: given[name] for name in wanted})
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("signed_log", [False, True])
@pytest.mark.parametrize("features", SCHEMAS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_scores_as_the_model_does(kind: str, features: str, signed_log: bool) -> None:
    schema = SCHEMAS[features]
    tensors, batch = KINDS[kind](schema, signed_log), inputs(schema)
    file = onnx_file(version(kind, schema, tensors))
    expected = predictor(kind, schema, tensors).predict(batch)
    found = scores(file, batch)
    assert found.shape == (ROWS,)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 if kind == "linear/1" else 1e-6)
    assert np.ptp(expected) > 0.1


def test_the_file_is_valid_says_whose_it_is_and_is_the_same_every_time() -> None:
    schema = SCHEMAS["both"]
    made = version("linear/1", schema, linear(schema, signed_log=True))
    file = onnx_file(made)
    model: Any = onnx.load_from_string(file)
    onnx.checker.check_model(model, full_check=True)
    told = {each.key: each.value for each in model.metadata_props}
    assert (told["version"], told["digest"], told["categorical"]) == ("0.0", made.digest, '["x", "y"]')
    assert onnx_file(made) == file


def test_what_cannot_be_a_file_is_said() -> None:
    schema = SCHEMAS["both"]
    with pytest.raises(ConfigError, match=r"of forest/9 .* only of linear/1, hashed-mlp/1, hashed-mlp/2"):
        onnx_file(version("forest/9", schema, {}))
    with pytest.raises(ConfigError, match="'bins' is missing"):
        onnx_file(version("linear/1", schema, {}))
    pairs = FeatureSchema("s@1", ("a", "a#2"))
    single = hashed(FeatureSchema("s@1", ("a",)), signed_log=False)
    with pytest.raises(ConfigError, match="task 'pairwise'"):
        onnx_file(version("hashed-mlp/2", pairs, {**single, **of_task("pairwise")(pairs, False), **single}))
    owned = {**of_task("binary")(schema, False), "ids.keys": np.zeros(16, np.uint64)}
    with pytest.raises(ConfigError, match="rows that belong to ids"):
        onnx_file(version("hashed-mlp/2", schema, owned))
    none = FeatureSchema("s@1")
    with pytest.raises(ConfigError, match="no features"):
        onnx_file(version("linear/1", none, linear(none, signed_log=False)))
