"""An arm says what it was made of, and nothing else is an arm."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.arms import ARM_CHARS_MAX, EXPERIMENTS_MAX, NAME_CHARS_MAX, arm_text, variants_in

NAMES = (
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=NAME_CHARS_MAX)
    .map(lambda text: text.replace(":", "").replace(",", "").strip())
    .filter(lambda text: bool(text) and text.isprintable())
)
VARIANTS = st.dictionaries(NAMES, NAMES, min_size=1, max_size=EXPERIMENTS_MAX)


def test_experiments_are_in_the_order_of_their_names() -> None:
    assert arm_text({"ranker-v2": "treatment"}) == "ranker-v2:treatment"
    assert arm_text({"ranker-v2": "treatment", "checkout": "short"}) == "checkout:short,ranker-v2:treatment"
    assert arm_text({}) is None


@given(VARIANTS)
def test_an_arm_is_read_as_it_was_written(variants: dict[str, str]) -> None:
    arm = arm_text(variants)
    assert arm is not None
    assert variants_in(arm) == variants
    assert arm_text(variants_in(arm)) == arm


@given(VARIANTS)
def test_the_order_given_does_not_matter(variants: dict[str, str]) -> None:
    turned = dict(reversed(variants.items()))
    assert arm_text(turned) == arm_text(variants)


@given(st.text(alphabet="ab:, \x00é", max_size=12) | st.text(max_size=40))
def test_any_text_is_an_arm_or_a_mistake_that_is_named(text: str) -> None:
    try:
        variants = variants_in(text)
    except ValueError as error:
        printable = str(error).isprintable()
    else:
        printable = True
        assert sorted(text.split(",")) == sorted(f"{name}:{variant}" for name, variant in variants.items())
    assert printable


def test_the_longest_arm_is_as_long_as_is_accepted() -> None:
    variants = {f"{number:02}".ljust(NAME_CHARS_MAX, "x"): "y" * NAME_CHARS_MAX for number in range(EXPERIMENTS_MAX)}
    arm = arm_text(variants)
    assert arm is not None
    assert len(arm) == ARM_CHARS_MAX
    assert variants_in(arm) == variants


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        ("", "must be `experiment:variant`, several joined by `,`; got ''"),
        ("treatment", "must be `experiment:variant`, several joined by `,`; got 'treatment'"),
        ("a:b,", "must be `experiment:variant`, several joined by `,`; got ''"),
        (":b", "experiment '' must be text of 1 to 64 characters"),
        ("a:", "variant '' must be text of 1 to 64 characters"),
        ("a:" + "b" * 65, f"variant {'b' * 64!r} must be text of 1 to 64 characters"),
        ("a:b:c", "variant 'b:c' must be printable, without `:` and `,` and without spaces at its ends"),
        ("a: b", "variant ' b' must be printable"),
        ("a:b\n", "variant 'b\\n' must be printable"),
        ("a:\ud800", "variant '\\ud800' must be printable"),
        ("a:b,a:c", "names experiment 'a' twice"),
        (",".join(f"{number}:a" for number in range(17)), "names 17 experiments, at most 16 are accepted"),
        ("a:b" * 1_000, "has 3000 characters, at most 2079 are accepted"),
    ],
)
def test_what_is_wrong_with_an_arm_is_told(arm: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        variants_in(arm)


@pytest.mark.parametrize("variants", [{"a,b": "c"}, {"a": "b,c"}, {"a:b": "c"}, {"": "b"}, {"a": 7}])
def test_names_that_could_not_be_read_again_are_refused(variants: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        arm_text(variants)
