"""Room on disk for what is needed as long as the process lives: files without a name.

Nobody else can open one (mode 0600, and no path leads to it), and the system takes its blocks back when the process
ends, however it ends. Nothing is ever synced: what is in there can be had again from the log.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from weakref import finalize

from rheostat.streams.errors import ConfigError, Corrupt, NoRoom

_FOLDER = Path("/var/tmp")
"""For large temporary files by the Filesystem Hierarchy Standard; /tmp is often in memory."""


def scratch_folder(given: str | None) -> Path:
    """Return the folder for scratch files, by default /var/tmp, or the system's where that is missing.

    Raises ConfigError for one that cannot be written to.
    """
    folder = Path(given) if given else _FOLDER if os.access(_FOLDER, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"join.spill_dir: {folder} is not a folder that this process can write to")
    return folder


class Scratch:
    """One file. It goes with the object; `close` lets it go at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bytes = 0
        try:
            self._descriptor, path = tempfile.mkstemp(dir=folder, prefix="rheostat-")
            os.unlink(path)
        except OSError as error:
            raise self._refused("opened", error) from error
        self.close = finalize(self, os.close, self._descriptor)

    def append(self, data: bytes) -> int:
        """Write and return where that begins. Raises NoRoom when the disk is full, or the file may not be so large."""
        start, rest = self.bytes, memoryview(data)
        while rest:
            try:
                written = os.pwrite(self._descriptor, rest, self.bytes)
            except OSError as error:
                raise self._refused("written", error) from error
            self.bytes, rest = self.bytes + written, rest[written:]
        return start

    def read(self, start: int, size: int) -> bytes:
        """Return so many bytes from there on."""
        try:
            data = os.pread(self._descriptor, size, start)
        except OSError as error:
            raise self._refused("read", error) from error
        if len(data) < size:
            raise Corrupt(f"a scratch file in {self._folder}", f"it has no {size} bytes from {start} on")
        return data

    def _refused(self, verb: str, error: OSError) -> NoRoom:
        return NoRoom(
            f"a scratch file in {self._folder} cannot be {verb}: {error.strerror}. Make room there, or set "
            "join.spill_dir to a folder that has it; nothing is lost, the join goes on from the log"
        )
