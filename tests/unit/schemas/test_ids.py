"""Schema ids: unique, in range, and replaceable by a registry's."""

from __future__ import annotations

import pytest

from rheostat.schemas.codec import decode_block, decode_record, encode_block, encode_record
from rheostat.schemas.documents import document
from rheostat.schemas.ids import COMMITTED, IdTable
from rheostat.schemas.layouts import Layout
from tests.support.schema_ids import ids_in_force
from tests.unit.schemas.test_record_codec import EVENT, EXPLICIT


def test_names_and_ids_lead_to_each_other() -> None:
    for name, number in COMMITTED.ids.items():
        assert COMMITTED.name_of(COMMITTED.id_of(name)) == name
        assert COMMITTED.id_of(name) == number
    assert COMMITTED.name_of(9999) is None


def test_a_registrys_ids_take_the_place_of_ours() -> None:
    table = COMMITTED.replaced({"examples": 4711})
    assert table.id_of("examples") == 4711
    assert COMMITTED.id_of("examples") == 8
    assert table.name_of(8) is None


def test_an_unknown_schema_is_named() -> None:
    with pytest.raises(KeyError, match="no schema id for 'exmaples'"):
        COMMITTED.id_of("exmaples")


@pytest.mark.parametrize("ids", [{"a": 1, "b": 1}, {"a": 0}, {"a": 2**32}])
def test_impossible_tables_are_refused(ids: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="schema id"):
        IdTable(ids)


def test_the_table_in_force_is_read_and_written_by_where_none_is_given() -> None:
    ours = encode_record(EXPLICIT, EVENT)
    with ids_in_force(COMMITTED.replaced({EXPLICIT: 4711})):
        theirs = encode_record(EXPLICIT, EVENT)
        assert theirs == b"\0" + (4711).to_bytes(4, "big") + ours[5:]
        decoded = decode_block(EXPLICIT, [ours, theirs])
        assert decoded.rows.tolist() == [1]
        assert encode_block(EXPLICIT, decoded.batch) == [theirs]
        assert decode_record(EXPLICIT, ours, ids=COMMITTED) == decode_record(EXPLICIT, theirs)
    assert encode_record(EXPLICIT, EVENT) == ours


def test_an_older_version_has_an_id_of_its_own() -> None:
    older = Layout(EXPLICIT, document(EXPLICIT))
    table = COMMITTED.replaced({EXPLICIT: 100}, {2: older})
    assert (table.name_of(2), table.name_of(100), table.earlier_of(EXPLICIT)) == (EXPLICIT, EXPLICIT, {2: older})
    assert table.earlier_of("examples") == {}
    with pytest.raises(ValueError, match="share a schema id"):
        COMMITTED.replaced({}, {3: older})
    with pytest.raises(ValueError, match="between 1 and"):
        COMMITTED.replaced({}, {0: older})
