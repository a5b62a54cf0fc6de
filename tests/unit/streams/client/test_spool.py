"""The spool: first in first out, bounded, and the same after a crash."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rheostat.streams.client.segments import frame, segment_numbers, segment_path
from rheostat.streams.client.spool import Spool, SpoolFull, SpoolSettings
from rheostat.streams.errors import ConfigError, Fatal

BYTES_MAX = 4_096


def payloads_of(spool: Spool, count_max: int = 1_000) -> list[bytes | None]:
    """What the spool would give next."""
    return [each.payload for each in spool.take(count_max)]


def crash(spool: Spool) -> None:
    """Leave the files as they are, as a killed process does, but for the lock, which dies with a process."""
    os.close(spool._lock_file)


class SpoolHistory(RuleBasedStateMachine):
    """Any history of appends, takes, acknowledgements, restarts and crashes, beside a plain queue."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.settings = SpoolSettings(Path(self._folder.name), BYTES_MAX, sync_ms=1_000)
        self.spool = Spool(self.settings)
        self.model: deque[bytes] = deque()
        self.number = 0

    @rule(size=st.integers(0, 700), count=st.integers(1, 5))
    def append(self, size: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            payload = f"{self.number}:".encode() + b"x" * size
            dropped = self.spool.stats().dropped
            try:
                self.spool.append(payload)
            except SpoolFull:
                assert self.spool.stats().dropped == dropped + 1
            else:
                self.model.append(payload)

    @rule(count=st.integers(1, 12))
    def acknowledge(self, count: int) -> None:
        entries = self.spool.take(count)
        assert [each.payload for each in entries] == list(self.model)[:count]
        self.spool.acknowledge(entries)
        for _ in entries:
            self.model.popleft()

    @rule()
    def sync(self) -> None:
        self.spool.sync()

    @rule()
    def restart(self) -> None:
        assert self.spool.close() == len(self.model)
        self.spool = Spool(self.settings)

    @rule()
    def crash(self) -> None:
        crash(self.spool)
        self.spool = Spool(self.settings)

    @rule(torn=st.integers(1, 40))
    def crash_while_appending(self, torn: int) -> None:
        crash(self.spool)
        numbers = segment_numbers(self.settings.folder)
        if numbers:
            with segment_path(self.settings.folder, numbers[-1]).open("ab") as file:
                file.write(frame(b"y" * 40)[:torn])
        self.spool = Spool(self.settings)
        entries = self.spool.take(1_000)
        assert [each.payload for each in entries] == [*self.model, *([None] if numbers else [])]
        self.spool.acknowledge(entries)
        self.model.clear()

    @precondition(lambda self: self.model)
    @rule()
    def crash_before_the_position_was_saved(self) -> None:
        """What was acknowledged comes again, and nothing else changes."""
        taken = self.spool.take(2)
        position = self.settings.folder / "position"
        saved = position.read_bytes() if position.exists() else None
        present = set(segment_numbers(self.settings.folder))
        self.spool.acknowledge(taken)
        if set(segment_numbers(self.settings.folder)) == present and saved is not None:
            position.write_bytes(saved)
        else:
            for _ in taken:
                self.model.popleft()
        crash(self.spool)
        self.spool = Spool(self.settings)

    @invariant()
    def holds_what_the_queue_holds(self) -> None:
        stats = self.spool.stats()
        assert payloads_of(self.spool) == list(self.model)
        assert stats.waiting == len(self.model)
        on_disk = sum(path.stat().st_size for path in self.settings.folder.glob("*.segment"))
        assert stats.bytes == on_disk <= BYTES_MAX

    def teardown(self) -> None:
        self.spool.close()
        self._folder.cleanup()


SpoolHistory.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSpoolHistory = SpoolHistory.TestCase


@pytest.fixture
def settings(tmp_path: Path) -> SpoolSettings:
    """A small spool."""
    return SpoolSettings(tmp_path / "spool", BYTES_MAX)


def test_a_full_spool_refuses_counts_and_has_room_again(settings: SpoolSettings) -> None:
    spool = Spool(settings)
    accepted = BYTES_MAX // 108
    for _ in range(accepted):
        spool.append(b"x" * 100)
    with pytest.raises(SpoolFull, match=r"may not exceed 4096 bytes: 1 events were dropped so far"):
        spool.append(b"x" * 100)
    assert spool.stats() == (accepted, accepted * 108, 1, 0)
    spool.acknowledge(spool.take(20))
    spool.append(b"y" * 100)
    assert spool.close() == accepted - 20 + 1


def test_acknowledged_segments_are_deleted(settings: SpoolSettings) -> None:
    spool = Spool(settings)
    for _ in range(200):
        spool.append(b"x" * 100)
        spool.acknowledge(spool.take(1))
    assert len(segment_numbers(settings.folder)) == 1
    assert spool.close() == 0
    spool = Spool(settings)
    assert segment_numbers(settings.folder) == []
    assert spool.close() == 0


def test_what_rotted_on_disk_is_counted_and_its_neighbours_are_given(settings: SpoolSettings) -> None:
    spool = Spool(settings)
    for payload in (b"one", b"two", b"three"):
        spool.append(payload)
    spool.close()
    (number,) = segment_numbers(settings.folder)
    path = segment_path(settings.folder, number)
    path.write_bytes(path.read_bytes().replace(b"two", b"twO"))
    spool = Spool(settings)
    assert payloads_of(spool) == [b"one", None, b"three"]
    spool.acknowledge(spool.take(3))
    assert spool.stats().damaged == 1
    spool.close()


@pytest.mark.parametrize("text", ["", "x", "1", "1 2 3", "a b"])
def test_a_position_that_cannot_be_read_gives_everything_again(settings: SpoolSettings, text: str) -> None:
    spool = Spool(settings)
    for payload in (b"one", b"two"):
        spool.append(payload)
    spool.acknowledge(spool.take(1))
    spool.close()
    (settings.folder / "position").write_text(text)
    spool = Spool(settings)
    assert payloads_of(spool) == [b"one", b"two"]
    spool.close()


def test_a_position_beyond_what_a_power_cut_left_gives_nothing_twice(settings: SpoolSettings) -> None:
    spool = Spool(settings)
    for payload in (b"one", b"two"):
        spool.append(payload)
    spool.acknowledge(spool.take(2))
    spool.close()
    (number,) = segment_numbers(settings.folder)
    os.truncate(segment_path(settings.folder, number), 11)
    spool = Spool(settings)
    spool.append(b"three")
    assert payloads_of(spool) == [b"three"]
    spool.close()


def test_a_disk_that_is_full_drops_and_counts(settings: SpoolSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(settings)
    spool.append(b"one")

    def disk_full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", disk_full)
    with pytest.raises(SpoolFull, match="No space left on device: 1 events were dropped"):
        spool.append(b"two")
    monkeypatch.undo()
    spool.append(b"three")
    assert payloads_of(spool) == [b"one", b"three"]
    assert spool.stats().waiting == 2
    spool.close()


def test_with_sync_0_a_disk_that_does_not_sync_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(SpoolSettings(tmp_path, BYTES_MAX, sync_ms=0))
    spool.append(b"one")

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(SpoolFull, match="Input/output error"):
        spool.append(b"two")
    monkeypatch.undo()
    assert payloads_of(spool) == [b"one"]
    assert spool.close() == 1


def test_a_folder_has_one_owner(settings: SpoolSettings) -> None:
    spool = Spool(settings)
    with pytest.raises(ConfigError, match="give each process its own folder"):
        Spool(settings)
    spool.close()
    Spool(settings).close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^spool.folder: .*file.* cannot be used"):
        Spool(SpoolSettings(tmp_path / "file"))


def test_settings_out_of_range_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^spool.bytes_max: 4095 "):
        SpoolSettings(tmp_path, bytes_max=4_095)
    with pytest.raises(ConfigError, match=r"^spool.sync_ms: -1 "):
        SpoolSettings(tmp_path, sync_ms=-1)


def test_a_closed_spool_takes_nothing_and_closes_again(settings: SpoolSettings) -> None:
    spool = Spool(settings)
    spool.append(b"one")
    assert (spool.close(), spool.close()) == (1, 1)
    with pytest.raises(Fatal, match="closed"):
        spool.append(b"two")
