"""The follower in Java (tests/java), compiled and run. Needs a JDK 17, and Maven the first time."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rheostat.streams.local.maven import fetch, find_java

PROJECT = Path(__file__).parents[1] / "java"
_QUICK_START = "-XX:TieredStopAtLevel=1"


@dataclass(frozen=True, slots=True)
class JavaFollower:
    """Its classes and the libraries they need."""

    class_path: str

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Run it; return what it prints."""
        command = [find_java(), _QUICK_START, "-XX:+UseSerialGC", "-cp", self.class_path, "follower.Main", *arguments]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def build_java_follower(folder: Path) -> JavaFollower:
    """Compile it into a folder; its libraries are fetched once and kept."""
    libraries = fetch(PROJECT, "copy-dependencies")
    sources = [str(path) for path in sorted((PROJECT / "src/main/java").rglob("*.java"))]
    options = ["--release", "17", "-proc:none", "-Xlint:all,-serial", "-Werror", "-d", str(folder)]
    command = [_find_compiler(), f"-J{_QUICK_START}", *options, "-cp", f"{libraries}/*", *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return JavaFollower(f"{folder}:{libraries}/*")


def _find_compiler() -> str:
    """Return `javac`: beside `java`, else on the path."""
    beside = Path(find_java()).resolve().with_name("javac")
    found = str(beside) if beside.is_file() else shutil.which("javac")
    assert found is not None, "javac not found: this test needs a JDK 17, for example openjdk-17-jdk-headless"
    return found
