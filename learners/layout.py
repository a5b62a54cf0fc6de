"""Taking named tensors apart safely: every array is checked for type and shape before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Tensors

Scalar = TypeVar("Scalar", bound=np.generic)


def take(tensors: Tensors, name: str, dtype: type[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar]:
    """Return tensor `name`; ValueError, naming it, if it is missing or has another type or shape."""
    tensor = tensors.get(name)
    if tensor is None:
        raise ValueError(f"tensor {name!r} is missing")
    if tensor.dtype != np.dtype(dtype) or tensor.shape != shape:
        found = f"{tensor.dtype} {tensor.shape}"
        raise ValueError(f"tensor {name!r} is {found}, expected {np.dtype(dtype)} {shape}")
    return tensor.astype(dtype, copy=False)


def settings_tensor(settings: Mapping[str, object]) -> NDArray[np.uint8]:
    """Return settings as canonical JSON in a tensor, so that a snapshot says what it was learned with."""
    text = json.dumps(dict(settings), sort_keys=True, separators=(",", ":"))
    return np.frombuffer(text.encode(), np.uint8).copy()


def check_settings(tensors: Tensors, settings: Mapping[str, object]) -> None:
    """Raise ValueError unless the snapshot was learned with these settings: it could not continue exactly."""
    expected = settings_tensor(settings)
    found = tensors.get("settings")
    if found is None or found.dtype != np.uint8 or found.tobytes() != expected.tobytes():
        told = "none" if found is None else found.tobytes()[:500].decode(errors="replace")
        raise ValueError(f"snapshot was learned with settings {told}, this learner has {expected.tobytes().decode()}")
