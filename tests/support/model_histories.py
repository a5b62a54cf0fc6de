"""Histories of the topic `models`, each with what a follower must make of every record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rheostat.learners.digest import DTYPES
from rheostat.schemas import catalogue, codec
from rheostat.streams.models.version import Version
from tests.support.model_follower import History
from tests.support.model_forgeries import (
    another_history,
    corrupted,
    ill_fitting_deltas,
    lies,
    limits,
    manifests,
    message_keys,
    truncated,
    unknown_dtypes,
    wrong_keys,
)
from tests.support.model_updates import (
    LEARNER,
    Author,
    Record,
    fixed_signer,
    hashed_tensors,
    linear_tensors,
    ramp,
    record,
)

SECOND_LEARNER = fixed_signer("learner-2")


def a_base() -> History:
    history = History("One base in one record.")
    author = Author()
    history.add(author.base(), "0.0")
    return history


def deltas() -> History:
    history = History("A base, and deltas: touched rows, a whole tensor, both, nothing, a -0 in place of a 0.")
    author = Author(kind="hashed-mlp/1", tensors=hashed_tensors())
    history.add(author.base(), "0.0")
    author.set("table", 3, 40)
    history.add(author.delta(), "0.1")
    author.set("hidden.bias")
    history.add(author.delta(), "0.2")
    author.set("table", 0, 63, by=-1.0)
    author.set("output.bias", by=0.125)
    history.add(author.delta(), "0.3")
    history.add(author.delta(), "0.4")
    zero = author.tensors["scale.options"].copy()
    zero[0] = np.float64(-0.0)
    author.tensors = {**author.tensors, "scale.options": zero}
    history.add(author.delta(), "0.5")
    return history


def chunks() -> History:
    history = History("Updates in chunks of 100 bytes, those of two models interleaved, deltas in chunks too.")
    one = Author(chunk_bytes_max=100)
    other = Author(model="sites.v2", kind="hashed-mlp/1", tensors=hashed_tensors(16), chunk_bytes_max=150)
    first, second = one.base(), other.base()
    length = min(len(first), len(second)) - 1
    for pair in zip(first[:length], second[:length], strict=True):
        history.add(list(pair))
    history.add(first[length:], "0.0")
    history.add(second[length:], "0.0")
    for author in (one, other):
        author.set("scale.mean")
        history.add(author.delta(), "0.1")
    return history


def dtypes() -> History:
    history = History(
        "Every dtype and some shapes: none, one or three axes, an axis of 0, more bytes than a chunk of a digest."
    )
    extra = {
        f"extra.{name.lower()}.{'x'.join(map(str, shape)) or 'single'}": ramp(dtype, *shape)
        for name, dtype in DTYPES.items()
        for shape in [(), (0,), (5, 0), (3,), (2, 3, 2)]
    }
    long = {f"long.{name.lower()}": ramp(DTYPES[name], 300, 2) for name in ("BOOL", "I16", "U32", "F16", "F64")}
    author = Author(tensors={**linear_tensors(), **extra, **long, "größe": ramp(np.float32, 2)})
    history.add(author.base(), "0.0")
    for name in long:
        if name != "long.bool":
            author.set(name, 0, 150, 299, by=1.0)
    flipped = author.tensors["long.bool"].copy()
    flipped[17] = ~flipped[17]
    author.tensors = {**author.tensors, "long.bool": flipped}
    author.set("extra.i8.3")
    history.add(author.delta(), "0.1")
    return history


def rollback() -> History:
    history = History(
        "A rollback: the next epoch begins with the tensors of an older version, and what is late is refused."
    )
    author = Author(kind="hashed-mlp/1", tensors=hashed_tensors())
    history.add(author.base(), "0.0")
    author.set("table", 5)
    history.add(author.delta(), "0.1")
    good = author.tensors
    author.set("table", 6, 7)
    history.add(author.delta(), "0.2")
    author.set("table", 8)
    late = [author.delta(), author.base()]
    author.tensors = good
    history.add(author.base(Version(1, 0)), "1.0")
    history.refuse(late[0], "fenced")
    history.refuse(late[1], "fenced")
    author.set("table", 9)
    history.add(author.delta(), "1.1")
    return history


def withheld() -> History:
    history = History("Versions that are taken and not answered with: some the gate holds back, and an apprentice's.")
    author = Author(withheld=("worse",))
    history.add(author.base(), "0.0")
    author.withheld = ()
    author.set("weights", 0)
    history.add(author.delta(), "0.1")
    author.withheld = ("magnitude", "golden")
    author.set("weights", 1)
    history.add(author.delta(), "0.2")
    history.add(author.base(), "0.3")
    author.mode, author.withheld = "apprentice", ("apprentice",)
    author.set("weights", 2)
    history.add(author.delta(), "0.4")
    return history


def rotation() -> History:
    history = History(
        "Keys change within an epoch; both are known, and any of them may sign.", (LEARNER, SECOND_LEARNER)
    )
    author = Author()
    history.add(author.base(), "0.0")
    author.set("weights", 0)
    history.add(author.delta(), "0.1")
    author.signer = SECOND_LEARNER
    author.set("weights", 1)
    history.add(author.delta(), "0.2")
    history.add(author.base(), "0.3")
    author.signer = LEARNER
    author.set("weights", 2)
    history.add(author.delta(), "0.4")
    return history


def old_key_taken_away() -> History:
    history = History(
        "A follower that lacks an old key refuses what is older, and is whole from a base on.", (SECOND_LEARNER,)
    )
    author = Author()
    history.refuse(author.base(), "signature")
    author.signer = SECOND_LEARNER
    author.set("weights", 0)
    history.refuse(author.delta(), "gap")
    history.add(author.base(), "0.2")
    author.set("weights", 0)
    history.add(author.delta(), "0.3")
    return history


def chunks_out_of_order() -> History:
    history = History("Chunks lost, repeated, out of order, and one of another update in between.")
    author = Author(chunk_bytes_max=100)
    base = author.base()
    assert len(base) >= 4
    history.refuse(base[1], "chunks")
    history.refuse([base[0], base[2]], "chunks")
    history.refuse(base[3], "chunks")
    history.refuse([base[0], base[1], base[1]], "chunks")
    history.add(base[0])
    history.refuse(base[0], "chunks")
    history.add(base[1:], "0.0")
    author.set("weights", 0)
    delta = author.delta()
    author.set("weights", 1)
    other = author.delta()
    history.add(delta[0])
    history.refuse(other[0], "chunks")
    history.refuse(delta[1], "chunks", "chunks")
    history.add([delta[0], base[0], *delta[1:]], "0.1")
    history.add(other, "0.2")
    return history


def base_in_parts() -> History:
    history = History(
        "Bases in parts, deltas of the versions after them in between and before: whoever needs the base applies those "
        "when it is complete, whoever does not goes on with them. One that is not completed is given up for the next."
    )
    author = Author(chunk_bytes_max=250)
    author.base()

    def version() -> tuple[list[Record], list[Record]]:
        """The next version, told twice."""
        author.set("weights", author.version.sequence % 3)
        delta, parent = author.delta(), author.parent
        base = author.base(author.version)
        author.parent = parent
        assert len(base) >= 3
        return delta, base

    delta, base = version()
    history.refuse(delta, "gap")
    history.refuse(version()[0], "gap")
    history.add(base[0])
    history.refuse(version()[0], "gap")
    history.add(base[1])
    history.refuse(version()[0], "gap")
    history.add(base[2:], "0.4")

    delta, base = version()
    history.add(delta, "0.5")
    history.add(base[0])
    history.add(version()[0], "0.6")
    history.refuse(base[1:], "old")

    version()
    delta, torn = version()
    history.refuse(delta, "gap")
    history.add(torn[:2])
    history.refuse(version()[0], "gap")
    delta, base = version()
    history.refuse(delta, "gap")
    history.refuse(base[0], "chunks")
    history.refuse(delta, "gap")
    history.refuse(version()[0], "gap")
    history.add(base[1:], "0.11")
    return history


def undisturbed() -> History:
    history = History(
        "Records that are refused before anything is believed of them leave an unfinished update as it is."
    )
    author = Author(chunk_bytes_max=400)
    base = author.base()
    fields = codec.decode_record(catalogue.MODELS, base[0][1])
    forged = record(base[0][0], fields["manifest"], 0, b"", LEARNER, b"\0" * 64)
    history.add(base[0])
    history.refuse(forged, "signature")
    history.refuse((base[1][0], b"junk"), "record")
    history.refuse((base[1][0], base[0][1]), "manifest")
    history.refuse((base[0][0], base[1][1]), "manifest")
    history.add((base[1][0], None))
    history.add(base[1:], "0.0")
    return history


def gaps() -> History:
    history = History(
        "A delta is lost: the next are refused until a base heals. So are deltas before any base; those that follow it "
        "are applied behind it."
    )
    author = Author()
    first = author.base()
    author.set("weights", 0)
    second = author.delta()
    history.refuse(second, "gap")
    history.add(first, "0.1")
    author.set("weights", 1)
    author.delta()
    for row in (2, 3):
        author.set("weights", row)
        history.refuse(author.delta(), "gap")
    history.add(author.base(), "0.5")
    author.set("weights", 4)
    history.add(author.delta(), "0.6")
    history.add(author.base(Version(0, 20)), "0.20")
    author.version = Version(1, 4)
    author.set("weights", 4)
    history.refuse(author.delta(), "gap")
    history.add(author.base(Version(2, 3)), "2.3")
    return history


def repeated() -> History:
    history = History("Everything comes twice, and then all of it again: what is in use is never left.")
    author = Author()
    first = author.base()
    author.set("weights", 0)
    second = author.delta()
    history.add(first, "0.0")
    history.refuse(first, "old")
    history.add(second, "0.1")
    history.refuse(second, "old")
    for records in (first, second):
        history.refuse(records, "old")
    return history


def tombstones() -> History:
    history = History("Old updates were deleted, some in part; a tombstone is passed over.")
    author = Author(chunk_bytes_max=400)
    old, new = author.base(), author.base()
    history.add((old[0][0], None))
    history.refuse(old[1], "chunks")
    history.add((b"sites|delta|0.1|0", None))
    history.add(new, "0.1")
    history.add((new[0][0], None))
    return history


HISTORIES: dict[str, Callable[[], History]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        a_base,
        deltas,
        chunks,
        dtypes,
        rollback,
        withheld,
        rotation,
        old_key_taken_away,
        wrong_keys,
        truncated,
        corrupted,
        chunks_out_of_order,
        base_in_parts,
        undisturbed,
        message_keys,
        gaps,
        repeated,
        tombstones,
        another_history,
        lies,
        unknown_dtypes,
        ill_fitting_deltas,
        limits,
        manifests,
    )
}
