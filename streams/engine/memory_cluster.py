"""The shared state of an in-memory broker: topics, groups, transactional producers, injected faults."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition, RLock

from rheostat.streams.clock import Clock
from rheostat.streams.engine.block import OutBlock, TopicPartition
from rheostat.streams.engine.memory_group import Group
from rheostat.streams.engine.memory_log import PartitionLog, Transaction
from rheostat.streams.errors import Abortable, ConfigError, Fenced

RECORD_BYTES_MAX = 17 * 1024 * 1024


class Cluster:
    """State and lock. Every method but `fault` must be called with `changed` held."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = Condition(RLock())
        self.topics: dict[str, list[PartitionLog]] = {}
        self._groups: dict[str, Group] = {}
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}
        self._faults: dict[str, deque[tuple[Exception, bool]]] = defaultdict(deque)

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, or raise ConfigError."""
        if topic not in self.topics:
            raise ConfigError(f"topic {topic!r} does not exist: create it first")
        return len(self.topics[topic])

    def log(self, topic: str, partition: int) -> PartitionLog:
        """Return one partition's log, or raise Abortable."""
        logs = self.topics.get(topic, [])
        if not 0 <= partition < len(logs):
            raise Abortable(f"unknown partition {topic}[{partition}]")
        return logs[partition]

    def group(self, name: str) -> Group:
        """Return a group, made when first asked for."""
        if name not in self._groups:
            self._groups[name] = Group(name, self.partitions)
        return self._groups[name]

    def append(self, block: OutBlock, transaction: Transaction | None) -> None:
        """Write a block, in a transaction or outside; refuse what a real broker refuses."""
        log = self.log(block.topic, block.partition)
        if max((len(value) for value in block.values if value is not None), default=0) > RECORD_BYTES_MAX:
            raise Abortable(f"a record for {block.topic}[{block.partition}] exceeds {RECORD_BYTES_MAX} bytes")
        log.append(block, transaction)
        self.changed.notify_all()

    def register(self, transactional_id: str) -> int:
        """Fence older producers of this id, abort what they left open, and return the new epoch."""
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        if transactional_id in self._open:
            self.end(self._open[transactional_id], commit=False)
        return self._epochs[transactional_id]

    def check_epoch(self, transactional_id: str, epoch: int) -> None:
        """Raise Fenced if a newer producer holds this id."""
        if self._epochs[transactional_id] != epoch:
            raise Fenced(f"another producer took the transactional id {transactional_id!r}")

    def begin(self, transactional_id: str) -> Transaction:
        """Open a transaction."""
        self._open[transactional_id] = transaction = Transaction(transactional_id)
        return transaction

    def end(self, transaction: Transaction, *, commit: bool) -> None:
        """Commit or abort: records and offsets become visible, or never do, all at once."""
        transaction.state = "committed" if commit else "aborted"
        if commit:
            for (group, partition), position in transaction.offsets.items():
                self.group(group).offsets[partition] = position
        for log in transaction.logs:
            log.end(transaction, self.clock.now_ms())
        del self._open[transaction.transactional_id]
        self.changed.notify_all()

    def offsets_pending(self, group: str, partitions: Sequence[TopicPartition]) -> bool:
        """Whether an open transaction holds positions of these partitions."""
        asked = {(group, partition) for partition in partitions}
        return any(asked & transaction.offsets.keys() for transaction in self._open.values())

    def wait(self, ready: Callable[[], bool], timeout_ms: int) -> bool:
        """Wait until `ready()`, at most `timeout_ms`; return whether it is."""
        return self.changed.wait_for(ready, timeout_ms / 1000)

    def inject(self, operation: str, error: Exception, after: bool) -> None:
        """Arm a fault for the next `operation`."""
        self._faults[operation].append((error, after))

    @contextmanager
    def fault(self, operation: str) -> Iterator[None]:
        """Hold the lock around an operation; raise an armed fault before or after it."""
        with self.changed:
            armed = self._faults[operation]
            error, after = armed.popleft() if armed else (None, False)
            if error is not None and not after:
                raise error
            yield
            if error is not None:
                raise error
