"""Which versions a server keeps to go back to where there is little room."""

from __future__ import annotations

from rheostat.streams.models.apply import ModelVersion, apply_update
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.update import Update, UpdateAssembler
from rheostat.streams.models.version import Version
from rheostat.streams.serving.kept import KeptVersions
from tests.support.model_topic import LEARNER, Publisher


def versions(count: int) -> list[ModelVersion]:
    """Bases, which share no tensors."""
    publisher, assembler = Publisher(), UpdateAssembler(KeyRing.of(LEARNER), lambda _, why: print(why))
    made: list[ModelVersion] = []
    for number in range(count):
        publisher.nudge(number)
        for record in publisher.publish(base=True, at_ms=1_000 * number).records:
            update = assembler.feed(*record)
            assert isinstance(update, Update)
            made.append(apply_update(made[-1] if made else None, update))
    return made


def test_the_newest_stays_alone_where_there_is_no_room_for_two() -> None:
    made = versions(5)
    size = sum(tensor.nbytes for tensor in made[0].tensors.values())
    for room, left in ((0, [4]), (2 * size - 1, [4]), (2 * size, [0, 4]), (5 * size, [0, 1, 2, 3, 4])):
        kept = KeptVersions(10, room)
        for each in made:
            kept.add(each)
        assert [each.version for each in kept] == [Version(1, number) for number in left]
        assert kept.bytes == len(left) * size


def test_a_version_that_is_gone_back_to_can_be_followed_by_deltas_again() -> None:
    publisher, assembler = Publisher(), UpdateAssembler(KeyRing.of(LEARNER), lambda _, why: print(why))
    kept = KeptVersions(10, 1 << 20)
    for number in range(4):
        publisher.nudge(number)
        for record in publisher.publish(base=number == 0).records:
            update = assembler.feed(*record)
            assert update is not None
            kept.add(apply_update(kept.newest, update))
    newest = kept.newest
    assert newest is not None
    # What only made the next version cheap is forgotten, and found out again when it is needed.
    update_again = Update(newest.manifest, {"weights": newest.tensors["weights"]})
    kept.drop_between(Version(1, 2), Version(1, 99))
    again = apply_update(kept.newest, update_again)
    assert again.digest == newest.digest
