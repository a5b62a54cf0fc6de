"""Why a model update or a command was refused: one closed set of checks, and words for the reader."""

from __future__ import annotations

from typing import Literal, get_args

from rheostat.streams.errors import Corrupt

Check = Literal[
    "record",
    "signature",
    "manifest",
    "limits",
    "chunks",
    "payload",
    "tensors",
    "old",
    "fenced",
    "gap",
    "parent",
    "digest",
    "finite",
    "probes",
]
"""Names of the checks, in the order they are made; metrics are labelled with them.

record: not a record of the topic. signature: unknown key or wrong signature. manifest: fields that contradict each
other or the record's key. limits: larger than allowed. chunks: parts missing, repeated or mixed. payload: bytes are not
those that were signed for. tensors: unreadable, or of other names, types or shapes than expected. old: not newer than
what is in use. fenced: of an epoch that a rollback ended. gap, parent: a delta for another version than the one in use.
digest: the result is not what was signed for. finite: NaN or infinity. probes: golden inputs get other scores.
"""

CHECKS: tuple[Check, ...] = get_args(Check)


class Refused(Corrupt):
    """An update or command that does not pass a check. `what` names it; the last good version stays in use."""

    def __init__(self, check: Check, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.check: Check = check
