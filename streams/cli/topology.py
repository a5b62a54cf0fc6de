"""`rheostat topology`: the pipeline as a picture."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from typing import Annotated

import typer

from rheostat.streams import topology as table
from rheostat.streams.cli.options import Json


class Format(StrEnum):
    """How to draw."""

    text = "text"
    mermaid = "mermaid"


def topology(
    form: Annotated[Format, typer.Option("--format", help="How to draw.")] = Format.text, as_json: Json = False
) -> None:
    """Print the stages with the topics they read and write.

    Example: `rheostat topology --format mermaid`
    """
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in (*table.TOPOLOGY, table.SERVING)], indent=2))
    else:
        print(table.mermaid() if form is Format.mermaid else table.diagram())
