"""The README shows the topics as they are, and the Python shown does not lie about names."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from rheostat.schemas.catalogue import topics_table
from rheostat.streams import topology

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README + (ROOT / "streams/client/README.md").read_text(), re.DOTALL)


def test_the_topics_table_is_the_catalogues() -> None:
    assert topics_table().strip() in README


@pytest.mark.parametrize("code", PYTHON)
def test_every_name_it_imports_from_rheostat_is_there(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rheostat"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, each.name) for each in node.names)


def test_every_stage_of_the_topology_is_drawn() -> None:
    drawn = topology.diagram()
    for row in (*topology.TOPOLOGY, topology.SERVING):
        assert f"[{row.name}" in drawn
        assert all(topic in drawn for topic in (*row.sources, *row.outputs))
