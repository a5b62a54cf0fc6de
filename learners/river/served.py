"""A predictor from the parameters of kind "river/1": the state of River's estimator, which then answers itself."""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Tensors
from rheostat.learners.features import check_batch
from rheostat.learners.layout import take
from rheostat.learners.river import roles
from rheostat.learners.river.answers import scores
from rheostat.learners.river.decode import decode
from rheostat.learners.river.encode import named_classes
from rheostat.learners.river.settings import RiverSettings, inputs_of


class RiverPredictor:
    """River's estimator, as the learner had it; it never learns."""

    def __init__(self, schema: FeatureSchema, tensors: Tensors) -> None:
        """Raise ValueError for arrays that are not such parameters, or were made with another River."""
        settings, river, batched = _settings(tensors)
        if river != version("river"):
            raise ValueError(f"state of River {river}, and here is {version('river')}: it may answer differently")
        self._schema, self._batched = schema, batched
        self._estimator = decode(tensors)
        self._abilities = roles.abilities(self._estimator, named_classes(tensors))
        self._inputs = inputs_of(schema, settings, self._abilities.positive)
        self._trained = bool(take(tensors, "counters", np.int64, (3,))[1])

    def predict(self, batch: Batch) -> Floats:
        """Return what the learner would, float64 (rows,) in [0, 1]."""
        check_batch(self._schema, batch)
        return scores(self._estimator, self._abilities, self._inputs, batch, self._trained, self._batched)


def _settings(tensors: Tensors) -> tuple[RiverSettings, str, bool]:
    told = tensors.get("settings")
    try:
        fields = json.loads(told.tobytes()) if told is not None else {}
        river, batched = str(fields.pop("river")), bool(fields.pop("batched"))
        return RiverSettings(**fields), river, batched
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"tensor 'settings' is missing or says something else: {error!r}") from None
