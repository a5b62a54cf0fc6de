"""Between numpy and torch, and torch on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from rheostat.learners.contract import Floats


def single(array: Floats) -> Tensor:
    """Return float32 numbers."""
    return torch.from_numpy(array.astype(np.float32))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine: with several threads the last bits differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
