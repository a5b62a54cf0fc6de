"""A span back from the present, as people write it: 90s, 15min, 2h, 7d."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from rheostat.streams.errors import ConfigError

Since = Annotated[str, typer.Option("--since", help="How far back to look, such as 90s, 15min, 2h or 7d.")]

_UNITS_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def since_ms(span: str, now_ms: int, option: str = "--since") -> int:
    """Return the moment that lies so far back. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,6})(s|min|h|d)", span)
    if found is None:
        raise ConfigError(f"{option} {span!r}: write a number and a unit, such as 90s, 15min, 2h or 7d")
    return now_ms - int(found[1]) * _UNITS_MS[found[2]]
