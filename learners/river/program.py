"""The safe form of an object graph: a program of whole numbers and what it takes values from. It cannot name an action.

    state.program  i64  what to make, in preorder: an operation (`Op`), its operands, then its parts
    state.floats   f64  the finite floats, in the order in which they are needed
    state.bytes    u8   the bytes of arrays, numpy scalars, long integers, random states, objects of Rust, in that order
    state.text     u8   JSON: every text once, in the order of first use; operands name texts by their index

Operands and parts, by operation (n, i, ... are operands; what follows ":" are parts, each with a program of its own):

    NONE, FALSE, TRUE, PLUS_INFINITY, MINUS_INFINITY, NAN     nothing
    INTEGER v | LONG n (n bytes, little-endian, signed)       an int
    FLOAT (next of floats) | TEXT t | BYTES n                 a float, a str, a bytes
    SAME k                                                    the object with number k, once more
    TUPLE n | LIST n | SET n | FROZENSET n: n values
    DEQUE n m: n values                                       m is the longest it may be, -1 for any length
    DICT n | COUNTER n | ORDERED n: n times key, value        in the order of the dict
    DEFAULTDICT n: factory, n times key, value
    ARRAY d o n s...                                          dtype d, order C (0) or Fortran (1), n axes of size s
    SCALAR d                                                  a numpy scalar of dtype d
    RANDOM g i | RANDOM_STATE g i: gauss                      Mersenne Twister: 624 u32 words, index i, g: has a gauss
    CLASS t | FUNCTION t | METHOD t: owner                    one of the names in `allowed`
    PARTIAL n k: function, n values, k times name, value
    OBJECT t n: n times name, value                           an object of class t and its attributes; nothing is called
    NATIVE t a n: a arguments                                 an object of Rust, from its arguments and n bytes of state
    NAMED t n: n values                                       a named tuple of class t
    VECTOR: dict, factory, mask                               a `VectorDict`

Lists, dicts, sets, deques, arrays, random states and objects are numbered in the order in which they begin, so that
what was shared, or a cycle, is so again. Equal graphs give equal programs; dicts keep their order, because learning may
depend on it; the values of a set are sorted.
"""

from __future__ import annotations

import json
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DTYPES

CODES = tuple(DTYPES)
"""A dtype is named by its index here."""

TWISTER_BYTES = 624 * 4
TENSORS = ("state.program", "state.floats", "state.bytes", "state.text")


class StateError(ValueError):
    """A state cannot be written or read; the text says what and where."""


class Op(IntEnum):
    """The operations, as the module describes them."""

    NONE = 0
    FALSE = 1
    TRUE = 2
    INTEGER = 3
    LONG = 4
    FLOAT = 5
    PLUS_INFINITY = 6
    MINUS_INFINITY = 7
    NAN = 8
    TEXT = 9
    BYTES = 10
    SAME = 11
    TUPLE = 12
    LIST = 13
    SET = 14
    FROZENSET = 15
    DEQUE = 16
    DICT = 17
    COUNTER = 18
    ORDERED = 19
    DEFAULTDICT = 20
    ARRAY = 21
    SCALAR = 22
    RANDOM = 23
    RANDOM_STATE = 24
    CLASS = 25
    FUNCTION = 26
    METHOD = 27
    PARTIAL = 28
    OBJECT = 29
    NATIVE = 30
    VECTOR = 31
    NAMED = 32


class Writer:
    """Collects a program and its values."""

    def __init__(self) -> None:
        self._program: list[int] = []
        self._floats: list[float] = []
        self._bytes = bytearray()
        self._texts: dict[str, int] = {}

    def put(self, *numbers: int) -> None:
        """Append an operation, or operands."""
        self._program.extend(numbers)

    def put_float(self, value: float) -> None:
        """Append a finite float to the values."""
        self._floats.append(value)

    def put_bytes(self, data: bytes) -> None:
        """Append bytes to the values."""
        self._bytes += data

    def text(self, value: str) -> int:
        """Return the index of a text."""
        return self._texts.setdefault(value, len(self._texts))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return everything as named arrays."""
        text = json.dumps(list(self._texts), separators=(",", ":"), ensure_ascii=True).encode()
        return {
            "state.program": np.array(self._program, np.int64),
            "state.floats": np.array(self._floats, np.float64),
            "state.bytes": np.frombuffer(bytes(self._bytes), np.uint8).copy(),
            "state.text": np.frombuffer(text, np.uint8).copy(),
        }


class Reader:
    """Reads a program and its values; every read is checked against what is there."""

    def __init__(self, tensors: Tensors, bytes_max: int) -> None:
        arrays = [_vector(tensors, name, dtype) for name, dtype in zip(TENSORS, "qdBB", strict=True)]
        size = sum(array.nbytes for array in arrays)
        if size > bytes_max:
            raise StateError(f"a state of {size} bytes is larger than the limit of {bytes_max}")
        self._program: list[int] = arrays[0].tolist()
        self._floats: list[float] = arrays[1].tolist()
        self._bytes = arrays[2].tobytes()
        self._texts = _texts(arrays[3].tobytes())
        self.at = self._float_at = self._byte_at = 0

    def number(self) -> int:
        """Return the next number of the program."""
        if self.at >= len(self._program):
            raise StateError("the program ends too early")
        self.at += 1
        return self._program[self.at - 1]

    def count(self, part_length: int = 1) -> int:
        """Return the next number as a count of parts, of which each takes at least `part_length` numbers."""
        number = self.number()
        if not 0 <= number * part_length <= len(self._program) - self.at:
            raise StateError(f"{number} parts at {self.at - 1} are more than the program holds")
        return number

    def float(self) -> float:
        """Return the next float."""
        if self._float_at >= len(self._floats):
            raise StateError("the floats end too early")
        self._float_at += 1
        return self._floats[self._float_at - 1]

    def bytes(self, length: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= length <= len(self._bytes) - self._byte_at:
            raise StateError(f"{length} bytes at {self._byte_at} are more than there are")
        self._byte_at += length
        return self._bytes[self._byte_at - length : self._byte_at]

    def text(self) -> str:
        """Return the text that the next number names."""
        index = self.number()
        if not 0 <= index < len(self._texts):
            raise StateError(f"there is no text {index}")
        return self._texts[index]

    def check_end(self) -> None:
        """Raise StateError if anything is left over."""
        left = len(self._program) - self.at, len(self._floats) - self._float_at, len(self._bytes) - self._byte_at
        if any(left):
            raise StateError(f"{left[0]} numbers, {left[1]} floats and {left[2]} bytes are left over")


def _vector(tensors: Tensors, name: str, code: str) -> NDArray[np.generic]:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != np.dtype(code) or tensor.ndim != 1:
        raise StateError(f"tensor {name!r} is missing, or is not a vector of {np.dtype(code)}")
    return tensor


def _texts(data: bytes) -> list[str]:
    try:
        texts = json.loads(data)
    except ValueError as error:
        raise StateError(f"tensor 'state.text' is not JSON: {error}") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise StateError("tensor 'state.text' is not a list of texts")
    return texts
