"""The test vectors of schemas/MODELS.md: JSON files in tests/vectors/models, for followers in any language.

    python -m tests.support.model_vectors

writes them. What is expected of every record of a history is said by hand; digests and tensors are the code's.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from numpy.typing import NDArray

from rheostat.learners import tensorfile
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.digest import DTYPES, canonical, dtype_name, tensors_digest
from rheostat.learners.features import SECOND, hash_value
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import MANIFEST_TYPE, KeyRing, Signer, pae
from tests.support.model_follower import Followed, History
from tests.support.model_forgeries import FORGER, STRANGER
from tests.support.model_histories import HISTORIES
from tests.support.model_updates import (
    INPUTS,
    LEARNER,
    SCHEMA,
    Arrays,
    Author,
    Record,
    hashed_tensors,
    linear_tensors,
    ramp,
    scores_of,
)

FOLDER = Path(__file__).parents[1] / "vectors/models"
Json = dict[str, Any]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tensor(array: NDArray[np.generic]) -> Json:
    return {"dtype": dtype_name(array.dtype), "shape": list(array.shape), "data": text(canonical(array).tobytes())}


def tensors(arrays: Mapping[str, NDArray[np.generic]]) -> Json:
    return {name: tensor(arrays[name]) for name in sorted(arrays)}


def keys(*signers: Signer) -> Json:
    return {
        each.key_id: each.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for each in signers
    }


def document(about: str, given: Any, expected: Any) -> Json:
    return {"about": about, "given": given, "expected": expected}


def digests() -> Json:
    every = {name.lower(): ramp(dtype, 3) for name, dtype in DTYPES.items()}
    sets: list[Arrays] = [
        {},
        {"a": np.zeros((), np.float64)},
        {"a": np.zeros((0,), np.float32), "b": np.zeros((5, 0), np.float32)},
        {"a": np.array([0.0])},
        {"a": np.array([-0.0])},
        {"a": ramp(np.float64, 128)},
        {"a": ramp(np.float64, 129)},
        {"a": ramp(np.float32, 16, 16), "b": ramp(np.float32, 256)},
        {"a": ramp(np.uint8, 1024)},
        {"a": ramp(np.uint8, 1025)},
        {"b": np.ones(2), "a": np.ones(2), "B": np.ones(2), "é": np.ones(2), "z": np.ones(2), "a.b": np.ones(2)},
        every,
    ]
    return document(
        "Digests of sets of tensors.", [tensors(each) for each in sets], [tensors_digest(each) for each in sets]
    )


def file_of(header: Any, body: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header, ensure_ascii=False).encode()
    return len(head).to_bytes(8, "little") + head + body


def entry(dtype: Any = "U8", shape: Any = (2,), start: Any = 0, end: Any = 2) -> Json:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def tensor_files() -> Json:
    body = b"\x00\x01"
    files = [
        tensorfile.dump({}),
        tensorfile.dump({name.lower(): ramp(dtype, 2, 2) for name, dtype in DTYPES.items()}),
        tensorfile.dump({"a": np.zeros((), np.int16), "b": np.zeros((0, 3), np.int16)}, {"format": "np"}),
        file_of({"a b": entry(), "é": entry(start=2, end=4)}, body * 2),
        file_of({"b": entry(start=2, end=4), "a": entry()}, body * 2),
        file_of(b' {"a": {"shape": [2], "dtype": "BOOL", "data_offsets": [0, 2]}}  ', body),
        file_of({"a": entry(shape=(2**52, 2**52, 0), end=0)}),
        file_of({"n" * 256: entry()}, body),
        b"",
        b"\x00" * 7,
        b"\xff" * 8,
        (4 * 1024 * 1024 + 1).to_bytes(8, "little") + b" " * 64,
        file_of(b"[]"),
        file_of(b"{"),
        file_of(b'{"a": {}, "a": {}}'),
        file_of(b'{"a": {"dtype": "U8", "dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}', body),
        file_of(b'{"a": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 2]}}', body),
        file_of(b'{"\xff": 1}'),
        file_of(b"{} {}"),
        file_of({"a": {**entry(), "more": 1}}, body),
        file_of({"a": {"dtype": "U8", "shape": [2]}}, body),
        file_of({"a": [1]}, body),
        file_of({"a": entry("C64", end=16)}, body * 8),
        file_of({"a": entry("BF16", (1,))}, body),
        file_of({"a": entry(8)}, body),
        file_of({"a": entry(shape=(2.0,))}, body),
        file_of({"a": entry(shape=(True,), end=1)}, body[:1]),
        file_of({"a": entry(shape=(-2,), end=-2)}, body),
        file_of({"a": entry(shape=(2**53,), end=2**53)}, body),
        file_of({"a": entry(shape=(1,) * 9, end=1)}, body[:1]),
        file_of({"a": {**entry(), "data_offsets": [0, 2, 2]}}, body),
        file_of({"a": entry(shape=(3,))}, body),
        file_of({"a": entry("U16")}, body),
        file_of({"a": entry(shape=(2**32, 2**32), end=0)}),
        file_of({"a": entry(start=1, end=3)}, b"\0" + body),
        file_of({"a": entry(), "b": entry(start=1, end=3)}, body * 2),
        file_of({"a": entry()}, body + b"\0"),
        file_of({"a": entry()}, body[:1]),
        file_of({"a": entry("BOOL")}, b"\x00\x02"),
        file_of({"": entry()}, body),
        file_of({"n" * 257: entry()}, body),
        file_of({"a\n": entry()}, body),
        file_of({"a\u200b": entry()}, body),
        file_of({"a\u00a0": entry()}, body),
        file_of({"__metadata__": {"a": "1", "b": "2"}}),
        file_of({"__metadata__": {"a": 1}}),
        file_of({"__metadata__": []}),
    ]
    return document(
        "Tensors files, of which some are to be refused.",
        [text(each) for each in files],
        [loaded(each) for each in files],
    )


def loaded(data: bytes) -> Json:
    try:
        return {"tensors": tensors(tensorfile.load(data, 1 << 30, 10_000))}
    except ValueError:
        return {"refused": "tensors"}


def signatures() -> Json:
    (_, value), *_ = Author().base()
    body = codec.decode_record(catalogue.MODELS, value)["manifest"]
    cases = [
        (b"", LEARNER.key_id, LEARNER.sign(MANIFEST_TYPE, b"")),
        (body, LEARNER.key_id, LEARNER.sign(MANIFEST_TYPE, body)),
        (body + b"\0", LEARNER.key_id, LEARNER.sign(MANIFEST_TYPE, body)),
        (body, FORGER.key_id, FORGER.sign(MANIFEST_TYPE, body)),
        (body, STRANGER.key_id, STRANGER.sign(MANIFEST_TYPE, body)),
        (body, LEARNER.key_id, LEARNER.sign("application/vnd.rheostat.manifest+avr", body)),
        (body, LEARNER.key_id, bytes(64)),
        (body, LEARNER.key_id, b""),
    ]
    ring = KeyRing.of(LEARNER)
    given = [{"manifest": text(each), "key_id": key_id, "signature": text(signed)} for each, key_id, signed in cases]
    expected = [
        {"pae": text(pae(MANIFEST_TYPE, each)), "refused": verified(ring, each, key_id, signed)}
        for each, key_id, signed in cases
    ]
    return document("What is signed, and by whom.", {"keys": keys(LEARNER), "signed": given}, expected)


def verified(ring: KeyRing, body: bytes, key_id: str, signed: bytes) -> str | None:
    try:
        ring.verify("manifest", MANIFEST_TYPE, body, key_id, signed)
    except Refused as refused:
        return refused.check
    return None


def hashes() -> Json:
    pairs = [
        ("tld", "com"),
        ("tld#2", "com"),
        ("tld", ""),
        ("host", "com"),
        ("", "a"),
        ("größe", "très 🙂"),
        ("a", "=" * 300),
    ]
    return document(
        "Hashes of categories.",
        [list(each) for each in pairs],
        [str(hash_value(name.removesuffix(SECOND), each)) for name, each in pairs],
    )


def scores() -> Json:
    plain = {**linear_tensors(), "scale.options": np.array([0.0, 1.5])}
    numbers = FeatureSchema("n@1", ("x",))
    only: Arrays = {
        "bins": np.array([1], np.uint64),
        "weights": np.array([2.0]),
        "intercept": np.array([0.5]),
        "scale.mean": np.array([1.0]),
        "scale.factor": np.array([0.5]),
        "scale.options": np.array([0.0, 3.0]),
    }
    single = [((value,), ()) for value in (0.0, 1.0, -7.5, 1e300)]
    models: list[tuple[str, FeatureSchema, Arrays, Any]] = [
        ("linear/1", SCHEMA, linear_tensors(), INPUTS),
        ("linear/1", SCHEMA, plain, INPUTS),
        ("linear/1", numbers, only, single),
        ("hashed-mlp/1", SCHEMA, hashed_tensors(), INPUTS),
    ]
    given = [
        {
            "learner": kind,
            "numeric": list(schema.numeric),
            "categorical": list(schema.categorical),
            "tensors": tensors(arrays),
            "inputs": [{"numeric": list(numbers), "categorical": list(texts)} for numbers, texts in inputs],
        }
        for kind, schema, arrays, inputs in models
    ]
    return document("Scores of learners' models.", given, [scores_of(*each, digits=6) for each in models])


def history(made: History) -> Json:
    """A history's document; AssertionError where the code does not do what the history says."""
    found = followed(made.about, made.signers, made.records)
    stated = [{"refused": list(each.refused), "applied": each.applied} for each in made.outcomes]
    for place, (does, says) in enumerate(zip(found["expected"]["records"], stated, strict=True)):
        assert does == says, f"{made.about} record {place}: {does}, not {says}"
    return found


def followed(about: str, signers: Sequence[Signer], records: Sequence[Record]) -> Json:
    """The document of any records: what our own follower makes of them."""
    follower = Followed(KeyRing.of(*signers))
    for each in records:
        follower.read(*each)
    models = {
        model: {
            "version": str(each.version),
            "answers": follower.answers(model),
            "digest": each.digest,
            "tensors": tensors(each.tensors),
        }
        for model, each in follower.current()
    }
    outcomes = [{"refused": list(each.refused), "applied": each.applied} for each in follower.outcomes]
    given = [
        {"key": None if key is None else key.decode(), "value": None if value is None else text(value)}
        for key, value in records
    ]
    return document(about, {"keys": keys(*signers), "records": given}, {"records": outcomes, "models": models})


def vectors() -> dict[str, str]:
    """The text of every file, by its name."""
    documents = {
        "digests": digests(),
        "tensor-files": tensor_files(),
        "signatures": signatures(),
        "hashes": hashes(),
        "scores": scores(),
        **{f"history-{name}": history(make()) for name, make in HISTORIES.items()},
    }
    return {f"{name}.json": json.dumps(each, indent=1, ensure_ascii=False) + "\n" for name, each in documents.items()}


def main() -> None:
    """Write the files anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name, content in vectors().items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
