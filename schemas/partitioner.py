"""Kafka's own rule for placing a key: murmur2, as in the Java client, for one key or for many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_FEW = 12
"""Keys of one length from which on they are hashed together."""


def murmur2(key: bytes) -> int:
    """Return the signed 32-bit hash that Kafka's Java client gives a key (MurmurHash2, seed 0x9747b28c)."""
    h = _SEED ^ len(key)
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ (k >> 24)) * _M & _MASK)
    if len(key) > whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    h ^= h >> 15
    return h - (1 << 32) if h > _POSITIVE else h


def partition_for(key: bytes, n: int) -> int:
    """Return the partition of a key among `n`: toPositive(murmur2(key)) % n."""
    return (murmur2(key) & _POSITIVE) % n


def partitions_for(keys: Sequence[bytes], n: int) -> Ints:
    """Return the partition of every key, int32 (len(keys),); much faster than one by one for long runs."""
    hashes = murmur2_all(keys)
    return ((hashes & np.int32(_POSITIVE)) % np.int32(n)).astype(np.int32)


def murmur2_all(keys: Sequence[bytes]) -> Ints:
    """Return the hash of every key, int32 (len(keys),), by groups of keys of equal length."""
    if len(keys) < _FEW:
        return np.fromiter(map(murmur2, keys), np.int32, len(keys))
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    if (lengths == lengths[0]).all():
        return _hash_equal(b"".join(keys), int(lengths[0]), len(keys))
    hashes = np.empty(len(keys), np.int32)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        hashes[rows] = _hash_group([keys[row] for row in rows.tolist()], length)
    return hashes


def _hash_group(keys: Sequence[bytes], length: int) -> Ints:
    if len(keys) < _FEW:
        return np.fromiter(map(murmur2, keys), np.int32, len(keys))
    return _hash_equal(b"".join(keys), length, len(keys))


def _hash_equal(joined: bytes, length: int, count: int) -> Ints:
    """Hash `count` keys of `length` bytes each that lie one behind the other; uint32 arithmetic wraps."""
    rows = np.frombuffer(joined, np.uint8).reshape(count, length)
    whole = length & ~3
    m = np.uint32(_M)
    words = np.ascontiguousarray(rows[:, :whole].T.reshape(whole // 4, 4, count).transpose(0, 2, 1))
    h = np.full(count, _SEED ^ (length & _MASK), np.uint32)
    mixed = words.view("<u4").reshape(whole // 4, count) * m
    mixed ^= mixed >> np.uint32(24)
    mixed *= m
    for word in mixed:
        h *= m
        h ^= word
    if length > whole:
        for i in range(whole, length):
            h ^= rows[:, i].astype(np.uint32) << np.uint32(8 * (i - whole))
        h *= m
    h ^= h >> np.uint32(13)
    h *= m
    h ^= h >> np.uint32(15)
    return h.view(np.int32)
