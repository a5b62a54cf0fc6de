"""Keeps out of a process what others import only because it is there: each takes a good part of a second and 40 MB."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa


class _NotThere:
    """An import finder to which one library is not installed."""

    def __init__(self, library: str) -> None:
        self._library = library

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Find nothing, and end the search for that library."""
        if name == self._library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def convert_without_pandas() -> None:
    """Let pyarrow make its first conversion, at which it looks for pandas for good, while there seems to be none.

    Anything else may import pandas afterwards; pyarrow's own conversions from and to it do not work then.
    """
    hidden = _NotThere("pandas")
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(hidden)


def compile_without_scipy() -> None:
    """Let there seem to be no SciPy, for good: numba imports it for linear algebra, which no compiled loop of ours has.

    Only for a process without models: River needs it.
    """
    sys.meta_path.insert(0, _NotThere("scipy"))
