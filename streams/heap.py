"""Gives memory that is not used any more back to the system. Of glibc only; elsewhere nothing happens."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""

_ARENAS = 2


def share_arenas() -> None:
    """Let all threads allocate from two arenas; to be called before there are any.

    By default every thread of Kafka's client and of Arrow gets one of its own, each keeping what it once needed.
    """
    _call("mallopt", _M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return what lies free in the heap, after a piece of work that needed far more than what follows will."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return
    function(*arguments)
