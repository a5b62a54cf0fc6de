"""The alert rules under Prometheus' own checker."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = (FOLDER / "alerts.yml").read_text()
TESTS = (FOLDER / "alerts_test.yml").read_text()
NAMES = re.findall(r"- alert: (\w+)", RULES)
EXPRESSION = r"(- alert: {name}\n(?:\s+#.*\n)*\s+expr: )(?:\|\n(?:\s{{10,}}.*\n)+|.*\n)"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool, whose absence is a failure and not a reason to pass."""
    found = shutil.which("promtool")
    assert found, "promtool is missing: install Prometheus (Debian and Ubuntu: apt-get install prometheus)"
    return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=120)


def passes(done: subprocess.CompletedProcess[str]) -> str:
    """What promtool complained about; empty when it did not."""
    return "" if done.returncode == 0 else done.stdout + done.stderr


def complaint_with(folder: Path, expression: str) -> str:
    """What promtool says when every rule has this expression, and no rule waits."""
    rules = re.sub(r"\n +for: .*", "", RULES)
    for name in NAMES:
        rules, count = re.subn(EXPRESSION.format(name=name), rf"\g<1>{expression}\n", rules)
        assert count == 1, name
    (folder / "alerts.yml").write_text(rules)
    (folder / "alerts_test.yml").write_text(TESTS)
    return passes(promtool("test", "rules", str(folder / "alerts_test.yml")))


def test_the_configuration_is_valid() -> None:
    assert passes(promtool("check", "config", str(FOLDER / "prometheus.yml"))) == ""
    assert passes(promtool("check", "rules", str(FOLDER / "alerts.yml"))) == ""


def test_every_rule_fires_and_stays_silent_as_stated() -> None:
    assert passes(promtool("test", "rules", str(FOLDER / "alerts_test.yml"))) == ""


def test_there_is_a_firing_case_for_every_rule(tmp_path: Path) -> None:
    """A rule that can never fire fails the tests."""
    complaint = complaint_with(tmp_path, "vector(1) < 0")
    assert [name for name in NAMES if f"alertname: {name}," not in complaint] == []


def test_there_is_a_silent_case_for_every_rule(tmp_path: Path) -> None:
    """A rule that always fires fails the tests where its silence is stated."""
    complaint = complaint_with(tmp_path, "vector(1)")
    for name in NAMES:
        silent = re.findall(rf"alertname: {name}, eval_time: (\w+), exp_alerts: \[\]", TESTS)
        assert silent, name
        assert re.search(rf"alertname: {name}, time: (?:{'|'.join(silent)})", complaint), (name, complaint)
