"""The spool's frames: what was written is read, what was damaged is known to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.client.segments import (
    PAYLOAD_BYTES_MAX,
    Appender,
    Place,
    frame,
    frames,
    segment_numbers,
    segment_path,
)

payload_lists = st.lists(st.binary(max_size=40), max_size=8)


@given(payload_lists)
def test_what_was_written_is_read(payloads: list[bytes]) -> None:
    data = b"".join(map(frame, payloads))
    read = list(frames(data))
    assert [each.payload for each in read] == payloads
    assert [each.end for each in read] == [len(b"".join(map(frame, payloads[: n + 1]))) for n in range(len(payloads))]


@given(payload_lists.filter(bool), st.data())
def test_reading_goes_on_where_any_frame_ended(payloads: list[bytes], data: st.DataObject) -> None:
    written = b"".join(map(frame, payloads))
    ends = [0, *(each.end for each in frames(written))]
    start = data.draw(st.sampled_from(range(len(ends))))
    assert [each.payload for each in frames(written, ends[start])] == payloads[start:]


@given(payload_lists.filter(bool), st.data())
def test_a_segment_cut_anywhere_loses_only_the_frame_that_was_cut(payloads: list[bytes], data: st.DataObject) -> None:
    written = b"".join(map(frame, payloads))
    ends = [each.end for each in frames(written)]
    cut = data.draw(st.integers(0, len(written)))
    read = list(frames(written[:cut]))
    whole = sum(end <= cut for end in ends)
    torn = [None] if cut not in (0, *ends) else []
    assert [each.payload for each in read] == [*payloads[:whole], *torn]
    assert not read or read[-1].end == cut


@given(payload_lists.filter(any), st.data())
def test_a_damaged_payload_is_found_and_its_neighbours_are_read(payloads: list[bytes], data: st.DataObject) -> None:
    row = data.draw(st.sampled_from([n for n, each in enumerate(payloads) if each]))
    written = bytearray(b"".join(map(frame, payloads)))
    start = len(b"".join(map(frame, payloads[:row]))) + 8
    written[data.draw(st.integers(start, start + len(payloads[row]) - 1))] ^= data.draw(st.integers(1, 255))
    found = [each.payload for each in frames(bytes(written))]
    assert found == [*payloads[:row], None, *payloads[row + 1 :]]


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_to_their_end(data: bytes) -> None:
    read = list(frames(data))
    assert [each.end for each in read] == sorted({each.end for each in read})
    assert (read[-1].end if read else 0) == len(data)


def test_a_payload_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"^payload: has "):
        frame(b"x" * (PAYLOAD_BYTES_MAX + 1))
    assert next(frames(frame(b"x" * PAYLOAD_BYTES_MAX))).payload is not None


def test_segments_are_listed_in_order_and_other_files_passed_over(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        Appender(tmp_path, number).close()
    (tmp_path / "x.segment").touch()
    assert segment_numbers(tmp_path) == [1, 2, 10]
    assert Place(2, 900) < Place(10, 0)


def test_a_segment_is_readable_by_its_owner_only_and_never_opened_twice(tmp_path: Path) -> None:
    Appender(tmp_path, 1).close()
    assert segment_path(tmp_path, 1).stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Appender(tmp_path, 1)


def test_a_write_that_fails_half_way_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Appender(tmp_path, 1)
    segment.append(frame(b"first"), sync=False)
    write, calls = os.write, iter(range(2))

    def disk_full(descriptor: int, data: bytes) -> int:
        if next(calls) == 0:
            return write(descriptor, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", disk_full)
    with pytest.raises(OSError, match="No space"):
        segment.append(frame(b"second"), sync=False)
    monkeypatch.undo()
    segment.append(frame(b"third"), sync=True)
    segment.close()
    read = list(frames(segment_path(tmp_path, 1).read_bytes()))
    assert [each.payload for each in read] == [b"first", b"third"]
