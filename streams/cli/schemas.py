"""`rheostat schemas`: the committed schemas, checked against older ones and registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from rheostat.schemas.catalogue import TOPICS
from rheostat.schemas.compatibility import not_backward_transitive
from rheostat.schemas.documents import document, field_names, names
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.registry import Registry, RegistryError
from rheostat.schemas.released import Release, not_kept
from rheostat.streams.cli.options import Json
from rheostat.streams.errors import ConfigError
from rheostat.streams.schema_versions import Versions, of_folder, of_git_ref, of_registry, releases

T = TypeVar("T")

app = typer.Typer(help="The schemas of the topics: list, check, register.", no_args_is_help=True)
RegistryUrl = Annotated[str, typer.Option("--registry", help="Address of a registry with Confluent's API.")]
Prefix = Annotated[str, typer.Option("--prefix", help="What the pipeline's topics begin with (kafka.prefix).")]
_ROW = "{:<22} {:>4}  {:<9} {:>6}"


@app.command("list")
def list_schemas(
    registry: Annotated[str | None, typer.Option("--registry", help="Show the ids of this registry too.")] = None,
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Show every schema: its id on the wire, where it is used, how many fields it has."""
    ids = {} if registry is None else _asked(lambda: dict(_registry(registry, prefix).id_table().ids))
    rows = [
        {
            "schema": name,
            "id": COMMITTED.id_of(name),
            "use": "topic" if name in TOPICS else "embedded",
            "fields": len(field_names(name)),
            **({"registry_id": ids[name]} if ids else {}),
        }
        for name in names()
    ]
    if as_json:
        print(json.dumps({"schemas": rows}))
        return
    print(_ROW.format("schema", "id", "use", "fields") + ("  registry id" if ids else ""))
    for row in rows:
        line = _ROW.format(row["schema"], row["id"], row["use"], row["fields"])
        print(f"{line}  {row['registry_id']:>11}" if "registry_id" in row else line)


@app.command("check")
def check(
    against: Annotated[
        str, typer.Option("--against", help="A git ref of this checkout, a folder of .avsc files, or a registry's URL.")
    ],
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Fail unless the schemas here can read everything that older versions wrote (BACKWARD_TRANSITIVE).

    Against a git ref: every version in its history; and every release in it (tags v0, v1.2, …) must still be known by
    its ids. Against a registry: every version that it has.

    Example: `rheostat schemas check --against origin/main`
    """
    versions = _asked(lambda: _versions(against, prefix))
    if not any(versions.values()):
        raise ConfigError(f"--against {against}: there is no schema in it to compare with")
    present = {name: document(name) for name in names()}
    findings = not_backward_transitive(present, versions) + not_kept(present, COMMITTED, _releases(against))
    compared = sum(map(len, versions.values()))
    if as_json:
        print(json.dumps({"compared": compared, "findings": [each._asdict() for each in findings]}))
    else:
        for each in findings:
            print(each)
        print(f"{compared} versions of {len(versions)} schemas compared: {len(findings) or 'nothing'} incompatible")
    if findings:
        raise typer.Exit(1)


@app.command("register")
def register(registry: RegistryUrl, prefix: Prefix = "", as_json: Json = False) -> None:
    """Register the schemas, each under its topic's subject with the rule BACKWARD_TRANSITIVE. Idempotent.

    Example: `rheostat schemas register --registry http://registry:8081`
    """
    target = _registry(registry, prefix)
    ids = _asked(lambda: {target.subject(name): target.register(name) for name in names()})
    if as_json:
        print(json.dumps({"registered": ids}))
        return
    for subject, number in ids.items():
        print(f"{subject}: {number}")


def _registry(url: str, prefix: str) -> Registry:
    try:
        return Registry(url, prefix)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _versions(against: str, prefix: str) -> Versions:
    if _is_address(against):
        return of_registry(_registry(against, prefix))
    folder = Path(against)
    return of_folder(folder) if folder.is_dir() else of_git_ref(against)


def _releases(against: str) -> list[Release]:
    return [] if _is_address(against) or Path(against).is_dir() else releases(against)


def _is_address(against: str) -> bool:
    return against.startswith(("http://", "https://"))


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except RegistryError as error:
        raise ConfigError(str(error)) from error
