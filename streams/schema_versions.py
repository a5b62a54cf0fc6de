"""Older versions of the schemas, from where they are kept: a git history, a folder, or a schema registry."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rheostat.schemas.compatibility import Version
from rheostat.schemas.documents import names
from rheostat.schemas.registry import Registry
from rheostat.streams.errors import ConfigError

Versions = Mapping[str, Sequence[Version]]
"""By the schema's name, oldest first."""

_FOLDER = "schemas"
_SUFFIX = ".avsc"


def of_folder(folder: Path) -> Versions:
    """Return the schemas in a folder, one version each. Raises ConfigError for a file that is not JSON."""
    return {
        path.name.removesuffix(_SUFFIX): [Version(str(path), _parsed(path.read_text("utf-8"), str(path)))]
        for path in sorted(folder.glob("*" + _SUFFIX))
    }


def of_registry(registry: Registry) -> Versions:
    """Return all versions of the schemas that are here and in the registry. Raises RegistryError."""
    found = {name: registry.versions(name) for name in names()}
    return {name: versions for name, versions in found.items() if versions}


def of_git_ref(ref: str, checkout: Path | None = None) -> Versions:
    """Return all versions of the schemas in the history of a ref, and of schemas that the ref has and we have not.

    checkout: the one this package runs from by default. A shallow clone knows the versions it was given only.
    Raises ConfigError for an unknown ref and outside of a checkout.
    """
    root = checkout or Path(__file__).resolve().parents[1]
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    listed = _git(root, "ls-tree", "--name-only", commit, f"{_FOLDER}/").splitlines()
    files = [Path(name) for name in listed if name.endswith(_SUFFIX)]
    return {file.name.removesuffix(_SUFFIX): _history(root, commit, file.as_posix()) for file in files}


def _history(root: Path, commit: str, file: str) -> list[Version]:
    """Return the versions of one file, oldest first. Renames are not followed: another name is another topic."""
    commits = _git(root, "log", "--format=%H", "--diff-filter=AM", commit, "--", file).split()
    versions = []
    for each in reversed(commits):
        label = f"{each[:12]}:{file}"
        versions.append(Version(label, _parsed(_git(root, "show", f"{each}:{file}"), label)))
    return versions


def _parsed(text: str, label: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{label} is not JSON: {error}") from error


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"git cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise ConfigError(
            f"git {arguments[0]} {arguments[-1]} failed in {root}: {done.stderr.strip() or 'no such ref'}; "
            "--against takes a git ref of the checkout, a folder with .avsc files, or a registry's URL"
        )
    return done.stdout
