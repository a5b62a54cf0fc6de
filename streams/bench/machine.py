"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rheostat.streams.bench.processors import loop_ns

PACKAGES = (
    *("rheostat", "confluent-kafka", "pyruhvro", "pyarrow", "numpy", "faust-streaming", "river", "torch"),
    *("starlette", "uvicorn", "uvloop", "httptools"),
)


def machine() -> dict[str, Any]:
    """Return processors, system, interpreter, library versions, load, speed and date."""
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2),
            "loop_ns": loop_ns(),
        },
        "versions": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
