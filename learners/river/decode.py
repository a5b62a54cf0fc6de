"""An object graph of River from named arrays, in the form that `program` describes.

Nothing that a program names is called: objects are made empty and given their attributes. Only objects of Rust read
their own bytes, in memory-safe code.
"""

from __future__ import annotations

import functools
import math
import random
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.utils.vectordict import VectorDict

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DTYPES
from rheostat.learners.river import allowed
from rheostat.learners.river.program import CODES, TWISTER_BYTES, Op, Reader, StateError

BYTES_MAX = 1 << 30
DEPTH_MAX = 100_000
VALUE_DEPTH_MAX = 100
"""How deep values without identity may lie in each other: hashing them takes stack."""

_AXES_MAX = 8
_VALUES = (Op.TUPLE, Op.FROZENSET, Op.PARTIAL, Op.METHOD, Op.NAMED)
_NO_PARTS: tuple[Any, ...] = ()


@dataclass(slots=True)
class _Open:
    """A part whose own parts are being read; `finish` takes them all and returns the value."""

    parts: int
    finish: Callable[[list[Any]], Any]
    values_deep: int = 0
    read: list[Any] = field(default_factory=list)


def decode(tensors: Tensors, bytes_max: int = BYTES_MAX) -> Any:
    """Return what `encode` wrote; StateError if the arrays are not a state, name what is not allowed, or are too large.

    Tensors with other names are ignored.
    """
    decoder = _Decoder(Reader(tensors, bytes_max))
    try:
        value = decoder.run()
    except StateError as error:
        raise StateError(f"state, near number {decoder.reader.at}: {error}") from None
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        found = f"{type(error).__name__}: {error}"
        raise StateError(f"state, near number {decoder.reader.at}: parts do not fit together: {found}") from None
    decoder.reader.check_end()
    return value


class _Decoder:
    """Reads a program without recursion: what is open lies on a stack of its own."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._numbered: list[Any] = []
        self._open: list[_Open] = []
        self._handlers: dict[int, Callable[[], _Open | Any]] = {
            Op.NONE: lambda: None,
            Op.FALSE: lambda: False,
            Op.TRUE: lambda: True,
            Op.INTEGER: reader.number,
            Op.LONG: lambda: int.from_bytes(reader.bytes(reader.number()), "little", signed=True),
            Op.FLOAT: self._float,
            Op.PLUS_INFINITY: lambda: math.inf,
            Op.MINUS_INFINITY: lambda: -math.inf,
            Op.NAN: lambda: math.nan,
            Op.TEXT: reader.text,
            Op.BYTES: lambda: reader.bytes(reader.number()),
            Op.SAME: self._same,
            Op.TUPLE: lambda: _Open(reader.count(), tuple),
            Op.FROZENSET: lambda: _Open(reader.count(), frozenset),
            Op.LIST: lambda: self._filled([], list.extend),
            Op.SET: lambda: self._filled(set(), set.update),
            Op.DEQUE: self._deque,
            Op.DICT: lambda: self._mapping({}),
            Op.COUNTER: lambda: self._mapping(Counter()),
            Op.ORDERED: lambda: self._mapping(OrderedDict()),
            Op.DEFAULTDICT: self._defaultdict,
            Op.ARRAY: self._array,
            Op.SCALAR: self._scalar,
            Op.RANDOM: self._random,
            Op.RANDOM_STATE: self._random_state,
            Op.CLASS: lambda: _named(allowed.references(), reader.text(), "class"),
            Op.FUNCTION: lambda: _named(allowed.functions(), reader.text(), "function"),
            Op.METHOD: self._method,
            Op.PARTIAL: self._partial,
            Op.OBJECT: self._object,
            Op.NATIVE: self._native,
            Op.VECTOR: self._vector,
            Op.NAMED: self._named_tuple,
        }

    def run(self) -> Any:
        """Return the one value that the program makes."""
        while True:
            value = self._next()
            if isinstance(value, _Open):
                self._open.append(value)
            elif self._deliver(value):
                return self._result

    def _next(self) -> Any:
        op = self.reader.number()
        handler = self._handlers.get(op)
        if handler is None:
            raise StateError(f"there is no operation {op}")
        value = handler()
        if isinstance(value, _Open):
            above = self._open[-1].values_deep if self._open else 0
            value.values_deep = above + 1 if op in _VALUES else 0
            if len(self._open) >= DEPTH_MAX or value.values_deep > VALUE_DEPTH_MAX:
                raise StateError("values lie too deep in each other")
            if value.parts == 0:
                return value.finish([])
        return value

    def _deliver(self, value: Any) -> bool:
        """Give a value to what waits for it, and what that completes to what waits for that; True at the end."""
        while self._open:
            top = self._open[-1]
            top.read.append(value)
            if len(top.read) < top.parts:
                return False
            self._open.pop()
            value = top.finish(top.read)
        self._result = value
        return True

    def _begin(self, value: Any) -> Any:
        self._numbered.append(value)
        return value

    def _reserve(self) -> int:
        self._numbered.append(_Unfinished)
        return len(self._numbered) - 1

    def _same(self) -> Any:
        number = self.reader.number()
        if not 0 <= number < len(self._numbered):
            raise StateError(f"nothing has number {number} yet")
        value = self._numbered[number]
        if value is _Unfinished:
            raise StateError(f"number {number} is part of itself")
        return value

    def _float(self) -> float:
        value = self.reader.float()
        if not math.isfinite(value):
            raise StateError("a float is not finite")
        return value

    def _filled(self, value: Any, fill: Callable[[Any, list[Any]], object]) -> _Open:
        self._begin(value)

        def finish(read: list[Any]) -> Any:
            fill(value, read)
            return value

        return _Open(self.reader.count(), finish)

    def _deque(self) -> _Open:
        parts, longest = self.reader.count(), self.reader.number()
        value: deque[Any] = self._begin(deque(maxlen=None if longest == -1 else longest))

        def finish(read: list[Any]) -> Any:
            value.extend(read)
            return value

        return _Open(parts, finish)

    def _mapping(self, value: dict[Any, Any]) -> _Open:
        self._begin(value)
        return _Open(2 * self.reader.count(2), lambda read: _fill(value, read))

    def _defaultdict(self) -> _Open:
        value: defaultdict[Any, Any] = self._begin(defaultdict())

        def finish(read: list[Any]) -> Any:
            value.default_factory = read[0]
            return _fill(value, read[1:])

        return _Open(1 + 2 * self.reader.count(2), finish)

    def _dtype(self) -> np.dtype[np.generic]:
        code = self.reader.number()
        if not 0 <= code < len(CODES):
            raise StateError(f"there is no dtype {code}")
        return DTYPES[CODES[code]]

    def _array(self) -> NDArray[np.generic]:
        dtype, fortran, axes = self._dtype(), self.reader.number(), self.reader.number()
        if not 0 <= axes <= _AXES_MAX:
            raise StateError(f"an array of {axes} axes")
        shape = tuple(self.reader.count(0) for _ in range(axes))
        data = self.reader.bytes(math.prod(shape) * dtype.itemsize)
        array = np.frombuffer(data, dtype).reshape(shape)
        return self._begin(array.copy(order="F" if fortran else "C"))  # type: ignore[no-any-return]

    def _scalar(self) -> np.generic:
        dtype = self._dtype()
        return np.frombuffer(self.reader.bytes(dtype.itemsize), dtype)[0]  # type: ignore[no-any-return]

    def _words(self) -> tuple[int, ...]:
        return tuple(np.frombuffer(self.reader.bytes(TWISTER_BYTES), "<u4").tolist())

    def _random(self) -> _Open:
        value: random.Random = self._begin(random.Random(0))
        gauss, index = self.reader.number(), self.reader.number()
        words = self._words()

        def finish(read: list[Any]) -> Any:
            value.setstate((3, (*words, index), read[0] if gauss else None))
            return value

        return _Open(1, finish)

    def _random_state(self) -> _Open:
        value: np.random.RandomState = self._begin(np.random.RandomState(0))
        gauss, index = self.reader.number(), self.reader.number()
        if not 0 <= index <= TWISTER_BYTES // 4:
            raise StateError(f"a random state at {index}")
        key = np.array(self._words(), np.uint32)

        def finish(read: list[Any]) -> Any:
            value.set_state(("MT19937", key, index, gauss, read[0]))
            return value

        return _Open(1, finish)

    def _method(self) -> _Open:
        function = _named(allowed.methods(), self.reader.text(), "method")
        return _Open(1, lambda read: types.MethodType(function, _owner(function, read[0])))

    def _partial(self) -> _Open:
        values, names = self.reader.count(), self.reader.count(2)

        def finish(read: list[Any]) -> Any:
            function: Any = read[0]
            return functools.partial(function, *read[1 : 1 + values], **_fill({}, read[1 + values :]))

        return _Open(1 + values + 2 * names, finish)

    def _object(self) -> _Open:
        cls = _named(allowed.classes(), self.reader.text(), "class")
        value = self._begin(object.__new__(cls))
        return _Open(2 * self.reader.count(2), lambda read: _set_attributes(value, _fill({}, read)))

    def _named_tuple(self) -> _Open:
        cls = _named(allowed.classes(), self.reader.text(), "class")
        if not allowed.is_named_tuple(cls):
            raise StateError(f"{cls.__qualname__} is not a tuple")
        return _Open(self.reader.count(), lambda read: tuple.__new__(cls, read))

    def _native(self) -> _Open:
        cls = _named(allowed.NATIVE, self.reader.text(), "class")
        arguments, length = self.reader.count(), self.reader.number()
        number, data = self._reserve(), self.reader.bytes(length)

        def finish(read: list[Any]) -> Any:
            self._numbered[number] = _native(cls, read, data)
            return self._numbered[number]

        return _Open(arguments, finish)

    def _vector(self) -> _Open:
        number = self._reserve()

        def finish(read: list[Any]) -> Any:
            self._numbered[number] = VectorDict(*read)
            return self._numbered[number]

        return _Open(3, finish)


class _Unfinished:
    """Stands for what cannot be named before it is complete."""


def _named(known: Any, name: str, what: str) -> Any:
    if name not in known:
        raise StateError(f"{what} {name!r} is not one that a state may name")
    return known[name]


def _fill(mapping: Any, read: list[Any]) -> Any:
    for key, value in zip(read[::2], read[1::2], strict=True):
        mapping[key] = value
    return mapping


def _set_attributes(value: Any, attributes: dict[Any, Any]) -> Any:
    """Set slots, then everything else in the object's dict; no code of the class runs."""
    if not all(type(name) is str for name in attributes):
        raise StateError("an attribute's name is not a text")
    for name, member in allowed.slots(type(value)):
        if name in attributes:
            member.__set__(value, attributes.pop(name))
    if attributes:
        value.__dict__.update(attributes)
    return value


def _owner(function: Any, owner: Any) -> Any:
    cls = owner if isinstance(owner, type) else type(owner)
    defined = (vars(base).get(function.__name__) for base in cls.__mro__)
    if function not in [getattr(found, "__func__", found) for found in defined]:
        raise StateError(f"{cls.__qualname__} has no method {function.__name__}")
    return owner


def _native(cls: Any, arguments: list[Any], data: bytes) -> Any:
    """Return an object of Rust; what its reader cannot take, it answers with a panic, which is no Exception."""
    try:
        value = cls(*arguments)
        value.__setstate__(data)
        again = value.__getstate__()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise StateError(f"{cls.__name__} does not take its {len(data)} bytes: {error}") from None
    if again != data:
        raise StateError(f"{cls.__name__} gives other bytes than it was given")
    return value
