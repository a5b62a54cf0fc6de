"""Topics on the broker, as the catalogue has them."""

from __future__ import annotations

from rheostat.schemas import catalogue
from rheostat.streams.engine.broker import Broker, TopicSpec


def create_topics(broker: Broker, data_partitions: int, replication: int) -> list[str]:
    """Create the catalogue's topics that do not exist; return the names of those created."""
    wanted = catalogue.topic_settings(data_partitions, replication)
    return broker.create_topics([TopicSpec(each.name, each.partitions, each.config, replication) for each in wanted])
