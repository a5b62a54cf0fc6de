"""The real records the demo replays: each has numeric features and a label given by people.

Labels are for the simulated reviewers and for scoring; they are never sent anywhere.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rheostat.streams.errors import ConfigError

WIKI_FEATURES = (
    "longest_repeated_char_added",
    "words_added",
    "words_removed",
    "badwords_prop_delta",
    "informals_prop_delta",
    "non_stopword_prop_delta",
    "user_is_anon",
    "user_is_bot_or_sysop",
    "user_seconds_since_registration",
)


@dataclass(frozen=True, slots=True)
class RealRecord:
    """One record; `target_id` names it, `label` is what people found."""

    target_id: str
    features: dict[str, float]
    label: bool


@dataclass(frozen=True, slots=True)
class RecordSet:
    """Records in the order they are shown; `what` and `positive` put them into words."""

    name: str
    what: str
    positive: str
    feature_names: tuple[str, ...]
    records: tuple[RealRecord, ...]


def phishing() -> RecordSet:
    """Return River's bundled Phishing data: 1,250 web sites labelled by people."""
    from river import datasets

    rows = [
        RealRecord(f"site-{index:04d}", {name: float(value) for name, value in features.items()}, bool(label))
        for index, (features, label) in enumerate(datasets.Phishing())
    ]
    return RecordSet("phishing", "web sites", "phishing", tuple(rows[0].features), tuple(rows))


def wiki_edits(folder: Path) -> RecordSet:
    """Return the labelled edits in `folder`, in the order they were made. Raises ConfigError without them."""
    rows = sorted((row for name in ("training", "testing") for row in _read(folder / f"{name}.tsv.gz")), key=_edit)
    records = tuple(
        RealRecord(
            f"edit-{row[0]}",
            dict(zip(WIKI_FEATURES, map(_number, row[1:10]), strict=True)),
            row[10] == "True",
        )
        for row in rows
    )
    return RecordSet("wiki-edit", "edits of an encyclopedia", "reverted", WIKI_FEATURES, records)


def load(folder: Path | None) -> RecordSet:
    """Return the records in `folder`, or the bundled ones."""
    return phishing() if folder is None else wiki_edits(folder)


def _edit(row: list[str]) -> int:
    return int(row[0])


def _number(text: str) -> float:
    return float(text == "True") if text in ("True", "False") else float(text)


def _read(file: Path) -> Iterator[list[str]]:
    try:
        with gzip.open(file, "rt", newline="") as lines:
            yield from csv.reader(lines, delimiter="\t")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}; --data takes a folder with its files") from error
