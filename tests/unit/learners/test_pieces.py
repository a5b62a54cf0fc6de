"""What goes out of pieces is what came in, however it was cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners import pieces
from rheostat.learners.pieces import Pieces


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(0, 20)), st.integers(1, 16))
def test_bytes_go_out_as_they_came_in(parts: list[bytes], takes: list[int], piece_bytes: int) -> None:
    whole = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", piece_bytes)
        made, at = Pieces(len(whole)), 0
        for part in parts:
            made.add(part)
        for count in takes:
            into = np.empty(min(count, len(made)), np.uint8)
            made.take(into)
            assert into.tobytes() == whole[at : at + len(into)]
            at += len(into)
    assert len(made) == len(whole) - at


def test_neither_more_than_was_told_nor_more_than_there_is() -> None:
    made = Pieces(3)
    made.add(b"ab")
    with pytest.raises(ValueError, match="more than were to come"):
        made.add(b"cd")
    with pytest.raises(ValueError, match="more than the 2 that are there"):
        made.take(np.empty(3, np.uint8))
