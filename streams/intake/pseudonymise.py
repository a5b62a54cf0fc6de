"""Replaces subjects by keyed pseudonyms."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import BYTES, INTS, WORDS, compiled
from rheostat.streams.intake.siphash import KEY_BYTES, siphash
from rheostat.streams.intake.strings import offsets_of

Octets = NDArray[np.uint8]

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_HASH_DIGITS = 16


class Pseudonymiser:
    """Maps a subject to `<epoch>-<16 hex digits>`: SipHash-2-4 with a secret key, the same in every worker.

    The hash is a pseudorandom function: without the key a pseudonym cannot be computed from a guessed subject. Its key
    is derived from the secret by BLAKE2b. An empty subject (anonymous feedback) stays empty.
    """

    def __init__(self, key: bytes, epoch: int) -> None:
        self._key = hashlib.blake2b(key, digest_size=KEY_BYTES, person=b"pseudonyms").digest()
        self._prefix = np.frombuffer(f"{epoch}-".encode(), np.uint8)

    def pseudonym(self, subject: str) -> str:
        """Return the pseudonym of one subject."""
        return str(self.pseudonyms(pa.array([subject], pa.string()))[0].as_py())

    def pseudonyms(self, subjects: pa.StringArray) -> pa.StringArray:
        """Return the pseudonyms of a column."""
        width = len(self._prefix) + _HASH_DIGITS
        lengths = np.where(np.diff(offsets_of(subjects)) > 0, width, 0)
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(int(offsets[-1]), np.uint8)
        _write(siphash(self._key, subjects), self._prefix, offsets, data)
        return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(data))


@compiled(types.void(WORDS, BYTES, INTS, types.uint8[::1]))
def _write(hashes: NDArray[np.uint64], prefix: Octets, offsets: NDArray[np.int32], data: Octets) -> None:
    for row in range(len(hashes)):
        start = offsets[row]
        if offsets[row + 1] == start:
            continue
        data[start : start + len(prefix)] = prefix
        start += len(prefix)
        for digit in range(_HASH_DIGITS):
            half = (hashes[row] >> np.uint64(4 * (_HASH_DIGITS - 1 - digit))) & np.uint64(15)
            data[start + digit] = _DIGITS[half]
