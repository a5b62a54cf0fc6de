"""Fills a weigher again from the end of the ledger."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_fields, decode_own
from rheostat.streams.engine.packed import Packed
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.influence import Influence
from rheostat.streams.intake.leading import leading_fields
from rheostat.streams.intake.settings import WeightSettings
from rheostat.streams.intake.strings import lengths_of
from rheostat.streams.intake.weigher import Weigher

_ALL = np.iinfo(np.int64).min

_WEIGHT_FIELDS = 13
"""How many leading fields of a record are looked at for actors: everything up to `weight`."""


class Recall:
    """Takes the ledger run by run, from `since_ms` on or earlier: actors are charged at once, signals in the end."""

    def __init__(self, weigher: Weigher, settings: WeightSettings, watermark_ms: int | None) -> None:
        self._weigher = weigher
        self._signals_max = settings.conflict_signals_max
        self.since_ms = _ALL if watermark_ms is None else Influence.tail_ms(watermark_ms)
        self._newest: deque[Packed] = deque()
        self._kept = 0

    def tell(self, run: Packed) -> None:
        """Take a run of the ledger."""
        if run.timestamps_ms.max() >= self.since_ms:
            self.since_ms = _ALL  # From here on all of them, since late events are charged too.
            self._weigher.charge(*_charges(run), run.timestamps_ms)
        self._newest.append(run)
        self._kept += len(run)
        while self._kept - len(self._newest[0]) >= self._signals_max:
            self._kept -= len(self._newest.popleft())

    def finish(self, watermark_ms: int | None) -> None:
        """Remember the newest signals; the ledger's watermark is that of all of it."""
        while self._newest:
            self._weigher.recall(decode_own(catalogue.LEDGER, self._newest.popleft().values()))
        if watermark_ms is not None:
            self._weigher.signals.advance(watermark_ms)


def _charges(run: Packed) -> tuple[Fingerprints, NDArray[np.bool_], NDArray[np.float64]]:
    """Return the actors of a run, which of them are known, and what their events weigh."""
    found = leading_fields(catalogue.LEDGER, run, _WEIGHT_FIELDS)
    if found is not None:
        return found.fingerprints("subject"), found.present("subject"), found.doubles("weight")
    entries = decode_fields(catalogue.LEDGER, run.values(), _WEIGHT_FIELDS)
    subjects = entries.column("subject")
    return fingerprints(subjects), lengths_of(subjects) > 0, entries.column("weight").to_numpy()
