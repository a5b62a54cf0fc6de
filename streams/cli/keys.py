"""`rheostat keys`: make the key files that learners, monitor, people and servers need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rheostat.streams.cli.options import Json
from rheostat.streams.keys import NAMES, create_keys


def keys(
    folder: Annotated[Path, typer.Argument(help="Folder to put the key files into; made when missing.")],
    as_json: Json = False,
) -> None:
    """Make signing keys and the pseudonym key; existing files are kept.

    Example: `rheostat keys ./keys`
    """
    made = create_keys(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "made": made}))
    else:
        print(f"{folder}: made {', '.join(made) or 'nothing, all keys exist'} (signers: {', '.join(NAMES)})")
