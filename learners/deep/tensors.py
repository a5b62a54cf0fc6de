"""Between numpy and torch, and torch on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rheostat.learners.contract import Floats, Tensors
from rheostat.learners.layout import take


def single(array: Floats) -> Tensor:
    """Return float32 numbers."""
    return torch.from_numpy(array.astype(np.float32))


def window(tensor: Tensor) -> NDArray[np.float32]:
    """Return a read-only view that goes on changing with the tensor."""
    array: NDArray[np.float32] = tensor.numpy()
    array.flags.writeable = False
    return array


def copied(tensor: Tensor) -> NDArray[np.float32]:
    """Return a copy."""
    array: NDArray[np.float32] = tensor.numpy().copy()
    return array


def taken(tensors: Tensors, name: str, like: Tensor) -> Tensor:
    """Return a copy of the float32 tensor `name`; ValueError unless it is there, in the shape of `like`."""
    return torch.from_numpy(take(tensors, name, np.float32, tuple(like.shape)).copy())


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine: with several threads the last bits differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
