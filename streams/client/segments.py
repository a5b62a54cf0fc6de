"""The spool's file format: frames appended to segment files.

A frame is the payload's length and its CRC-32 (both unsigned, 4 bytes, big-endian), then the payload. A segment is
named by its number, 16 digits, and is never written to again after the process that made it ended. What a crash left
half-written at the end of a segment is recognised and passed over; so is a payload whose bytes rotted.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAYLOAD_BYTES_MAX = 1 << 20
SUFFIX = ".segment"
_HEAD = struct.Struct(">II")


class Place(NamedTuple):
    """A place in the spool: everything before this byte of this segment. Places compare in order."""

    segment: int
    offset: int


class Frame(NamedTuple):
    """A frame as read: `payload` is None when its bytes are damaged; `end` is where the next frame begins."""

    payload: bytes | None
    end: int


def frame(payload: bytes) -> bytes:
    """Return a payload as it lies in a segment. Raises ValueError when it is too large to be read again."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload: has {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def frames(data: bytes, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of a segment's bytes from an offset on; a torn end is one damaged frame up to the end."""
    at = start
    while at < len(data):
        body = at + _HEAD.size
        length, checksum = _HEAD.unpack_from(data, at) if body <= len(data) else (0, 0)
        if body + length > len(data) or length > PAYLOAD_BYTES_MAX:
            yield Frame(None, len(data))
            return
        payload = data[body : body + length]
        at = body + length
        yield Frame(payload if zlib.crc32(payload) == checksum else None, at)


def segment_path(folder: Path, number: int) -> Path:
    """Return the file of a segment."""
    return folder / f"{number:016d}{SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments in a folder, in order."""
    return sorted(int(path.stem) for path in folder.glob("*" + SUFFIX) if path.stem.isdigit())


class Appender:
    """Appends frames to a new segment. Not thread-safe.

    A write that fails half-way is cut off again, so that what follows it stays readable. Where even that fails, the
    segment is `broken`: it keeps what it had and must not be written to again.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.size = 0
        self.broken = False
        self._file = os.open(
            segment_path(folder, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode=0o600
        )
        _sync_folder(folder)

    def append(self, data: bytes, *, sync: bool) -> None:
        """Write one frame, with `sync` down to the disk. Raises OSError, and then `size` is as it was before."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:])
            if sync:
                self.sync()
        except OSError:
            self._cut_back()
            raise
        self.size += len(data)

    def duplicate(self) -> int:
        """Return a second descriptor of the file, to be synced and closed outside of a lock."""
        return os.dup(self._file)

    def sync(self) -> None:
        """Wait until the disk has everything."""
        os.fdatasync(self._file)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
        except OSError:
            self.broken = True

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._file)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk knows the folder's names: a file that it does not know is gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
