"""`rheostat features value` and `prune`: what each feature adds, and which a model could do without."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from rheostat.schemas.feature_dictionary import BadDictionary, find_feature_set, packaged_dictionary
from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.cli.since import Since, since_ms
from rheostat.streams.clock import WallClock
from rheostat.streams.config import Config, ModelConfig
from rheostat.streams.errors import ConfigError

if TYPE_CHECKING:
    from rheostat.learners.contract import Batch, FeatureSchema, Learner

Model = Annotated[str | None, typer.Option("--model", help="A configured model: its features, its learner.")]
Set = Annotated[str | None, typer.Option("--feature-set", help="A feature set, such as shop@1, with a linear learner.")]
Input = Annotated[Path | None, typer.Option("--input", help="Examples from a file, as for `backtest learner`.")]
Mapped = Annotated[Path | None, typer.Option("--mapping", help="TOML: which column of --input means what.")]
Only = Annotated[str | None, typer.Option("--features", help="Only these, with commas between; all by default.")]
Most = Annotated[int, typer.Option("--max-examples", min=1, help="The newest examples that are looked at.")]
Rows = Annotated[int, typer.Option("--block-rows", min=1, help="Examples scored, then learned, at once.")]
Worth = Annotated[
    float, typer.Option("--worth-min", min=0.0, help="Log loss in nats an example that a feature must be worth.")
]
_MOST, _ROWS, _WORTH = 100_000, 250, 0.0005


def value(
    model: Model = None,
    feature_set: Set = None,
    history: Input = None,
    mapping: Mapped = None,
    since: Since = "7d",
    only: Only = None,
    examples_max: Most = _MOST,
    block_rows: Rows = _ROWS,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure what each feature adds to a learner that has all others, on the newest examples or those in a file.

    One learner has all features, the others lack one each. Differences of log loss and ROC AUC are test-then-train,
    with bounds that hold all at once with 95 %. Example: `rheostat features value --model linear --since 2d`
    """
    from rheostat.streams.feature_value import as_json as told_of
    from rheostat.streams.feature_value import value_features

    asked = _asked(model, feature_set, history, mapping, since, examples_max, load(config, settings, bootstrap).config)
    with _progress("examples learned", len(asked.examples)) as progress:
        valued = value_features(asked.new_learner, asked.examples, _names(only), block_rows, progress)
    told = told_of(valued)
    for each in told["features"]:
        each["owner"] = asked.owners.get(each["feature"])
    if as_json:
        print(json.dumps(told))
    else:
        _show_values(told)


def prune(
    model: Model = None,
    feature_set: Set = None,
    history: Input = None,
    mapping: Mapped = None,
    since: Since = "7d",
    only: Only = None,
    worth_min: Worth = _WORTH,
    examples_max: Most = _MOST,
    block_rows: Rows = _ROWS,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Propose features that a model could do without, with the evidence. Changes nothing.

    Proposed is what surely adds less than --worth-min to all others, copies of what stays among it; then it is measured
    whether all proposed may go at once. Example: `rheostat features prune --feature-set shop@1 --worth-min 0.001`
    """
    from rheostat.streams.feature_prune import proposals_json, propose, without_all
    from rheostat.streams.feature_value import as_json as told_of
    from rheostat.streams.feature_value import value_features

    asked = _asked(model, feature_set, history, mapping, since, examples_max, load(config, settings, bootstrap).config)
    with _progress("examples learned", len(asked.examples)) as progress:
        valued = value_features(asked.new_learner, asked.examples, _names(only), block_rows, progress)
    proposals = propose(valued, worth_min)
    with _progress("without all proposed", len(asked.examples)) as progress:
        together = without_all(asked.new_learner, valued, proposals, block_rows, progress)
    told = told_of(valued) | proposals_json(proposals, together, worth_min)
    for each in (*told["features"], *told["proposals"]):
        each["owner"] = asked.owners.get(each["feature"])
    if as_json:
        print(json.dumps(told))
    else:
        _show_proposals(told)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be valued. owners: by feature, as far as the dictionary names them."""

    new_learner: Callable[[], Learner]
    examples: Batch
    owners: Mapping[str, str]


def _asked(
    model: str | None,
    feature_set: str | None,
    history: Path | None,
    mapping: Path | None,
    since: str,
    examples_max: int,
    config: Config,
) -> _Asked:
    from rheostat.streams.backtest.learner_model import maker, named_model, schema_named

    if (history is None) != (mapping is None):
        raise ConfigError("--input and --mapping belong together")
    if model is None and feature_set is None and history is None:
        raise ConfigError("say what is to be valued: --model NAME, --feature-set ID, or --input FILE --mapping M.toml")
    chosen = ModelConfig("linear", feature_set or "") if model is None else named_model(config, model)
    name = model or "linear"

    def schema_of(set_id: str | None) -> FeatureSchema:
        return schema_named(config, name, set_id or feature_set)

    if history is None or mapping is None:
        schema = schema_of(None)
        examples = _logged(config, schema, since, examples_max)
    else:
        examples, schema = _from_file(history, mapping, schema_of, examples_max)
    return _Asked(maker(chosen, schema), examples, _owners(config, schema.id))


def _logged(config: Config, schema: FeatureSchema, since: str, examples_max: int) -> Batch:
    from rheostat.streams.taught import examples_of_log

    after_ms = since_ms(since, WallClock().now_ms())
    log = connect(config.kafka).log()
    with _progress("examples read", None) as progress:
        return examples_of_log(log, schema, after_ms, examples_max, progress)


def _from_file(
    history: Path, mapping: Path, schema_of: Callable[[str | None], FeatureSchema], examples_max: int
) -> tuple[Batch, FeatureSchema]:
    from rheostat.streams.backtest.learner_mapping import read_learner_mapping
    from rheostat.streams.backtest.learner_rows import read_learner_rows
    from rheostat.streams.taught import examples_of_rows

    mapped = read_learner_mapping(mapping, schema_of)
    return examples_of_rows(read_learner_rows(history, mapped), examples_max), mapped.schema


def _owners(config: Config, set_id: str) -> dict[str, str]:
    folder = packaged_dictionary() if config.features.dir is None else Path(config.features.dir)
    try:
        return {each.name: each.owner for each in find_feature_set(folder, set_id).features}
    except BadDictionary:
        return {}


def _names(only: str | None) -> list[str]:
    return [] if only is None else [each.strip() for each in only.split(",") if each.strip()]


def _show_values(told: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 100)
    _say(console, _head(told))
    table = _table(told, "feature", *_VALUE_HEADS)
    for each in told["features"]:
        table.add_row(*_feature(told, each), *_cells(each))
    console.print(table)
    if told["copies"]:
        table = _plain_table("copies, all left out at once", "likeness", *_VALUE_HEADS)
        for each in told["copies"]:
            table.add_row(escape(", ".join(each["features"])), f"{each['likeness']:.3f}", *_cells(each))
        console.print(table)
    held = f"bounds hold all at once with {told['confidence']:.0%}"
    _say(console, f"What is lost without it, on the last {told['counted']:,}; {held}.")


def _show_proposals(told: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 100)
    _say(console, _head(told))
    if not told["proposals"]:
        _say(console, f"No feature is surely worth less than {told['worth_min']:g} nats an example.")
        return
    table = _table(told, "could go", "why")
    for each in told["proposals"]:
        table.add_row(*_feature(told, each), escape("; ".join(each["reasons"])))
    console.print(table)
    if (together := told["together"]) is not None:
        verdict = "all may go at once" if told["all_at_once"] else "take them out one by one, and measure again"
        _say(console, f"Without all of them {_bounds(together['nats'])} nats are lost: {verdict}.")


def _table(told: Mapping[str, Any], name: str, *heads: str) -> Table:
    """Return a table of features, with their owners where any is known."""
    return _plain_table(name, *(["owner"] if _owned(told) else []), *heads)


def _plain_table(name: str, *heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(name, overflow="fold")
    for each in heads:
        table.add_column(each)
    return table


def _feature(told: Mapping[str, Any], each: Mapping[str, Any]) -> list[str]:
    return [escape(each["feature"]), *([escape(each["owner"] or "-")] if _owned(told) else [])]


def _owned(told: Mapping[str, Any]) -> bool:
    return any(each["owner"] for each in told["features"])


_VALUE_HEADS = ("log loss, nats", "bounds", "ROC AUC", "bounds")


def _head(told: Mapping[str, Any]) -> str:
    full = told["all_features"]
    return (
        f"{told['feature_set']}: {told['examples']:,} examples, {told['learners']} learners, {told['seconds']:.1f} s; "
        f"with all features log loss {full['log_loss']:.4f}, ROC AUC {full['roc_auc']:.4f}"
    )


def _cells(value: Mapping[str, Any]) -> Iterator[str]:
    for name, digits in (("nats", 5), ("roc_auc", 4)):
        interval = value[name]
        if interval["mean"] is None:
            yield from ("-", "-")
        else:
            yield f"{interval['mean']:+.{digits}f}"
            yield f"{interval['lower']:+.{digits}f} to {interval['upper']:+.{digits}f}"


def _bounds(interval: Mapping[str, float]) -> str:
    return f"{interval['mean']:+.5f} ({interval['lower']:+.5f} to {interval['upper']:+.5f})"


def _say(console: Console, text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, where that is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(name, total=total)
        yield lambda done: shown.update(task, completed=done)
