"""`rheostat models`: the versions of models in the topic: list, look into, compare, verify, take out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.block import Place
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import ConfigError
from rheostat.streams.models.compare import Difference, compare, layout_words
from rheostat.streams.models.export import Format, export_version, manifest_fields
from rheostat.streams.models.signing import KeyRing, load_key_ring
from rheostat.streams.models.topic import StoredUpdate, in_words, rebuild_version, stored_updates
from rheostat.streams.models.verify import Verification
from rheostat.streams.models.verify import verify as verify_updates
from rheostat.streams.models.version import Version

app = typer.Typer(help="Versions of models in the topic: list, show, diff, verify, export.", no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="Name of the model.")]
VERSION_HELP = "EPOCH.SEQUENCE, such as 0.120."
Newest = Annotated[str | None, typer.Argument(metavar="[VERSION]", help=f"{VERSION_HELP} Newest by default.")]


@app.command("list")
def list_models(
    config: ConfigFile = None, settings: Settings = None, bootstrap: Bootstrap = None, as_json: Json = False
) -> None:
    """Show the models in the topic: newest version, its age and size, who signed it. Reads all of the topic.

    This is what the topic tells; `rheostat models verify` says whether it is true. Example: `rheostat models list`
    """
    loaded = load(config, settings, bootstrap)
    now_ms = WallClock().now_ms()
    found: dict[str, list[StoredUpdate]] = {}
    for each in stored_updates(connect(loaded.config.kafka).log()):
        found.setdefault(each.manifest.model, []).append(each)
    rows = [_row(model, updates, now_ms) for model, updates in sorted(found.items())]
    if as_json:
        print(json.dumps({"models": rows}))
        return
    if not rows:
        print("no models in the topic")
        return
    table = Table("model", "learner", "newest", "age", "kind", "size", "key", "newest base", "updates", "in all")
    for row in rows:
        age, size, total = _age(row["age_s"]), _size(row["bytes"]), _size(row["bytes_total"])
        updates = f"{row['bases']} + {row['deltas']}"
        base = row["newest_base"] or "none"
        newest = row["version"] + (f" (withheld: {', '.join(row['withheld'])})" if row["withheld"] else "")
        table.add_row(row["model"], row["learner"], newest, age, row["kind"], size, row["key_id"], base, updates, total)
    Console().print(table)


@app.command("show")
def show(
    model: Model,
    version: Newest = None,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show a version: what taught it, its metrics, golden probes and tensors, put together and verified.

    Example: `rheostat models show linear 0.120`
    """
    log, keys = _open(config, settings, bootstrap)
    found = rebuild_version(log, keys, model, _version("VERSION", version))
    tensors = {name: layout_words(found.tensors[name]) for name in sorted(found.tensors)}
    manifest = manifest_fields(found.manifest)
    if as_json:
        print(json.dumps({"manifest": manifest, "tensors": tensors}))
    else:
        _print_version(manifest, tensors, WallClock().now_ms())


@app.command("diff")
def diff(
    model: Model,
    before: Annotated[str, typer.Argument(metavar="V1", help=VERSION_HELP)],
    after: Annotated[str, typer.Argument(metavar="V2", help=VERSION_HELP)],
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two versions: by tensor, how many rows, the largest change, its norm.

    Example: `rheostat models diff linear 0.100 0.120`
    """
    versions = _version("V1", before), _version("V2", after)
    log, keys = _open(config, settings, bootstrap)
    old, new = (rebuild_version(log, keys, model, each).tensors for each in versions)
    found = compare(old, new)
    if as_json:
        print(json.dumps({"model": model, "from": before, "to": after, **dataclasses.asdict(found)}))
    else:
        _print_difference(found)


@app.command("verify")
def verify(
    model: Model,
    whole: Annotated[bool, typer.Option("--all", help="From the beginning, not from the newest base.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Check a model's updates: signatures, chunks, digests, gaps in the sequence, golden probes.

    Exit code 1 when one is wrong; the first is named with its partition and offset.
    Example: `rheostat models verify linear --all`
    """
    log, keys = _open(config, settings, bootstrap)
    found = verify_updates(log, keys, model, whole=whole)
    if not found.records:
        rebuild_version(log, keys, model)  # Says which models there are.
    if as_json:
        print(json.dumps(_verification(found)))
    else:
        _print_verification(found)
    if found.faults_total:
        raise typer.Exit(1)


@app.command("export")
def export(
    model: Model,
    version: Newest = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write into; made when missing.")] = Path(),
    kind: Annotated[
        Format, typer.Option("--format", help="onnx: of linear and hashed-mlp models, needs rheostat[onnx].")
    ] = "safetensors",
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Write a version to `model.safetensors` or `model.onnx`, and `manifest.json`. Existing files are kept.

    An ONNX file takes `numeric` (double) as the numbers come and `categorical` (int64) as hashes, since ONNX has none
    of texts: `rheostat.learners.features.hash_value(name, text)`, its 64 bits read as a signed number.

    Example: `rheostat models export linear 0.120 --out linear-0.120`
    """
    log, keys = _open(config, settings, bootstrap)
    found = rebuild_version(log, keys, model, _version("VERSION", version))
    sizes = export_version(found, out, kind)
    if as_json:
        print(json.dumps({"model": model, "version": str(found.manifest.version), "files": sizes}))
        return
    for path, size in sizes.items():
        print(f"{path}: {_size(size)}")
    print(f"{model} {found.manifest.version}, digest {found.digest}")


def _open(config: Path | None, settings: list[str] | None, bootstrap: str | None) -> tuple[Log, KeyRing]:
    loaded = load(config, settings, bootstrap)
    keys = load_key_ring(Path(loaded.config.keys.dir))
    return connect(loaded.config.kafka).log(), keys


def _version(argument: str, text: str | None) -> Version | None:
    try:
        return None if text is None else Version.parse(text)
    except ValueError as error:
        raise ConfigError(f"{argument}: {error}") from error


def _row(model: str, updates: list[StoredUpdate], now_ms: int) -> dict[str, Any]:
    newest = max(updates, key=lambda each: each.manifest.version)
    bases = [each.manifest.version for each in updates if each.manifest.kind == "base"]
    released = [each.manifest.version for each in updates if not each.manifest.facts.withheld]
    return {
        "model": model,
        "learner": newest.manifest.facts.learner,
        "version": str(newest.manifest.version),
        "mode": newest.manifest.facts.mode,
        "withheld": list(newest.manifest.facts.withheld),
        "answers": str(max(released)) if released else None,
        "epoch": newest.manifest.version.epoch,
        "age_s": round((now_ms - newest.manifest.facts.published_at_ms) / 1000, 3),
        "kind": newest.manifest.kind,
        "bytes": newest.bytes,
        "key_id": newest.key_id,
        "place": _place(newest.place),
        "newest_base": str(max(bases)) if bases else None,
        "bases": len(bases),
        "deltas": len(updates) - len(bases),
        "incomplete": sum(not each.complete for each in updates),
        "bytes_total": sum(each.bytes for each in updates),
    }


def _print_version(manifest: dict[str, Any], tensors: dict[str, str], now_ms: int) -> None:
    age = _age((now_ms - manifest["published_at"]) / 1000)
    name = f"{manifest['model']} {manifest['epoch']}.{manifest['sequence']}"
    print(f"{name}: a {manifest['kind']} of learner {manifest['learner']}, published {age} ago")
    rows = {
        "digest": manifest["digest"],
        "parent": manifest["parent_digest"],
        "carried as": f"{_size(manifest['payload_bytes'])} of tensors in {manifest['chunks']} record(s)",
        "caused by": manifest["command_id"] and f"command {manifest['command_id']}",
        "mode": manifest["mode"],
        "withheld": manifest["withheld"] and f"servers do not answer with it: {', '.join(manifest['withheld'])}",
        "learned": "; ".join(map(_taught, manifest["training"])) or "nothing new",
        "in all": f"{manifest['examples_total']:,} examples",
        "metrics": _pairs({name: f"{value:.6g}" for name, value in manifest["metrics"].items()}),
        "libraries": _pairs(manifest["libraries"]),
        "features": f"{manifest['feature_set']}: {', '.join(manifest['numeric'] + manifest['categorical'])}",
        "actions": ", ".join(manifest["actions"]),
        "not scored with": ", ".join(each["name"] for each in manifest["training_only"]),
    }
    for title, text in rows.items():
        if text:
            print(f"  {title:<16}{text}")
    for each in manifest["probes"]:
        given = ", ".join([*(f"{number:g}" for number in each["numeric"]), *map(repr, each["categorical"])])
        print(f"  {'golden probe':<16}({given}) scores {each['score']:.6f}")
    for tensor, layout in tensors.items():
        print(f"  {'tensor':<16}{tensor}: {layout}")


def _taught(run: dict[str, Any]) -> str:
    kind = "" if run["learned"] else ", tested only"
    return f"{run['count']:,} of examples[{run['partition']}]@{run['start']}-{run['end'] - 1}{kind}"


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _print_difference(found: Difference) -> None:
    for word, names in (("added", found.added), ("removed", found.removed), ("other layout", found.reshaped)):
        for name in names:
            print(f"{word}: {name}")
    if found.changed:
        table = Table("tensor", "rows changed", "largest change", "norm of changes", "norm before")
        for each in found.changed:
            rows = f"{each.rows_changed:,} of {each.rows:,}"
            table.add_row(each.name, rows, f"{each.largest:.3g}", f"{each.norm:.3g}", f"{each.norm_before:.3g}")
        Console().print(table)
    print(f"{found.same} tensor(s) the same")


def _verification(found: Verification) -> dict[str, Any]:
    faults = [{**_place(each.place), "check": each.check, "reason": each.reason} for each in found.faults]
    plain = {name: getattr(found, name) for name in ("model", "records", "bases", "deltas", "passed_over", "probes")}
    return {
        **plain,
        "unscored": found.unscored,
        "start": None if found.start is None else _place(found.start),
        "newest": None if found.newest is None else str(found.newest),
        "digest": found.digest,
        "faults_total": found.faults_total,
        "faults": faults,
    }


def _print_verification(found: Verification) -> None:
    print(
        f"{found.model}: {found.bases} base(s) and {found.deltas} delta(s) in {found.records} records since "
        f"{'nowhere' if found.start is None else in_words(found.start)}; {found.probes} golden probes"
    )
    if found.passed_over:
        print(f"passed over: {found.passed_over} delta(s) from before the first base")
    if found.unscored:
        print(f"not scored: golden probes of {found.unscored} base(s), whose learner needs what is not installed here")
    if found.newest is not None:
        print(f"newest: {found.newest}, digest {found.digest}")
    for each in found.faults[:1]:
        print(f"FIRST FAULT at {in_words(each.place)}: {each.check}: {each.reason}")
    print(f"faults: {found.faults_total or 'none'}")


def _place(place: Place) -> dict[str, Any]:
    return {"partition": place.partition, "offset": place.offset}


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(count: int) -> str:
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= 2 * length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
