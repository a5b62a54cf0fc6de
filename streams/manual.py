"""Commands given by people: made from what the log says runs now, signed by the operator's key."""

from __future__ import annotations

import uuid
from typing import Any

from rheostat.schemas import catalogue
from rheostat.streams.engine.broker import Broker
from rheostat.streams.errors import ConfigError, Retryable
from rheostat.streams.models.commands import OPEN_END, Command, ExcludedRange, sign_command
from rheostat.streams.models.signing import Signer
from rheostat.streams.models.version import Version
from rheostat.streams.status import records
from rheostat.streams.trace import manifests

EXPIRY_MS = 60_000
LIVE_WITHIN_MS = 60_000
LOOK_BACK_MS = 7 * 86_400_000


def order_rollback(
    broker: Broker,
    signer: Signer,
    model: str,
    target: Version | None,
    *,
    reason: str,
    hold: bool,
    relearn: bool = False,
    now_ms: int,
) -> tuple[Command, set[str]]:
    """Send a rollback to `target`, or a resume without one; return it and the members that should acknowledge it.

    What was learned after the target is excluded up to now; with `hold` also what comes, until a resume. With `relearn`
    nothing is excluded: it is all learned again, as it counts by now.
    Raises ConfigError when the model or the version is not in the log.
    """
    newest: dict[str, Any] | None = None
    wanted: dict[str, Any] | None = None
    for manifest in manifests(broker.log(), now_ms - LOOK_BACK_MS):
        if manifest["model"] == model:
            newest = manifest
            if target is not None and Version(manifest["epoch"], manifest["sequence"]) == target:
                wanted = manifest
    if newest is None:
        raise ConfigError(f"no version of {model!r} was published in the last 7 days; see: rheostat status")
    if target is not None and wanted is None:
        raise ConfigError(f"{model} {target} is not in the log; newest is {newest['epoch']}.{newest['sequence']}")
    command = Command(
        command_id=str(uuid.uuid4()),
        model=model,
        kind="resume" if target is None else "rollback",
        epoch=newest["epoch"] + (0 if target is None else 1),
        reason=reason,
        issuer=signer.key_id,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + EXPIRY_MS,
        target=target,
        exclude=() if wanted is None or relearn else _after(wanted, newest, hold),
    )
    expected = _live_members(broker, model, now_ms)
    _send(broker, command, signer)
    return command, expected


def acknowledgements(broker: Broker, command: Command) -> dict[str, int]:
    """Return who has acknowledged the command, and when (ms)."""
    found: dict[str, int] = {}
    for record in records(broker.log(), catalogue.MODELS_STATUS, command.issued_at_ms):
        if record["command_id"] == command.command_id:
            found.setdefault(record["member"], record["at"])
    return found


def _after(wanted: dict[str, Any], newest: dict[str, Any], hold: bool) -> tuple[ExcludedRange, ...]:
    """Exclude the examples after the wanted version, up to the newest one or for as long as the hold lasts."""
    ends = {each["partition"]: each["offset"] for each in newest["offsets"]}
    starts = {each["partition"]: each["offset"] for each in wanted["offsets"]}
    ranges = [
        ExcludedRange(number, starts.get(number, 0), OPEN_END if hold else end) for number, end in sorted(ends.items())
    ]
    return tuple(each for each in ranges if each.end == OPEN_END or each.end > each.start)


def _live_members(broker: Broker, model: str, now_ms: int) -> set[str]:
    seen: dict[str, str] = {}
    for record in records(broker.log(), catalogue.MODELS_STATUS, now_ms - LIVE_WITHIN_MS):
        if record["model"] == model:
            seen[record["member"]] = record["state"]
    return {member for member, state in seen.items() if state != "stopped"}


def _send(broker: Broker, command: Command, signer: Signer) -> None:
    key, value = sign_command(command, signer)
    failures: list[str] = []
    producer = broker.producer()
    producer.send(
        catalogue.MODELS_COMMANDS,
        key,
        value,
        timestamp_ms=command.issued_at_ms,
        on_delivery=lambda error: failures.append(error) if error is not None else None,
    )
    left = producer.flush(10_000)
    producer.close()
    if left or failures:
        raise Retryable(f"the command was not delivered: {failures[0] if failures else 'no answer within 10 s'}")
