"""An object graph of River as named arrays, in the form that `program` describes."""

from __future__ import annotations

import functools
import json
import math
import random
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import proba
from river.utils.vectordict import VectorDict

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import canonical, dtype_name
from rheostat.learners.river import allowed
from rheostat.learners.river.program import CODES, Op, StateError, Writer

PARTS_MAX = 50_000_000
"""A state with more parts than this is not written: some hundred megabytes."""

_COUNTING = (proba.Gaussian, proba.Multinomial)
"""Distributions that trees and naive Bayes count with and never draw from."""

_INTEGER_BITS = 63
_ATOMS = (bool, int, float, str, bytes, type(None))

Parts = Iterable[Any]


def encode(root: object) -> dict[str, NDArray[np.generic]]:
    """Return the state of `root` as named arrays; StateError if it holds something that cannot be restored exactly."""
    encoder = _Encoder()
    waiting = [root]
    for _ in range(PARTS_MAX):
        if not waiting:
            return encoder.writer.tensors()
        waiting.extend(reversed([*encoder.part(waiting.pop())]))
    raise StateError(f"the state has more than {PARTS_MAX} parts")


def named_classes(tensors: Tensors) -> list[type]:
    """Return the classes that an encoded state names."""
    texts = json.loads(tensors["state.text"].tobytes())
    return [allowed.references()[text] for text in texts if text in allowed.references()]


class _Encoder:
    """Writes one part at a time and returns the parts in it."""

    def __init__(self) -> None:
        self.writer = Writer()
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []
        self._handlers: dict[type, Callable[[Any], Parts]] = {
            type(None): self._nothing,
            bool: self._truth,
            int: self._integer,
            float: self._float,
            str: self._text,
            bytes: self._bytes,
            tuple: self._tuple,
            frozenset: self._frozenset,
            list: self._list,
            set: self._set,
            deque: self._deque,
            dict: self._dict,
            Counter: self._counter,
            OrderedDict: self._ordered,
            defaultdict: self._defaultdict,
            np.ndarray: self._array,
            random.Random: self._random,
            np.random.RandomState: self._random_state,
            VectorDict: self._vector,
            functools.partial: self._partial,
            types.FunctionType: self._function,
            types.BuiltinFunctionType: self._function,
            types.MethodType: self._method,
        }

    def part(self, value: Any) -> Parts:
        """Write the operation and operands for `value`; return what is to be written next."""
        number = self._numbers.get(id(value))
        if number is not None:
            self.writer.put(Op.SAME, number)
            return ()
        handler = self._handlers.get(type(value))
        if handler is not None:
            return handler(value)
        if isinstance(value, np.generic):
            return self._scalar(value)
        if isinstance(value, type):
            return self._class(value)
        return self._native(value) if type(value) in allowed.NATIVE.values() else self._object(value)

    def _begin(self, value: object) -> None:
        """Number what may occur once more; it is kept, so that nothing else gets its id."""
        self._numbers[id(value)] = len(self._alive)
        self._alive.append(value)

    def _nothing(self, value: None) -> Parts:
        self.writer.put(Op.NONE)
        return ()

    def _truth(self, value: bool) -> Parts:
        self.writer.put(Op.TRUE if value else Op.FALSE)
        return ()

    def _integer(self, value: int) -> Parts:
        if value.bit_length() <= _INTEGER_BITS - 1:
            self.writer.put(Op.INTEGER, value)
            return ()
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        self.writer.put(Op.LONG, len(data))
        self.writer.put_bytes(data)
        return ()

    def _float(self, value: float) -> Parts:
        if math.isfinite(value):
            self.writer.put(Op.FLOAT)
            self.writer.put_float(value)
        elif math.isnan(value):
            self.writer.put(Op.NAN)
        else:
            self.writer.put(Op.PLUS_INFINITY if value > 0.0 else Op.MINUS_INFINITY)
        return ()

    def _text(self, value: str) -> Parts:
        self.writer.put(Op.TEXT, self.writer.text(value))
        return ()

    def _bytes(self, value: bytes) -> Parts:
        self.writer.put(Op.BYTES, len(value))
        self.writer.put_bytes(value)
        return ()

    def _tuple(self, value: tuple[Any, ...]) -> Parts:
        self.writer.put(Op.TUPLE, len(value))
        return value

    def _frozenset(self, value: frozenset[Any]) -> Parts:
        self.writer.put(Op.FROZENSET, len(value))
        return _sorted(value)

    def _list(self, value: list[Any]) -> Parts:
        self._begin(value)
        self.writer.put(Op.LIST, len(value))
        return value

    def _set(self, value: set[Any]) -> Parts:
        self._begin(value)
        self.writer.put(Op.SET, len(value))
        return _sorted(value)

    def _deque(self, value: deque[Any]) -> Parts:
        self._begin(value)
        self.writer.put(Op.DEQUE, len(value), -1 if value.maxlen is None else value.maxlen)
        return value

    def _dict(self, value: dict[Any, Any]) -> Parts:
        return self._mapping(Op.DICT, value)

    def _counter(self, value: Counter[Any]) -> Parts:
        return self._mapping(Op.COUNTER, value)

    def _ordered(self, value: OrderedDict[Any, Any]) -> Parts:
        return self._mapping(Op.ORDERED, value)

    def _mapping(self, op: Op, value: dict[Any, Any]) -> Parts:
        self._begin(value)
        self.writer.put(op, len(value))
        return _flat(value)

    def _defaultdict(self, value: defaultdict[Any, Any]) -> Parts:
        self._begin(value)
        self.writer.put(Op.DEFAULTDICT, len(value))
        return [value.default_factory, *_flat(value)]

    def _array(self, value: NDArray[np.generic]) -> Parts:
        self._begin(value)
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        self.writer.put(Op.ARRAY, _code(value.dtype), int(fortran), value.ndim, *value.shape)
        self.writer.put_bytes(canonical(value).tobytes())
        return ()

    def _scalar(self, value: np.generic) -> Parts:
        self.writer.put(Op.SCALAR, _code(value.dtype))
        self.writer.put_bytes(value.tobytes())
        return ()

    def _random(self, value: random.Random) -> Parts:
        self._begin(value)
        _, words, gauss = value.getstate()
        self.writer.put(Op.RANDOM, int(gauss is not None), words[-1])
        self.writer.put_bytes(np.array(words[:-1], "<u4").tobytes())
        return [0.0 if gauss is None else gauss]

    def _random_state(self, value: np.random.RandomState) -> Parts:
        self._begin(value)
        state: Any = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise StateError(f"a random state of {state['bit_generator']} is not known")
        self.writer.put(Op.RANDOM_STATE, int(state["has_gauss"]), int(state["state"]["pos"]))
        self.writer.put_bytes(np.asarray(state["state"]["key"], "<u4").tobytes())
        return [float(state["gauss"])]

    def _vector(self, value: VectorDict[Any, Any]) -> Parts:
        self._begin(value)
        self.writer.put(Op.VECTOR)
        data, factory, mask, *_ = value.__reduce__()[1]
        return [data, factory, mask]

    def _partial(self, value: functools.partial[Any]) -> Parts:
        self.writer.put(Op.PARTIAL, len(value.args), len(value.keywords))
        return [value.func, *value.args, *_flat(value.keywords)]

    def _class(self, value: type) -> Parts:
        name = allowed.class_names().get(value)
        if name is None:
            raise StateError(f"the state holds class {value.__module__}.{value.__qualname__}, which is not allowed")
        self.writer.put(Op.CLASS, self.writer.text(name))
        return ()

    def _function(self, value: Any) -> Parts:
        name = allowed.function_names().get(value)
        if name is None:
            raise StateError(f"the state holds function {value.__module__}.{value.__qualname__}: code is not state")
        self.writer.put(Op.FUNCTION, self.writer.text(name))
        return ()

    def _method(self, value: types.MethodType) -> Parts:
        name = allowed.function_names().get(value.__func__)
        if name is None or name not in allowed.methods():
            raise StateError(f"the state holds method {value.__func__.__qualname__}: code is not state")
        self.writer.put(Op.METHOD, self.writer.text(name))
        return [value.__self__]

    def _native(self, value: Any) -> Parts:
        self._begin(value)
        arguments = value.__getnewargs__() if hasattr(value, "__getnewargs__") else ()
        data = value.__getstate__()
        self.writer.put(Op.NATIVE, self.writer.text(type(value).__name__), len(arguments), len(data))
        self.writer.put_bytes(data)
        return arguments

    def _object(self, value: Any) -> Parts:
        cls = type(value)
        name = allowed.class_names().get(cls)
        if name is None or cls not in allowed.classes().values():
            raise StateError(f"the state holds an object of {cls.__module__}.{cls.__qualname__}, which is not allowed")
        if isinstance(value, tuple) and not getattr(value, "__dict__", None):
            self.writer.put(Op.NAMED, self.writer.text(name), len(value))
            return value
        self._begin(value)
        attributes = {slot: member.__get__(value, cls) for slot, member in allowed.slots(cls) if hasattr(value, slot)}
        attributes.update(getattr(value, "__dict__", {}))
        if isinstance(value, _COUNTING) and attributes["seed"] is None:
            # It came from the system's entropy, so that nothing reproducible can depend on it.
            attributes["_rng"] = None
        self.writer.put(Op.OBJECT, self.writer.text(name), len(attributes))
        return _flat(attributes)


def _flat(mapping: dict[Any, Any]) -> list[Any]:
    return [part for pair in mapping.items() for part in pair]


def _code(dtype: np.dtype[np.generic]) -> int:
    try:
        return CODES.index(dtype_name(dtype))
    except ValueError as error:
        raise StateError(f"the state holds an array: {error}") from None


def _sorted(values: Iterable[Any]) -> list[Any]:
    """Return the values of a set in an order that depends on them alone; StateError if there is none."""
    found = list(values)
    if not all(type(value) in _ATOMS or isinstance(value, np.generic) for value in found):
        raise StateError(f"the state holds a set of {type(found[0]).__name__}: its order cannot be restored")
    return sorted(found, key=lambda value: (type(value).__name__, value))
