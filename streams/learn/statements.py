"""What a learner says of itself and of its gate: records of `models.status` and `decisions`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rheostat.schemas import catalogue, codec
from rheostat.streams.learn.gate import Finding
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.models.manifest import TrainingRange
from rheostat.streams.models.version import Version

RULE_VERSION = 1


def status(
    settings: LearnSettings,
    version: Version,
    digest: str,
    now_ms: int,
    *,
    frozen: bool,
    failed: Sequence[str],
    command_id: str | None,
) -> bytes:
    """Return what a learner stands at; failed: the checks of the gate that its version fails."""
    return codec.encode_record(
        catalogue.MODELS_STATUS,
        {
            "member": settings.member,
            "role": "learner",
            "model": settings.model,
            "epoch": version.epoch,
            "sequence": version.sequence,
            "digest": digest,
            "state": "frozen" if frozen else "live",
            "command_id": command_id,
            "refused": f"servers do not answer with it: {', '.join(failed)}" if failed else None,
            "probe_error_max": None,
            "version_age_ms": None,
            "at": now_ms,
        },
    )


def decision(
    settings: LearnSettings, version: Version, finding: Finding, examples: Iterable[TrainingRange], now_ms: int
) -> bytes:
    """Return the verdict of a check that says something else from this version on, by what these examples told."""
    verdict = "FAIL" if finding.failed else "PASS"
    return codec.encode_record(
        catalogue.DECISIONS,
        {
            "decision_id": f"gate-{finding.check}-{verdict.lower()}-{settings.model}-{version}",
            "model": settings.model,
            "rule": f"gate-{finding.check}",
            "rule_version": RULE_VERSION,
            "verdict": verdict,
            "value": finding.value,
            "threshold": finding.bound,
            "inputs": dict(finding.inputs),
            "ranges": [{"partition": each.partition, "start": each.start, "end": each.end} for each in examples],
            "command_id": None,
            "actor": settings.member,
            "reason": finding.reason,
            "at": now_ms,
        },
    )
