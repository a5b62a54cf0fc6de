"""What the detectors count."""

from __future__ import annotations

import numpy as np

from rheostat.streams.intake.released import REASON
from rheostat.streams.watch.detectors import Detectors
from rheostat.streams.watch.rows import read_rows
from rheostat.streams.watch.settings import WatchSettings
from tests.support.slow_traffic import SMALL, T0_MS
from tests.support.watch_rows import entries_block, entry

ENTRIES = [entry(f"e{row}", T0_MS + row, source="web", segment="s", target_id=f"item-{row % 3}") for row in range(9)]


def seen(entries: list[dict[str, object]], cuts: tuple[int, ...] = ()) -> dict[str, bytes]:
    detectors = Detectors(WatchSettings(SMALL))
    for start, end in zip((0, *cuts), (*cuts, len(entries)), strict=True):
        detectors.see(read_rows([entries_block(entries[start:end])]), lambda number: None)
    return {name: table.tobytes() for name, table in detectors.tables().items()}


def test_what_was_in_quarantine_before_is_not_counted_again() -> None:
    again = [{**each, "reasons": f"{REASON}; it was a launch"} for each in ENTRIES[3:]]
    assert seen(ENTRIES + again) == seen(ENTRIES)
    assert seen(ENTRIES[:3]) != seen(ENTRIES)


def test_cuts_do_not_matter() -> None:
    assert seen(ENTRIES, (2, 3, 7)) == seen(ENTRIES)


def test_every_dimension_counts_by_its_own_field() -> None:
    detectors = Detectors(WatchSettings(SMALL))
    detectors.see(read_rows([entries_block(ENTRIES)]), lambda number: None)
    watched = {
        name: np.count_nonzero(detectors.tables()[f"{name}.watched"]["low"])
        for name in ("target", "subject", "source", "segment")
    }
    assert watched == {"target": 3, "subject": 1, "source": 1, "segment": 1}
