"""The learner shown in the README is a learner."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "learners" / "README.md"


def test_the_code_of_the_readme_runs_and_passes_the_checks(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert "check_learner(" in blocks[-1]
    place = tmp_path / "readme_learner.py"
    place.write_text("\n".join(blocks))
    spec = importlib.util.spec_from_file_location("readme_learner", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme_learner"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["readme_learner"]


def test_the_learner_of_the_readme_fits_on_a_page() -> None:
    (code, *_) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
