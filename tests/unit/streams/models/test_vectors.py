"""The test vectors for followers in other languages are what the code does, and leave out no refusal."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from rheostat.learners import tensorfile
from rheostat.schemas.ids import COMMITTED
from rheostat.streams.models.refusal import CHECKS
from rheostat.streams.models.signing import MANIFEST_TYPE
from rheostat.streams.models.update import CHUNK_BYTES_MAX, Limits
from tests.support.model_vectors import FOLDER, vectors

MADE = vectors()
SPECIFICATION = files("rheostat.schemas").joinpath("MODELS.md").read_text("utf-8")


def test_no_file_is_missing_and_none_too_many() -> None:
    found = sorted(path.name for path in FOLDER.iterdir())
    assert found == sorted(MADE), "run: python -m tests.support.model_vectors"


@pytest.mark.parametrize("name", MADE)
def test_a_file_is_what_the_code_makes(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == MADE[name], "run: python -m tests.support.model_vectors"


def test_every_refusal_has_a_vector() -> None:
    histories = [json.loads(content) for name, content in MADE.items() if name.startswith("history-")]
    told = {check for each in histories for record in each["expected"]["records"] for check in record["refused"]}
    assert told == set(CHECKS)


def test_the_specification_names_every_refusal_and_kind_of_file_and_the_limits_as_they_are() -> None:
    table = SPECIFICATION.split("## What is refused")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)))) == set(CHECKS)
    for name in MADE:
        assert f"`{re.sub('^history-.*', 'history-*.json', name)}`" in SPECIFICATION
    limits = Limits()
    assert f"schema id, big-endian: {COMMITTED.id_of('models')}," in SPECIFICATION
    assert MANIFEST_TYPE in SPECIFICATION
    assert f"cuts at {CHUNK_BYTES_MAX:,} bytes" in SPECIFICATION
    assert (
        f"a record of {limits.record_bytes_max >> 20} MiB, a payload of {limits.payload_bytes_max >> 30} GiB, "
        f"{limits.chunks_max:,} chunks, {limits.tensors_max:,} tensors, {limits.pending_max} models"
    ) in SPECIFICATION
    assert f"a header of more than {tensorfile.HEADER_BYTES_MAX >> 20} MiB" in SPECIFICATION
    assert f"more than {tensorfile.AXES_MAX} axes" in SPECIFICATION
    assert f"longer than {tensorfile.NAME_CHARS_MAX} characters" in SPECIFICATION
