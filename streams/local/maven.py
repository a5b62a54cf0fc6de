"""Java programs from Maven, for local servers: found by the pom.xml of their folder under deploy/, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from rheostat.streams.errors import ConfigError


def find_deploy_folder(name: str) -> Path:
    """Return deploy/NAME of the checkout this package runs from, or of the present folder. Raises ConfigError."""
    checkout = Path(__file__).resolve().parents[2]
    for root in (checkout, Path.cwd()):
        if (root / "deploy" / name / "pom.xml").is_file():
            return root / "deploy" / name
    raise ConfigError(f"deploy/{name}/pom.xml not found: run from a checkout of Rheostat")


def default_cache() -> Path:
    """Return the folder of Rheostat's caches: ${XDG_CACHE_HOME:-~/.cache}/rheostat."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rheostat"


def fetch(deploy: Path, goal: Literal["copy-dependencies", "unpack-dependencies"], cache: Path | None = None) -> Path:
    """Return a folder with what a pom.xml depends on, fetched by Maven unless it is there. Raises ConfigError."""
    pom = deploy / "pom.xml"
    root = cache or default_cache()
    kept = root / f"{deploy.name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if kept.is_dir():
        return kept
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError(f"Maven (mvn) not found: it fetches what {pom} names the first time; install maven")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        fetched = Path(scratch) / "fetched"
        folders = (f"-DoutputDirectory={fetched}", f"-DmarkersDirectory={scratch}/markers")
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(pom), f"dependency:{goal}", *folders],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ConfigError(f"Maven could not fetch what {pom} names:\n{(done.stdout + done.stderr)[-2000:]}")
        # Renamed when complete, so a folder under its final name is never half-filled; a rival may have been first.
        try:
            fetched.rename(kept)
        except OSError:
            if not kept.is_dir():
                raise
    return kept


def find_java() -> str:
    """Return the `java` executable, from JAVA_HOME or PATH. Raises ConfigError."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise ConfigError("Java not found: local servers need Java 17 or later (for example openjdk-17-jre-headless)")
    return java
