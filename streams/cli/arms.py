"""`rheostat arms`: how the arms of a model do, and what its shadows would have done, on the labels that stand."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.cli.since import Since, since_ms
from rheostat.streams.clock import WallClock
from rheostat.streams.errors import ConfigError

_WIDTH = 100


def arms(
    model: Annotated[str, typer.Argument(help="Name of the model that has arms.")],
    since: Since = "24h",
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Compare what answered for a model, and what its shadows would have answered, with intervals of 95 %.

    Labels come late: give arms the same time, and do not stop at the first interval that leaves out 0, which comes
    sooner or later by chance. Example: `rheostat arms ranker --since 7d`
    """
    from rheostat.streams.arm_quality import compare_arms

    loaded = load(config, settings, bootstrap)
    start_ms = since_ms(since, WallClock().now_ms())
    told = compare_arms(connect(loaded.config.kafka).log(), model, start_ms)
    if not told["arms"] and not told["shadows"]:
        raise ConfigError(f"nothing was asked of {model!r} in this time; models there are: rheostat status")
    if as_json:
        print(json.dumps(told))
    else:
        show(told, Console(width=None if sys.stdout.isatty() else _WIDTH))


def show(told: Mapping[str, Any], console: Console) -> None:
    """Print a comparison as tables."""
    console.print(
        f"{told['model']}: {told['stood_in']:,} answered by the default for an arm that could not", highlight=False
    )
    answering = Table("arm", "predictions", "examples", "label", "Brier", "log loss", box=SIMPLE_HEAD)
    for name, each in told["arms"].items():
        means = [_interval(each[mean]) for mean in ("label", "brier", "log_loss")]
        answering.add_row(escape(name), f"{each['predictions']:,}", f"{each['examples']:,}", *means)
    console.print(answering)
    if not told["shadows"]:
        return
    shadows = Table(
        "shadow", "predictions", "examples", "Brier", "less than shown by", "log loss", "less by", box=SIMPLE_HEAD
    )
    for name, each in told["shadows"].items():
        means = [
            *(_interval(each["brier"]), _interval(each["brier_less_shown"], -1)),
            *(_interval(each["log_loss"]), _interval(each["log_loss_less_shown"], -1)),
        ]
        shadows.add_row(escape(name), f"{each['predictions']:,}", f"{each['examples']:,}", *means)
    console.print(shadows)


def _interval(found: Mapping[str, float | None] | None, sign: int = 1) -> str:
    if found is None or found["mean"] is None:
        return ""
    if found["lower"] is None or found["upper"] is None:
        return f"{sign * found['mean']:.4f}"
    low, high = sorted((sign * found["lower"], sign * found["upper"]))
    return f"{sign * found['mean']:.4f} [{low:.4f}, {high:.4f}]"
