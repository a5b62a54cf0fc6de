"""A large model needs at most twice its memory wherever it is told or followed, swaps included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIXED_BYTES = 64 << 20
"""What does not grow with the model: a piece of 32 MiB, chunks, and what allocators keep."""


def run(role: str, folder: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.support.large_model_memory", role, str(folder)]
    found: dict[str, int] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_is_told_and_followed_in_twice_its_memory(tmp_path: Path) -> None:
    told = run("tell", tmp_path)
    bound = 2 * told["model"] + FIXED_BYTES
    assert told["model"] > 2 * FIXED_BYTES - (16 << 20)
    assert told["peak"] <= bound
    in_step = run("in-step", tmp_path)
    assert (in_step["refused"], in_step["peak"] <= bound) == (0, True)
    # One delta is lost: the base that heals comes while the version before is in use.
    healed = run("with-a-gap", tmp_path)
    assert healed["refused"] == 3
    assert healed["peak"] <= bound
