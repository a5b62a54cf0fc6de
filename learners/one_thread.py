"""Linear algebra on one thread, whatever the machine: with several, the last bits of a product depend on their number.

And several are slower where processors are shared: OpenBLAS waits for its threads by spinning, so a product that takes
a fraction of a millisecond takes many when one of them has to wait for a processor.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from numpy.linalg import _umath_linalg

_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
"""The function of OpenBLAS as numpy's own packages name it, and as others build it."""

_lock = threading.Lock()
_inside = 0
_before = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy's linear algebra have one thread in this process while the `with` block runs, in whatever threads.

    Where numpy was not built with OpenBLAS, nothing is changed.
    """
    global _inside, _before
    threads = _threads()
    if threads is None:
        yield
        return
    get, put = threads
    with _lock:
        if not _inside:
            _before = get()
            put(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                put(_before)


@cache
def _threads() -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """Return what gets and what sets the number of threads, found among what numpy's own library is linked with."""
    library = ctypes.CDLL(_umath_linalg.__file__)
    for name in _NAMES:
        if hasattr(library, name.format("set")):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
