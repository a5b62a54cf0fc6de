"""How many records a transaction takes of what waits: as many as are worked on for a given time.

With too few, what a transaction costs by itself is most of the time; with too many, what waits behind them, a command
to roll back among it, waits long. A stage that takes 4 us for a record and one that takes 400 need other shares.
"""

from __future__ import annotations

RECORDS_FIRST = 10_000
RECORDS_LEAST = 1_000
_GROWTH = 4.0


class Share:
    """The share of one loop, which follows how long the last ones took.

    records_max: bounds it. work_ms: how long one is to be worked on; 0 for any time, then it is always `records_max`.
    """

    def __init__(self, records_max: int, work_ms: int) -> None:
        self._most = records_max
        self._least = min(RECORDS_LEAST, records_max)
        self._work_s = work_ms / 1000
        self.records = min(RECORDS_FIRST, records_max) if work_ms else records_max

    def took(self, records: int, seconds: float) -> None:
        """Take in how long some records were worked on. Fewer than could be had say that there is time enough."""
        full = records >= self.records
        if not self._work_s or not (full or seconds > self._work_s):
            return
        change = min(max(self._work_s / max(seconds, 1e-6), 1.0 / _GROWTH), _GROWTH)
        self.records = min(max(round(records * change), self._least), self._most)
