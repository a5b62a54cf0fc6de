from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.intake.sources import OTHER, SourceReport, Sources, SourceSettings
from tests.support.feedback import NOW_MS

HOUR_MS = 3_600_000


def seen(sources: Sources, name: str, delays_ms: list[int], now_ms: int = NOW_MS) -> None:
    times = now_ms - np.array(delays_ms, np.int64)
    sources.observe(pa.array([name] * len(times), pa.string()), times, now_ms)


def reports(sources: Sources) -> dict[str, SourceReport]:
    return {each.name: each for each in sources.report()}


@settings(deadline=None)
@given(st.lists(st.integers(-(10**11), 10**11), min_size=20, max_size=99))
def test_the_median_delay_is_right_within_a_tenth(delays: list[int]) -> None:
    sources = Sources()
    seen(sources, "web", delays)
    found = reports(sources)["web"].delay_ms
    ordered = sorted(delays)
    middle = ordered[(len(ordered) - 1) // 2]
    assert found is not None
    assert abs(found - middle) <= 0.1 * abs(middle) + 1


def test_a_clock_that_runs_ahead_is_named_and_others_are_not() -> None:
    sources = Sources()
    seen(sources, "web", [150] * 50)
    seen(sources, "kiosk", [-3 * HOUR_MS] * 50)
    found = reports(sources)
    assert found["web"].fault is None
    assert found["kiosk"].fault is not None
    assert found["kiosk"].fault.startswith("its clock is about ")
    assert found["kiosk"].fault.endswith(" h ahead")


def test_one_absurd_date_accuses_nobody() -> None:
    sources = Sources()
    seen(sources, "web", [150] * 50 + [-64 * 8766 * HOUR_MS])
    assert reports(sources)["web"].fault is None


def test_a_backlog_delays_all_sources_alike_and_one_that_is_late_alone_is_named() -> None:
    sources = Sources()
    seen(sources, "web", [HOUR_MS] * 50)
    seen(sources, "app", [HOUR_MS + 500] * 50)
    assert [each.fault for each in sources.report()] == [None, None]
    seen(sources, "kiosk", [4 * HOUR_MS] * 50)
    assert [each.name for each in sources.report() if each.fault] == ["kiosk"]


def test_a_clock_set_right_is_forgiven() -> None:
    sources = Sources()
    seen(sources, "kiosk", [-HOUR_MS] * 100)
    window_ms = SourceSettings().window_ms
    for step in range(1, 5):
        seen(sources, "kiosk", [100] * 100, NOW_MS + step * window_ms)
    assert reports(sources)["kiosk"].fault is None


def test_nothing_is_said_from_few_events() -> None:
    sources = Sources()
    seen(sources, "web", [-HOUR_MS] * 19)
    assert reports(sources)["web"] == SourceReport("web", 19, 0, None, None)


def test_names_are_bounded() -> None:
    sources = Sources(SourceSettings(names_max=2, name_chars_max=8))
    for name in ("abcdefgh-1", "abcdefgh-2", "b", "c", "d"):
        seen(sources, name, [1])
    sources.forwarded(pa.array(["b", "c", "c"]))
    found = [(each.name, each.events, each.forwarded) for each in sources.report()]
    assert found == [("abcdefgh", 2, 0), ("b", 1, 1), (OTHER, 2, 2)]
