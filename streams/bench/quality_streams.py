"""Streams with known labels that models are compared on: edits of an encyclopedia, and what River brings with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from river import datasets

from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.streams.demo.records import wiki_edits

WIKI = "wiki-edit-reverted"


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows in the order in which they happened, with labels 0 and 1; all features are numbers."""

    name: str
    schema: FeatureSchema
    batch: Batch

    def rows(self) -> list[tuple[dict[str, float], bool]]:
        """Return each row as River takes it: its features by name, and its label."""
        names = self.schema.numeric
        numbers, labels = self.batch.numeric.tolist(), self.batch.label.tolist()
        return [(dict(zip(names, x, strict=True)), label > 0.5) for x, label in zip(numbers, labels, strict=True)]


def stream(name: str, data: Path) -> Stream:
    """Return one of `STREAMS`; `data` is the folder of those River does not bring, ConfigError if it is not there."""
    return STREAMS[name](data)


def _wiki(data: Path) -> Stream:
    """Edits of the English Wikipedia of one year by revision, which rises with time; the label: later reverted."""
    edits = wiki_edits(data / WIKI)
    schema = FeatureSchema(f"{WIKI}@1", edits.feature_names)
    numbers = [list(each.features.values()) for each in edits.records]
    return Stream(WIKI, schema, batch_from_columns(schema, numbers, [], [float(each.label) for each in edits.records]))


def _bundled(name: str, made: Callable[[], Any], _: Path) -> Stream:
    """One of River's own, in its own order."""
    found = list(made())
    names = tuple(found[0][0])
    schema = FeatureSchema(f"{name}@1", tuple(map(str, names)))
    numbers = [[float(x[column]) for column in names] for x, _ in found]
    return Stream(name, schema, batch_from_columns(schema, numbers, [], [float(y) for _, y in found]))


STREAMS: Mapping[str, Callable[[Path], Stream]] = {
    WIKI: _wiki,
    "phishing": partial(_bundled, "phishing", datasets.Phishing),
    "bananas": partial(_bundled, "bananas", datasets.Bananas),
    "shuttle": partial(_bundled, "shuttle", datasets.Shuttle),
}
"""How each is read; River's are all of its streams with two classes that need no download."""
