"""`rheostat topics`: the topics of the catalogue, shown or created."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rheostat.schemas import catalogue
from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.provision import create_topics


def topics(
    create: Annotated[bool, typer.Option("--create", help="Create those that do not exist.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show the pipeline's topics, or create them.

    Example: `rheostat topics --create --bootstrap 127.0.0.1:9092`
    """
    loaded = load(config, settings, bootstrap)
    kafka = loaded.config.kafka
    if create:
        created = create_topics(connect(kafka), kafka.data_partitions, kafka.replication)
        print(json.dumps({"created": created}) if as_json else f"created: {', '.join(created) or 'none, all exist'}")
    elif as_json:
        rows = catalogue.topic_settings(kafka.data_partitions, kafka.replication)
        print(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        print(catalogue.topics_table(kafka.data_partitions))
