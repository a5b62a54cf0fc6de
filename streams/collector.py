"""Python's cyclic garbage collector, for a process that takes in blocks of tens of thousands of objects."""

from __future__ import annotations

import gc

_OBJECTS = 200_000


def collect_rarely() -> None:
    """Look for garbage cycles after as many new objects as a few blocks have, and never among what is there now.

    By default the collector looks every 700 objects: an eighth of intake's time, spent on records that have no cycles
    and are freed by their reference counts. To be called once what stays was imported and built.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, 10, 10)
