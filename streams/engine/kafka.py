"""Kafka by confluent-kafka (librdkafka): the broker of production."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from rheostat.streams.engine.block import TopicPartition
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.kafka_consumer import KafkaGroupConsumer, KafkaStaticConsumer
from rheostat.streams.engine.kafka_errors import translate
from rheostat.streams.engine.kafka_log import NO_STARTS, KafkaLog, KafkaTailer, Offsets
from rheostat.streams.engine.kafka_messages import Deadline, pause_briefly
from rheostat.streams.engine.kafka_producer import KafkaProducer, KafkaTransactionalProducer
from rheostat.streams.engine.kafka_settings import KafkaSettings, Setting
from rheostat.streams.errors import ConfigError, Retryable

_ANSWER_TIMEOUT_S = 5.0
_CREATE_TIMEOUT_S = 15.0
_DESCRIBE_TIMEOUT_S = 2.0


class KafkaBroker:
    """A connection to one Kafka cluster. Nothing is contacted before the first call.

    See `KafkaSettings` for the arguments. The first call raises ConfigError if no broker answers.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        prefix: str = "",
        protocol: Literal["consumer", "classic"] = "consumer",
        instance_id: str | None = None,
        overrides: Mapping[str, Setting] | None = None,
        consumer_overrides: Mapping[str, Setting] | None = None,
        producer_overrides: Mapping[str, Setting] | None = None,
    ) -> None:
        self._settings = KafkaSettings(
            bootstrap,
            prefix,
            protocol,
            instance_id,
            overrides or {},
            consumer_overrides or {},
            producer_overrides or {},
        )
        self._admin: AdminClient | None = None

    def check(self) -> None:
        """Raise ConfigError unless a broker answers within a few seconds."""
        self._connected()

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that do not exist and wait until they can be used; return the names of those created."""
        admin, prefix = self._connected(), self._settings.prefix
        existing = set(admin.list_topics(timeout=_ANSWER_TIMEOUT_S).topics)
        missing = [spec for spec in topics if prefix + spec.name not in existing]
        if not missing:
            return []
        asked = [
            NewTopic(
                prefix + spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication,
                config=dict(spec.config),
            )
            for spec in missing
        ]
        futures = admin.create_topics(asked, operation_timeout=_CREATE_TIMEOUT_S)
        created = [spec.name for spec in missing if _is_new(futures[prefix + spec.name].result, spec.name)]
        self._await_leaders([prefix + spec.name for spec in missing])
        # Listed is not yet served: asking where the partitions end waits until their leaders answer.
        offsets = self._offsets()
        offsets.high(offsets.all_of(spec.name for spec in missing))
        return created

    def group_consumer(self, group: str, topics: Sequence[str], *, name: str = "") -> KafkaGroupConsumer:
        """Join a consumer group; assignment is co-partitioned (range). `name` is its client.id."""
        self._offsets().all_of(topics)
        return KafkaGroupConsumer(self._settings, group, topics, name)

    def held_by(self, group: str, name: str) -> list[TopicPartition]:
        """Return what a group holds for members of this name, be they dead; nothing if the broker does not tell."""
        prefix = self._settings.prefix
        try:
            asked = self._connected().describe_consumer_groups([prefix + group], request_timeout=_DESCRIBE_TIMEOUT_S)
            members = asked[prefix + group].result().members
        except KafkaException:
            return []
        held = [tp for each in members if each.client_id == prefix + name for tp in each.assignment.topic_partitions]
        return sorted(TopicPartition(tp.topic[len(prefix) :], tp.partition) for tp in held)

    def static_consumer(self, group: str, topics: Sequence[str]) -> KafkaStaticConsumer:
        """Own all partitions of the topics, with offsets kept under `group`."""
        return KafkaStaticConsumer(self._settings, group, self._offsets().all_of(topics))

    def transactional_producer(self, transactional_id: str) -> KafkaTransactionalProducer:
        """Register a producer; an older one with the same id is fenced and its open transaction aborted."""
        self._connected()
        return KafkaTransactionalProducer(self._settings, transactional_id)

    def producer(self) -> KafkaProducer:
        """Open a plain producer."""
        self._connected()
        return KafkaProducer(self._settings)

    def log(self) -> KafkaLog:
        """Open a read-only view."""
        return KafkaLog(self._settings, self._offsets())

    def tailer(
        self, topics: Sequence[str], *, from_beginning: bool, starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> KafkaTailer:
        """Follow topics from their beginning or from their present end; partitions in `starts` from there."""
        return KafkaTailer(self._settings, self._offsets(), topics, from_beginning, starts)

    def _offsets(self) -> Offsets:
        return Offsets(self._settings, self._connected())

    def _connected(self) -> AdminClient:
        """Return the admin client; the first time, ask the cluster whether it is there."""
        if self._admin is None:
            reasons: list[str] = []
            conf: dict[str, Any] = {
                **self._settings.common(),
                # The reason comes by the callback; the log would repeat it for each attempt.
                "log_level": 2,
                "error_cb": lambda error: reasons.append(error.str()),
            }
            admin = AdminClient(conf)
            try:
                admin.list_topics(timeout=_ANSWER_TIMEOUT_S)
            except KafkaException as error:
                admin.poll(0)
                raise ConfigError(
                    f"no Kafka broker answers at {self._settings.bootstrap} ({_reason(reasons, error)}): "
                    "start one, or correct the bootstrap address"
                ) from error
            self._admin = admin
        return self._admin

    def _await_leaders(self, names: Sequence[str]) -> None:
        """Wait until every partition of new topics has a leader."""
        deadline = Deadline(_CREATE_TIMEOUT_S * 1000)
        while deadline.left_ms():
            listed = self._connected().list_topics(timeout=_ANSWER_TIMEOUT_S).topics
            found = [listed[name] for name in names if name in listed and listed[name].partitions]
            if len(found) == len(names) and all(p.leader >= 0 for t in found for p in t.partitions.values()):
                return
            pause_briefly()
        raise Retryable(f"new topics have no leader after {_CREATE_TIMEOUT_S:.0f} s: {', '.join(names)}")


def _is_new(result: Callable[[], object], name: str) -> bool:
    """Whether a creation succeeded; a rival may have been first."""
    try:
        result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise translate(error.args[0], f"create topic {name}") from error
    return True


def _reason(reasons: Sequence[str], error: KafkaException) -> str:
    return reasons[0] if reasons else str(error.args[0].str())
