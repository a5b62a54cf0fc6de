"""What a server or learner really runs, as records of `models.status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.schemas.cloudevents import CloudEvent, Headers, write_headers
from rheostat.streams.models.apply import ModelVersion, probe_error
from rheostat.streams.models.version import Version
from rheostat.streams.serving.lineage import Lineage

NO_VERSION = Version(-1, -1)


@dataclass(frozen=True, slots=True)
class Status:
    """One statement. `command_id`: the command it acknowledges; `refused`: why the newest update was refused."""

    member: str
    role: Literal["server", "learner"]
    model: str
    version: Version
    digest: str
    state: Literal["starting", "live", "frozen", "degraded", "stopped"]
    at_ms: int
    command_id: str | None = None
    refused: str | None = None
    probe_error_max: float | None = None
    version_age_ms: int | None = None


def encode_status(status: Status) -> tuple[bytes, bytes]:
    """Return key and value of its record; the model's name places it."""
    value = codec.encode_record(
        catalogue.MODELS_STATUS,
        {
            "member": status.member,
            "role": status.role,
            "model": status.model,
            "epoch": status.version.epoch,
            "sequence": status.version.sequence,
            "digest": status.digest,
            "state": status.state,
            "command_id": status.command_id,
            "refused": status.refused,
            "probe_error_max": status.probe_error_max,
            "version_age_ms": status.version_age_ms,
            "at": status.at_ms,
        },
    )
    return status.member.encode(), value


def status_headers(status: Status, count: int) -> Headers:
    """Return the record's CloudEvents headers; `count` tells statements of one member and moment apart."""
    event_id = f"{status.member}/{status.model}/{status.at_ms}/{count}"
    return write_headers(CloudEvent(event_id, status.member, catalogue.MODELS_STATUS, status.at_ms, status.model))


def server_status(member: str, lineage: Lineage, now_ms: int, command_id: str | None, stopped: bool = False) -> Status:
    """Say what a server runs: digest and golden probes are computed anew from the tensors in use."""
    version: ModelVersion | None = lineage.serving
    return Status(
        member=member,
        role="server",
        model=lineage.model,
        version=NO_VERSION if version is None else version.version,
        digest="" if version is None else tensors_digest(version.tensors),
        state="stopped" if stopped else lineage.state,
        at_ms=now_ms,
        command_id=command_id,
        refused=lineage.refused,
        probe_error_max=None if version is None else probe_error(version.manifest, version.predictor),
        version_age_ms=None if version is None else max(0, now_ms - version.manifest.facts.published_at_ms),
    )
