"""What a learner writes when it publishes a version: an update for servers and, now and then, its full state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version as library_version

from rheostat.learners.contract import Batch, KnowsTouchedRows, Learner, Tensors
from rheostat.learners.digest import Rows, tensors_digest
from rheostat.learners.features import select
from rheostat.learners.wrapping import Reports
from rheostat.streams.learn.examples import Examples
from rheostat.streams.learn.gate import Gate
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.state import SavedState, state_records
from rheostat.streams.models.base_parts import BaseInParts
from rheostat.streams.models.commands import Command
from rheostat.streams.models.manifest import Facts, Probe
from rheostat.streams.models.signing import Signer
from rheostat.streams.models.update import BuiltUpdate, Published, build_update
from rheostat.streams.models.version import Version

_RIVER = ("linear", "river", "river-linear", "river-fm", "river-gaussian-nb")
LIBRARIES = {
    **dict.fromkeys(_RIVER, ("river", "numpy")),
    "hashed-mlp": ("torch", "numpy"),
    "torch-module": ("torch", "numpy"),
    "linear-bandit": ("numpy",),
}
"""The libraries whose versions are published, by the family of a learner's kind."""

UNTRAINED = Version(0, 0)
"""The first version of every model."""


@dataclass(frozen=True, slots=True)
class Made:
    """(key, value) records for `models` and `models.state`; `kind` is base or delta, `withheld` as in `Facts`."""

    kind: str
    withheld: tuple[str, ...]
    updates: list[tuple[bytes, bytes]]
    states: list[tuple[bytes, bytes]]


class Publisher:
    """Remembers what the next delta builds on, and a few inputs to serve as golden probes."""

    def __init__(self, settings: LearnSettings, signer: Signer, learner: Learner, gate: Gate) -> None:
        self._settings = settings
        self._signer = signer
        self._gate = gate
        self._parent: Published | None = None
        self._base: BaseInParts | None = None
        self._base_owed = False
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
        # Whether the last base in parts was completed is not known.
        self._base_owed = self._in_parts()

    def restart(self, learner: Learner) -> None:
        """Publish for another learner from now on; its first version is a base."""
        self._learner = learner
        self._tracked = learner if isinstance(learner, KnowsTouchedRows) else None
        self._parent = None
        self._base = None

    def publish(
        self,
        version: Version,
        offsets: Mapping[int, int],
        learned: Sequence[Examples],
        examples_total: int,
        loss: float | None,
        now_ms: int,
        command: Command | None,
        *,
        left_out: bool = False,
    ) -> Made:
        """Return the records of the version that the learner now is. Raises NotFinite where it must not be published.

        left_out: the examples were not learned after all.
        """
        if learned and not left_out:
            self._newest = learned[-1]
        due = version.sequence % self._settings.base_every == 0
        beside = (due or self._base_owed) and self._in_parts()
        base = due and not beside
        facts = Facts(
            model=self._settings.model,
            version=version,
            learner=self._learner.kind,
            schema=self._learner.schema,
            published_at_ms=now_ms,
            offsets=offsets,
            training=tuple(replace(run, learned=not left_out) for part in learned for run in part.filled),
            examples_total=examples_total,
            metrics={**({} if loss is None else {"brier": loss}), **self._reported()},
            libraries=self._libraries if base or beside else {},
            probes=self._scored_probes() if base or beside else (),
            command_id=None if command is None else command.command_id,
            mode=self._settings.mode,
        )
        built = build_update(
            facts,
            self._learner.parameters(),
            None if base else self._parent,
            self._signer,
            self._settings.chunk_bytes_max,
            touched=self._touched_rows(),
            judge=partial(self._judged, base=base or beside),
        )
        self._parent = built.published
        if beside and self._base is None and built.manifest.kind == "delta":
            self._begin_base(built)
        facts = built.manifest.facts
        return Made(built.manifest.kind, facts.withheld, built.records, self._states(version, offsets))

    @property
    def digest(self) -> str:
        """The digest of the newest version, which the learner stands at."""
        assert self._parent is not None, "nothing is published yet"
        return self._parent.digest

    @property
    def in_parts(self) -> bool:
        """Whether a base is being told of which parts are still to come."""
        return self._base is not None

    def base_part(self) -> list[tuple[bytes, bytes]]:
        """Return the records of the next part of a base in parts, to be written behind everything else; often none."""
        if self._base is None:
            return []
        records = self._base.part()
        if self._base.done:
            self._base = None
        return records

    def _in_parts(self) -> bool:
        """Whether a base can be told in parts, and is large enough for that."""
        size = sum(tensor.nbytes for tensor in self._learner.parameters().values())
        return self._parent is not None and size > self._settings.base_part_bytes_max

    def _begin_base(self, delta: BuiltUpdate) -> None:
        settings, self._base_owed = self._settings, False
        tensors = delta.published.tensors
        self._base = BaseInParts(
            delta.manifest, tensors, self._signer, settings.chunk_bytes_max, settings.base_part_bytes_max
        )

    def _judged(self, facts: Facts, tensors: Tensors, carried: Tensors, *, base: bool) -> Facts:
        """Return the facts with the gate's verdict. What nothing was learned for may be answered with in any mode."""
        probes = self._probe_inputs() if facts.probes else None
        failed = self._gate.judge(self._learner, tensors, carried, probes, facts.examples_total, base=base)
        mode = () if facts.mode == "online" or facts.version == UNTRAINED else (facts.mode,)
        return replace(facts, withheld=(*failed, *mode), probes=() if "probes" in failed else facts.probes)

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

    def _probe_inputs(self) -> Batch:
        assert self._newest is not None
        # A server that checks a probe knows its features alone.
        return replace(select(self._newest.batch, slice(0, self._settings.probes_max)), context=None)

    def _scored_probes(self) -> tuple[Probe, ...]:
        """Take the first rows of the newest examples, so that probes look like what is being served."""
        if self._newest is None:
            return ()
        scores = self._learner.predict(self._probe_inputs()).tolist()
        records = self._newest.records.slice(0, len(scores))
        columns = records.column("numeric").to_pylist(), records.column("categorical").to_pylist(), scores
        return tuple(Probe(tuple(numbers), tuple(texts), score) for numbers, texts, score in zip(*columns, strict=True))
