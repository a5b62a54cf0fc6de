"""One consumer group of the in-memory broker: members, range assignment, epochs, committed positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rheostat.streams.engine.block import Committed, TopicPartition
from rheostat.streams.errors import Abortable


@dataclass(frozen=True, slots=True)
class Membership:
    """Proof of membership. A consumer that never joined has the empty member id."""

    group: str
    member_id: str = ""
    epoch: int = -1


@dataclass(slots=True)
class Member:
    """One consumer in the group. `owned` is what it holds; it learns of changes when it reconciles."""

    member_id: str
    topics: tuple[str, ...]
    name: str = ""
    epoch: int = 0
    owned: set[TopicPartition] = field(default_factory=set)


def range_assignment(
    members: Sequence[tuple[str, Sequence[str]]], partitions: Callable[[str], int]
) -> dict[str, set[TopicPartition]]:
    """Give each member (id, topics) a contiguous range of each of its topics.

    Topics with equally many partitions and the same subscribers are co-partitioned: a member gets the same numbers.
    """
    shares: dict[str, set[TopicPartition]] = {member_id: set() for member_id, _ in members}
    for topic in sorted({topic for _, topics in members for topic in topics}):
        subscribed = sorted(member_id for member_id, topics in members if topic in topics)
        each, extra = divmod(partitions(topic), len(subscribed))
        first = 0
        for index, member_id in enumerate(subscribed):
            count = each + (index < extra)
            shares[member_id].update(TopicPartition(topic, p) for p in range(first, first + count))
            first += count
    return shares


class Group:
    """The coordinator's view of one group. A partition changes hands only after its old owner let go of it.

    Not thread-safe: the cluster's lock is held by every caller.
    """

    def __init__(self, name: str, partitions: Callable[[str], int]) -> None:
        self.name = name
        self.offsets: dict[TopicPartition, Committed] = {}
        self._partitions = partitions
        self._members: dict[str, Member] = {}
        self._target: dict[str, set[TopicPartition]] = {}
        self._epoch = 0
        self._joined = 0

    def join(self, topics: Sequence[str], name: str = "") -> Member:
        """Add a member; the others learn of it when they reconcile."""
        self._joined += 1
        member = Member(f"{self.name}-{self._joined:06d}", tuple(topics), name)
        self._members[member.member_id] = member
        self._rebalance()
        return member

    def leave(self, member: Member) -> None:
        """Remove a member and what it owned (it left, or its session ended). Idempotent."""
        if self._members.pop(member.member_id, None) is not None:
            self._rebalance()

    def held_by(self, name: str) -> list[TopicPartition]:
        """Return what members of this name own."""
        return sorted(tp for member in self._members.values() if member.name == name for tp in member.owned)

    def is_member(self, member: Member) -> bool:
        """Whether the group still knows this member."""
        return member.member_id in self._members

    def reconcile(self, member: Member) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Move a member to its target; return what was (revoked, assigned). Partitions held by others wait."""
        target = self._target[member.member_id]
        revoked = member.owned - target
        member.owned -= revoked
        held = {tp for other in self._members.values() if other is not member for tp in other.owned}
        assigned = target - member.owned - held
        member.owned |= assigned
        member.epoch = self._epoch
        return sorted(revoked), sorted(assigned)

    def check(self, membership: Membership) -> None:
        """Raise Abortable unless offsets may be committed under this membership."""
        if not membership.member_id:
            if self._members:
                raise Abortable(f"group {self.name} has members: a consumer outside it may not commit offsets")
            return
        member = self._members.get(membership.member_id)
        if member is None:
            raise Abortable(f"group {self.name} does not know member {membership.member_id}")
        if member.epoch != membership.epoch:
            raise Abortable(f"group {self.name}: member epoch {membership.epoch} is stale, now {member.epoch}")

    def _rebalance(self) -> None:
        self._epoch += 1
        members = [(member.member_id, member.topics) for member in self._members.values()]
        self._target = range_assignment(members, self._partitions)
