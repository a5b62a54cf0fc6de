"""Events of several partitions come out in the order of their times, and none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.watch.rows import Rows, read_rows
from rheostat.streams.watch.waiting import Waiting
from tests.support.watch_rows import entries_block, entry

IDLE_MS = 2_000
NOW_MS = 10_000_000


def rows_of(partition: int, *times: int, topic: str = "feedback.ledger") -> Rows:
    block = entries_block([entry(f"{partition}-{at}", at) for at in times], partition=partition, topic=topic)
    return read_rows([block])


def times_of(rows: Rows) -> list[int]:
    times: list[int] = rows.events.times_ms.tolist()
    return times


histories = st.lists(st.lists(st.integers(0, 500), max_size=12).map(sorted), min_size=3, max_size=3)


@given(histories, st.lists(st.integers(0, 2), max_size=60), st.integers(1, 5))
def test_partitions_read_at_different_speeds_give_one_order(
    histories: list[list[int]], turns: list[int], at_once: int
) -> None:
    waiting = Waiting(3, IDLE_MS, 1_000)
    # Everybody has been heard of, so everybody is waited for.
    out = times_of(waiting.take(read_rows([entries_block([entry(f"{p}", 0)], partition=p) for p in range(3)]), NOW_MS))
    left = [list(history) for history in histories]
    for partition in turns:
        batch, left[partition] = left[partition][:at_once], left[partition][at_once:]
        out += times_of(waiting.take(rows_of(partition, *batch), NOW_MS))
    for partition in range(3):
        out += times_of(waiting.take(rows_of(partition, *left[partition]), NOW_MS))
    out += times_of(waiting.take(read_rows([]), NOW_MS + IDLE_MS))
    assert out == sorted([0, 0, 0, *(at for history in histories for at in history)])
    assert len(waiting) == 0


def test_a_silent_partition_is_not_waited_for() -> None:
    waiting = Waiting(2, IDLE_MS, 1_000)
    waiting.take(rows_of(0, 1), NOW_MS)
    assert times_of(waiting.take(rows_of(1, 5), NOW_MS)) == [1]
    assert times_of(waiting.take(rows_of(1, 9), NOW_MS + IDLE_MS - 1)) == []
    assert times_of(waiting.take(read_rows([]), NOW_MS + IDLE_MS)) == [5, 9]


def test_who_was_never_heard_of_is_waited_for_at_first() -> None:
    waiting = Waiting(2, IDLE_MS, 1_000)
    waiting.take(read_rows([]), NOW_MS - IDLE_MS)
    assert times_of(waiting.take(rows_of(0, 7, 9), NOW_MS)) == []
    assert times_of(waiting.take(rows_of(1, 8), NOW_MS)) == [7, 8]


def test_quarantine_keeps_nobody_waiting_and_waits_itself() -> None:
    waiting = Waiting(2, IDLE_MS, 1_000)
    waiting.take(rows_of(0, 1), NOW_MS)
    waiting.take(rows_of(1, 1), NOW_MS)
    assert times_of(waiting.take(rows_of(0, 8, topic="feedback.quarantine"), NOW_MS)) == []
    assert times_of(waiting.take(rows_of(0, 9), NOW_MS)) == []
    assert times_of(waiting.take(rows_of(1, 10), NOW_MS)) == [8, 9]


def test_at_most_so_many_wait() -> None:
    waiting = Waiting(2, IDLE_MS, 3)
    waiting.take(rows_of(1, 0), NOW_MS)
    assert times_of(waiting.take(rows_of(0, 1, 2, 3, 4, 5), NOW_MS)) == [0, 1, 2]
    assert len(waiting) == 3
