"""What waits on disk: the same as in memory, bounded, nobody else's, and gone with the process."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.streams.errors import ConfigError, NoRoom
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.join import spilled as spilled_module
from rheostat.streams.join import values as values_module
from rheostat.streams.join.rows import Rows
from rheostat.streams.join.settings import Spill
from rheostat.streams.join.values import PYTHON_BYTES, Values

FEW_BYTES = 64
Steps = list[tuple[str, list[int]]]
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "drop", "read", "expire"]), st.lists(st.integers(0, 40), max_size=12)),
    max_size=40,
)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled_module, "SEGMENT_BYTES_MIN", FEW_BYTES)
    monkeypatch.setattr(values_module, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(values_module, "SLOTS_AT_ONCE", 5)
    monkeypatch.setattr(values_module, "BYTES_AT_ONCE", 40)
    monkeypatch.setattr(spilled_module, "GAP_BYTES_MAX", 10)
    monkeypatch.setattr(spilled_module, "READ_BYTES_MAX", 50)


@settings(deadline=None)
@given(steps=STEPS)
def test_where_values_are_makes_no_difference(steps: Steps) -> None:
    every = [Rows(1_000, Spill(after_bytes=after)) for after in (0, 1, 150, 1 << 30)]
    held: dict[int, bytes] = {}  # by slot; all four use the same
    for number, (what, given_) in enumerate(steps):
        if what == "add":
            names = np.array(given_, np.uint64)
            values = [b"%d" % number * (each % 7) for each in given_]  # some are empty
            times = np.array([number + each for each in given_], np.int64)
            added = [rows.add(Fingerprints(names, names), times, values).tolist() for rows in every]
            assert added == [added[-1]] * len(every)
            held |= dict(zip(added[-1], values, strict=True))
        elif what == "drop" and held:
            gone = sorted({sorted(held)[each % len(held)] for each in given_})
            drop(every, held, gone)
        elif what == "expire":
            gone = every[-1].through(number - 10).tolist()
            drop(every, held, gone)
        wanted = [sorted(held)[each % len(held)] for each in given_] if held else []
        for rows in every:
            assert rows.values(np.array(wanted, np.int64)) == [held[slot] for slot in wanted]
            assert rows.memory_bytes <= rows_bound(rows, every, held)
            waiting_bytes = sum(map(len, held.values()))
            assert rows.disk_bytes <= 2 * (waiting_bytes + FEW_BYTES)
    assert every[0].memory_bytes == 0


def rows_bound(rows: Rows, every: list[Rows], held: dict[int, bytes]) -> int:
    whole = sum(PYTHON_BYTES + len(value) for value in held.values())
    return min(whole, (0, 1, 150, 1 << 30)[every.index(rows)])


def drop(every: list[Rows], held: dict[int, bytes], gone: list[int]) -> None:
    for rows in every:
        rows.drop(np.array(gone, np.int64))
    for slot in gone:
        del held[slot]


def slots_of(first: int, end: int) -> NDArray[np.int64]:
    return np.arange(first, end)


def held_values(after_bytes: int = 0, **bounds: int) -> Values:
    values = Values(Spill(after_bytes=after_bytes, **bounds))  # type: ignore[arg-type]
    values.resize(10_000)
    return values


def files_in(folder: Path) -> list[os.stat_result]:
    """Return what this process has open that is, or was, in a folder."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        path = Path("/proc/self/fd", name)
        try:
            target, status = os.readlink(path), path.stat()
        except FileNotFoundError:
            continue
        if target.startswith(str(folder)):
            found.append(status)
    return found


def test_a_file_has_no_name_and_is_its_owners_alone(tmp_path: Path) -> None:
    values = Values(Spill(0, folder=str(tmp_path)))
    values.resize(3)
    values.put(slots_of(0, 3), [b"a", b"bc", b"d"])
    assert list(tmp_path.iterdir()) == []
    (status,) = files_in(tmp_path)
    assert (stat.S_IMODE(status.st_mode), status.st_nlink, status.st_size) == (0o600, 0, 4)
    values.drop(slots_of(0, 3))
    assert values.disk_bytes == 0
    assert not files_in(tmp_path)


def test_files_go_with_the_state(tmp_path: Path) -> None:
    values = Values(Spill(0, folder=str(tmp_path)))
    values.resize(1)
    values.put(slots_of(0, 1), [b"a"])
    assert files_in(tmp_path)
    del values
    assert not files_in(tmp_path)


def test_what_came_first_goes_to_disk_first() -> None:
    values = held_values(after_bytes=100 * (PYTHON_BYTES + 4))
    for first in range(0, 1_000, 10):
        values.put(slots_of(first, first + 10), [b"%04d" % row for row in range(first, first + 10)])
    spilled = np.flatnonzero(values._places[:1_000] >= 0)
    assert spilled.tolist() == list(range(len(spilled)))
    assert 895 <= len(spilled) <= 905


def test_one_that_stays_does_not_keep_those_around_it() -> None:
    values = held_values()
    for first in range(0, 1_000, 20):
        values.put(slots_of(first, first + 20), [b"%04d" % row for row in range(first, first + 20)])
        values.drop(slots_of(first + 1, first + 20))
        assert values.disk_bytes <= 2 * (4 * (first // 20 + 1) + FEW_BYTES)
    stayed = slots_of(0, 50) * 20
    assert values.read(stayed) == [b"%04d" % row for row in stayed]


def test_a_bound_on_the_files_is_an_error_that_says_what_to_do() -> None:
    values = held_values(bytes_max=1_000)
    values.put(slots_of(0, 250), [b"abcd"] * 250)
    with pytest.raises(NoRoom, match=r"join\.spill_bytes_max allows 1000"):
        values.put(slots_of(250, 251), [b"x"])
    assert values.disk_bytes == 1_000


@contextmanager
def files_of_4096_bytes() -> Iterator[None]:
    """No file may grow beyond that: whoever runs the tests may write their output to one, so not for long."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_is_an_error_that_names_it(tmp_path: Path) -> None:
    values = Values(Spill(0, folder=str(tmp_path)))
    values.resize(10)
    told = rf"{tmp_path} cannot be written: File too large. .*join\.spill_dir"
    with pytest.raises(NoRoom, match=told), files_of_4096_bytes():
        values.put(slots_of(0, 1), [b"x" * 5_000])


def test_a_folder_that_cannot_be_used_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"join\.spill_dir"):
        Values(Spill(folder=str(tmp_path / "missing")))


KILLED = """
import pathlib, sys
from rheostat.streams.join.scratch import Scratch
scratch = Scratch(pathlib.Path(sys.argv[1]))
scratch.append(b"personal" * 10_000)
print(scratch.bytes, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"80000\n"
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
