"""Rules that no linter checks: what code may call, and what no tracked file may contain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNSAFE_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib")
UNSAFE_CALLS = ("eval", "exec", "compile", "__import__")
# Entry points: what they read from the environment they pass on as arguments.
ENVIRONMENT_READERS = (
    "streams/config.py",
    "streams/cli/*",
    "streams/bench/contender.py",
    "streams/local/maven.py",
    "tests/*",
)
# Written in pieces, so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.:-])/(?:" + "|".join(("home", "root", "work", "Users", "tmp/w")) + r")/[\w.]")
PACKAGE_HOST = re.compile(
    "|".join(
        re.escape(host) for host in ("pypi" + ".org", "files.python" + "hosted", "repo1" + ".maven", "index" + "-url")
    )
)

Rule = Callable[[str, str], list[str]]


def unsafe_code(place: str, text: str) -> list[str]:
    """Deserialising or running what came as data."""
    found = [name for name in _imported(text) if name.split(".")[0] in UNSAFE_MODULES]
    return found + [name for name in _called(text) if name in (*UNSAFE_CALLS, "numpy.load", "np.load", "torch.load")]


def sleeping_tests(place: str, text: str) -> list[str]:
    """Tests that wait for time to pass instead of for a condition."""
    if not place.startswith("tests/"):
        return []
    slept = [name for name in _called(text) if name in ("time.sleep", "sleep", "asyncio.sleep")]
    return [*slept, *(name for name in _imported(text) if name == "time.sleep")]


def skipped_tests(place: str, text: str) -> list[str]:
    """Tests that are passed over, and mocks of what should be real."""
    if not place.startswith("tests/"):
        return []
    marks = [name for name in _names(text) if re.fullmatch(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)", name)]
    return marks + [name for name in _imported(text) if name.startswith(("unittest.mock", "mock"))]


def hidden_environment(place: str, text: str) -> list[str]:
    """The environment read anywhere but at the edge."""
    if any(fnmatch(place, allowed) for allowed in ENVIRONMENT_READERS):
        return []
    found = [name for name in _names(text) if name in ("os.environ", "os.getenv", "os.environb")]
    return found + [name for name in _imported(text) if name in ("os.environ", "os.getenv")]


def foreign_text(place: str, text: str) -> list[str]:
    """Paths of one machine and hosts of package registries."""
    return [match.group() for pattern in (MACHINE_PATH, PACKAGE_HOST) for match in pattern.finditer(text)]


CODE_RULES: tuple[Rule, ...] = (unsafe_code, sleeping_tests, skipped_tests, hidden_environment)


def _imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _called(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def _names(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def project_files() -> list[Path]:
    """Files that are tracked or would be, without links and binaries."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [
        path for path in paths if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:8192]
    ]


def broken(rule: Rule, files: list[Path]) -> list[str]:
    """What breaks a rule, by file."""
    places = [(path.relative_to(ROOT).as_posix(), path.read_text()) for path in files]
    return [f"{place}: {found}" for place, text in places for found in rule(place, text)]


@pytest.mark.parametrize("rule", CODE_RULES)
def test_code_keeps_the_rule(rule: Rule) -> None:
    files = [path for path in project_files() if path.suffix == ".py"]
    assert len(files) > 50
    assert broken(rule, files) == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    assert broken(foreign_text, project_files()) == []


@pytest.mark.parametrize(
    ("rule", "place", "text"),
    [
        (unsafe_code, "streams/a.py", "import pickle"),
        (unsafe_code, "streams/a.py", "def f():\n    from joblib import load"),
        (unsafe_code, "learners/a.py", "eval('1')"),
        (unsafe_code, "learners/a.py", "torch.load(path)"),
        (sleeping_tests, "tests/unit/a.py", "import time\ntime.sleep(1)"),
        (sleeping_tests, "tests/unit/a.py", "from time import sleep"),
        (skipped_tests, "tests/unit/a.py", "@pytest.mark.skipif(True)\ndef test(): ..."),
        (skipped_tests, "tests/unit/a.py", "from unittest.mock import Mock"),
        (hidden_environment, "streams/engine/a.py", "import os\nx = os.environ['A']"),
        (hidden_environment, "learners/a.py", "from os import getenv"),
        (foreign_text, "README.md", "see /" + "home/someone/notes"),
        (foreign_text, "pyproject.toml", "url = 'https://" + "pypi" + ".org/simple'"),
    ],
)
def test_a_broken_rule_is_found(rule: Rule, place: str, text: str) -> None:
    assert rule(place, text)


def test_calls_that_only_look_unsafe_are_allowed() -> None:
    assert unsafe_code("streams/a.py", "re.compile('a')\nmodel.eval()\nregistry.exec()") == []


def test_top_level_names_are_not_taken() -> None:
    """Importing rheostat must not make `schemas`, `streams` or `learners` importable in a user's process."""
    code = (
        "import sys, importlib.util as util; import rheostat.streams.client.feedback, rheostat.learners.contract\n"
        "names = ('schemas', 'streams', 'learners')\n"
        "print([name for name in names if name in sys.modules or util.find_spec(name)])"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert found.strip() == "[]"
