"""The README of the schemas is current and its example works."""

from __future__ import annotations

import re
import runpy
from importlib.resources import files
from pathlib import Path

from rheostat.schemas.catalogue import FEEDBACK_EXPLICIT, topics_table
from rheostat.schemas.codec import decode_record
from rheostat.schemas.reference import renewed

README = files("rheostat.schemas").joinpath("README.md").read_text("utf-8")


def test_the_generated_parts_are_current() -> None:
    assert renewed(README) == README, "run: python -m rheostat.schemas.reference schemas/README.md"
    assert topics_table() in README


def test_the_example_writes_a_record(tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert match is not None
    example = tmp_path / "example.py"
    example.write_text(match[1])
    scope = runpy.run_path(str(example))
    assert decode_record(FEEDBACK_EXPLICIT, scope["value"])["value"] == 4.0
