"""`rheostat worker`: run stages of the pipeline until told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from rheostat.streams import topology
from rheostat.streams.cli.options import Bootstrap, ConfigFile, Settings, connect, load


def worker(
    stages: Annotated[str, typer.Option("--stages", help="Stages to run, separated by commas.")] = ",".join(
        topology.stage_names()
    ),
    slot: Annotated[
        str, typer.Option("--slot", help="Name of this worker among those of the same stages; stable over restarts.")
    ] = "0",
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve Prometheus metrics on this port of 127.0.0.1.")
    ] = None,
    models: Annotated[str | None, typer.Option("--models", help="For `learn`: only these models.")] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Run stages in this process, exactly once, until SIGTERM.

    Example: `rheostat worker --stages intake,join --config rheostat.toml --metrics-port 9101`
    """
    from rheostat.streams.worker import run_stages

    loaded = load(config, settings, bootstrap)
    print(loaded.describe(), flush=True)
    run_stages(
        topology.rows(part.strip() for part in stages.split(",")),
        loaded.config,
        connect(loaded.config.kafka),
        slot=slot,
        only_models=None if models is None else tuple(models.split(",")),
        metrics_port=metrics_port,
        log_level=log_level,
    )
