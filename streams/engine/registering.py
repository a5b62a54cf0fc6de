"""A transactional producer that is registered in a thread of its own, while the tasks are being opened.

Registering waits for the coordinator, and half a second longer when a predecessor left a transaction open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rheostat.streams.engine.block import Committed, OutBlock, TopicPartition
from rheostat.streams.engine.broker import GroupMetadata, TransactionalProducer
from rheostat.streams.errors import RheostatError


class RegisteringProducer:
    """Passes calls on once it is registered; they raise what registering raised. See `broker.TransactionalProducer`."""

    def __init__(self, register: Callable[[], TransactionalProducer]) -> None:
        thread = ThreadPoolExecutor(1, "register")
        self._registered = thread.submit(register)
        thread.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until it is registered."""
        self._registered.result()

    def check(self) -> None:
        """Raise what registering raised, if it has come to that; wait for nothing."""
        if self._registered.done():
            self._registered.result()

    def begin(self) -> None:
        """Open a transaction."""
        self._registered.result().begin()

    def write(self, block: OutBlock) -> None:
        """Add records to the open transaction."""
        self._registered.result().write(block)

    def send_offsets(self, positions: Mapping[TopicPartition, Committed], group: GroupMetadata) -> None:
        """Add consumed positions to the open transaction."""
        self._registered.result().send_offsets(positions, group)

    def commit(self) -> None:
        """Make all of it visible at once."""
        self._registered.result().commit()

    def abort(self) -> None:
        """Drop all of it."""
        self._registered.result().abort()

    def close(self) -> None:
        """Release everything. Idempotent."""
        with suppress(RheostatError):
            self._registered.result().close()
