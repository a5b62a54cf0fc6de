"""What a release wrote stays readable by its id: a version that changes is kept, and no id is given again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rheostat.schemas.catalogue import COMMAND, FEEDBACK_EXPLICIT, FEEDBACK_IMPLICIT, MANIFEST
from rheostat.schemas.documents import document, names
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.layouts import Layout
from rheostat.schemas.released import Release, not_kept

PRESENT = {name: document(name) for name in names()}
ID = COMMITTED.id_of(FEEDBACK_EXPLICIT)
RELEASE = Release("v1", COMMITTED.ids, PRESENT)


def changed(**change: Any) -> dict[str, Any]:
    """Explicit feedback with one more field; `change` replaces what the field says."""
    avro = copy.deepcopy(dict(PRESENT[FEEDBACK_EXPLICIT]))
    avro["fields"].append({"name": "novelty", "type": ["null", "string"], "default": None, "doc": "New.", **change})
    return avro


def reasons(new: dict[str, Any], ids: Any = COMMITTED, releases: tuple[Release, ...] = (RELEASE,)) -> list[str]:
    return [str(each) for each in not_kept(new, ids, releases)]


def test_nothing_is_wrong_before_a_release_and_with_what_was_released() -> None:
    assert reasons({**PRESENT, FEEDBACK_EXPLICIT: changed()}, releases=()) == []
    assert reasons(PRESENT) == []


def test_a_change_under_the_released_id_is_told_with_what_to_do() -> None:
    assert reasons({**PRESENT, FEEDBACK_EXPLICIT: changed()}) == [
        f"feedback.explicit: the record: was released with id {ID} and has changed; keep the released file as "
        f"schemas/history/feedback.explicit.{ID}.avsc and give feedback.explicit an id in ids.json that is free "
        "(written by v1)"
    ]


def test_a_change_is_fine_once_the_released_version_is_kept() -> None:
    older = Layout(FEEDBACK_EXPLICIT, PRESENT[FEEDBACK_EXPLICIT])
    table = COMMITTED.replaced({FEEDBACK_EXPLICIT: 900}, {ID: older})
    new = {**PRESENT, FEEDBACK_EXPLICIT: changed()}
    assert reasons(new, table) == []
    (wrong,) = reasons(new, COMMITTED.replaced({FEEDBACK_EXPLICIT: 900}, {ID: Layout(FEEDBACK_EXPLICIT, changed())}))
    assert f"schemas/history/feedback.explicit.{ID}.avsc is not what was released with id {ID}; restore it" in wrong


def test_an_id_that_is_gone_or_given_to_another_schema_is_told() -> None:
    (gone,) = reasons(PRESENT, COMMITTED.replaced({FEEDBACK_EXPLICIT: 900}))
    assert f"id {ID} was released and is in neither ids.json nor history; keep the released file as" in gone
    swapped = {FEEDBACK_EXPLICIT: COMMITTED.id_of(FEEDBACK_IMPLICIT), FEEDBACK_IMPLICIT: ID}
    found = reasons(PRESENT, COMMITTED.replaced(swapped))
    assert len(found) == 2
    assert f"id {ID} was released as that of feedback.explicit and is that of feedback.implicit now" in found[0]


@pytest.mark.parametrize("part", ["doc", "unit", "default", "logicalType"])
def test_what_is_not_on_the_wire_may_change(part: str) -> None:
    released, new = changed(), changed()
    field = new["fields"][-1]
    if part == "logicalType":
        released["fields"][-1]["type"] = ["null", "long"]
        field["type"] = ["null", {"type": "long", "logicalType": "timestamp-millis"}]
    else:
        field[part] = "other"
    assert (
        reasons(
            {**PRESENT, FEEDBACK_EXPLICIT: new}, releases=(Release("v1", COMMITTED.ids, {FEEDBACK_EXPLICIT: released}),)
        )
        == []
    )


@pytest.mark.parametrize("change", [{"type": ["null", "double"]}, {"name": "new"}, {"type": ["string", "null"]}])
def test_what_is_on_the_wire_may_not(change: dict[str, Any]) -> None:
    release = Release("v1", COMMITTED.ids, {FEEDBACK_EXPLICIT: changed()})
    assert len(reasons({**PRESENT, FEEDBACK_EXPLICIT: changed(**change)}, releases=(release,))) == 1


def test_what_releases_share_is_told_once() -> None:
    later = Release("v2", COMMITTED.ids, PRESENT)
    assert len(reasons({**PRESENT, FEEDBACK_EXPLICIT: changed()}, releases=(RELEASE, later))) == 1


@pytest.mark.parametrize("schema", [MANIFEST, COMMAND])
def test_what_has_no_id_on_the_wire_can_never_change(schema: str) -> None:
    avro = copy.deepcopy(dict(PRESENT[schema]))
    avro["fields"].append({"name": "novelty", "type": ["null", "string"], "default": None})
    (reason,) = reasons({**PRESENT, schema: avro})
    assert "lies in other records without its id, so it can never change" in reason
