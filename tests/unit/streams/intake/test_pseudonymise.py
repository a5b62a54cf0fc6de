from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.intake.pseudonymise import Pseudonymiser
from rheostat.streams.intake.siphash import siphash

MASK = 2**64 - 1


def test_equal_subjects_share_a_pseudonym_and_nothing_else_is_visible() -> None:
    first, second = Pseudonymiser(b"k" * 32, 7), Pseudonymiser(b"k" * 32, 7)
    column = pa.array(["ann@example.org", "bob", "ann@example.org", ""])
    names = first.pseudonyms(column).to_pylist()
    assert names == second.pseudonyms(column).to_pylist()
    assert names[0] == names[2] != names[1]
    assert all(re.fullmatch(r"7-[0-9a-f]{16}", name) for name in names[:3])
    assert names[3] == ""


def test_another_key_gives_other_pseudonyms() -> None:
    assert Pseudonymiser(b"k" * 32, 1).pseudonym("ann") != Pseudonymiser(b"j" * 32, 1).pseudonym("ann")


def reference(key: bytes, text: bytes) -> int:
    """SipHash-2-4 as the paper has it, word by word."""
    low, high = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573]

    def rotated(word: int, bits: int) -> int:
        return (word << bits | word >> 64 - bits) & MASK

    def half_round(a: int, b: int, c: int, d: int, s: int, t: int) -> None:
        v[a], v[c] = (v[a] + v[b]) & MASK, (v[c] + v[d]) & MASK
        v[b], v[d] = rotated(v[b], s) ^ v[a], rotated(v[d], t) ^ v[c]
        v[a] = rotated(v[a], 32)

    def rounds(count: int) -> None:
        for _ in range(count):
            half_round(0, 1, 2, 3, 13, 16)
            half_round(2, 1, 0, 3, 17, 21)

    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@pytest.mark.parametrize(
    ("length", "expected"), [(0, 0x726FDB47DD0E0E31), (1, 0x74F839C593DC67FD), (15, 0xA129CA6149BE45E5)]
)
def test_siphash_gives_the_published_values(length: int, expected: int) -> None:
    text = bytes(range(length))
    assert reference(bytes(range(16)), text) == expected
    assert siphash(bytes(range(16)), pa.array([text.decode()])).tolist() == [expected]


@given(st.binary(min_size=16, max_size=16), st.lists(st.text(max_size=300), max_size=5), st.integers(0, 2))
def test_siphash_is_that_of_the_paper(key: bytes, texts: list[str], skipped: int) -> None:
    column = pa.array(texts, pa.string())[skipped:]
    assert siphash(key, column).tolist() == [reference(key, text.encode()) for text in texts[skipped:]]


def test_a_null_is_an_anonymous_subject() -> None:
    assert Pseudonymiser(b"k" * 32, 1).pseudonyms(pa.array([None, "ann"], pa.string())).to_pylist()[0] == ""
