"""Histories of the topic `models` with records that are forged, broken, or properly signed and wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from rheostat.learners import tensorfile
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.manifest import Probe
from rheostat.streams.models.signing import COMMAND_TYPE, MANIFEST_TYPE
from rheostat.streams.models.version import Version
from tests.support.model_follower import History
from tests.support.model_updates import (
    LEARNER,
    Author,
    fixed_signer,
    hashed_tensors,
    ramp,
    record,
    signed_as_is,
)

STRANGER = fixed_signer("learner-9")
FORGER = fixed_signer("learner-1", "of someone else")


def wrong_keys() -> History:
    history = History("An unknown key, a known id with another key, a signature of something else.")
    author = Author()
    history.add(author.base(), "0.0")
    author.set("intercept")
    fields = codec.decode_record(catalogue.MODELS, author.delta()[0][1])
    body, key = fields["manifest"], b"sites|delta|0.1|0"
    for signer in (STRANGER, FORGER):
        signed = signer.sign(MANIFEST_TYPE, body)
        history.refuse(record(key, body, 0, fields["tensors"], signer, signed), "signature")
    as_command = LEARNER.sign(COMMAND_TYPE, body)
    for signed in (as_command, fields["signature"][:63], b"", LEARNER.private_key.sign(body)):
        history.refuse(record(key, body, 0, fields["tensors"], LEARNER, signed), "signature")
    history.add(record(key, body, 0, fields["tensors"], LEARNER, fields["signature"]), "0.1")
    return history


def truncated() -> History:
    history = History("Records cut short, and updates without their last chunk.")
    author = Author(chunk_bytes_max=100)
    base = author.base()
    key, value = base[0]
    assert value is not None
    for length in (0, 4, 5, 6, 40, len(value) - 1):
        history.refuse((key, value[:length]), "record")
    history.add(base, "0.0")
    author.set("weights", 0)
    unfinished = author.delta()
    history.add(unfinished[:-1])
    author.set("weights", 1)
    following = author.delta()
    history.refuse(following[0], "chunks")
    history.refuse(following[1:], "gap")
    history.add(author.base(), "0.3")
    shorter = signed_as_is(author.facts(Version(0, 4)), author.tensors, author.tensors, payload_bytes=10)
    history.refuse(shorter, "payload")
    cut = tensorfile.dump(author.tensors)[:-1]
    history.refuse(signed_as_is(author.facts(Version(0, 4)), cut, author.tensors), "tensors")
    return history


def corrupted() -> History:
    history = History("One bit is wrong: in header, manifest, signature, tensors. Then the record as it should be.")
    author = Author()
    ((key, value),) = author.base()
    assert value is not None
    fields = codec.decode_record(catalogue.MODELS, value)
    manifest_at = value.index(fields["manifest"])
    signature_at = value.index(fields["signature"])
    tensors_at = value.index(fields["tensors"])
    places = {
        0: "record",
        4: "record",
        manifest_at: "signature",
        manifest_at + len(fields["manifest"]) - 1: "signature",
        signature_at + 63: "signature",
        tensors_at + 9: "payload",
        len(value) - 1: "payload",
    }
    for place, check in places.items():
        history.refuse((key, value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]), check)
    history.refuse((key, value + b"\0"), "record")
    history.add((key, value), "0.0")
    return history


def message_keys() -> History:
    history = History("Records under keys that are not theirs, and keys that are none.")
    author = Author()
    ((key, value),) = author.base()
    assert key is not None
    others: list[bytes | None] = [None, b"", b"sites", b"sites|base|0.0", key + b"|"]
    for other in (
        b"clicks|base|0.0|0",
        b"sites|delta|0.0|0",
        b"sites|base|0.1|0",
        b"sites|base|0.0|1",
        b"sites|base|0.0|00",
    ):
        history.refuse((other, value), "manifest")
    for none in others:
        history.refuse((none, value), "record")
    history.refuse((b"sites", None), "record")
    history.add((key, value), "0.0")
    return history


def another_history() -> History:
    history = History("A delta for other tensors than those in use, and one that changes learner or features.")
    ours, theirs = Author(), Author()
    theirs.set("intercept", by=1.0)
    history.add(ours.base(), "0.0")
    digest = ours.parent.digest if ours.parent is not None else ""
    theirs.base()
    theirs.set("weights", 1)
    history.refuse(theirs.delta(), "parent")
    facts = ours.facts(Version(0, 1))
    follows: dict[str, Any] = {"kind": "delta", "parent_digest": digest}
    renamed = dataclasses.replace(facts, schema=dataclasses.replace(facts.schema, id="sites@2"))
    for other in (renamed, dataclasses.replace(facts, learner="linear/2")):
        history.refuse(signed_as_is(other, {}, ours.tensors, **follows), "manifest")
    history.add(signed_as_is(facts, {}, ours.tensors, **follows), "0.1")
    return history


def lies() -> History:
    history = History(
        "Properly signed, and wrong: another digest, not finite, other scores, no such learner, tensors missing."
    )
    author = Author()
    history.add(author.base(), "0.0")
    facts, tensors = author.facts(Version(0, 1)), author.tensors
    history.refuse(signed_as_is(facts, tensors, {**tensors, "intercept": np.zeros(1)}), "digest")
    for wrong in (np.nan, np.inf, -np.inf):
        spoilt = {**tensors, "intercept": np.array([wrong])}
        history.refuse(signed_as_is(facts, spoilt, spoilt), "finite")
    probe = author.probes()[0]
    for probes in (dataclasses.replace(probe, score=probe.score + 2e-6), Probe((1.0,), ("com",), 0.5)):
        history.refuse(signed_as_is(dataclasses.replace(facts, probes=(probes,)), tensors, tensors), "probes")
    history.refuse(signed_as_is(dataclasses.replace(facts, learner="forest/9"), tensors, tensors), "tensors")
    fewer = {name: tensor for name, tensor in tensors.items() if name != "weights"}
    history.refuse(signed_as_is(facts, fewer, fewer), "tensors")
    single = {**tensors, "weights": tensors["weights"].astype(np.float32)}
    history.refuse(signed_as_is(facts, single, single), "tensors")
    close = dataclasses.replace(facts, probes=(dataclasses.replace(probe, score=probe.score + 5e-7),))
    history.add(signed_as_is(close, tensors, tensors), "0.1")
    return history


def unknown_dtypes() -> History:
    history = History("Properly signed payloads with a dtype that is not known, or that are no tensors file.")
    author = Author()
    history.add(author.base(), "0.0")
    facts, tensors = author.facts(Version(0, 1)), author.tensors
    good = tensorfile.dump(tensors)
    for dtype in (b'"BF16"', b'"F8"', b'"f64"', b"64"):
        history.refuse(signed_as_is(facts, good.replace(b'"F64"', dtype.ljust(5)), tensors), "tensors")
    history.refuse(signed_as_is(facts, b"\x80\x04\x95", tensors), "tensors")
    history.add(signed_as_is(facts, good, tensors), "0.1")
    return history


def ill_fitting_deltas() -> History:
    history = History("Deltas with rows that the model does not have, and other dtypes, shapes and names than its own.")
    author = Author(kind="hashed-mlp/1", tensors=hashed_tensors())
    history.add(author.base(), "0.0")
    assert author.parent is not None
    facts = author.facts(Version(0, 1))
    follows: dict[str, Any] = {"kind": "delta", "parent_digest": author.parent.digest}
    rows, values = np.array([1, 5]), ramp(np.float32, 2, 4)
    for changes in (
        {"new": values},
        {"table": ramp(np.float32, 63, 4)},
        {"table": ramp(np.float64, 64, 4)},
        {"table#rows": rows},
        {"table#values": values},
        {"table": author.tensors["table"], "table#rows": rows, "table#values": values},
        {"table#rows": np.array([1, 64]), "table#values": values},
        {"table#rows": np.array([-1, 5]), "table#values": values},
        {"table#rows": np.array([5, 5]), "table#values": values},
        {"table#rows": np.array([5, 1]), "table#values": values},
        {"table#rows": rows.astype(np.int32), "table#values": values},
        {"table#rows": rows.reshape(2, 1), "table#values": values},
        {"table#rows": rows[:0], "table#values": values[:0]},
        {"table#rows": rows, "table#values": ramp(np.float32, 2, 3)},
        {"table#rows": rows, "table#values": ramp(np.float64, 2, 4)},
        {"new#rows": rows, "new#values": values},
    ):
        history.refuse(signed_as_is(facts, changes, author.tensors, **follows), "tensors")
    spoilt = np.where(np.arange(8).reshape(2, 4) == 3, np.float32(np.inf), values)
    after = author.tensors["table"].copy()
    after[rows] = spoilt
    changed = {**author.tensors, "table": after}
    history.refuse(signed_as_is(facts, {"table#rows": rows, "table#values": spoilt}, changed, **follows), "finite")
    return history


def limits() -> History:
    history = History("More than is accepted, and other numbers of bytes and chunks than were signed for.")
    author = Author()
    facts, tensors = author.facts(Version(0, 0)), author.tensors
    history.refuse(signed_as_is(facts, tensors, tensors, payload_bytes=(1 << 30) + 1), "limits")
    history.refuse(signed_as_is(facts, tensors, tensors, chunks=4_097), "limits")
    history.refuse(signed_as_is(facts, tensors, tensors, payload_bytes=7), "payload")
    history.add(signed_as_is(facts, tensors, tensors, payload_bytes=1 << 20), "0.0")
    later = author.facts(Version(0, 1))
    history.add(signed_as_is(later, tensors, tensors, chunks=2))
    history.add(signed_as_is(later, tensors, tensors), "0.1", "chunks")
    return history


def manifests() -> History:
    history = History("Properly signed manifests that break a rule, or are not canonical.")
    author = Author()
    facts, tensors = author.facts(Version(0, 0)), author.tensors
    key, value = signed_as_is(facts, tensors, tensors)
    fields = codec.decode_record(catalogue.MODELS, value)
    body: bytes = fields["manifest"]
    good = codec.decode_body(catalogue.MANIFEST, body)

    def refuse(wrong: bytes) -> None:
        signed = LEARNER.sign(MANIFEST_TYPE, wrong)
        history.refuse(record(key, wrong, 0, fields["tensors"], LEARNER, signed), "manifest")

    digest = good["digest"]
    for change in (
        {"model": ""},
        {"model": "a|b"},
        {"model": "m" * 64},
        {"epoch": -1},
        {"sequence": -1},
        {"kind": "delta"},
        {"parent_digest": digest},
        {"digest": digest.upper()},
        {"digest": digest[:63]},
        {"payload_digest": digest + "0"},
        {"payload_bytes": 0},
        {"chunks": 0},
        {"training_only": [{"name": "colour", "number": 0.0, "text": ""}]},
        {"training_only": [{"name": "age_days", "number": np.inf, "text": ""}]},
        {"mode": ""},
        {"mode": "offline"},
    ):
        refuse(codec.encode_body(catalogue.MANIFEST, {**good, **change}))
    refuse(body + b"\0")
    refuse(body[:-1])
    # The epoch, 0, in two bytes; "sites" with a byte that is no UTF-8.
    refuse(body[:6] + b"\x80\x00" + body[7:])
    refuse(body[:1] + b"\xff" + body[2:])
    # The numeric features as two blocks, as one with its size, and with no end.
    names = b"\x14url_length\x10age_days"
    one_block = b"\x04" + names + b"\x00"
    for blocks in (
        b"\x02" + names[:11] + b"\x02" + names[11:] + b"\x00",
        b"\x03\x28" + names + b"\x00",
        b"\x04" + names,
    ):
        assert one_block in body
        refuse(body.replace(one_block, blocks))
    metric = b"\x02\x0abrier" + np.float64(0.25).tobytes() + b"\x00"
    assert metric in body
    refuse(body.replace(metric, b"\x04" + metric[1:-1] * 2 + b"\x00"))
    allowed = {
        "training_only": [
            {"name": "tld", "number": 0.0, "text": "com"},
            {"name": "age_days", "number": 1.5, "text": ""},
        ]
    }
    signed_body = codec.encode_body(catalogue.MANIFEST, {**good, **allowed})
    signed = LEARNER.sign(MANIFEST_TYPE, signed_body)
    history.add(record(key, signed_body, 0, fields["tensors"], LEARNER, signed), "0.0")
    return history
