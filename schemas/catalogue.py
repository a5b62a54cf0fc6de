"""All topics: names, keys, writers, partitions, retention, compaction. Nothing else in the project names a topic.

Topic creation, access rules, documentation and tests derive from `TOPICS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

PREDICTIONS = "predictions"
FEEDBACK_EXPLICIT = "feedback.explicit"
FEEDBACK_IMPLICIT = "feedback.implicit"
FEEDBACK_OUTCOME = "feedback.outcome"
FEEDBACK = (FEEDBACK_EXPLICIT, FEEDBACK_IMPLICIT, FEEDBACK_OUTCOME)
REKEYED = "feedback.rekeyed"
RELEASED = "feedback.released"
LEDGER = "feedback.ledger"
QUARANTINE = "feedback.quarantine"
DEADLETTER = "feedback.deadletter"
ALARMS = "feedback.alarms"
CORRECTIONS = "feedback.corrections"
WATCH_STATE = "watch.state"
EXAMPLES = "examples"
EVALUATIONS = "evaluations"
MODELS = "models"
MODELS_STATE = "models.state"
MODELS_COMMANDS = "models.commands"
MODELS_STATUS = "models.status"
ALERTS = "alerts"
DECISIONS = "decisions"
AUDIT = "audit"
PRIVACY_COMMANDS = "privacy.commands"
PRIVACY_RECEIPTS = "privacy.receipts"

MANIFEST = "manifest"
COMMAND = "command"

_DAY_MS = 86_400_000
FOREVER = -1
_MIB = 1024 * 1024
_RECORD_BYTES_MAX = 1 * _MIB


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_ms` counts event time, as record timestamps do; FOREVER (-1) keeps everything.

    co_partitioned: it has as many partitions as all other data topics, and a record stays in the partition number
    of the record it was made from. Other topics have one partition: they carry a few records a second, and readers
    need their order across keys (a command and the update that answers it, a decision and its alert).
    compacted: the broker keeps the newest record of every key for ever instead of a time span.
    cloudevents: its records carry `ce_` headers.
    carries: the schemas of its records, where that is not the one with the topic's own name.
    """

    name: str
    key: str
    writers: tuple[str, ...]
    purpose: str
    retention_ms: int = FOREVER
    co_partitioned: bool = False
    compacted: bool = False
    cloudevents: bool = False
    record_bytes_max: int = _RECORD_BYTES_MAX
    extra: Mapping[str, str] = field(default_factory=dict)
    carries: tuple[str, ...] = ()

    def partitions(self, data_partitions: int) -> int:
        """Return its partition count, given the one shared by all data topics."""
        return data_partitions if self.co_partitioned else 1

    def config(self) -> dict[str, str]:
        """Return the broker's settings of this topic."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.record_bytes_max),
            **self.extra,
        }


def _feedback(name: str, purpose: str, writer: str = "services", carries: tuple[str, ...] = ()) -> Topic:
    # 16 MiB, although intake refuses records far smaller: what the broker refuses nobody can set aside and explain.
    return Topic(
        name,
        "prediction_id, else subject_id",
        (writer,),
        purpose,
        retention_ms=7 * _DAY_MS,
        co_partitioned=True,
        record_bytes_max=16 * _MIB,
        # A clock far ahead is likewise intake's to refuse and explain; brokers of version 4 allow an hour by default.
        extra={"message.timestamp.after.max.ms": str(2**63 - 1)},
        carries=carries,
    )


def _data(name: str, key: str, writer: str, purpose: str, days: int, bytes_max: int = _RECORD_BYTES_MAX) -> Topic:
    return Topic(
        name,
        key,
        (writer,),
        purpose,
        retention_ms=days * _DAY_MS,
        co_partitioned=True,
        record_bytes_max=bytes_max,
    )


_ALL = (
    _data(PREDICTIONS, "prediction_id", "serving", "what was shown, with the features as used", 14),
    _feedback(FEEDBACK_EXPLICIT, "ratings, thumbs, corrections, verdicts"),
    _feedback(FEEDBACK_IMPLICIT, "clicks, dwell, dismissals, copies, undos"),
    _feedback(FEEDBACK_OUTCOME, "what came of it: conversions, completed tasks, escalations"),
    _feedback(REKEYED, "feedback that lay in another partition than its own", writer="intake", carries=FEEDBACK),
    # Longer than the window of duplicates (24 h by default) and never compacted: intake rebuilds the ids from them.
    _data(LEDGER, "prediction_id, else subject_id", "intake", "every accepted event, with weight and origin", 30),
    _data(QUARANTINE, "prediction_id, else subject_id", "intake", "events held back; can be released", 30),
    Topic(
        RELEASED,
        "prediction_id, else subject_id",
        ("people", "watch"),
        "events released from quarantine, and accepted ones that get their weight back",
        retention_ms=30 * _DAY_MS,
        co_partitioned=True,
        carries=(QUARANTINE, LEDGER),
    ),
    # Intake goes by them at the moment an event comes, so each partition number has a copy of every alarm.
    _data(ALARMS, "alarm number", "watch", "bursts of hours and days, and lockstep, as they stand", 90),
    Topic(
        CORRECTIONS,
        "prediction_id, else subject",
        ("intake", "watch"),
        "how much accepted events count after the fact",
        retention_ms=30 * _DAY_MS,
        co_partitioned=True,
    ),
    Topic(
        WATCH_STATE,
        "chunk or reading",
        ("watch",),
        "what the watch goes on from after a restart",
        compacted=True,
    ),
    # Larger than any feedback record: it holds the record's own bytes and says what is wrong.
    _data(DEADLETTER, "as it came", "intake", "records that cannot be used, original bytes kept", 30, 17 * _MIB),
    _data(EXAMPLES, "prediction_id", "join", "features, label, weight; what learners learn from", 30),
    Topic(
        EVALUATIONS,
        "model",
        ("learn",),
        "test-then-train statistics of every block",
        retention_ms=30 * _DAY_MS,
    ),
    Topic(
        MODELS,
        "model, kind, version, chunk",
        ("learn",),
        "signed bases and deltas of model parameters",
        compacted=True,
        record_bytes_max=8 * _MIB,
    ),
    Topic(
        MODELS_STATE,
        "model, version, chunk",
        ("learn",),
        "full learner state, to go back to or restart from",
        compacted=True,
        record_bytes_max=8 * _MIB,
    ),
    Topic(
        MODELS_COMMANDS,
        "model",
        ("monitor", "people"),
        "signed orders: rollback, promote, freeze, resume, pin",
        cloudevents=True,
    ),
    Topic(
        MODELS_STATUS,
        "member",
        ("serving", "learn"),
        "what each server and learner really runs",
        retention_ms=7 * _DAY_MS,
        cloudevents=True,
    ),
    Topic(ALERTS, "rule", ("monitor",), "incidents opened and closed", 90 * _DAY_MS, cloudevents=True),
    Topic(DECISIONS, "model", ("monitor", "learn"), "verdicts with everything they rest on", cloudevents=True),
    Topic(AUDIT, "object", ("all",), "actions that someone may ask about later", cloudevents=True),
    Topic(PRIVACY_COMMANDS, "subject_id", ("people",), "consent changes and erasure requests", cloudevents=True),
    Topic(PRIVACY_RECEIPTS, "subject", ("all",), "signed proof of what was done", cloudevents=True),
)

TOPICS: Mapping[str, Topic] = MappingProxyType({topic.name: topic for topic in _ALL})
"""Every topic by its name. The schema of a topic has the topic's name, unless the topic says what it carries."""

DATA_PARTITIONS = 4
"""Default partition count of the data topics."""


class TopicSettings(NamedTuple):
    """What a broker needs to create one topic."""

    name: str
    partitions: int
    config: dict[str, str]


def topic_settings(data_partitions: int = DATA_PARTITIONS, replication: int = 1) -> list[TopicSettings]:
    """Return all topics as a broker creates them.

    With three replicas or more a write must be on two of them (min.insync.replicas), so that losing one broker
    neither loses records nor stops the pipeline.
    """
    if data_partitions < 1 or replication < 1:
        raise ValueError(f"data_partitions ({data_partitions}) and replication ({replication}) must be at least 1")
    insync = {"min.insync.replicas": "2" if replication >= 3 else "1"}
    return [
        TopicSettings(topic.name, topic.partitions(data_partitions), {**topic.config(), **insync}) for topic in _ALL
    ]


def topics_table(data_partitions: int = DATA_PARTITIONS) -> str:
    """Return all topics as a Markdown table."""
    head = "| topic | key | written by | partitions | kept | record at most | what |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(_row(topic, data_partitions) for topic in _ALL)


def _row(topic: Topic, data_partitions: int) -> str:
    writers = ", ".join(topic.writers)
    partitions = topic.partitions(data_partitions)
    size = f"{topic.record_bytes_max // _MIB} MiB"
    return f"| `{topic.name}` | {topic.key} | {writers} | {partitions} | {_kept(topic)} | {size} | {topic.purpose} |\n"


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "newest of each key"
    return "for ever" if topic.retention_ms == FOREVER else f"{topic.retention_ms // _DAY_MS} days"
