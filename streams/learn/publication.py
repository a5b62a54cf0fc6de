"""What a learner writes when it publishes a version: an update for servers and, now and then, its full state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as library_version

from rheostat.learners.contract import KnowsTouchedRows, Learner
from rheostat.learners.digest import Rows, tensors_digest
from rheostat.learners.features import select
from rheostat.learners.wrapping import Reports
from rheostat.streams.learn.examples import Examples
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.state import SavedState, state_records
from rheostat.streams.models.commands import Command
from rheostat.streams.models.manifest import Facts, Probe
from rheostat.streams.models.signing import Signer
from rheostat.streams.models.update import Published, build_update
from rheostat.streams.models.version import Version

_RIVER = ("linear", "river", "river-linear", "river-fm", "river-gaussian-nb")
LIBRARIES = {
    **dict.fromkeys(_RIVER, ("river", "numpy")),
    "hashed-mlp": ("torch", "numpy"),
    "torch-module": ("torch", "numpy"),
    "linear-bandit": ("numpy",),
}
"""The libraries whose versions are published, by the family of a learner's kind."""


@dataclass(frozen=True, slots=True)
class Made:
    """(key, value) records for `models` and `models.state`; `kind` is base or delta."""

    kind: str
    updates: list[tuple[bytes, bytes]]
    states: list[tuple[bytes, bytes]]


class Publisher:
    """Remembers what the next delta builds on, and a few inputs to serve as golden probes."""

    def __init__(self, settings: LearnSettings, signer: Signer, learner: Learner) -> None:
        self._settings = settings
        self._signer = signer
        self._parent: Published | None = None
        self.restart(learner)
        self._newest: Examples | None = None
        family = learner.kind.partition("/")[0]
        self._libraries = {name: library_version(name) for name in LIBRARIES.get(family, ())}

    def continue_from(self, digest: str) -> None:
        """Go on after a restart: the learner stands at the version with this digest."""
        tensors = self._learner.parameters()
        assert tensors_digest(tensors) == digest
        self._parent = Published(digest, tensors)
        self._touched_rows()

    def restart(self, learner: Learner) -> None:
        """Publish for another learner from now on; its first version is a base."""
        self._learner = learner
        self._tracked = learner if isinstance(learner, KnowsTouchedRows) else None
        self._parent = None

    def publish(
        self,
        version: Version,
        offsets: Mapping[int, int],
        learned: Sequence[Examples],
        examples_total: int,
        loss: float | None,
        now_ms: int,
        command: Command | None,
    ) -> Made:
        """Return the records of the version that the learner now is."""
        self._newest = learned[-1] if learned else self._newest
        base = version.sequence % self._settings.base_every == 0
        facts = Facts(
            model=self._settings.model,
            version=version,
            learner=self._learner.kind,
            schema=self._learner.schema,
            published_at_ms=now_ms,
            offsets=offsets,
            training=tuple(run for part in learned for run in part.filled),
            examples_total=examples_total,
            metrics={**({} if loss is None else {"brier": loss}), **self._reported()},
            libraries=self._libraries if base else {},
            probes=self._scored_probes() if base else (),
            command_id=None if command is None else command.command_id,
        )
        built = build_update(
            facts,
            self._learner.parameters(),
            None if base else self._parent,
            self._signer,
            self._settings.chunk_bytes_max,
            touched=self._touched_rows(),
        )
        self._parent = built.published
        return Made(built.manifest.kind, built.records, self._states(version, offsets))

    def _states(self, version: Version, offsets: Mapping[int, int]) -> list[tuple[bytes, bytes]]:
        if version.sequence % self._settings.state_every:
            return []
        state = SavedState(self._settings.model, version, self._learner.snapshot(), offsets)
        return state_records(state, self._settings.chunk_bytes_max)

    def _touched_rows(self) -> Mapping[str, Rows]:
        """Return the rows that changed since the last call, of those parameters where the learner knows it."""
        return {} if self._tracked is None else self._tracked.touched_rows()

    def _reported(self) -> Mapping[str, float]:
        """Return what the learner tells about itself, where it does."""
        return self._learner.metrics() if isinstance(self._learner, Reports) else {}

    def _scored_probes(self) -> tuple[Probe, ...]:
        """Take the first rows of the newest examples, so that probes look like what is being served."""
        if self._newest is None:
            return ()
        rows = slice(0, self._settings.probes_max)
        # A server that checks a probe knows its features alone.
        inputs = replace(select(self._newest.batch, rows), context=None)
        scores = self._learner.predict(inputs).tolist()
        records = self._newest.records.slice(0, len(scores))
        columns = records.column("numeric").to_pylist(), records.column("categorical").to_pylist(), scores
        return tuple(Probe(tuple(numbers), tuple(texts), score) for numbers, texts, score in zip(*columns, strict=True))
