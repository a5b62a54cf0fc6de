"""Looking at the topic: every version comes out as it was published, and nothing that is wrong stays unseen."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import ConfigError, Corrupt
from rheostat.streams.models.compare import compare, layout_words
from rheostat.streams.models.export import MANIFEST_FILE, TENSORS_FILE, export_version
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.topic import in_words, rebuild_version, stored_updates
from rheostat.streams.models.verify import verify
from rheostat.streams.models.version import Version
from tests.support.model_follower import Followed, History
from tests.support.model_forgeries import STRANGER
from tests.support.model_histories import HISTORIES
from tests.support.model_updates import LEARNER, T0_MS, Author, Record, hashed_tensors
from tests.support.serving import memory_broker

KEYS = KeyRing.of(LEARNER)


def topic(records: list[Record]) -> Log:
    """A log with these records in `models`, their offsets counting from 0."""
    broker = memory_broker(ManualClock())
    producer = broker.producer()
    for key, value in records:
        producer.send(catalogue.MODELS, key, value, timestamp_ms=T0_MS, partition=0)
    return broker.log()


def published() -> tuple[Author, list[Record], dict[Version, str]]:
    """A model's versions 0.0 to 0.5 with a base in the middle; their records, and digests by version."""
    author = Author(kind="hashed-mlp/1", tensors=hashed_tensors(), chunk_bytes_max=400)
    records, digests = [], {}
    for step in range(6):
        records += author.base() if step % 3 == 0 else author.delta()
        digests[author.version] = tensors_digest(author.tensors)
        author.set("table", step)
    return author, records, digests


def test_every_version_is_put_together_again() -> None:
    _, records, digests = published()
    log = topic(records)
    for version, digest in digests.items():
        assert rebuild_version(log, KEYS, "sites", version).digest == digest
    assert rebuild_version(log, KEYS, "sites").manifest.version == Version(0, 5)


@pytest.mark.parametrize("name", HISTORIES)
def test_what_a_follower_took_into_use_can_be_put_together_whatever_else_lies_there(name: str) -> None:
    history: History = HISTORIES[name]()
    keys, log = KeyRing.of(*history.signers), topic(history.records)
    followed = Followed(keys)
    for record in history.records:
        followed.read(*record)
        if followed.outcomes[-1].applied is None:
            continue
        for model, version in followed.current():
            assert rebuild_version(log, keys, model, version.version).digest == version.digest


@pytest.mark.parametrize("name", HISTORIES)
def test_what_a_follower_refuses_is_a_fault(name: str) -> None:
    history: History = HISTORIES[name]()
    found = verify(topic(history.records), KeyRing.of(*history.signers), "sites", whole=True)
    # A rollback's fence is not known here; deltas before any base are what is left of deleted updates.
    refused = [
        "old" if check == "fenced" else check
        for (key, _), each in zip(history.records, history.outcomes, strict=True)
        for check in each.refused
        if key is not None and key.startswith(b"sites|") and key.count(b"|") == 3
    ]
    faults = (
        [each.check for each in found.faults] + ["gap"] * (found.passed_over + found.early) + ["old"] * found.told_again
    )
    assert not Counter(refused) - Counter(faults)
    if not refused:
        assert not found.faults
    assert found.faults_total == len(found.faults)


def test_a_fault_has_its_place_and_the_rest_is_read_all_the_same() -> None:
    _, records, _ = published()
    deltas = [place for place, (key, _) in enumerate(records) if key is not None and b"|delta|" in key]
    key, value = records[deltas[0]]
    assert value is not None
    records[deltas[0]] = (key, value[:-1] + bytes([value[-1] ^ 1]))
    log = topic(records)
    found = verify(log, KEYS, "sites", whole=True)
    assert found.faults_total == 3  # Its payload, the gap before the next delta, and the one before the base.
    assert (found.faults[0].check, in_words(found.faults[0].place)) == ("payload", f"models[0]@{deltas[0]}")
    assert found.newest == Version(0, 5)
    with pytest.raises(Corrupt, match=rf"sites 0\.1: models\[0\]@{deltas[0]}: .*digest that was signed"):
        rebuild_version(log, KEYS, "sites", Version(0, 1))
    from_the_newest_base = verify(log, KEYS, "sites")
    assert (from_the_newest_base.faults, from_the_newest_base.bases, from_the_newest_base.deltas) == ([], 1, 2)


@pytest.mark.parametrize("kind", ["base", "delta", "epoch"])
def test_a_version_that_is_missing_is_a_fault_although_a_base_heals_it(kind: str) -> None:
    author = Author()
    records = author.base()
    author.delta()
    if kind == "delta":
        records += author.delta()
    else:
        records += author.base(Version(0, 2) if kind == "base" else Version(1, 1))
    found = verify(topic(records), KEYS, "sites", whole=True)
    assert [each.check for each in found.faults] == ["gap"]


def test_an_update_without_its_last_record_is_a_fault() -> None:
    _, records, _ = published()
    author = Author(model="other", chunk_bytes_max=100)
    found = verify(topic([*records, *author.base()[:-1]]), KEYS, "other", whole=True)
    assert [each.check for each in found.faults] == ["chunks"]
    assert found.newest is None


def test_what_the_topic_tells_needs_no_keys() -> None:
    author = Author(chunk_bytes_max=100)
    whole, cut = author.base(), author.base()[:-1]
    other = Author(model="clicks", signer=STRANGER).base()
    log = topic(
        [whole[0], *other, *whole[1:], *cut, (b"junk", b"junk"), (b"a|b|c|0", b""), (b"sites|base|0.0|0", None)]
    )
    stored = {str(each.manifest.name): each for each in stored_updates(log)}
    assert {name: (each.complete, each.key_id, each.place.offset) for name, each in stored.items()} == {
        "clicks 0.0 (base)": (True, "learner-9", 1),
        "sites 0.0 (base)": (True, "learner-1", 0),
        "sites 0.1 (base)": (False, "learner-1", len(whole) + 1),
    }
    assert stored["sites 0.0 (base)"].bytes == sum(len(value or b"") for _, value in whole)


def test_what_is_not_there_is_told_with_what_is() -> None:
    log = topic([*published()[1], *Author(model="clicks", signer=STRANGER).base()])
    with pytest.raises(ConfigError, match=r"no model 'click' in `models`; there are: clicks, sites"):
        rebuild_version(log, KEYS, "click")
    with pytest.raises(ConfigError, match=r"sites 0\.6 is not in `models`.* 0\.0 to 0\.5"):
        rebuild_version(log, KEYS, "sites", Version(0, 6))
    with pytest.raises(ConfigError, match=r"no base of clicks .* is signed with a known key"):
        rebuild_version(log, KEYS, "clicks")


def test_an_export_is_read_by_the_formats_own_library_and_never_replaced(tmp_path: Path) -> None:
    author, records, digests = published()
    found = rebuild_version(topic(records), KEYS, "sites", Version(0, 4))
    sizes = export_version(found, tmp_path / "new")
    assert sizes == {str(path): path.stat().st_size for path in (tmp_path / "new").iterdir()}
    assert tensors_digest(load_file(tmp_path / "new" / TENSORS_FILE)) == digests[Version(0, 4)]
    manifest = json.loads((tmp_path / "new" / MANIFEST_FILE).read_text())
    assert (manifest["model"], manifest["epoch"], manifest["sequence"]) == (author.model, 0, 4)
    with pytest.raises(ConfigError, match="is there already"):
        export_version(found, tmp_path / "new")


def test_a_comparison_counts_rows_and_measures_them() -> None:
    before: dict[str, Any] = {
        "table": np.zeros((4, 2), np.float32),
        "bias": np.array([3.0, 4.0]),
        "gone": np.zeros(1),
        "grown": np.zeros(2),
        "single": np.array(1, np.int64),
        "same": np.ones((2, 2)),
    }
    table = before["table"].copy()
    table[1] = (3.0, -4.0)
    after = {
        **before,
        "table": table,
        "bias": np.array([3.0, 4.5]),
        "grown": np.zeros(3),
        "single": np.array(-2),
        "new": table,
    }
    del after["gone"]
    found = compare(before, after)
    assert (found.added, found.removed, found.reshaped, found.same) == (("new",), ("gone",), ("grown",), 1)
    bias, single, changed = found.changed
    assert (changed.name, changed.rows, changed.rows_changed, changed.largest, changed.norm) == (
        "table",
        4,
        1,
        4.0,
        5.0,
    )
    assert (bias.rows_changed, bias.largest, bias.norm, bias.norm_before) == (1, 0.5, 0.5, 5.0)
    assert (single.rows, single.rows_changed, single.largest) == (1, 1, 3.0)
    assert [layout_words(before[name]) for name in ("table", "single")] == ["F32 4 x 2", "I64 single"]
