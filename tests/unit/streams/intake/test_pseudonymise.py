from __future__ import annotations

import re

import pyarrow as pa

from rheostat.streams.intake.pseudonymise import Pseudonymiser


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
