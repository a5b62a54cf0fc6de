"""Signed orders to the learner and the servers of one model, as records of `models.commands`.

Whoever reads them obeys each command id once and none that has expired; see `Command.expired`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rheostat.schemas import catalogue, codec
from rheostat.streams.models.refusal import Refused
from rheostat.streams.models.signing import COMMAND_TYPE, KeyRing, Signer
from rheostat.streams.models.version import Version

CommandKind = Literal["rollback", "promote", "freeze", "resume", "pin"]
OPEN_END = -1
COMMAND_BYTES_MAX = 262_144
_WITH_TARGET = ("rollback", "promote", "pin")


@dataclass(frozen=True, slots=True)
class ExcludedRange:
    """Examples that must not be learned again: offsets [start, end) of a partition; OPEN_END until a resume."""

    partition: int
    start: int
    end: int = OPEN_END


@dataclass(frozen=True, slots=True)
class Command:
    """An order. `epoch`: the new epoch of a rollback, else the epoch the command was made for.

    rollback, promote and pin name a `target`; a rollback's target is of an epoch before the new one. Times are event
    times in ms. Raises ValueError naming the field that contradicts this.
    """

    command_id: str
    model: str
    kind: CommandKind
    epoch: int
    reason: str
    issuer: str
    issued_at_ms: int
    expires_at_ms: int
    target: Version | None = None
    exclude: tuple[ExcludedRange, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.command_id or not self.model:
            raise ValueError("command_id and model must not be empty")
        if (self.target is not None) != (self.kind in _WITH_TARGET):
            raise ValueError(f"target: {self.kind} {'needs one' if self.target is None else 'takes none'}")
        if self.kind == "rollback" and self.target is not None and self.target.epoch >= self.epoch:
            raise ValueError(f"epoch: a rollback to {self.target} needs a new epoch, {self.epoch} is not")

    def expired(self, now_ms: int) -> bool:
        """Whether it may not be obeyed any more."""
        return now_ms > self.expires_at_ms


def sign_command(command: Command, signer: Signer) -> tuple[bytes, bytes]:
    """Return key and value of its record in `models.commands`; the key is the model, which places it."""
    body = codec.encode_body(catalogue.COMMAND, _to_record(command))
    value = codec.encode_record(
        catalogue.MODELS_COMMANDS,
        {"command": body, "key_id": signer.key_id, "signature": signer.sign(COMMAND_TYPE, body)},
    )
    return command.model.encode(), value


def open_command(value: bytes | None, keys: KeyRing) -> Command:
    """Return the command in a record's value. Raises Refused; the signature is checked before anything is parsed."""
    what = "command"
    if value is not None and len(value) > COMMAND_BYTES_MAX:
        raise Refused("limits", what, f"{len(value)} bytes, at most {COMMAND_BYTES_MAX} are read")
    try:
        record = codec.decode_record(catalogue.MODELS_COMMANDS, value)
    except codec.BadRecord as error:
        raise Refused("record", what, str(error)) from error
    body: bytes = record["command"]
    keys.verify(what, COMMAND_TYPE, body, record["key_id"], record["signature"])
    try:
        return _from_record(codec.decode_body(catalogue.COMMAND, body))
    except (codec.BadRecord, ValueError) as error:
        raise Refused("manifest", what, str(error)) from error


def _to_record(command: Command) -> dict[str, Any]:
    epoch, sequence = command.target or (None, None)
    return {
        "command_id": command.command_id,
        "model": command.model,
        "kind": command.kind,
        "epoch": command.epoch,
        "target_epoch": epoch,
        "target_sequence": sequence,
        "exclude": [{"partition": each.partition, "start": each.start, "end": each.end} for each in command.exclude],
        "reason": command.reason,
        "evidence": dict(command.evidence),
        "issuer": command.issuer,
        "issued_at": command.issued_at_ms,
        "expires_at": command.expires_at_ms,
    }


def _from_record(record: Mapping[str, Any]) -> Command:
    epoch, sequence = record["target_epoch"], record["target_sequence"]
    if (epoch is None) != (sequence is None):
        raise ValueError("target_epoch and target_sequence go together")
    return Command(
        command_id=record["command_id"],
        model=record["model"],
        kind=record["kind"],
        epoch=record["epoch"],
        reason=record["reason"],
        issuer=record["issuer"],
        issued_at_ms=record["issued_at"],
        expires_at_ms=record["expires_at"],
        target=None if epoch is None else Version(epoch, sequence),
        exclude=tuple(ExcludedRange(each["partition"], each["start"], each["end"]) for each in record["exclude"]),
        evidence=record["evidence"],
    )
