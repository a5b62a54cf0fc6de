"""How long events took until a version that learned them was in use: the ends of trails (`schemas/hops.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rheostat.schemas import catalogue
from rheostat.schemas.hops import Trail, thinned
from rheostat.streams.engine.block import Block, Headers
from rheostat.streams.engine.hops import TRAILS_MAX, trails_of
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.update import key_model


class ServedTrails:
    """Keeps the trails of updates until their model's next version is in use, and shows them then."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: dict[str, list[Trail]] = {}
        self._in_use: dict[str, object] = {}

    def followed(self, blocks: Sequence[Block], read_ms: int, in_use: Mapping[str, object], now_ms: int) -> None:
        """Take what was read and, by model, what is in use by `now_ms`; trails of other models end here."""
        for block in blocks:
            if block.topic == catalogue.MODELS and block.headers is not None:
                self._read(block.keys, block.headers, read_ms)
        for model, version in in_use.items():
            if self._in_use.get(model) is not version:
                self._in_use[model] = version
                self._metrics.followed(model, self._waiting.pop(model, ()), read_ms, now_ms)
        for model in self._waiting.keys() - in_use.keys():
            del self._waiting[model]

    def _read(self, keys: Sequence[bytes | None], headers: Sequence[Headers | None], read_ms: int) -> None:
        for key, own in zip(keys, headers, strict=True):
            model = key_model(key)
            if own and model is not None:
                found = trails_of([[own]], read_ms, self._bad)
                self._waiting[model] = thinned([*self._waiting.get(model, ()), *found], TRAILS_MAX)

    def _bad(self, fault: str) -> None:
        self._metrics.follower_bad_trails_total.labels(fault).inc()
