"""Gives memory that is not used any more back to the system. Of glibc only; elsewhere nothing happens."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""From glibc's malloc.h."""

_ARENAS = 2
_LARGE_BYTES = 1 << 20
_FREE_BYTES_MAX = 4 << 20
"""What lies free at the end of a heap before it is given back."""


def share_arenas() -> None:
    """Let all threads allocate from two arenas; to be called before there are any.

    By default every thread of Kafka's client and of Arrow gets one of its own, each keeping what it once needed. Large
    pieces get pages of their own, which go back when they are freed: by default glibc stops doing that for any size
    that was freed once, up to 32 MB, and what a restore needed would keep the heap as large as it was.
    """
    _call("mallopt", _M_ARENA_MAX, _ARENAS)
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)
    _call("mallopt", _M_TRIM_THRESHOLD, _FREE_BYTES_MAX)


def give_back() -> None:
    """Return what lies free in the heap, after a piece of work that needed far more than what follows will."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return
    function(*arguments)
