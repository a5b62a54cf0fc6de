"""Errors, told apart by what the caller can do about them.

RheostatError
  + ConfigError        the operator must change a setting; nothing was started
  + BadRecord          one record is wrong: set it aside, go on with its neighbours
  + Corrupt            something of ours is wrong (digest, signature, chain): refuse it, keep the last good one
  + NoRoom             what must be kept does not fit on disk: the operator makes room, nothing was committed
  + BrokerError        the broker or the connection to it
      - Retryable      the same call may be made again
      - Abortable      abort the transaction, rebuild the state from the log, go on
      - Fenced         another process took this one's place: exit, do not restart in a tight loop
      - Fatal          the client cannot be used any more: exit, a supervisor restarts the process
"""

from __future__ import annotations

from rheostat.schemas.codec import BadRecord

__all__ = [
    "Abortable",
    "BadRecord",
    "BrokerError",
    "ConfigError",
    "Corrupt",
    "Fatal",
    "Fenced",
    "NoRoom",
    "Retryable",
    "RheostatError",
]


class RheostatError(Exception):
    """Root of every error that Rheostat raises on purpose, except `BadRecord`."""


class ConfigError(RheostatError):
    """A setting is missing or out of range; the text names it and the valid range."""


class Corrupt(RheostatError):
    """Data of our own does not verify. `what` names the object, `reason` the check it failed."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


class NoRoom(RheostatError):
    """State does not fit on disk; the text says where, and what bounds it. The log still has everything."""


class BrokerError(RheostatError):
    """The broker answered with an error, or did not answer."""


class Retryable(BrokerError):
    """The same call may be made again."""


class Abortable(BrokerError):
    """The transaction must be aborted; state is rebuilt from the log and the records are read again."""


class Fenced(BrokerError):
    """A newer producer with the same transactional id exists: this process must exit."""


class Fatal(BrokerError):
    """The client is unusable: this process must exit."""
