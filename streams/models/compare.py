"""What changed between two versions of a model, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import dtype_name
from rheostat.streams.models.delta import changed_rows


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One tensor that both versions have, with the same dtype and shape, and other bytes.

    rows: how long its first axis is (1 for a single number); rows_changed: in how many of them any byte differs.
    largest: the largest absolute difference of an element; norm: the Euclidean norm of the differences; norm_before:
    that of the tensor before.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    rows: int
    rows_changed: int
    largest: float
    norm: float
    norm_before: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Tensors by name: in one version alone, of another dtype or shape, with other values; how many are the same."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reshaped: tuple[str, ...]
    changed: tuple[TensorChange, ...]
    same: int


def compare(before: Tensors, after: Tensors) -> Difference:
    """Return what turns the tensors of one version into those of another."""
    both = sorted(before.keys() & after.keys())
    reshaped = tuple(name for name in both if _layout(before[name]) != _layout(after[name]))
    changes = (_change(name, before[name], after[name]) for name in both if name not in reshaped)
    changed = tuple(each for each in changes if each is not None)
    return Difference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        reshaped=reshaped,
        changed=changed,
        same=len(both) - len(reshaped) - len(changed),
    )


def layout_words(tensor: NDArray[np.generic]) -> str:
    """Return dtype and shape in words: "F32 64 x 4", "F64 single"."""
    return f"{dtype_name(tensor.dtype)} {' x '.join(map(str, tensor.shape)) or 'single'}"


def _change(name: str, before: NDArray[np.generic], after: NDArray[np.generic]) -> TensorChange | None:
    rows = changed_rows(after, before)
    if not len(rows):
        return None
    # Only what differs is widened: a table of many rows would take eight bytes for each of its elements.
    old, new = (each[rows] if each.ndim else each for each in (before, after))
    difference = new.astype(np.float64) - old.astype(np.float64)
    return TensorChange(
        name=name,
        dtype=dtype_name(after.dtype),
        shape=after.shape,
        rows=len(after) if after.ndim else 1,
        rows_changed=len(rows),
        largest=float(np.abs(difference).max()),
        norm=float(np.linalg.norm(difference)),
        norm_before=float(np.sqrt(sum(np.square(part, dtype=np.float64).sum() for part in _parts(before)))),
    )


def _parts(tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    return np.array_split(tensor.reshape(-1), max(1, tensor.size >> 20))


def _layout(tensor: NDArray[np.generic]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    return tensor.dtype, tensor.shape
