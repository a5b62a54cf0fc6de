"""The transactional producer of the in-memory broker."""

from __future__ import annotations

from collections.abc import Mapping

from rheostat.streams.engine.block import Committed, OutBlock, TopicPartition
from rheostat.streams.engine.broker import GroupMetadata
from rheostat.streams.engine.memory_cluster import Cluster
from rheostat.streams.engine.memory_group import Membership
from rheostat.streams.engine.memory_log import Transaction
from rheostat.streams.errors import Abortable, Fatal

METADATA_BYTES_MAX = 4096


class MemoryTransactionalProducer:
    """Writes blocks and offsets atomically. After an Abortable error only `abort` is accepted."""

    def __init__(self, cluster: Cluster, transactional_id: str) -> None:
        self._cluster = cluster
        self._id = transactional_id
        self._transaction: Transaction | None = None
        self._broken = False
        self._closed = False
        with cluster.changed:
            self._epoch = cluster.register(transactional_id)

    def begin(self) -> None:
        """Open a transaction."""
        with self._cluster.fault("begin"):
            self._check()
            if self._transaction is not None:
                raise Fatal("begin: a transaction is open already")
            self._transaction = self._cluster.begin(self._id)

    def write(self, block: OutBlock) -> None:
        """Add records to the open transaction."""
        transaction = self._open("write")
        try:
            with self._cluster.fault("write"):
                self._check()
                if len(block):
                    self._cluster.append(block, transaction)
        except Abortable:
            self._broken = True
            raise

    def send_offsets(self, positions: Mapping[TopicPartition, Committed], group: GroupMetadata) -> None:
        """Add consumed positions (next offset to read, with metadata) to the open transaction, in one request."""
        transaction = self._open("send_offsets")
        if not isinstance(group, Membership):
            raise TypeError("group metadata of another broker")
        try:
            with self._cluster.fault("send_offsets"):
                self._check()
                self._cluster.group(group.group).check(group)
                if any(len(each.metadata.encode()) > METADATA_BYTES_MAX for each in positions.values()):
                    raise Abortable(f"offset metadata exceeds {METADATA_BYTES_MAX} bytes")
                transaction.offsets.update({(group.group, tp): each for tp, each in positions.items()})
        except Abortable:
            self._broken = True
            raise

    def commit(self) -> None:
        """Make all of it visible at once."""
        transaction = self._open("commit")
        try:
            with self._cluster.fault("commit"):
                self._check()
                self._cluster.end(transaction, commit=True)
                self._transaction = None
        except Abortable:
            self._broken = True
            raise

    def abort(self) -> None:
        """Drop all of it; without an open transaction nothing happens."""
        with self._cluster.fault("abort"):
            self._check()
            self._broken = False
            if self._transaction is not None:
                self._cluster.end(self._transaction, commit=False)
                self._transaction = None

    def close(self) -> None:
        """Abort what is open and refuse further calls. Idempotent."""
        with self._cluster.changed:
            transaction, self._transaction, self._closed = self._transaction, None, True
            if transaction is not None and transaction.state == "open":
                self._cluster.end(transaction, commit=False)

    def _open(self, operation: str) -> Transaction:
        with self._cluster.changed:
            self._check()
        if self._broken:
            raise Abortable(f"{operation}: the transaction failed and must be aborted")
        if self._transaction is None:
            raise Fatal(f"{operation}: no transaction is open")
        return self._transaction

    def _check(self) -> None:
        if self._closed:
            raise Fatal("the producer is closed")
        self._cluster.check_epoch(self._id, self._epoch)
