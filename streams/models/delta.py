"""What changed between two sets of tensors, and how to put it back: touched rows only, where that is smaller.

A changed tensor `x` travels whole under its own name, or as `x#rows` (int64, rising) and `x#values` (those rows).
Only contents may change: names, types and shapes are those of the model, and another model is another base.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors
from rheostat.learners.digest import DigestCache, Rows
from rheostat.streams.models.spares import Spares

ROWS = "#rows"
VALUES = "#values"
_ROW_BYTES = 8
# What one more tensor costs in the file's header.
_HEADER_BYTES = 96
COMPARED_BYTES = 4 << 20
"""How much of a tensor is looked at in one go."""


def same_layout(a: Tensors, b: Tensors) -> bool:
    """Whether both have the same names, types and shapes."""
    return a.keys() == b.keys() and all(_layout(a[name]) == _layout(b[name]) for name in a)


def difference(
    new: Tensors, previous: Tensors, touched: Mapping[str, Rows] | None = None
) -> dict[str, NDArray[np.generic]]:
    """Return what turns `previous` into `new`, to the bit; both have the same layout.

    touched: by tensor, all rows that may differ, rising. Tensors that are not named are compared.
    """
    known = touched or {}
    changed: dict[str, NDArray[np.generic]] = {}
    for name, tensor in new.items():
        rows = known[name] if name in known else changed_rows(tensor, previous[name])
        if not len(rows):
            continue
        if tensor.ndim and len(rows) * (_ROW_BYTES + tensor[0].nbytes) + _HEADER_BYTES < tensor.nbytes:
            changed[name + ROWS] = rows
            changed[name + VALUES] = tensor[rows]
        else:
            changed[name] = tensor
    return changed


def apply_difference(
    current: Tensors, changes: Tensors, spares: Spares | None = None
) -> dict[str, NDArray[np.generic]]:
    """Return new tensors; arrays of `current` are shared where unchanged and never written to.

    spares: where the new ones' memory may come from. Raises ValueError naming the tensor whose changes do not fit the
    current one.
    """
    result = dict(current)
    for name, tensor in changes.items():
        if name.endswith(VALUES):
            continue
        target = name.removesuffix(ROWS)
        if target not in current:
            raise ValueError(f"tensor {target!r} is not part of the model")
        if name != target and target in changes:
            raise ValueError(f"tensor {target!r} comes whole and by rows")
        if name.endswith(ROWS):
            result[target] = _with_rows(target, current[target], tensor, changes.get(target + VALUES), spares)
        elif _layout(tensor) != _layout(current[target]):
            raise ValueError(f"tensor {name!r} is {_words(tensor)}, the model's is {_words(current[target])}")
        else:
            result[target] = tensor
    if unpaired := [
        name for name in changes if name.endswith(VALUES) and name.removesuffix(VALUES) + ROWS not in changes
    ]:
        raise ValueError(f"tensor {unpaired[0]!r} has no rows")
    return result


def digest_after(tensors: Tensors, changes: Tensors | None, before: DigestCache | None) -> tuple[str, DigestCache]:
    """Return the digest of `tensors`, and a cache for the next call.

    With `before`, the cache of the tensors that `changes` were applied to, only what changed is hashed; `before` itself
    stays valid. Without one, or without `changes`, everything is hashed.
    """
    if before is None or changes is None:
        fresh = DigestCache()
        return fresh.digest(tensors, {}), fresh
    after = before.copy()
    return after.digest(tensors, _touched_by(changes)), after


def digest_beside(tensors: Tensors, others: Tensors, digests: DigestCache) -> tuple[str, DigestCache]:
    """Return what `digest_after` would of `tensors` alone, hashing only what differs from others with this cache.

    To compare bytes takes a fraction of the time of hashing them, and a base is mostly what was there before. `digests`
    stays valid.
    """
    touched = {
        name: changed_rows(tensor, others[name])
        for name, tensor in tensors.items()
        if name in others and _layout(tensor) == _layout(others[name])
    }
    after = digests.copy()
    return after.digest(tensors, touched), after


def _touched_by(changes: Tensors) -> dict[str, Rows | None]:
    touched: dict[str, Rows | None] = {}
    for name, tensor in changes.items():
        if name.endswith(ROWS):
            touched.setdefault(name.removesuffix(ROWS), tensor.astype(np.int64))
        elif not name.endswith(VALUES):
            touched[name] = None
    return touched


def _with_rows(
    name: str,
    current: NDArray[np.generic],
    rows: NDArray[np.generic],
    values: NDArray[np.generic] | None,
    spares: Spares | None,
) -> NDArray[np.generic]:
    if values is None or rows.dtype != np.int64 or rows.ndim != 1 or not len(rows) or not current.ndim:
        raise ValueError(f"tensor {name!r}: its rows must be int64, at least one, with values")
    if rows[0] < 0 or rows[-1] >= len(current) or (np.diff(rows) <= 0).any():
        raise ValueError(f"tensor {name!r}: rows must rise within 0..{len(current) - 1}")
    if values.dtype != current.dtype or values.shape != (len(rows), *current.shape[1:]):
        raise ValueError(f"tensor {name!r}: {_words(values)} of values for {len(rows)} rows of {_words(current)}")
    result = current.copy() if spares is None else spares.copy(name, current)
    result[rows] = values
    if spares is not None:
        spares.leave(name, current, rows, result)
    return result


def changed_rows(new: NDArray[np.generic], previous: NDArray[np.generic]) -> Rows:
    """Return the rows whose bytes differ (0 and -0 do, equal NaNs do not)."""
    if not new.size:
        return np.empty(0, np.int64)
    rows = max(1, len(new)) if new.ndim else 1
    ours, theirs = _bits(new).reshape(rows, -1), _bits(previous).reshape(rows, -1)
    # Part by part: what is compared of a large table would take as much memory as itself.
    step = max(1, COMPARED_BYTES // max(1, new.nbytes // rows))
    parts = [
        start + np.flatnonzero((ours[start : start + step] != theirs[start : start + step]).any(axis=1))
        for start in range(0, rows, step)
    ]
    return np.concatenate(parts).astype(np.int64, copy=False)


def all_finite(tensor: NDArray[np.generic]) -> bool:
    """Whether no element of a tensor of floats is NaN or infinity."""
    flat = tensor.reshape(-1)
    step = COMPARED_BYTES // tensor.itemsize
    return all(bool(np.isfinite(flat[at : at + step]).all()) for at in range(0, len(flat), step))


def _bits(tensor: NDArray[np.generic]) -> NDArray[np.unsignedinteger]:
    return np.ascontiguousarray(tensor).reshape(-1).view(f"u{tensor.dtype.itemsize}")


def _layout(tensor: NDArray[np.generic]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    return tensor.dtype, tensor.shape


def _words(tensor: NDArray[np.generic]) -> str:
    return f"{tensor.dtype} {tensor.shape}"
