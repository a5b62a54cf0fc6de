"""Kafka's own rule for placing a key: murmur2, as in the Java client."""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


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
