"""`rheostat models` on a real Kafka: every verb, in words and as JSON, and what it says when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue
from rheostat.streams.cli.main import main
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.models.signing import save_signer
from rheostat.streams.provision import create_topics
from tests.support.model_updates import LEARNER, T0_MS, Author, Record, hashed_tensors

Rheostat = Callable[..., tuple[int, str, str]]


@pytest.fixture
def broker(make_kafka_broker: Callable[[], KafkaBroker]) -> KafkaBroker:
    """A broker with topics of its own."""
    made = make_kafka_broker()
    create_topics(made, 1, 1)
    return made


@pytest.fixture
def models(
    broker: KafkaBroker,
    kafka: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Rheostat:
    """Run a verb as an operator would; it returns exit code, output and errors."""
    save_signer(LEARNER, tmp_path / "keys")
    settings = [f"kafka.bootstrap={kafka}", f"kafka.prefix={broker._settings.prefix}", f"keys.dir={tmp_path / 'keys'}"]
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        options = [part for each in settings for part in ("--set", each)]
        monkeypatch.setattr("sys.argv", ["rheostat", "models", *arguments, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def write(broker: KafkaBroker, records: list[Record]) -> None:
    producer = broker.producer()
    for key, value in records:
        producer.send(catalogue.MODELS, key, value, timestamp_ms=T0_MS, partition=0)
    assert producer.flush(30_000) == 0
    producer.close()


def asked(models: Rheostat, *arguments: str) -> Any:
    code, printed, errors = models(*arguments, "--json")
    assert (code, errors) == (0, "")
    return json.loads(printed)


def test_every_verb_on_what_a_learner_published(broker: KafkaBroker, models: Rheostat, tmp_path: Path) -> None:
    author = Author(model="deep", kind="hashed-mlp/1", tensors=hashed_tensors(), chunk_bytes_max=900)
    write(broker, author.base())
    for row in range(3):
        author.set("table", row, by=0.5)
        write(broker, author.delta())

    author.withheld = ("worse", "golden")
    author.set("table", 3, by=0.5)
    write(broker, author.delta())
    (row_,) = asked(models, "list")["models"]
    assert (row_["version"], row_["withheld"], row_["answers"]) == ("0.4", ["worse", "golden"], "0.3")
    assert "withheld" in models("list")[1]
    assert "servers do not answer with it: worse, golden" in models("show", "deep")[1]
    author.withheld = ()
    author.set("table", 3, by=-0.5)
    write(broker, author.delta())

    (row_,) = asked(models, "list")["models"]
    assert (row_["model"], row_["version"], row_["kind"], row_["newest_base"]) == ("deep", "0.5", "delta", "0.0")
    assert (row_["bases"], row_["deltas"], row_["incomplete"], row_["key_id"]) == (1, 5, 0, "learner-1")
    assert "hashed-mlp/1" in models("list")[1]

    shown = asked(models, "show", "deep")
    assert (shown["manifest"]["sequence"], shown["manifest"]["kind"]) == (5, "delta")
    assert shown["tensors"]["table"] == "F32 64 x 4"
    words = models("show", "deep", "0.0")[1]
    assert "deep 0.0: a base of learner hashed-mlp/1" in words
    assert "9 of examples[0]@0-9; 4 of examples[1]@3-6, tested only" in words
    assert "golden probe    (12, 3, 'com') scores" in words

    difference = asked(models, "diff", "deep", "0.0", "0.2")
    (change,) = difference["changed"]
    assert (change["name"], change["rows_changed"], change["rows"]) == ("table", 2, 64)
    assert change["largest"] == 0.5
    assert change["norm"] == pytest.approx(np.sqrt(8 * 0.25))
    assert "2 of 64" in models("diff", "deep", "0.0", "0.2")[1]

    verified = asked(models, "verify", "deep", "--all")
    assert (verified["newest"], verified["digest"]) == ("0.5", tensors_digest(author.tensors))
    assert (verified["probes"], verified["faults"]) == (3, [])
    assert models("verify", "deep")[1].endswith("faults: none\n")

    exported = asked(models, "export", "deep", "0.5", "--out", str(tmp_path / "out"))
    assert len(exported["files"]) == 2
    assert tensors_digest(load_file(tmp_path / "out/model.safetensors")) == verified["digest"]
    code, _, error = models("export", "deep", "--out", str(tmp_path / "out"))
    assert (code, "is there already" in error) == (1, True)


def test_a_fault_is_named_with_its_place(broker: KafkaBroker, models: Rheostat) -> None:
    author = Author(model="deep")
    write(broker, author.base())
    author.set("weights", 0)
    ((key, value),) = author.delta()
    assert value is not None
    write(broker, [(key, value[:-1] + bytes([value[-1] ^ 1]))])
    code, printed, _ = models("verify", "deep")
    assert code == 1
    assert "FIRST FAULT at models[0]@1: payload: its bytes do not have the digest that was signed" in printed
    code, printed, _ = models("verify", "deep", "--json")
    assert (code, json.loads(printed)["faults"][0]["offset"]) == (1, 1)
    assert "deep 0.1: models[0]@1: " in models("show", "deep", "0.1")[2]


def test_what_is_asked_wrongly_is_answered_in_one_line(broker: KafkaBroker, models: Rheostat) -> None:
    assert models("list")[1] == "no models in the topic\n"
    write(broker, Author(model="deep").base())
    for arguments, answer in {
        ("show", "linear"): "no model 'linear' in `models`; there are: deep",
        ("show", "deep", "0.9"): "deep 0.9 is not in `models`",
        ("show", "deep", "newest"): "VERSION: 'newest' is not a version",
        ("diff", "deep", "0.0", "v1"): "V2: 'v1' is not a version",
        ("verify", "linear"): "no model 'linear' in `models`",
    }.items():
        code, printed, error = models(*arguments)
        assert (code, printed, error.count("\n")) == (1, "", 1)
        assert answer in error
