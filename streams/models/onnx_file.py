"""A version of a linear or hashed model as an ONNX file: its scaling, its look-ups and its score as one graph.

    numeric      double (rows, N)   the numbers as they come, in the order of the manifest's `numeric`; finite
    categorical  int64 (rows, C)    hashes of the texts, in the order of `categorical`; 0 for a missing one
    score        double (rows)      the probability of a positive label

ONNX has no hash of texts. A hash is `rheostat.learners.features.hash_value(name, text)`, BLAKE2b-64 of "name=text" (see
schemas/MODELS.md), its 64 bits read as a signed number. An input without columns is left out. Features that are learned
but not scored with are inputs as well: give them the values in the manifest's `training_only`. Needs the package onnx.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import FeatureSchema, Floats, Tensors
from rheostat.learners.mlp import HASHED_MLP, MLP
from rheostat.learners.predictors import LINEAR, predictor
from rheostat.learners.scaling import INPUT_MAX, Scale
from rheostat.streams.errors import ConfigError
from rheostat.streams.models.apply import Rebuilt

OPSET = 17
IR_VERSION = 9
"""What runtimes since 2023 read."""

BYTES_MAX = (1 << 31) - (1 << 20)
"""Of tensors; a file of protocol buffers has at most 2 GiB."""

_ONE_SCORE = ("binary", "regression")


def onnx_file(version: Rebuilt) -> bytes:
    """Return the file. Raises ConfigError for another learner, a model that is too large, and without onnx."""
    try:
        from onnx import helper
    except ImportError as error:
        raise ConfigError("an ONNX file needs the package onnx: pip install 'rheostat[onnx]'") from error
    facts = version.manifest.facts
    graphs = {LINEAR: _linear, HASHED_MLP: _hashed_mlp, MLP: _hashed_mlp}
    if facts.learner not in graphs:
        raise ConfigError(f"no ONNX file of {facts.learner} can be made, only of {', '.join(graphs)}")
    if sum(tensor.nbytes for tensor in version.tensors.values()) > BYTES_MAX:
        raise ConfigError(f"{version.manifest.name} has more than {BYTES_MAX:,} bytes of tensors, too many for ONNX")
    try:
        predictor(facts.learner, facts.schema, version.tensors, copy=False)
    except ValueError as error:
        raise ConfigError(f"{version.manifest.name}: {error}") from error
    if not (facts.schema.numeric or facts.schema.categorical):
        raise ConfigError(f"{version.manifest.name} has no features, so an ONNX file would have no inputs")
    graph = _Graph(facts.schema)
    graph.finish(graphs[facts.learner](graph, facts.schema, version.tensors))
    model = helper.make_model(
        graph.built(facts.model),
        producer_name="rheostat",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        doc_string=__doc__ or "",
    )
    told = {
        "model": facts.model,
        "version": str(version.manifest.version),
        "digest": version.digest,
        "feature_set": facts.schema.id,
        "numeric": json.dumps(facts.schema.numeric),
        "categorical": json.dumps(facts.schema.categorical),
    }
    helper.set_model_props(model, told)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """A graph that grows from its inputs; every node has one output."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._columns = {"numeric": len(schema.numeric), "categorical": len(schema.categorical)}
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(
        self, operation: str, *inputs: str | NDArray[np.generic], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node; arrays among its inputs become constants. Return the name of its output."""
        from onnx import helper

        output = output or f"{operation.lower()}_{len(self._nodes)}"
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self._nodes.append(helper.make_node(operation, names, [output], **attributes))
        return output

    def finish(self, logit: str) -> None:
        """Make the score of a logit, double (rows, 1)."""
        self.add("Squeeze", self.add("Sigmoid", logit), np.array([1]), output="score")

    def built(self, name: str) -> Any:
        """Return the graph with its inputs and its output."""
        from onnx import TensorProto, helper

        types = {"numeric": TensorProto.DOUBLE, "categorical": TensorProto.INT64}
        inputs = [
            helper.make_tensor_value_info(each, types[each], ["rows", columns])
            for each, columns in self._columns.items()
            if columns
        ]
        score = helper.make_tensor_value_info("score", TensorProto.DOUBLE, ["rows"])
        return helper.make_graph(self._nodes, name, inputs, [score], self._constants)

    def _constant(self, array: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _linear(graph: _Graph, schema: FeatureSchema, tensors: Tensors) -> str:
    bins, weights = int(tensors["bins"][0]), tensors["weights"].astype(np.float64)
    numbers = len(schema.numeric)
    scale = Scale.from_tensors(tensors, len(weights))
    # A bin that is not hit is a 0 and counts as such; one that is hit counts by how much its 1 differs from that.
    missed, hit = (scale.apply(np.full((1, len(weights)), value))[0] * weights for value in (0.0, 1.0))
    terms = []
    if numbers:
        scaled = _scaled(graph, Scale(scale.mean[:numbers], scale.factor[:numbers], scale.signed_log, scale.clip))
        terms.append(graph.add("MatMul", scaled, weights[:numbers, None]))
    if schema.categorical:
        firsts = np.arange(len(schema.categorical)) * bins
        places = graph.add("Add", _remainder(graph, bins), firsts)
        given = graph.add("Gather", (hit - missed)[numbers:], places)
        present = graph.add("Where", _is_missing(graph), np.zeros(1), given)
        terms.append(graph.add("ReduceSum", present, np.array([1]), keepdims=1))
    rest = tensors["intercept"].astype(np.float64) + missed[numbers:].sum()
    return _sum(graph, terms, rest)


def _hashed_mlp(graph: _Graph, schema: FeatureSchema, tensors: Tensors) -> str:
    from onnx import TensorProto

    task = tensors["task"].tobytes().decode() if "task" in tensors else "binary"
    if task not in _ONE_SCORE or "ids.keys" in tensors:
        what = "with rows that belong to ids" if task in _ONE_SCORE else f"for the task {task!r}"
        raise ConfigError(f"no ONNX file of a hashed network {what} can be made")
    parts = []
    if schema.numeric:
        scaled = _scaled(graph, Scale.from_tensors(tensors, len(schema.numeric)))
        parts.append(graph.add("Cast", scaled, to=TensorProto.FLOAT))
    if schema.categorical:
        table = tensors["table"]
        rows = graph.add("Gather", table, _remainder(graph, len(table)))
        missing = graph.add("Unsqueeze", _is_missing(graph), np.array([2]))
        present = graph.add("Where", missing, np.zeros(1, np.float32), rows)
        width = len(schema.categorical) * table.shape[1]
        parts.append(graph.add("Reshape", present, np.array([-1, width])))
    inputs = graph.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    hidden = graph.add("Relu", graph.add("Gemm", inputs, tensors["hidden.weight"], tensors["hidden.bias"]))
    outputs = graph.add("Gemm", hidden, tensors["output.weight"].reshape(-1, 1), tensors["output.bias"])
    return graph.add("Cast", outputs, to=TensorProto.DOUBLE)


def _scaled(graph: _Graph, scale: Scale) -> str:
    """Return the scaled numbers, see `Scale`."""
    shaped = "numeric"
    if scale.signed_log:
        logarithm = graph.add("Log", graph.add("Add", graph.add("Abs", shaped), np.ones(1)))
        shaped = graph.add("Mul", graph.add("Sign", shaped), logarithm)
    else:
        shaped = _cut(graph, shaped, np.array([INPUT_MAX]))
    standardised = graph.add("Mul", graph.add("Sub", shaped, scale.mean), scale.factor)
    return _cut(graph, standardised, np.array([scale.clip]))


def _cut(graph: _Graph, values: str, limit: Floats) -> str:
    return graph.add("Max", graph.add("Min", values, limit), -limit)


def _remainder(graph: _Graph, divisor: int) -> str:
    """Return the hashes modulo a number, as those of unsigned numbers: ONNX's runtimes divide signed ones only."""
    by = np.array([divisor])
    remainder = graph.add("Mod", "categorical", by)
    negative = graph.add("Less", "categorical", np.array([0]))
    # What is read as h - 2^64 is by as much too small.
    missing = graph.add("Where", negative, np.array([2**64 % divisor]), np.array([0]))
    return graph.add("Mod", graph.add("Add", remainder, missing), by)


def _is_missing(graph: _Graph) -> str:
    return graph.add("Equal", "categorical", np.array([0]))


def _sum(graph: _Graph, terms: list[str], constant: Floats) -> str:
    total: str | Floats = constant
    for each in terms:
        total = graph.add("Add", each, total)
    assert isinstance(total, str)
    return total
