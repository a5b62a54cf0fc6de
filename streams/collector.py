"""Python's cyclic garbage collector, for a process that takes in blocks of tens of thousands of objects."""

from __future__ import annotations

import gc

_OBJECTS = 200_000


def collect_later() -> None:
    """Look for no garbage cycles until `collect_rarely`, while hundreds of modules are imported.

    By default all that was imported so far is looked at again and again: a tenth of the time until a worker is ready.
    """
    gc.disable()


def collect_rarely() -> None:
    """Look for garbage cycles after as many new objects as a few blocks have, and never among what is there now.

    By default the collector looks every 700 objects: an eighth of intake's time, spent on records that have no cycles
    and are freed by their reference counts. To be called once what stays was imported and built; looking for the few
    cycles that imports leave behind would take longer than everything else that is done here.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS, 10, 10)
    gc.enable()
