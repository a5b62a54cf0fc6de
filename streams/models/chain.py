"""Versions of one model, each made of the one before, as a follower makes them; nothing is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rheostat.streams.models.apply import Rebuilt, rebuild
from rheostat.streams.models.held import HeldDeltas
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.spares import Spares
from rheostat.streams.models.update import Update


class Chain:
    """Takes complete updates. `current` is the newest version, None before the first base.

    check: raises Refused for a version that must not be taken.
    """

    def __init__(self, check: Callable[[Rebuilt], None] = lambda _: None) -> None:
        self.current: Rebuilt | None = None
        self._check = check
        self._held = HeldDeltas()
        self._spares = Spares()

    def take(self, update: Update) -> Iterator[tuple[Update, Rebuilt | Refused]]:
        """Yield what becomes of an update and, behind a base, of the deltas that had come before it."""
        updates = [update]
        for each in updates:
            manifest = each.manifest
            try:
                built = rebuild(self.current, each, self._spares)
                self._check(built)
            except Refused as refused:
                if refused.check == "gap":
                    self._held.hold(each)
                yield each, refused
                continue
            self.current = built
            if manifest.kind == "base":
                self._spares.clear()
                updates += self._held.take(manifest.version)
            yield each, built
