"""The versions of one model that a server can go back to at once: few when old, many when new, bounded twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set

import numpy as np

from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.models.version import Version


class KeptVersions:
    """Versions in rising order, at most `versions_max`, with at most `bytes_max` of tensors (shared arrays count once).

    When there is no room, the version goes whose neighbours are closest in relation to their age, so what is left
    reaches far back and is dense near the present. The newest always stays, whatever its size; the oldest goes only
    where there is no room for two.

    Those in `pinned` can be had there as long as nobody takes them back; they come on top of both bounds.
    """

    def __init__(self, versions_max: int, bytes_max: int, pinned: Set[Version] = frozenset()) -> None:
        if versions_max < 2:
            raise ValueError(f"versions_max: {versions_max}, at least 2 are needed to go back")
        self._versions_max = versions_max
        self._bytes_max = bytes_max
        self._versions: list[ModelVersion] = []
        self._uses: Counter[int] = Counter()
        self.bytes = 0
        self.pinned: dict[Version, ModelVersion] = {}
        self._pinned = pinned

    def __len__(self) -> int:
        return len(self._versions)

    def __iter__(self) -> Iterator[ModelVersion]:
        return iter(self._versions)

    @property
    def newest(self) -> ModelVersion | None:
        """The newest version, if there is one."""
        return self._versions[-1] if self._versions else None

    def add(self, version: ModelVersion) -> None:
        """Keep one more, newer than all others, and make room."""
        if self._versions and version.version <= self._versions[-1].version:
            raise ValueError(f"{version.version} is not newer than {self._versions[-1].version}")
        if self._versions:
            # Needed to make the next version of it, which is there now: a thirtieth of the tensors' bytes.
            self._versions[-1].digests.forget()
        self._versions.append(version)
        if version.version in self._pinned:
            self.pinned[version.version] = version
        for tensor in version.tensors.values():
            self._uses[id(tensor)] += 1
            if self._uses[id(tensor)] == 1:
                self.bytes += tensor.nbytes
        while len(self._versions) > 1 and self._full():
            self._drop(self._most_crowded() if len(self._versions) > 2 else 0)

    def get(self, version: Version) -> ModelVersion | None:
        """Return exactly this version, if it is kept."""
        return next((each for each in self._versions if each.version == version), None)

    def at_most(self, version: Version) -> ModelVersion | None:
        """Return the newest kept version that is not newer than this one."""
        return next((each for each in reversed(self._versions) if each.version <= version), None)

    def drop_between(self, after: Version, before: Version) -> None:
        """Forget the versions v with after < v < before."""
        for index in reversed(range(len(self._versions))):
            if after < self._versions[index].version < before:
                self._drop(index)
        for version in [each for each in self.pinned if after < each < before]:
            del self.pinned[version]

    def _full(self) -> bool:
        return len(self._versions) > self._versions_max or self.bytes > self._bytes_max

    def _most_crowded(self) -> int:
        times = np.array([each.manifest.facts.published_at_ms for each in self._versions], dtype=np.float64)
        age = times[-1] - times[1:-1] + 1.0
        return 1 + int(np.argmin((times[2:] - times[:-2]) / age))

    def _drop(self, index: int) -> None:
        for tensor in self._versions.pop(index).tensors.values():
            self._uses[id(tensor)] -= 1
            if not self._uses[id(tensor)]:
                del self._uses[id(tensor)]
                self.bytes -= tensor.nbytes
