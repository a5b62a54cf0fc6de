"""OpenFeature's flags as arms of experiments: a hook that notes what flags assign, for the predictions of a request.

    api.add_hooks([ExperimentHook({"new-ranking": "ranker-v2"})])  # flag: experiment; {"ranker-v2"} where both are one
    app.add_middleware(RequestArms)

    client.get_string_value("new-ranking", "control", EvaluationContext(user_id))
    httpx.post(f"{server}/predict", json={"model": "ranker", "features": features, **arm_field()})

`RequestArms` and `arm_field` are in `request_arms`. The prediction and its examples then have the arm
`ranker-v2:treatment`; how several experiments of one request are written is in `rheostat.schemas.arms`.

The last evaluation of a flag in a request decides. It assigns the variant that the provider names or, where it names
none, the value if that is text, true or false. An evaluation that failed, and one with a reason among `unassigned`,
gave a default to somebody who is not in the experiment: no arm. STATIC is not among them, since a whole deployment can
be an arm. So a flag at rest that names a variant gives arms before its experiment starts and after it ends;
`unassigned=UNASSIGNED | {"STATIC"}` leaves those out.

Like `openfeature`, this imports nothing from OpenFeature: the stages are methods of the names and arguments in its
specification (section 4). A type checker takes it as `cast(Hook, ExperimentHook(…))`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from rheostat.schemas.arms import EXPERIMENTS_MAX, arm_text, check_name
from rheostat.streams.client.openfeature import OnRejected
from rheostat.streams.client.request_arms import current_arms

logger = logging.getLogger("rheostat.client")

UNASSIGNED: frozenset[str] = frozenset({"DEFAULT", "DISABLED", "ERROR"})
"""Reasons (section 1.7 and `types.md` of the specification) for which a value stands for no assignment."""

_NO_REQUEST = "no request is open; see rheostat.streams.client.request_arms"


class EvaluationDetails(Protocol):
    """OpenFeature's evaluation details."""

    value: Any
    variant: str | None
    reason: str | None
    error_code: Any


class HookContext(Protocol):
    """OpenFeature's hook context."""

    flag_key: str


def variant_of(details: EvaluationDetails, unassigned: Collection[str] = UNASSIGNED) -> str | None:
    """Return the variant that an evaluation assigned, None where it assigned none."""
    if details.error_code is not None or details.reason in unassigned:
        return None
    if details.variant:
        return details.variant
    if isinstance(details.value, bool):
        return "true" if details.value else "false"
    return details.value if isinstance(details.value, str) and details.value else None


def arm_of(experiment: str, details: EvaluationDetails, unassigned: Collection[str] = UNASSIGNED) -> str | None:
    """Return the arm that an evaluation assigned, for a service that passes it on by itself; None where there is none.

    Raises ValueError for a name that cannot be part of an arm.
    """
    variant = variant_of(details, unassigned)
    return None if variant is None else arm_text({experiment: variant})


def log_unremembered(flag: str, reason: str) -> None:
    """Log a flag whose arm could not be noted."""
    logger.warning("the arm of flag %s is not noted: %s", flag, reason)


class ExperimentHook:
    """Notes the arms that flags assign in the request in hand, see `request_arms`; it passes over other flags.

    `flags` are experiments by flag, or flags that have the name of their experiment; raises ValueError where that
    cannot be. No stage raises: OpenFeature would give the default then. Instead `on_rejected` is told a flag and why
    its arm could not be noted, once for each flag and trouble: no request is open, or a name that no arm can have.
    """

    def __init__(
        self,
        flags: Mapping[str, str] | Collection[str],
        *,
        unassigned: Collection[str] = UNASSIGNED,
        on_rejected: OnRejected = log_unremembered,
    ) -> None:
        self._experiments = _experiments(flags)
        self._unassigned = frozenset(unassigned)
        self._on_rejected = on_rejected
        self._told: set[tuple[str, bool]] = set()

    def supports_flag_value_type(self, flag_type: Any) -> bool:
        """Flags of every type can have variants."""
        return True

    def before(self, hook_context: HookContext, hints: Any = None) -> None:
        """Add nothing to the evaluation context."""

    def after(self, hook_context: HookContext, details: EvaluationDetails, hints: Any = None) -> None:
        """Note the arm, or that there is none."""
        self._note(hook_context.flag_key, variant_of(details, self._unassigned))

    def error(self, hook_context: HookContext, exception: Exception, hints: Any = None) -> None:
        """Note that there is no arm; also where `after` had one, but another hook failed and the default was given."""
        self._note(hook_context.flag_key, None)

    def finally_after(self, hook_context: HookContext, details: Any = None, hints: Any = None) -> None:
        """Leave all as it is."""

    def _note(self, flag: str, variant: str | None) -> None:
        experiment = self._experiments.get(flag)
        if experiment is None:
            return
        arms = current_arms()
        if arms is None:
            if variant is not None:
                self._tell(flag, _NO_REQUEST)
            return
        try:
            arms.assign(experiment, variant)
        except ValueError as error:
            self._tell(flag, str(error))

    def _tell(self, flag: str, reason: str) -> None:
        trouble = flag, reason == _NO_REQUEST
        if trouble not in self._told:
            self._told.add(trouble)
            self._on_rejected(flag, reason)


def _experiments(flags: Mapping[str, str] | Collection[str]) -> dict[str, str]:
    if isinstance(flags, str):
        raise ValueError(f"flags: {flags!r} is one name; give {{{flags!r}}}, or {{flag: experiment}}")
    experiments = dict(flags) if isinstance(flags, Mapping) else {flag: flag for flag in flags}
    for experiment in experiments.values():
        check_name("experiment", experiment)
    if len(set(experiments.values())) < len(experiments):
        raise ValueError("flags: two flags have the same experiment; whose variant would be its arm?")
    if len(experiments) > EXPERIMENTS_MAX:
        raise ValueError(f"flags: {len(experiments)} experiments, a request is in {EXPERIMENTS_MAX} at most")
    return experiments
