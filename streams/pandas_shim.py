"""Keeps pyarrow from importing pandas, which takes half a second and 50 MB, in processes that have no use for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa


class _NotThere:
    """An import finder to which pandas is not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Find nothing, and end the search for pandas."""
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


def convert_without_pandas() -> None:
    """Let pyarrow make its first conversion, at which it looks for pandas for good, while there seems to be none.

    Anything else may import pandas afterwards; pyarrow's own conversions from and to it do not work then.
    """
    hidden = _NotThere()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(hidden)
