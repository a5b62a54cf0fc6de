"""A queue of payloads on disk, bounded in bytes, that outlives its process.

What `append` returned from is in the operating system's hands: no crash of the process, kill -9 included, loses it. A
power cut loses at most what was appended since the last sync (`SpoolSettings.sync_ms`). Payloads come out in the order
in which they went in, each at least once: what was taken but not yet acknowledged comes again after a restart.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Condition
from typing import NamedTuple, NoReturn

from rheostat.streams.client.segments import (
    Appender,
    Frame,
    Place,
    frame,
    frames,
    segment_numbers,
    segment_path,
)
from rheostat.streams.errors import ConfigError, Fatal, Retryable

SEGMENT_BYTES_MAX = 1 << 20
BYTES_MIN = 4_096
_POSITION = "position"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where a spool lies and how large it may grow.

    folder: of one process alone. bytes_max: of all files together; what does not fit is refused.
    sync_ms: how often the disk is waited for, in the background; 0: at every event, before it is accepted.
    """

    folder: Path
    bytes_max: int = 256 << 20
    sync_ms: int = 1_000

    def __post_init__(self) -> None:
        if self.bytes_max < BYTES_MIN:
            raise ConfigError(f"spool.bytes_max: {self.bytes_max} is too small, at least {BYTES_MIN}")
        if self.sync_ms < 0:
            raise ConfigError(f"spool.sync_ms: {self.sync_ms} is negative; 0 syncs at every event")


class SpoolFull(Retryable):
    """An event was not accepted: the spool is at its bound, or the disk refuses it. It is counted as dropped."""


class Entry(NamedTuple):
    """A payload, None where its bytes are damaged, and the place to acknowledge once it is dealt with."""

    payload: bytes | None
    end: Place


class SpoolStats(NamedTuple):
    """waiting: payloads not acknowledged yet. dropped: refused since the start. damaged: found unreadable since then.

    bytes: of all files together.
    """

    waiting: int
    bytes: int
    dropped: int
    damaged: int


class Spool:
    """The queue. Thread-safe; `take` and `acknowledge` are for one thread at a time.

    Raises ConfigError when the folder cannot be used, or another process uses it.
    """

    def __init__(self, settings: SpoolSettings) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._segment_bytes = min(SEGMENT_BYTES_MAX, settings.bytes_max // 4)
        self._lock_file = _locked(settings.folder)
        self._changed = Condition()
        self._sizes = {each: segment_path(self._folder, each).stat().st_size for each in segment_numbers(self._folder)}
        self._position = _read_position(self._folder / _POSITION)
        self._appender: Appender | None = None
        self._next_segment = max([self._position.segment, *self._sizes]) + 1
        self._dropped = self._damaged = 0
        self._unsynced = self._closed = False
        self._waiting = self._recover()

    def append(self, payload: bytes) -> None:
        """Put a payload at the end. Raises SpoolFull when it does not fit, ValueError when it is too large at all."""
        data = frame(payload)
        with self._changed:
            if self._closed:
                raise Fatal("the spool is closed")
            if sum(self._sizes.values()) + len(data) > self._settings.bytes_max:
                self._drop(
                    f"the spool holds {self._waiting} events and may not exceed {self._settings.bytes_max} bytes"
                )
            try:
                self._write(data)
            except OSError as error:
                self._drop(f"the spool in {self._folder} cannot be written: {error.strerror}")
            self._waiting += 1
            self._changed.notify_all()

    def take(self, count_max: int) -> list[Entry]:
        """Return the next payloads without removing them; `acknowledge` moves on."""
        with self._changed:
            found: list[Entry] = []
            for number, size in sorted(self._sizes.items()):
                if len(found) < count_max:
                    read = islice(_read(self._folder, number, size, self._start(number)), count_max - len(found))
                    found += [Entry(each.payload, Place(number, each.end)) for each in read]
            return found

    def acknowledge(self, entries: list[Entry]) -> None:
        """Forget these payloads, the first that `take` gave."""
        if not entries:
            return
        with self._changed:
            self._waiting -= len(entries)
            self._damaged += sum(each.payload is None for each in entries)
            self._position = entries[-1].end
            self._save_position()
            self._remove_done()
            self._changed.notify_all()

    def wait_for_payload(self, timeout_s: float) -> bool:
        """Wait until something is there, or for the time given; return whether something is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting > 0, timeout_s)

    def wait_until_empty(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged, or for the time given; return how many payloads are left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting == 0, timeout_s)
            return self._waiting

    def sync(self) -> None:
        """Wait until the disk has what is still waiting to be acknowledged; what is acknowledged need not be there."""
        with self._changed:
            if not self._unsynced or self._waiting == 0 or self._appender is None:
                return
            self._unsynced = False
            descriptor = self._appender.duplicate()
        # Outside of the lock: a disk may take long.
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def stats(self) -> SpoolStats:
        """Return the present counts."""
        with self._changed:
            return SpoolStats(self._waiting, sum(self._sizes.values()), self._dropped, self._damaged)

    def close(self) -> int:
        """Sync, close, and give the folder free; return how many payloads stay for the next start. Idempotent."""
        with self._changed:
            if not self._closed:
                self._closed = True
                if self._appender is not None:
                    self._appender.close()
                os.close(self._lock_file)
            return self._waiting

    def _recover(self) -> int:
        """Count what an earlier process left, and remove what it had done with."""
        self._remove_done()
        return sum(1 for each, size in self._sizes.items() for _ in _read(self._folder, each, size, self._start(each)))

    def _start(self, segment: int) -> int:
        return self._position.offset if segment == self._position.segment else 0

    def _write(self, data: bytes) -> None:
        appender = self._open_segment()
        appender.append(data, sync=self._settings.sync_ms == 0)
        self._sizes[appender.number] = appender.size
        self._unsynced = self._settings.sync_ms > 0

    def _open_segment(self) -> Appender:
        appender = self._appender
        if appender is not None and (appender.broken or appender.size >= self._segment_bytes):
            self._appender = None
            appender.close()
        if self._appender is None:
            self._appender = Appender(self._folder, self._next_segment)
            self._next_segment += 1
        return self._appender

    def _drop(self, why: str) -> NoReturn:
        self._dropped += 1
        raise SpoolFull(f"{why}: {self._dropped} events were dropped so far")

    def _remove_done(self) -> None:
        """Delete the segments that lie before the position, but for the one that is written to."""
        open_number = None if self._appender is None else self._appender.number
        for number, size in list(self._sizes.items()):
            if Place(number, size) <= self._position and number != open_number:
                segment_path(self._folder, number).unlink(missing_ok=True)
                del self._sizes[number]

    def _save_position(self) -> None:
        temporary = self._folder / f"{_POSITION}.new"
        temporary.write_text(f"{self._position.segment} {self._position.offset}\n")
        temporary.replace(self._folder / _POSITION)


def _read(folder: Path, number: int, size: int, start: int) -> Iterator[Frame]:
    """Yield the frames between two offsets of a segment."""
    with segment_path(folder, number).open("rb") as file:
        file.seek(start)
        data = file.read(max(0, size - start))
    return (Frame(each.payload, start + each.end) for each in frames(data))


def _read_position(path: Path) -> Place:
    """Return the saved place; the beginning where there is none, or where it does not read as one."""
    try:
        segment, offset = path.read_text().split()
        return Place(int(segment), int(offset))
    except (OSError, ValueError):
        return Place(0, 0)


def _locked(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode=0o600)
    except OSError as error:
        raise ConfigError(f"spool.folder: {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"spool.folder: another process uses {folder}; give each process its own folder") from error
    return descriptor
