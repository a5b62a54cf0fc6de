"""Schema ids: unique, in range, and replaceable by a registry's."""

from __future__ import annotations

import pytest

from rheostat.schemas.ids import COMMITTED, IdTable


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
