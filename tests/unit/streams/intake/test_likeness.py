"""SimHashes of texts: equal for the same text however it is typed, near for copies, far for anything else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.intake.likeness import (
    NEAR_BITS,
    TEXT_BYTES_MAX,
    TEXT_BYTES_MIN,
    Words,
    differing_bits,
    text_hashes,
)
from tests.support.texts import with_a_number, with_another_word, written

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=3, max_size=9)
SENTENCE = st.lists(WORD, min_size=8, max_size=30)
BETWEEN = st.sampled_from([" ", "  ", "\n", ", ", "! ", "\u00a0", "\u3000", " - "])
WIDE = {ord("!") + at: 0xFF01 + at for at in range(94)}
"""ASCII to its full-width forms, which NFKC takes back."""


def hashes(*texts: str | None) -> Words:
    found = text_hashes(pa.array(texts, pa.string()))
    return np.zeros(len(texts), np.uint64) if found is None else found


@settings(deadline=None)
@given(words=SENTENCE, gaps=st.lists(BETWEEN, min_size=30, max_size=30), wide=st.booleans())
def test_how_a_text_is_typed_makes_no_difference(words: list[str], gaps: list[str], wide: bool) -> None:
    typed = "".join(gap + word for gap, word in zip(gaps, words, strict=False)).strip().upper()
    one, other = hashes(" ".join(words), typed.translate(WIDE) if wide else typed)
    assert one == other != 0


@settings(deadline=None)
@given(texts=st.lists(st.one_of(st.none(), st.text(max_size=200)), min_size=1, max_size=20), data=st.data())
def test_a_hash_does_not_depend_on_other_rows(texts: list[str | None], data: st.DataObject) -> None:
    column = pa.array(texts, pa.string())
    start = data.draw(st.integers(0, len(texts) - 1))
    of_slice = text_hashes(column.slice(start))
    alone = np.concatenate([hashes(each) for each in texts])
    np.testing.assert_array_equal(hashes(*texts), alone)
    np.testing.assert_array_equal(np.zeros(len(texts) - start) if of_slice is None else of_slice, alone[start:])


@pytest.mark.parametrize("texts", [[], [None, None], ["great", None], ["!" * 500, "thank you very much"]])
def test_short_texts_say_nothing(texts: list[str | None]) -> None:
    assert not hashes(*texts).any()


def test_where_a_text_begins_to_say_something_and_where_it_ends() -> None:
    assert hashes("x" * (TEXT_BYTES_MIN - 1), "x" * TEXT_BYTES_MIN).astype(bool).tolist() == [False, True]
    rng = np.random.default_rng(1)
    beginning = written(rng, 600)[:TEXT_BYTES_MAX]
    one, other = hashes(beginning + written(rng, 100), beginning + written(rng, 100))
    assert one == other


@settings(deadline=None)
@given(one=st.integers(0, 2**64 - 1), other=st.integers(0, 2**64 - 1))
def test_differing_bits_are_those_of_the_exclusive_or(one: int, other: int) -> None:
    assert differing_bits(np.uint64(one), np.uint64(other)) == (one ^ other).bit_count()


@pytest.mark.parametrize(("words", "share_max"), [(12, 2e-5), (40, 3e-4)])
def test_unrelated_texts_are_far_from_each_other(words: int, share_max: float) -> None:
    rng = np.random.default_rng(2)
    found = hashes(*(written(rng, words) for _ in range(2_000)))
    apart = np.bitwise_count(found[:, None] ^ found[None, :])[np.triu_indices(len(found), 1)]
    assert np.mean(apart <= NEAR_BITS) < share_max


@pytest.mark.parametrize(
    ("copy", "words", "share_min"),
    [(with_a_number, 12, 0.88), (with_a_number, 40, 0.99), (with_another_word, 12, 0.5), (with_another_word, 40, 0.97)],
)
def test_copies_are_near(copy: Callable[[np.random.Generator, str], str], words: int, share_min: float) -> None:
    rng = np.random.default_rng(3)
    texts = [written(rng, words) for _ in range(2_000)]
    apart = np.bitwise_count(hashes(*texts) ^ hashes(*(copy(rng, text) for text in texts)))
    assert np.mean(apart <= NEAR_BITS) > share_min
