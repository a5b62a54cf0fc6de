"""Older versions of the schemas, from where they are kept: a git history, a folder, or a schema registry."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from rheostat.schemas.compatibility import Version
from rheostat.schemas.documents import Document, names
from rheostat.schemas.registry import Registry
from rheostat.schemas.released import Release
from rheostat.streams.errors import ConfigError

Versions = Mapping[str, Sequence[Version]]
"""By the schema's name, oldest first."""

_FOLDER = "schemas"
_SUFFIX = ".avsc"
_IDS = "ids.json"


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
    commit = _commit(root, ref)
    listed = _git(root, "ls-tree", "--name-only", commit, f"{_FOLDER}/").splitlines()
    files = [Path(name) for name in listed if name.endswith(_SUFFIX)]
    return {file.name.removesuffix(_SUFFIX): _history(root, commit, file.as_posix()) for file in files}


def releases(ref: str, checkout: Path | None = None) -> list[Release]:
    """Return the schemas of every release that a ref contains, oldest first: the tags that begin with v and a digit.

    A clone without tags has none. Raises ConfigError like `of_git_ref`.
    """
    root = checkout or Path(__file__).resolve().parents[1]
    tags = _git(root, "tag", "--merged", _commit(root, ref), "--sort=creatordate", "--list", "v[0-9]*").split()
    return [_release(root, tag) for tag in tags]


def _commit(root: Path, ref: str) -> str:
    return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()


def _release(root: Path, tag: str) -> Release:
    listed = _git(root, "ls-tree", "--name-only", tag, f"{_FOLDER}/").splitlines()
    documents = {
        Path(file).name.removesuffix(_SUFFIX): _parsed(_git(root, "show", f"{tag}:{file}"), f"{tag}:{file}")
        for file in listed
        if file.endswith(_SUFFIX)
    }
    table = f"{_FOLDER}/{_IDS}"
    ids = _parsed(_git(root, "show", f"{tag}:{table}"), f"{tag}:{table}") if table in listed else {}
    return Release(tag, cast(Mapping[str, int], ids), cast(Mapping[str, Document], documents))


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
