"""Consumers of the in-memory broker: by group membership, or statically over all partitions."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.engine.memory_cluster import Cluster
from rheostat.streams.engine.memory_group import Membership
from rheostat.streams.engine.memory_log import PartitionLog
from rheostat.streams.errors import Retryable


def read_runs(
    logs: Mapping[TopicPartition, PartitionLog],
    positions: MutableMapping[TopicPartition, int],
    records_max: int,
) -> list[Block]:
    """Read on from `positions`, which are moved; partitions that were served go last the next time."""
    blocks: list[Block] = []
    for key in list(positions):
        if records_max <= 0:
            break
        block, position = logs[key].read(positions.pop(key), records_max)
        positions[key] = position
        if block is not None:
            blocks.append(block)
            records_max -= len(block)
    return blocks


class _Consumer:
    """What both consumers share: positions of started partitions, committed offsets."""

    def __init__(self, cluster: Cluster, group: str, topics: Sequence[str], wait_ms: int) -> None:
        self._cluster = cluster
        self._wait_ms = wait_ms
        self._closed = False
        self._assigned: list[TopicPartition] = []
        self._revoked: list[TopicPartition] = []
        self._owned: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        with cluster.changed:
            self._group = cluster.group(group)
            self._logs = {
                TopicPartition(topic, p): cluster.log(topic, p)
                for topic in topics
                for p in range(cluster.partitions(topic))
            }

    def poll(self, records_max: int, timeout_ms: int) -> list[Block]:
        """Return at most `records_max` records as contiguous runs, waiting up to `timeout_ms` for the first."""
        with self._cluster.fault("poll"):
            blocks: list[Block] = []

            def ready() -> bool:
                if self._reconcile():
                    return True
                blocks.extend(read_runs(self._logs, self._positions, records_max))
                return bool(blocks)

            self._cluster.wait(ready, timeout_ms)
            return blocks

    def _reconcile(self) -> bool:
        return False

    def take_assigned(self) -> list[TopicPartition]:
        """Return partitions assigned since the last call; they are paused until `start`."""
        taken, self._assigned = self._assigned, []
        return taken

    def take_revoked(self) -> list[TopicPartition]:
        """Return partitions revoked or lost since the last call; state held for them must be dropped."""
        taken, self._revoked = self._revoked, []
        return taken

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Return stable committed positions; raises Retryable if a transaction on them stays open."""
        with self._cluster.fault("committed"):
            name = self._group.name
            if not self._cluster.wait(lambda: not self._cluster.offsets_pending(name, partitions), self._wait_ms):
                raise Retryable(f"a transaction holds offsets of group {name}")
            return {tp: self._group.offsets.get(tp, Committed(None, "")) for tp in partitions}

    def start(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Begin delivery of assigned partitions at these offsets (None: the beginning)."""
        with self._cluster.changed:
            self._positions.update({tp: offset or 0 for tp, offset in offsets.items() if tp in self._owned})

    def rewind(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Deliver again from these offsets; partitions no longer owned are ignored."""
        self.start({tp: offset for tp, offset in offsets.items() if tp in self._positions})

    def lag(self) -> int:
        """Return how many offsets the owned partitions are behind the last stable offset."""
        with self._cluster.changed:
            return sum(
                max(0, self._logs[tp].last_stable_offset - max(position, self._logs[tp].low_watermark))
                for tp, position in self._positions.items()
            )


class MemoryGroupConsumer(_Consumer):
    """A member of a consumer group."""

    def __init__(self, cluster: Cluster, group: str, topics: Sequence[str], name: str, wait_ms: int) -> None:
        super().__init__(cluster, group, topics, wait_ms)
        self._topics = tuple(topics)
        self._name = name
        with cluster.changed:
            self._member = self._group.join(self._topics, name)
            cluster.changed.notify_all()

    def _reconcile(self) -> bool:
        """Follow the group; return whether anything changed hands."""
        if self._closed:
            return True
        if not self._group.is_member(self._member):
            lost = sorted(self._owned)
            self._member = self._group.join(self._topics, self._name)
            self._drop(lost)
            return True
        revoked, assigned = self._group.reconcile(self._member)
        self._drop(revoked)
        self._owned.update(assigned)
        self._assigned.extend(assigned)
        return bool(revoked or assigned)

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        self._revoked.extend(tp for tp in partitions if tp not in self._assigned)
        self._assigned = [tp for tp in self._assigned if tp not in partitions]
        for tp in partitions:
            self._owned.discard(tp)
            self._positions.pop(tp, None)
        if partitions:
            self._cluster.changed.notify_all()

    def group_metadata(self) -> Membership:
        """Return the membership as of the last poll."""
        with self._cluster.changed:
            return Membership(self._group.name, self._member.member_id, self._member.epoch)

    def expire(self) -> None:
        """End the session: the group forgets this member, which does not know it yet."""
        with self._cluster.changed:
            self._group.leave(self._member)
            self._cluster.changed.notify_all()

    def close(self) -> None:
        """Leave the group. Idempotent."""
        self.expire()
        self._closed = True


class MemoryStaticConsumer(_Consumer):
    """Owns all partitions of its topics from the start."""

    def __init__(self, cluster: Cluster, group: str, topics: Sequence[str], wait_ms: int) -> None:
        super().__init__(cluster, group, topics, wait_ms)
        self._owned = set(self._logs)
        self._assigned = sorted(self._logs)

    def group_metadata(self) -> Membership:
        """Return a membership outside the group; it may commit while the group has no members."""
        return Membership(self._group.name)

    def close(self) -> None:
        """Stop delivery. Idempotent."""
        self._positions.clear()
