import dataclasses
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.apply import ModelVersion, apply_update
from rheostat.streams.models.delta import apply_difference, difference
from rheostat.streams.models.manifest import Facts, Probe, TrainingRange, decode_manifest, encode_manifest
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import KeyRing, generate_signer
from rheostat.streams.models.update import BuiltUpdate, Limits, Update, UpdateAssembler
from rheostat.streams.models.version import Version
from tests.support.model_topic import LEARNER, SCHEMA, Arrays, Publisher, hashed_tensors, linear_tensors

KEYS = KeyRing.of(LEARNER)


class Reader:
    """An assembler that keeps what it was told to refuse."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.refused: list[Refused] = []
        self.assembler = UpdateAssembler(KEYS, lambda _, refused: self.refused.append(refused), limits)

    def read(self, *records: tuple[bytes | None, bytes | None]) -> list[Update]:
        updates = [self.assembler.feed(*record) for record in records]
        return [update for update in updates if update is not None]

    def checks(self) -> list[str]:
        return [refused.check for refused in self.refused]


def received(built: BuiltUpdate) -> Update:
    (update,) = Reader().read(*built.records)
    return update


def refusal(current: ModelVersion | None, update: Update) -> str:
    with pytest.raises(Refused) as caught:
        apply_update(current, update)
    assert update.manifest.name in str(caught.value)
    return caught.value.check


def arrays(dtype: Any = np.float64) -> st.SearchStrategy[Any]:
    shapes = st.sampled_from([(), (0,), (1,), (300,), (40, 3), (5, 0), (2, 3, 4)])
    return shapes.map(lambda shape: np.zeros(shape, dtype))


@settings(max_examples=200)
@given(st.data())
def test_a_delta_gives_exactly_what_a_base_gives(data: st.DataObject) -> None:
    previous: Arrays = {
        f"t{index}": data.draw(
            arrays(data.draw(st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_])))
        )
        for index in range(data.draw(st.integers(0, 4)))
    }
    new = {}
    for name, tensor in previous.items():
        flat = tensor.copy().reshape(-1)
        if flat.size:
            places = data.draw(st.lists(st.integers(0, flat.size - 1), max_size=10))
            values = [-0.0, np.nan, 1.0, 0.0] if np.issubdtype(flat.dtype, np.inexact) else [0, 1]
            for place in places:
                flat[place] = data.draw(st.sampled_from(values))
        new[name] = flat.reshape(tensor.shape)
    before = {name: tensor.copy() for name, tensor in previous.items()}
    result = apply_difference(previous, difference(new, previous))
    assert tensors_digest(result) == tensors_digest(new)
    assert tensors_digest(previous) == tensors_digest(before)


def test_a_delta_carries_touched_rows_only_where_that_is_smaller() -> None:
    previous = {"table": np.zeros((1000, 8)), "bias": np.zeros(4), "same": np.ones(9)}
    table, bias = previous["table"].copy(), previous["bias"].copy()
    table[[3, 700]] = 1.0
    bias[0] = 1.0
    changes = difference({"table": table, "bias": bias, "same": previous["same"]}, previous)
    assert {name: tensor.shape for name, tensor in changes.items()} == {
        "table#rows": (2,),
        "table#values": (2, 8),
        "bias": (4,),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"new": np.zeros(2)},
        {"t": np.zeros(3)},
        {"t": np.zeros((4, 2), dtype=np.float32)},
        {"t#rows": np.array([0])},
        {"t#values": np.zeros((1, 2))},
        {"t#rows": np.array([4]), "t#values": np.zeros((1, 2))},
        {"t#rows": np.array([-1]), "t#values": np.zeros((1, 2))},
        {"t#rows": np.array([1, 1]), "t#values": np.zeros((2, 2))},
        {"t#rows": np.array([2, 1]), "t#values": np.zeros((2, 2))},
        {"t#rows": np.array([0.0]), "t#values": np.zeros((1, 2))},
        {"t#rows": np.array([0]), "t#values": np.zeros((1, 3))},
        {"t#rows": np.array([0]), "t#values": np.zeros((1, 2), dtype=np.float32)},
        {"n#rows": np.array([0]), "n#values": np.zeros((1,))},
    ],
)
def test_changes_that_do_not_fit_are_refused(changes: Arrays) -> None:
    with pytest.raises(ValueError, match="tensor"):
        apply_difference({"t": np.zeros((4, 2)), "n": np.array(0.0)}, changes)


def test_manifests_survive_the_wire() -> None:
    facts = Facts(
        model="phishing",
        version=Version(2, 7),
        learner="linear/1",
        schema=SCHEMA,
        published_at_ms=1_760_000_000_123,
        offsets={1: 20, 0: 10},
        training=(TrainingRange(0, 5, 10, 4), TrainingRange(1, 9, 20, 11, learned=False)),
        examples_total=99,
        metrics={"brier": 0.25},
        libraries={"river": "0.26.1"},
        probes=(Probe((1.0, 2.0), ("com",), 0.5),),
        command_id="c-1",
    )
    manifest = dataclasses.replace(Publisher().publish(base=True).manifest, facts=facts)
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_a_chain_of_updates_gives_the_published_tensors_and_leaves_older_versions_alone() -> None:
    publisher, current, kept = Publisher(kind="hashed-mlp/1", tensors=hashed_tensors(256)), None, []
    for step in range(12):
        built = publisher.publish(base=step in (0, 7))
        current = apply_update(current, received(built))
        assert (current.version, current.digest) == (publisher.version, built.manifest.digest)
        kept.append(current)
        table: Any = publisher.tensors["table"].copy()
        table[[step, step + 40]] += np.float32(1.0)
        publisher.learn(table=table)
    for version in kept:
        assert tensors_digest(version.tensors) == version.digest == version.manifest.digest
    assert kept[1].tensors["hidden.weight"] is kept[2].tensors["hidden.weight"]
    with pytest.raises(ValueError, match="read-only"):
        kept[0].tensors["table"][0] = 0


def test_a_delta_is_smaller_than_a_base() -> None:
    publisher = Publisher(kind="hashed-mlp/1", tensors=hashed_tensors(4096))
    base = publisher.publish(base=True)
    table: Any = publisher.tensors["table"].copy()
    table[7] += np.float32(1.0)
    publisher.learn(table=table)
    delta = publisher.publish(base=False)
    assert (base.manifest.kind, delta.manifest.kind) == ("base", "delta")
    assert delta.manifest.payload_bytes < base.manifest.payload_bytes / 50


def test_other_shapes_are_published_as_a_base() -> None:
    publisher = Publisher(kind="hashed-mlp/1", tensors=hashed_tensors(64))
    first = apply_update(None, received(publisher.publish(base=True)))
    publisher.tensors = hashed_tensors(128)
    built = publisher.publish(base=False)
    assert built.manifest.kind == "base"
    assert apply_update(first, received(built)).digest == built.manifest.digest


@given(changed=st.sets(st.integers(0, 1023)), spoilt=st.sets(st.integers(0, 1023)))
@settings(max_examples=40, deadline=None)
def test_a_base_beside_a_version_has_its_own_digest_whatever_became_of_that_ones_memory(
    changed: set[int], spoilt: set[int]
) -> None:
    publisher = Publisher(kind="hashed-mlp/1", tensors=hashed_tensors(1024))
    first = apply_update(None, received(publisher.publish(base=True)))
    table = publisher.tensors["table"].astype(np.float32)
    table[sorted(changed)] += np.float32(0.5)
    publisher.learn(table=table)
    base = received(publisher.publish(base=True))
    memory = first.tensors["table"]
    memory.flags.writeable = True
    memory[sorted(spoilt)] = memory[sorted(spoilt)].astype(np.float32) + np.float32(0.5)
    if spoilt & changed:
        # Rows that are by chance as they have to be now may be taken for unchanged: then it is refused.
        with suppress(Refused):
            assert apply_update(first, base).digest == base.manifest.digest
        return
    second = apply_update(first, base)
    assert second.digest == tensors_digest(second.tensors) == base.manifest.digest
    assert np.array_equal(second.tensors["table"], table)


def test_what_does_not_follow_is_refused_and_a_newer_base_heals() -> None:
    publisher = Publisher()
    base = received(publisher.publish(base=True))
    updates = []
    for step in range(4):
        publisher.nudge(step)
        updates.append(received(publisher.publish(base=step == 3)))
    assert refusal(None, updates[0]) == "gap"
    current = apply_update(None, base)
    assert refusal(current, base) == "old"
    assert refusal(current, updates[1]) == "gap"
    second = apply_update(current, updates[0])
    assert refusal(second, updates[0]) == "old"
    assert apply_update(current, updates[3]).version == Version(1, 4)
    publisher.nudge(9)
    assert refusal(apply_update(current, updates[3]), received(publisher.publish(base=False, epoch=2))) == "gap"


def test_a_delta_of_another_history_is_refused() -> None:
    ours, theirs = Publisher(), Publisher(tensors=linear_tensors(seed=9))
    current = apply_update(None, received(ours.publish(base=True)))
    theirs.publish(base=True)
    theirs.nudge(1)
    assert refusal(current, received(theirs.publish(base=False))) == "parent"


def test_results_are_checked_whatever_was_signed() -> None:
    publisher = Publisher()
    current = apply_update(None, received(publisher.publish(base=True)))
    publisher.nudge(1)
    delta = received(publisher.publish(base=False))
    wrong = {**delta.tensors, "intercept": np.array([7.0])}
    assert refusal(current, Update(delta.manifest, wrong)) == "digest"
    assert refusal(current, Update(delta.manifest, {"intercept": np.zeros(2)})) == "tensors"


def test_tensors_that_are_not_finite_are_refused() -> None:
    publisher = Publisher()
    publisher.learn(intercept=np.array([np.nan]))
    assert refusal(None, received(publisher.publish(base=True, probes=()))) == "finite"


def test_golden_probes_catch_a_model_that_scores_otherwise() -> None:
    publisher = Publisher()
    wrong = (Probe((1.0, 2.0), ("com",), 0.987654),)
    assert refusal(None, received(publisher.publish(base=True, probes=wrong))) == "probes"
    misfit = (Probe((1.0,), ("com",), 0.5),)
    assert refusal(None, received(publisher.publish(base=True, probes=misfit))) == "probes"


def test_an_unknown_learner_or_a_missing_tensor_is_refused() -> None:
    publisher = Publisher(kind="forest/9")
    assert refusal(None, received(publisher.publish(base=True, probes=()))) == "tensors"
    publisher = Publisher()
    del publisher.tensors["weights"]
    assert refusal(None, received(publisher.publish(base=True, probes=()))) == "tensors"


def chunked() -> BuiltUpdate:
    built = Publisher(chunk_bytes_max=100).publish(base=True)
    assert built.manifest.chunks == len(built.records) > 4
    return built


def test_chunks_come_together_again() -> None:
    reader = Reader()
    (update,) = reader.read(*chunked().records)
    assert apply_update(None, update).digest == update.manifest.digest
    assert not reader.refused


@settings(max_examples=200)
@given(st.data())
def test_chunks_in_any_other_order_are_refused_with_the_reason(data: st.DataObject) -> None:
    records = chunked().records
    order = data.draw(st.lists(st.sampled_from(range(len(records))), max_size=2 * len(records)))
    whole = list(range(len(records)))
    complete = any(order[at : at + len(whole)] == whole for at in range(len(order)))
    reader = Reader()
    updates = reader.read(*(records[index] for index in order))
    assert bool(updates) == complete
    assert all("chunks came" in str(refused) for refused in reader.refused)
    assert len(reader.read(*records)) == 1


def test_models_may_be_mixed_but_a_new_update_ends_an_unfinished_one() -> None:
    first, other = chunked(), Publisher(model="clicks", chunk_bytes_max=100).publish(base=True)
    reader = Reader()
    mixed = [record for pair in zip(first.records, other.records, strict=True) for record in pair]
    assert {update.manifest.model for update in reader.read(*mixed)} == {"phishing", "clicks"}
    publisher = Publisher(chunk_bytes_max=100)
    half, whole = publisher.publish(base=True).records[:2], publisher.publish(base=True).records
    assert [update.manifest.version for update in reader.read(*half, *whole)] == [Version(1, 1)]
    assert reader.checks() == ["chunks"]


def test_unsigned_records_do_not_disturb_a_half_received_update() -> None:
    records = chunked().records
    stranger = Publisher(signer=generate_signer("learner-1"), chunk_bytes_max=100).publish(base=True).records
    reader = Reader()
    assert reader.read(*records[:2], stranger[0], (records[0][0], b"junk"), (None, None), *records[2:])
    assert reader.checks() == ["signature", "record", "record"]


def test_records_under_the_key_of_another_model_or_chunk_are_refused() -> None:
    records = chunked().records
    reader = Reader()
    assert not reader.read((b"clicks|base|1.0|0", records[0][1]), (records[1][0], records[0][1]))
    assert reader.checks() == ["manifest", "manifest"]
    assert reader.read(*records[:2], (records[1][0], records[0][1]), (records[0][0], records[2][1]), *records[2:])
    assert reader.checks() == ["manifest"] * 4


def test_memory_is_bounded() -> None:
    reader = Reader(Limits(pending_max=3))
    for number in range(8):
        reader.read(Publisher(model=f"m{number}", chunk_bytes_max=100).publish(base=True).records[0])
    assert reader.checks() == ["chunks"] * 5
    small = Reader(Limits(payload_bytes_max=100))
    assert not small.read(*chunked().records[:1])
    assert small.checks() == ["limits"]
    tiny = Reader(Limits(record_bytes_max=100))
    assert not tiny.read(*chunked().records[:1])
    assert tiny.checks() == ["limits"]


def test_tombstones_are_passed_over() -> None:
    reader = Reader()
    assert not reader.read((b"phishing|delta|1.3|0", None))
    assert not reader.refused


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_byte_gets_through(data: st.DataObject) -> None:
    records = list(chunked().records)
    index = data.draw(st.integers(0, len(records) - 1))
    key, value = records[index]
    kind = data.draw(st.sampled_from(["flip", "cut", "grow"]))
    place = data.draw(st.integers(0, len(value) - 1))
    flipped = value[:place] + bytes([value[place] ^ data.draw(st.integers(1, 255))]) + value[place + 1 :]
    records[index] = (key, {"flip": flipped, "cut": value[:place], "grow": value + b"\0"}[kind])
    reader = Reader()
    assert not reader.read(*records)
    assert reader.refused


def test_every_record_repeats_the_same_signed_manifest() -> None:
    values = [codec.decode_record(catalogue.MODELS, value) for _, value in chunked().records]
    assert len({(each["manifest"], each["key_id"], each["signature"]) for each in values}) == 1
