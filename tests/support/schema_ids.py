"""Schema ids for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rheostat.schemas.ids import IdTable, in_force, put_in_force


@contextmanager
def ids_in_force(table: IdTable) -> Iterator[None]:
    """Make a table that of the process, and at the end the one before."""
    before = in_force()
    put_in_force(table)
    try:
        yield
    finally:
        put_in_force(before)
