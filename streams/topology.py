"""The pipeline as a table: stages, what they read and what they write. Worker, CLI and diagrams derive from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rheostat.schemas import catalogue
from rheostat.streams.engine.hops import Hop
from rheostat.streams.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StageRow:
    """One row of the topology. `per_model` stages run once for each configured model."""

    name: str
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    what: str
    per_model: bool = False


TOPOLOGY: tuple[StageRow, ...] = (
    StageRow(
        "intake",
        (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED, catalogue.ALARMS),
        (catalogue.LEDGER, catalogue.CORRECTIONS, catalogue.QUARANTINE, catalogue.DEADLETTER, catalogue.REKEYED),
        "normalise, validate, check consent, drop duplicates, score bursts, weigh",
    ),
    StageRow(
        "watch",
        (catalogue.LEDGER, catalogue.QUARANTINE, catalogue.RELEASED),
        (catalogue.ALARMS, catalogue.CORRECTIONS, catalogue.RELEASED, catalogue.WATCH_STATE, catalogue.AUDIT),
        "find bursts of hours and days over all partitions; correct what was accepted meanwhile",
    ),
    StageRow(
        "join",
        (catalogue.PREDICTIONS, catalogue.LEDGER),
        (catalogue.EXAMPLES, catalogue.DEADLETTER),
        "match feedback with the prediction it is about",
    ),
    StageRow(
        "learn",
        (catalogue.EXAMPLES, catalogue.MODELS_COMMANDS),
        (
            *(catalogue.MODELS, catalogue.MODELS_STATE, catalogue.EVALUATIONS),
            *(catalogue.MODELS_STATUS, catalogue.DECISIONS),
        ),
        "test, then train; publish versions, some withheld; go back on command",
        per_model=True,
    ),
    StageRow(
        "monitor",
        (catalogue.EVALUATIONS, catalogue.MODELS_STATUS),
        (catalogue.DECISIONS, catalogue.ALERTS, catalogue.MODELS_COMMANDS),
        "watch the loss, decide, command",
    ),
)

INTAKE_JOIN = StageRow(
    "intake-join",
    (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED, catalogue.ALARMS, catalogue.PREDICTIONS),
    (
        *(catalogue.LEDGER, catalogue.CORRECTIONS, catalogue.QUARANTINE, catalogue.DEADLETTER, catalogue.REKEYED),
        catalogue.EXAMPLES,
    ),
    "intake and join in one transaction: a hop less, for fresher models",
)
"""Takes the place of `intake` and `join` where it is asked for."""

SERVING = StageRow(
    "serve",
    (catalogue.MODELS, catalogue.MODELS_COMMANDS),
    (catalogue.PREDICTIONS, catalogue.MODELS_STATUS),
    "follow the model topic, answer requests, log predictions",
)

HOPS = {
    "intake": Hop("intake", catalogue.LEDGER),
    "intake-join": Hop("intake-join", catalogue.EXAMPLES),
    "join": Hop("join", catalogue.EXAMPLES),
    "learn": Hop("learn", catalogue.MODELS),
}
"""By stage, how trails come from an event to the version that learned it (`schemas/hops.py`)."""


def hop_of(stage: str) -> Hop | None:
    """Return the hop of a stage, by its name as the engine runs it; None for one that is not on the way."""
    return HOPS.get("learn" if stage.startswith("learn-") else stage)


def stage_names() -> tuple[str, ...]:
    """Return the names `rheostat worker --stages` takes."""
    return tuple(row.name for row in TOPOLOGY)


def rows(names: Iterable[str]) -> list[StageRow]:
    """Return the rows with these names, in pipeline order. Raises ConfigError for an unknown one, or one done twice."""
    wanted = set(names)
    known = {row.name: row for row in (INTAKE_JOIN, *TOPOLOGY)}
    if unknown := sorted(wanted - set(known)):
        raise ConfigError(f"no stage is called {unknown[0]!r}; stages are {', '.join(known)}")
    if INTAKE_JOIN.name in wanted and (twice := wanted & {"intake", "join"}):
        raise ConfigError(f"stages: {INTAKE_JOIN.name} does the work of {sorted(twice)[0]}; name one of them")
    return [row for row in known.values() if row.name in wanted]


def diagram() -> str:
    """Draw the pipeline as text, one stage a paragraph: sources, stage, outputs."""
    drawn = []
    for row in (*TOPOLOGY, SERVING):
        name = f"{row.name} (one for each model)" if row.per_model else row.name
        drawn.append(
            "\n".join(
                [
                    *(
                        f"  {source} ──┐" if index == 0 else f"  {source} ──┤"
                        for index, source in enumerate(row.sources)
                    ),
                    f"    [{name}]  {row.what}",
                    *(f"      └──► {output}" for output in row.outputs),
                ]
            )
        )
    return "\n\n".join(drawn)


def mermaid() -> str:
    """Return the pipeline as a Mermaid flow chart."""
    lines = ["flowchart LR"]
    for row in (*TOPOLOGY, SERVING):
        lines.append(f"  {row.name}[{row.name}]")
        lines.extend(f"  {_node(source)}([{source}]) --> {row.name}" for source in row.sources)
        lines.extend(f"  {row.name} --> {_node(output)}([{output}])" for output in row.outputs)
    return "\n".join(lines)


def _node(topic: str) -> str:
    return "t_" + topic.replace(".", "_")
