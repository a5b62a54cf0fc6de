"""Names of versions: an epoch, which grows at every rollback, and a sequence within it."""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """A version of a model; ordered by epoch, then sequence. Written "epoch.sequence"."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Return the version written as "epoch.sequence"; raises ValueError for anything else."""
        epoch, dot, sequence = text.partition(".")
        if not (dot and _is_number(epoch) and _is_number(sequence)):
            raise ValueError(f"{text!r} is not a version: it is written epoch.sequence, such as 2.15")
        return cls(int(epoch), int(sequence))

    def next(self) -> Version:
        """Return the version that follows in the same epoch."""
        return Version(self.epoch, self.sequence + 1)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
