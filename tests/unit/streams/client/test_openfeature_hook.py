"""What a flag assigned is the arm of the request; what it did not assign is no arm."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from rheostat.streams.client.openfeature_hook import UNASSIGNED, ExperimentHook, arm_of
from rheostat.streams.client.request_arms import arm_field, request_arms
from tests.support.flags import Details, evaluate, split

FLAG = "new-ranking"
TREATMENT = split(FLAG, "treatment")


@pytest.fixture
def told() -> list[tuple[str, str]]:
    """What hooks could not note."""
    return []


@pytest.fixture
def hook(told: list[tuple[str, str]]) -> ExperimentHook:
    """A hook for an experiment under a name of its own, and one under that of its flag."""
    flags = {FLAG: "ranker-v2", "checkout": "checkout"}
    return ExperimentHook(flags, on_rejected=lambda flag, reason: told.append((flag, reason)))


class Failing(ExperimentHook):
    """Another team's hook, which fails after every evaluation."""

    def after(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("not my day")


def test_an_evaluation_gives_its_arm_and_two_experiments_give_both(hook: ExperimentHook) -> None:
    with request_arms():
        assert evaluate([hook], TREATMENT) is TREATMENT
        assert arm_field() == {"arm": "ranker-v2:treatment"}
        evaluate([hook], split("checkout", "short"))
        evaluate([hook], split("of no experiment", "on"))
        assert arm_field() == {"arm": "checkout:short,ranker-v2:treatment"}


def test_flags_may_be_called_as_their_experiment() -> None:
    with request_arms():
        evaluate([ExperimentHook({"checkout", "ranker-v2"})], split("ranker-v2", "treatment"))
        assert arm_field() == {"arm": "ranker-v2:treatment"}


@pytest.mark.parametrize("reason", ["SPLIT", "TARGETING_MATCH", "STATIC", "CACHED", "STALE", "UNKNOWN", "RULE", None])
def test_a_variant_is_an_assignment(reason: str | None) -> None:
    assert arm_of("ranker-v2", Details(FLAG, 7, "treatment", reason)) == "ranker-v2:treatment"


@pytest.mark.parametrize(
    ("value", "variant"), [(True, "true"), (False, "false"), ("b", "b"), ("", None), (7, None), ({"a": 1}, None)]
)
def test_a_provider_that_names_no_variant_is_taken_at_its_value(value: object, variant: str | None) -> None:
    for unnamed in (None, ""):
        found = arm_of("ranker-v2", Details(FLAG, value, unnamed, "SPLIT"))
        assert found == (None if variant is None else f"ranker-v2:{variant}")


NO_ASSIGNMENT = [
    *(Details(FLAG, "control", "control", reason) for reason in sorted(UNASSIGNED)),
    Details(FLAG, "control", "control", "SPLIT", "GENERAL"),
    Details(FLAG, 7, None, "SPLIT"),
]


@pytest.mark.parametrize("found", NO_ASSIGNMENT)
def test_without_an_assignment_there_is_no_arm_and_an_earlier_one_is_over(hook: ExperimentHook, found: Details) -> None:
    assert arm_of("ranker-v2", found) is None
    with request_arms():
        evaluate([hook], TREATMENT)
        evaluate([hook], split("checkout", "short"))
        evaluate([hook], found)
        assert arm_field() == {"arm": "checkout:short"}


def test_an_evaluation_that_fails_has_no_arm_whoever_failed(hook: ExperimentHook) -> None:
    with request_arms():
        evaluate([hook], TREATMENT)
        evaluate([hook], TREATMENT, fails=TimeoutError("the flag service does not answer"))
        assert arm_field() == {}
        # The hook of the other team is run last, after ours noted the arm; the application gets the default.
        assert evaluate([Failing(()), hook], TREATMENT).reason == "ERROR"
        assert arm_field() == {}


def test_what_a_team_counts_as_no_assignment_is_theirs_to_say() -> None:
    hook = ExperimentHook({FLAG: "ranker-v2"}, unassigned=UNASSIGNED | {"STATIC"})
    with request_arms():
        evaluate([hook], Details(FLAG, "treatment", "treatment", "STATIC"))
        assert arm_field() == {}
        evaluate([hook], TREATMENT)
        assert arm_field() == {"arm": "ranker-v2:treatment"}


def test_outside_of_a_request_a_flag_is_told_once_and_evaluated_as_ever(
    hook: ExperimentHook, told: list[tuple[str, str]]
) -> None:
    evaluate([hook], Details(FLAG, "control", "control", "DEFAULT"))
    evaluate([hook], split("of no experiment", "on"))
    assert told == []
    for _ in range(3):
        assert evaluate([hook], TREATMENT) is TREATMENT
    assert told == [(FLAG, "no request is open; see rheostat.streams.client.request_arms")]
    with request_arms():
        assert arm_field() == {}


@pytest.mark.parametrize("variant", ["a,b", "a:b", "x" * 65, " a"])
def test_a_variant_that_no_arm_can_have_is_told_once_and_leaves_no_arm(
    hook: ExperimentHook, told: list[tuple[str, str]], variant: str
) -> None:
    with request_arms():
        evaluate([hook], TREATMENT)
        for number in range(3):
            found = split(FLAG, f"{variant}{number}")
            assert evaluate([hook], found) is found
        assert arm_field() == {}
    ((flag, reason),) = told
    assert (flag, reason.split()[0]) == (FLAG, "variant")


def test_troubles_are_logged_unless_they_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate([ExperimentHook({FLAG: "ranker-v2"})], TREATMENT)
    assert [each.getMessage() for each in caplog.records] == [
        f"the arm of flag {FLAG} is not noted: no request is open; see rheostat.streams.client.request_arms"
    ]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("checkout", "flags: 'checkout' is one name; give {'checkout'}, or {flag: experiment}"),
        ({"a": "ranker:v2"}, "experiment 'ranker:v2' must be printable"),
        ({"a": "ranker-v2", "b": "ranker-v2"}, "flags: two flags have the same experiment"),
        ({f"e{number}" for number in range(17)}, "flags: 17 experiments, a request is in 16 at most"),
    ],
)
def test_experiments_that_cannot_be_are_refused_at_the_start(flags: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        ExperimentHook(flags)
