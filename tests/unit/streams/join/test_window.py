"""Event time and its limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.engine.block import Committed
from rheostat.streams.join.window import FUTURE_MS_MAX, NEVER, Progress, newest_progress

NOW = 10_000_000


def test_the_topic_behind_is_waited_for_but_only_for_a_window() -> None:
    level = Progress().seen(5_000, 5_000, NOW).advanced(1_000, 0)
    assert level.predictions_horizon == level.feedback_horizon == 4_000
    behind = Progress().seen(5_500, 5_000, NOW).advanced(1_000, 0)
    assert behind.predictions_horizon == 4_000
    silent = Progress().seen(9_000, NEVER, NOW).advanced(1_000, 0)
    assert silent.predictions_horizon == 7_000


def test_a_date_in_the_future_moves_the_clock_only_a_little() -> None:
    far = Progress().seen(NOW * 100, NOW * 100, NOW).advanced(1_000, 0)
    assert far.predictions_horizon == NOW + FUTURE_MS_MAX - 1_000


@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans()), max_size=30))
def test_horizons_never_go_back(events: list[tuple[int, bool]]) -> None:
    progress = Progress()
    for time, is_prediction in events:
        after = progress.seen(time if is_prediction else NEVER, NEVER if is_prediction else time, NOW).advanced(100, 40)
        assert after.predictions_horizon >= progress.predictions_horizon
        assert after.feedback_horizon >= progress.feedback_horizon
        assert after.kept_horizon >= progress.kept_horizon
        assert after.kept_horizon == after.predictions_horizon - 40 or after.kept_horizon == NEVER
        progress = after


def test_progress_survives_the_metadata_and_the_newest_wins() -> None:
    older = Progress(3, 1, 2, 3, 4, 2, {"joined": 5})
    newer = Progress(4, 10, 2, 3, 4, 2, {"joined": 9})
    committed = [Committed(1, newer.dumps()), Committed(2, older.dumps()), Committed(None, "")]
    assert newest_progress(committed) == newer
    assert newest_progress([]) == Progress()
