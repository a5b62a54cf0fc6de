"""A version of a model as files that other tools read: its tensors or its graph, and what its manifest says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rheostat.learners import tensorfile
from rheostat.schemas import catalogue, codec
from rheostat.streams.errors import ConfigError
from rheostat.streams.models.apply import Rebuilt
from rheostat.streams.models.manifest import Manifest, encode_manifest
from rheostat.streams.models.onnx_file import onnx_file

Bytes = bytes | memoryview
Format = Literal["safetensors", "onnx"]
TENSORS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"


def manifest_fields(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest's fields by their names in `manifest.avsc`, in their order there."""
    return codec.decode_body(catalogue.MANIFEST, encode_manifest(manifest))


def export_version(version: Rebuilt, folder: Path, kind: Format = "safetensors") -> dict[str, int]:
    """Write a version into a folder, made if missing; return the files' sizes in bytes by their paths.

    A tensors file has the version's digest as its one metadatum, "digest"; for ONNX see `onnx_file`. Existing files are
    never replaced: ConfigError.
    """
    name, content = (TENSORS_FILE, _tensors) if kind == "safetensors" else (ONNX_FILE, _graph)
    manifest = json.dumps(manifest_fields(version.manifest), indent=2) + "\n"
    contents = {folder / name: content(version), folder / MANIFEST_FILE: (manifest.encode(),)}
    _write_new(contents)
    return {str(path): sum(map(len, parts)) for path, parts in contents.items()}


def _tensors(version: Rebuilt) -> Sequence[Bytes]:
    return tensorfile.lay_out(version.tensors, {"digest": version.digest}).parts


def _graph(version: Rebuilt) -> Sequence[Bytes]:
    return (onnx_file(version),)


def _write_new(contents: Mapping[Path, Sequence[Bytes]]) -> None:
    for path in contents:
        if path.exists():
            raise ConfigError(f"{path} is there already; give another folder, or remove it")
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.writelines(content)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error
