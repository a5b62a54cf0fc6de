"""What River holds survives being written and read: values, what is shared, order; and nothing else gets in."""

from __future__ import annotations

import contextlib
import functools
import math
import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import drift, linear_model, optim, preprocessing, stats, tree
from river.utils.vectordict import VectorDict

from rheostat.learners.digest import tensors_digest
from rheostat.learners.river import allowed
from rheostat.learners.river.decode import VALUE_DEPTH_MAX, decode
from rheostat.learners.river.encode import encode
from rheostat.learners.river.program import TENSORS, Op, StateError
from tests.unit.learners.support import ANY_SPEED

Tensors = dict[str, NDArray[np.generic]]

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**200), 2**200), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
KEYS = st.one_of(st.booleans(), st.integers(), st.text(max_size=5), st.tuples(st.integers(), st.text(max_size=2)))
GRAPHS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(lambda values: deque(values, maxlen=9)),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict),
        st.dictionaries(KEYS, inner, max_size=4).map(lambda values: defaultdict(list, values)),
        st.sets(st.integers(), max_size=4),
        st.frozensets(st.text(max_size=3), max_size=4),
    ),
    max_leaves=20,
)


def same(first: Any, second: Any) -> bool:
    """Equal with types and order, and every NaN like any other."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return bool(first.hex() == second.hex())
    if isinstance(first, dict):
        return same(list(first.items()), list(second.items()))
    if isinstance(first, list | tuple | deque):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@ANY_SPEED
@given(GRAPHS)
def test_what_is_written_is_read(graph: Any) -> None:
    tensors = encode(graph)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    found = decode(tensors)
    assert same(found, graph)
    assert tensors_digest(encode(found)) == tensors_digest(tensors)


ARRAYS = (
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([math.inf, math.nan, -0.0]),
    np.zeros((0, 3), np.float32),
    np.array(5, np.int64),
    np.array([True, False]),
    np.arange(10.0)[::3],
)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_keep_type_shape_order_and_bytes(array: NDArray[np.generic]) -> None:
    found = decode(encode([array]))[0]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert found.flags.f_contiguous or not array.flags.f_contiguous
    found[...] = 1


@pytest.mark.parametrize("scalar", [np.float64(0.1), np.int32(-3), np.bool_(True), np.uint64(2**64 - 1)])
def test_numpy_scalars_stay_numpy_scalars(scalar: np.generic) -> None:
    found = decode(encode(scalar))
    assert (type(found), found) == (type(scalar), scalar)


@pytest.mark.parametrize("draws", [0, 1, 700])
def test_random_states_go_on_as_they_were(draws: int) -> None:
    python, numpy = random.Random(3), np.random.RandomState(3)
    for _ in range(draws):
        python.gauss(0.0, 1.0), numpy.normal()
    other, another = decode(encode([python, numpy]))
    assert [python.gauss(0.0, 1.0) for _ in range(9)] == [other.gauss(0.0, 1.0) for _ in range(9)]
    assert numpy.normal(size=9).tolist() == another.normal(size=9).tolist()


def test_what_is_shared_stays_shared_and_cycles_stay_cycles() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    graph = {"a": shared, "b": (shared, [1])}
    found = decode(encode(graph))
    assert found["a"] is found["b"][0]
    assert found["a"][1] is found["a"]
    assert found["b"][1] is not found["a"]


def test_factories_of_defaults_are_kept() -> None:
    graph = [
        defaultdict(float),
        defaultdict(Counter),
        defaultdict(functools.partial(defaultdict, float)),
        Counter("aab"),
    ]
    found = decode(encode(graph))
    assert found[0]["x"] == 0.0
    assert found[1]["x"] == Counter()
    assert found[2]["x"]["y"] == 0.0
    assert found[3]["zz"] == 0


def test_a_vector_of_weights_keeps_its_order_and_default() -> None:
    found = decode(encode(VectorDict({"b": 1.0, "a": 2.0}, optim.initializers.Constant(7.0))))
    assert list(found.to_dict().items()) == [("b", 1.0), ("a", 2.0)]
    assert found["new"] == 7.0


def _updated(part: Any, values: list[float]) -> Any:
    for value in values:
        part.update(value)
    return part


STATS: dict[str, Any] = {
    **{
        each.__name__: each for each in (stats.AbsMax, stats.Count, stats.Entropy, stats.EWMean, stats.EWVar, stats.IQR)
    },
    **{each.__name__: each for each in (stats.Kurtosis, stats.MAD, stats.Max, stats.Mean, stats.Min, stats.Mode)},
    **{each.__name__: each for each in (stats.PeakToPeak, stats.Quantile, stats.SEM, stats.Skew, stats.Sum, stats.Var)},
    **{each.__name__: each for each in (drift.ADWIN, drift.PageHinkley, drift.binary.DDM, drift.binary.EDDM)},
    **{each.__name__: each for each in (drift.binary.FHDDM, drift.binary.HDDMA, drift.binary.HDDMW)},
    "KSWIN": functools.partial(drift.KSWIN, seed=1),
    "RollingIQR": functools.partial(stats.RollingIQR, 9),
    "RollingMax": functools.partial(stats.RollingMax, 9),
    "RollingMode": functools.partial(stats.RollingMode, 9),
    "RollingQuantile": functools.partial(stats.RollingQuantile, 0.5, 9),
}


@pytest.mark.parametrize("name", STATS)
def test_statistics_and_detectors_go_on_exactly(name: str) -> None:
    generator = random.Random(1)
    values = [float(generator.random() < 0.3) for _ in range(300)]
    one = _updated(STATS[name](), values)
    other = decode(encode(one))
    for each in (one, other):
        _updated(each, values[::-1])
    assert tensors_digest(encode(one)) == tensors_digest(encode(other))


def test_a_state_is_bytes_of_the_state_alone() -> None:
    """Not of where objects lie, nor of entropy: trees make thousands of distributions that each hold a random state."""
    trees = [tree.HoeffdingTreeClassifier(grace_period=20) for _ in range(2)]
    generator = random.Random(1)
    for _ in range(300):
        x = {"x": generator.random(), "y": generator.random()}
        for each in trees:
            each.learn_one(x, x["x"] > 0.5)  # type: ignore[no-untyped-call]
    first, second = (encode(each) for each in trees)
    assert tensors_digest(first) == tensors_digest(second)
    assert first["state.bytes"].size == 0


class Foreign:
    pass


@pytest.mark.parametrize(
    "value",
    [
        Foreign(),
        Foreign,
        lambda: 0,
        print,
        object(),
        iter([1]),
        [Foreign()].append,
        np.array([object()]),
        np.random.default_rng(1),
        {Foreign()},
        functools.partial(eval, "1"),
        preprocessing.StandardScaler().learn_one,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_restored_exactly_is_not_written(value: Any) -> None:
    with pytest.raises(StateError, match="the state holds"):
        encode({"here": value})


def test_nothing_that_reaches_files_or_the_network_may_be_named() -> None:
    names = [*allowed.references(), *allowed.functions(), *allowed.methods()]
    assert not [name for name in names if name.startswith(("river.datasets", "river.stream", "os", "builtins:eval"))]


def _program(*numbers: int, texts: str = "[]", data: bytes = b"") -> Tensors:
    return {
        "state.program": np.array(numbers, np.int64),
        "state.floats": np.zeros(0),
        "state.bytes": np.frombuffer(data, np.uint8),
        "state.text": np.frombuffer(texts.encode(), np.uint8),
    }


HUGE = 2**62
BAD: dict[str, Tensors] = {
    "nothing": _program(),
    "no such operation": _program(99),
    "endless list": _program(Op.LIST, HUGE),
    "negative list": _program(Op.LIST, -1),
    "endless dict": _program(Op.DICT, 2, Op.NONE, Op.NONE),
    "endless bytes": _program(Op.BYTES, HUGE),
    "endless array": _program(Op.ARRAY, 11, 0, 2, HUGE, HUGE),
    "array of no dtype": _program(Op.ARRAY, 77, 0, 1, 0),
    "array of many axes": _program(Op.ARRAY, 11, 0, 99, *[0] * 99),
    "text that is not there": _program(Op.TEXT, 0),
    "number that is not there": _program(Op.SAME, 0),
    "unhashable key": _program(Op.DICT, 1, Op.LIST, 0, Op.NONE),
    "class outside": _program(Op.OBJECT, 0, 0, texts='["subprocess:Popen"]'),
    "class of a dataset": _program(Op.CLASS, 0, texts='["river.datasets.phishing:Phishing"]'),
    "function outside": _program(Op.FUNCTION, 0, texts='["os:system"]'),
    "method of another": _program(Op.METHOD, 0, Op.INTEGER, 1, texts='["river.base.base:Base.clone"]'),
    "attribute without a name": _program(Op.OBJECT, 0, 1, Op.NONE, Op.NONE, texts='["river.stats.mean:Mean"]'),
    "object of a builtin": _program(Op.OBJECT, 0, 0, texts='["builtins:dict"]'),
    "tuple as object": _program(Op.OBJECT, 0, 0, texts='["river.imblearn.hard_sampling:Triplet"]'),
    "object as tuple": _program(Op.NAMED, 0, 0, texts='["river.stats.mean:Mean"]'),
    "native that is part of itself": _program(Op.NATIVE, 0, 1, 0, Op.SAME, 0, texts='["RsEWMean"]'),
    "native without its bytes": _program(Op.NATIVE, 0, 1, 0, Op.INTEGER, 1, texts='["RsEWMean"]'),
    "random state beyond its end": _program(Op.RANDOM, 0, 9999, Op.NONE, data=bytes(624 * 4)),
    "something left over": _program(Op.NONE, Op.NONE),
    "text that is no JSON": _program(Op.NONE, texts="["),
    "text that is no list": _program(Op.NONE, texts='{"a": 1}'),
    "tuples in tuples": _program(*[Op.TUPLE, 1] * (VALUE_DEPTH_MAX + 1), Op.NONE),
    "one tensor too few": {name: tensor for name, tensor in _program(Op.NONE).items() if name != TENSORS[1]},
    "floats of another type": {**_program(Op.NONE), "state.floats": np.zeros(0, np.float32)},
    "a float that is not finite": {**_program(Op.FLOAT), "state.floats": np.array([np.inf])},
}


@pytest.mark.parametrize("what", BAD)
def test_a_state_that_is_none_is_refused(what: str) -> None:
    with pytest.raises(StateError):
        decode(BAD[what])


def test_a_count_is_compared_with_what_is_there_before_anything_is_made() -> None:
    with pytest.raises(StateError, match="more than the program holds"):
        decode(BAD["endless list"])


@pytest.mark.parametrize("data", [b"", b"1", b"x"])
def test_an_object_of_rust_must_give_the_bytes_it_was_given(data: bytes) -> None:
    """What is too short makes River panic, which ends no process; what is too long it would take."""
    given = stats.EWMean(0.1)._ewmean.__getstate__()
    program = _program(Op.NATIVE, 0, 1, len(given) + len(data), Op.TRUE, texts='["RsEWMean"]', data=given + data)
    if data:
        with pytest.raises(StateError, match="RsEWMean"):
            decode(program)
    else:
        assert decode(program).__getstate__() == given


def test_a_state_above_the_limit_is_refused() -> None:
    tensors = encode(list(range(1_000)))
    with pytest.raises(StateError, match="larger than the limit"):
        decode(tensors, bytes_max=1_000)


@ANY_SPEED
@given(st.data())
def test_a_state_with_a_wrong_number_is_refused_or_read(data: st.DataObject) -> None:
    """Whatever a state says, reading it ends, with a StateError at worst."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam(0.1))
    for number in range(5):
        model.learn_one({"x": float(number), "y": 1.0}, number % 2 == 0)
    tensors = {name: tensor.copy() for name, tensor in encode(model).items()}
    program: Any = tensors["state.program"]
    index = data.draw(st.integers(0, len(program) - 1))
    program[index] = data.draw(st.one_of(st.integers(-2, 40), st.integers(-(2**63), 2**63 - 1)))
    with contextlib.suppress(StateError):
        decode(tensors)
