"""Event ids: a retry makes the same id again, another statement another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.signals import KINDS
from rheostat.streams.client.event import Feedback
from rheostat.streams.client.identity import EventIds
from rheostat.streams.client.making import make_event

NOW_MS = 1_760_000_000_000
IDS = EventIds()

texts = st.text(max_size=3)
statements = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([name for name in KINDS if name != "retraction"]),
        "value": st.sampled_from([1.0]),
        "prediction_id": texts.filter(bool),
        "subject_id": texts.filter(bool),
        "target_id": st.none() | texts,
        "certainty": st.none() | st.sampled_from([0.0, 0.5, 1.0]),
        "segment": st.none() | texts,
        "text": st.none() | texts,
        "consent": st.booleans(),
        "source": texts.filter(bool),
    }
)
secrets = st.none() | st.binary(min_size=16, max_size=20)


def an_event(**fields: Any) -> Feedback:
    """An event that says this."""
    given_fields = {"kind": "thumb", "value": 1.0, "prediction_id": "p", "subject_id": "u", "consent": True}
    return Feedback(**{"source": "shop", "occurred_at": NOW_MS, **given_fields, **fields})


@given(statements, statements, st.integers(0, 10**6), secrets)
def test_ids_are_equal_exactly_when_the_statements_are(
    one: dict[str, Any], other: dict[str, Any], later_ms: int, secret: bytes | None
) -> None:
    ids = EventIds(secret)
    first, second = an_event(**one), an_event(**other, occurred_at=NOW_MS + later_ms)
    assert (ids.id_of(first) == ids.id_of(second)) == (one == other)
    assert ids.id_of(first) == EventIds(secret).id_of(replace(first, occurred_at=NOW_MS + later_ms, event_id="x"))


@given(statements, st.sampled_from(["kind", "prediction_id", "subject_id", "source", "consent", "text"]))
def test_one_field_that_differs_makes_another_event(said: dict[str, Any], field: str) -> None:
    others = {
        "kind": "copy" if said["kind"] != "copy" else "undo",
        "consent": not said["consent"],
    }
    changed = {**said, field: others.get(field, f"{said[field]}+")}
    assert IDS.id_of(an_event(**said)) != IDS.id_of(an_event(**changed))


def test_a_change_of_mind_is_another_event_and_a_key_tells_the_third_from_the_first() -> None:
    up, down = an_event(value=1.0), an_event(value=0.0)
    first, second, repeated = IDS.id_of(up), IDS.id_of(down), IDS.id_of(up)
    third = IDS.id_of(up, second)
    assert first == repeated
    assert len({first, second, third}) == 3
    assert third == IDS.id_of(up, second)


def test_a_key_takes_the_place_of_the_content_but_not_of_who_and_what_about() -> None:
    known = IDS.id_of(an_event(), "click-1")
    assert IDS.id_of(an_event(value=0.0, text="other", target_id="t"), "click-1") == known
    assert IDS.id_of(an_event(), "click-2") != known
    for field, other in {"prediction_id": "q", "subject_id": "v", "kind": "correct", "source": "app"}.items():
        assert IDS.id_of(an_event(**{field: other}), "click-1") != known


@pytest.mark.parametrize("missing", [{"prediction_id": None}, {"subject_id": ""}])
def test_without_prediction_or_subject_only_a_key_identifies(missing: dict[str, Any]) -> None:
    event = an_event(**missing)
    assert IDS.id_of(event) != IDS.id_of(event)
    assert IDS.id_of(event, "order-7") == IDS.id_of(event, "order-7")


def test_ids_of_several_secrets_differ() -> None:
    made = {EventIds(secret).id_of(an_event()) for secret in (None, b"a" * 16, b"b" * 16)}
    assert len(made) == 3


def test_ids_stay_the_same_over_releases() -> None:
    """A retry after an upgrade must be recognised as well."""
    assert IDS.id_of(an_event()) == "eb4d81cb9a2fe0424b7d0a9bee425bb4"
    assert IDS.id_of(an_event(prediction_id=None), "order-7") == "5f1652200da038cc8336169dfec096e7"


def test_a_short_secret_and_an_empty_key_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^identity_secret: has 15 bytes, at least 16"):
        EventIds(b"x" * 15)
    with pytest.raises(ValueError, match=r"^idempotency_key: must not be empty"):
        IDS.id_of(an_event(), "")


def test_an_id_of_the_services_own_stands_and_excludes_a_key() -> None:
    made = make_event(IDS, "shop", NOW_MS, "click", 1.0, "p", "u", consent=True, event_id="mine")
    assert made.event_id == "mine"
    with pytest.raises(ValueError, match=r"^idempotency_key: "):
        make_event(IDS, "shop", NOW_MS, "click", 1.0, "p", "u", consent=True, event_id="mine", idempotency_key="k")
