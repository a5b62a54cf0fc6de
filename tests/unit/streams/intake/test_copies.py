"""Bursts of copied texts: held when newcomers write them, not when established actors do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from rheostat.schemas import catalogue
from rheostat.streams.intake.bursts import BurstScorer, events_of
from rheostat.streams.intake.copies import TEXTS_KEPT, count_texts, texts_table, write_text
from rheostat.streams.intake.likeness import text_hashes
from rheostat.streams.intake.settings import BurstSettings
from tests.support.feedback import NOW_MS, block_of_events, event, records_of
from tests.support.texts import with_a_number, written
from tests.unit.streams.intake.test_bursts import ITEMS, REGULARS, SETTINGS, T0_MS, THUMB, calm, traffic
from tests.unit.streams.intake.test_stage import task

ONSET_MS = T0_MS + 120_000
NEWCOMERS = [f"new-{i}" for i in range(5_000)]
TEXT = "Do not buy this, the battery died after two days and nobody from support ever answered"
Author = Callable[[np.random.Generator], str | None]


class Row(NamedTuple):
    time_ms: int
    target: str
    actor: str
    value: float
    text: str | None = None


class Scored(NamedTuple):
    rows: list[Row]
    suspicion: np.ndarray
    reasons: list[str | None]

    def of(self, target: str, since_ms: int) -> np.ndarray:
        """Suspicion of the events on a target."""
        return self.suspicion[[row.target == target and row.time_ms >= since_ms for row in self.rows]]


def score(scorer: BurstScorer, rows: list[Row], block: int) -> Scored:
    suspicion, reasons = [np.empty(0)], []
    for start in range(0, len(rows), block):
        times, targets, actors, values, texts = zip(*rows[start : start + block], strict=True)
        events = events_of(
            pa.array(targets, pa.string()),
            pa.array(actors, pa.string()),
            np.full(len(times), THUMB, np.int32),
            np.array(values),
            np.array(times, np.int64),
        )
        found = scorer.score(replace(events, texts=text_hashes(pa.array(texts, pa.string()))))
        suspicion.append(found.suspicion)
        reasons += found.reasons_column().to_pylist()
    return Scored(rows, np.concatenate(suspicion), reasons)


def burst(rng: np.random.Generator, actors: list[str], author: Author, *, seconds: float = 5) -> list[Row]:
    """Events of mixed values on one target, 60 a second."""
    found = traffic(rng, ONSET_MS, seconds, 60, actors=actors, targets=["item-7"], up=0.6)
    return [Row(*row, author(rng)) for row in found]


def mixed(rng: np.random.Generator, rows: list[Row]) -> list[Row]:
    """Rows among ordinary ones, a tenth of which have a text."""
    around = [Row(*row, written(rng, 15) if rng.random() < 0.1 else None) for row in calm(rng, ONSET_MS, 6)]
    return sorted(rows + around, key=lambda row: row.time_ms)


def warmed_up(rng: np.random.Generator) -> BurstScorer:
    scorer = BurstScorer(SETTINGS)
    score(scorer, [Row(*row) for row in calm(rng, T0_MS, 120)], 1_000)
    return scorer


@pytest.mark.parametrize("block", [13, 1_000])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("copy", [lambda rng: TEXT, lambda rng: with_a_number(rng, TEXT)])
def test_newcomers_with_one_text_and_any_values_are_held(copy: Author, seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    scorer = warmed_up(rng)
    found = score(scorer, mixed(rng, burst(rng, NEWCOMERS, copy)), block)
    assert (found.of("item-7", ONSET_MS + 500) >= SETTINGS.quarantine_at).mean() > 0.95
    assert max(found.of(item, 0).max(initial=0) for item in ITEMS if item != "item-7") == 0
    assert any(reason is not None and re.search(r"; \d+ of \d+ texts nearly", reason) for reason in found.reasons)


@pytest.mark.parametrize(
    ("actors", "author"),
    [
        pytest.param(REGULARS, lambda rng: TEXT, id="established actors who write alike"),
        pytest.param(NEWCOMERS, lambda rng: written(rng, 15), id="newcomers in words of their own"),
        pytest.param(NEWCOMERS, lambda rng: "great, thank you!", id="newcomers with the same few words"),
        pytest.param(NEWCOMERS, lambda rng: None, id="newcomers without texts"),
    ],
)
def test_what_is_no_copying_is_scored_as_without_texts(actors: list[str], author: Author) -> None:
    rng = np.random.default_rng(4)
    rows = mixed(rng, burst(rng, actors, author))
    found = score(warmed_up(np.random.default_rng(5)), rows, 500)
    without = score(warmed_up(np.random.default_rng(5)), [row._replace(text=None) for row in rows], 500)
    held = found.suspicion >= SETTINGS.quarantine_at
    assert (held & (without.suspicion < SETTINGS.quarantine_at)).mean() < 0.001
    if actors is REGULARS:
        assert found.suspicion.max() < SETTINGS.downweight_at


def test_only_the_copies_are_held() -> None:
    """An honest newcomer who writes in words of his own in the middle of it is not."""
    rng = np.random.default_rng(6)
    attack = burst(rng, NEWCOMERS, lambda rng: TEXT)
    honest = [row._replace(actor=f"honest-{at}", text=written(rng, 15)) for at, row in enumerate(attack[50::10])]
    found = score(warmed_up(rng), mixed(rng, attack + honest), 500)
    of_honest = found.suspicion[[row.actor.startswith("honest") for row in found.rows]]
    assert len(of_honest) > 20
    assert (of_honest < SETTINGS.quarantine_at).mean() > 0.95


@pytest.mark.parametrize("author", [lambda rng: TEXT, lambda rng: written(rng, 15)])
def test_what_is_learned_does_not_depend_on_texts(author: Author) -> None:
    """So a restart, which has only outputs without texts, knows all but the texts of the last two seconds."""
    rng = np.random.default_rng(7)
    rows = mixed(rng, burst(rng, NEWCOMERS, author))
    later = [row._replace(time_ms=row.time_ms + 8_000, text=None) for row in rows]
    with_texts, without = warmed_up(np.random.default_rng(8)), warmed_up(np.random.default_rng(8))
    score(with_texts, rows, 500)
    score(without, [row._replace(text=None) for row in rows], 500)
    then = score(with_texts, later, 500).suspicion
    assert then.max() > 0
    np.testing.assert_array_equal(then, score(without, later, 500).suspicion)


def test_intake_holds_copies_and_writes_their_text_nowhere() -> None:
    intake = task(bursts=BurstSettings(events_min=5))
    past = [
        event(f"calm-{i}", subject_id=f"u{i % 50}", target_id=f"t{i % 997}", occurred_at=NOW_MS - 100_000 + 10 * i)
        for i in range(9_000)
    ]
    attack = [
        event(f"bad-{i}", subject_id=f"new-{i}", target_id="victim", value=float(i % 2), text=TEXT, occurred_at=NOW_MS)
        for i in range(100)
    ]
    intake.process([block_of_events(past)], NOW_MS)
    output = intake.process([block_of_events(attack)], NOW_MS)
    held = records_of(output.records, catalogue.QUARANTINE)
    assert len(held) > 80
    assert all("texts nearly the same" in each["reasons"] for each in held)
    assert not any(b"battery" in (value or b"") for out in output.records for value in out.values)


def test_it_does_not_matter_how_events_with_texts_are_cut_into_blocks() -> None:
    rng = np.random.default_rng(9)
    rows = mixed(rng, burst(rng, NEWCOMERS, lambda rng: TEXT if rng.random() < 0.5 else written(rng, 15)))
    whole = score(warmed_up(np.random.default_rng(10)), rows, len(rows)).suspicion
    assert whole.max() >= SETTINGS.quarantine_at
    for block in (1, 7, 250):
        np.testing.assert_array_equal(score(warmed_up(np.random.default_rng(10)), rows, block).suspicion, whole)


WRITER, OTHER, LIKE, UNLIKE = (np.uint64(each) for each in (1, 2, 0b111, 2**64 - 1))
ITEM, SAME_PLACE = (np.uint64(16), np.uint64(5)), (np.uint64(32), np.uint64(5))


def test_a_copy_is_by_another_writer_within_two_seconds() -> None:
    table = texts_table(16)
    assert not write_text(table, *ITEM, np.uint64(0), WRITER, 10)
    assert not write_text(table, *ITEM, LIKE, WRITER, 10)
    assert count_texts(table, *ITEM, 10) == (2, 0)
    assert not write_text(table, *ITEM, UNLIKE, OTHER, 11)
    assert write_text(table, *ITEM, LIKE, OTHER, 11)
    assert count_texts(table, *ITEM, 11) == (4, 3)
    assert count_texts(table, *ITEM, 12) == (2, 1)
    assert not write_text(table, *ITEM, LIKE, WRITER, 13)
    assert count_texts(table, *ITEM, 13) == (1, 0)


def test_only_the_newest_texts_count() -> None:
    table = texts_table(16)
    for at in range(TEXTS_KEPT + 5):
        write_text(table, *ITEM, LIKE if at == 0 else UNLIKE, WRITER, 10)
    assert count_texts(table, *ITEM, 10) == (TEXTS_KEPT, 0)
    assert not write_text(table, *ITEM, LIKE, OTHER, 10)


def test_a_target_has_its_place_until_it_is_silent() -> None:
    table = texts_table(16)
    write_text(table, *ITEM, LIKE, WRITER, 10)
    assert not write_text(table, *SAME_PLACE, LIKE, OTHER, 11)
    assert (count_texts(table, *ITEM, 11), count_texts(table, *SAME_PLACE, 11)) == ((1, 0), (0, 0))
    assert not write_text(table, *SAME_PLACE, LIKE, OTHER, 12)
    assert (count_texts(table, *ITEM, 12), count_texts(table, *SAME_PLACE, 12)) == ((0, 0), (1, 0))
