"""POST /explain: of a prediction that was given, by its id, or of features as /predict takes them."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse

from rheostat.learners.contributions import GivesChoices
from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import BrokerError
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.models.version import Version
from rheostat.streams.serving.answers import DefaultScorer, Scorer
from rheostat.streams.serving.arm_answers import ArmedModel
from rheostat.streams.serving.arms import SHADOW
from rheostat.streams.serving.explain import Explainer, Json, Question
from rheostat.streams.serving.fallback import FALLBACK
from rheostat.streams.serving.follower import ModelFollower
from rheostat.streams.serving.predict import Failed, HttpSettings, authorise, find_scorer, parse_body
from rheostat.streams.serving.requests import BadRequest, Row, batch_of, read_actions, read_row
from rheostat.streams.serving.signals import Learned, RecentSignals

EXPLAIN = "/explain"
AT_ONCE_MAX = 4
"""Explanations that may be worked on at the same time; each may have to read from Kafka."""
_SCANNED_MAX = 20_000
_BEHIND_MS = 60_000
"""How much earlier than its neighbours a prediction may have been made and still be found."""


class ExplainRoute:
    """Answers one question at a time in a thread of its own, so that predictions do not wait for Kafka."""

    def __init__(
        self,
        follower: ModelFollower,
        log: Log | None,
        explainer: Explainer,
        settings: HttpSettings,
        arms: Mapping[str, ArmedModel],
    ) -> None:
        self._follower = follower
        self._log = log
        self._explainer = explainer
        self._settings = settings
        self._arms = arms
        self._signals = None if log is None else RecentSignals(log)
        self._reading = threading.Lock()
        self._working = 0

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer one request."""
        authorise(request.scope, self._settings.api_keys)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > self._settings.body_bytes_max:
                raise Failed(413, f"the body is larger than {self._settings.body_bytes_max} bytes")
        if self._working >= AT_ONCE_MAX:
            raise Failed(503, "too many explanations are being worked on; ask again in a moment")
        self._working += 1
        try:
            return JSONResponse(await asyncio.to_thread(self._explain, body))
        finally:
            self._working -= 1

    def _explain(self, body: bytes) -> Json:
        prediction_id = _asked_for(body)
        if prediction_id is None:
            question = self._of_features(body)
        else:
            record = self._find(prediction_id)
            if FALLBACK in record["flags"]:
                return self._explainer.explain_fallback(prediction_id, record["model"], record["score"])
            question = self._of_record(record)
        return self._explainer.explain(question, self._learned(question.version))

    def _of_features(self, body: bytes) -> Question:
        wanted = parse_body(body, self._settings)
        if not wanted.single:
            raise Failed(400, "one instance is explained at a time", "instances")
        (instance,) = wanted.instances
        scorer, armed = find_scorer(self._follower, wanted.model), self._arms.get(wanted.model)
        try:
            row = read_row(scorer.schema, instance.features)
            eligible = read_actions(scorer.actions, instance)
            scorer = scorer if armed is None else armed.would_answer(scorer, instance)
        except BadRequest as error:
            raise Failed(400, error.reason, error.field) from error
        if FALLBACK in scorer.flags:
            raise Failed(503, f"the newest version of model {wanted.model!r} is too old", "model")
        return Question(scorer.version, row, _best(scorer, row, eligible))

    def _of_record(self, record: Mapping[str, Any]) -> Question:
        answered, lineage = Version(record["epoch"], record["sequence"]), self._follower.lineage(record["model"])
        if lineage is None:
            raise Failed(404, f"model {record['model']!r} is not followed here", "prediction_id")
        version = lineage.kept.get(answered) or lineage.kept.pinned.get(answered) or lineage.serving
        if version is None or version.manifest.facts.schema.id != record["feature_set"]:
            raise Failed(404, "no version with the features of this prediction is kept any more", "prediction_id")
        actions, action = version.manifest.facts.schema.actions, record["action"]
        return Question(
            version,
            Row(tuple(record["numeric"]), tuple(record["categorical"])),
            actions.index(action) if action in actions else None,
            answered,
            record["score"],
            record["prediction_id"],
            record["arm"],
        )

    def _learned(self, version: ModelVersion) -> Learned | None:
        if self._signals is None:
            return None
        try:
            with self._reading:
                return self._signals.of(version)
        except BrokerError:
            return None

    def _find(self, prediction_id: str) -> Mapping[str, Any]:
        """Return a logged prediction. Its id tells when it was made, and so where about it lies."""
        made_at_ms = _made_at_ms(prediction_id)
        if self._log is None or made_at_ms is None:
            raise Failed(404, "this is no id of a prediction that was given here", "prediction_id")
        try:
            with self._reading:
                value = _find_value(self._log, prediction_id, made_at_ms)
        except BrokerError as error:
            raise Failed(503, "predictions cannot be read now; ask again in a moment") from error
        if value is None:
            raise Failed(404, "this prediction is not in the log: not yet, or not any more", "prediction_id")
        record = codec.decode_record(catalogue.PREDICTIONS, value)
        if SHADOW in record["flags"]:
            raise Failed(404, "this prediction was never shown", "prediction_id")
        return record


def _asked_for(body: bytes) -> str | None:
    """Return the prediction_id of a body that has nothing else."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or "prediction_id" not in fields:
        return None
    given = fields["prediction_id"]
    if not isinstance(given, str):
        raise Failed(400, "must be text", "prediction_id")
    if more := sorted(set(fields) - {"prediction_id"}):
        raise Failed(400, "is not known here beside prediction_id", more[0][:64])
    return given


def _made_at_ms(prediction_id: str) -> int | None:
    try:
        found = uuid.UUID(prediction_id)
    except ValueError:
        return None
    return found.int >> 80 if found.version == 7 and str(found) == prediction_id else None


def _find_value(log: Log, prediction_id: str, made_at_ms: int) -> bytes | None:
    partition = partition_for(prediction_id.encode(), log.partitions(catalogue.PREDICTIONS))
    scanned = 0
    for block in log.read(catalogue.PREDICTIONS, partition, since_ms=made_at_ms):
        ids = codec.decode_fields(catalogue.PREDICTIONS, block.values, 1).column(0).to_pylist()
        if prediction_id in ids:
            found: bytes | None = block.values[ids.index(prediction_id)]
            return found
        scanned += len(block)
        if scanned > _SCANNED_MAX or min(block.timestamps_ms) > made_at_ms + _BEHIND_MS:
            return None
    return None


def _best(scorer: Scorer, row: Row, eligible: list[bool]) -> int | None:
    """Return the place of the action that is expected to be the best of those that may be chosen, or is the default."""
    predictor = scorer.version.predictor
    if not scorer.actions or not isinstance(predictor, GivesChoices):
        return None
    if isinstance(scorer, DefaultScorer):
        return eligible.index(True)
    expected = predictor.choices(batch_of(scorer.schema, (row,)))[0]
    return int(np.where(eligible, expected, -np.inf).argmax())
