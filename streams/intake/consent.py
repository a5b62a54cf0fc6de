"""Events whose subject did not agree to their use are withheld: counted, written nowhere, used for nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def withheld(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Return which events must not be used. Asked before anything else, even whether they are valid."""
    return np.asarray(~batch.column("consent").to_numpy(zero_copy_only=False))
