"""A version in the process of an application: by names for one instance, in columns for many."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.requests import BadRequest
from tests.support.model_topic import Publisher, hashed_tensors, linear_tensors
from tests.support.serving import ServingWorld

FEATURES: dict[str, float | str | None] = {"url_length": 12, "age_days": 3.5, "tld": "com"}


@pytest.fixture(params=["linear/1", "hashed-mlp/1"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    world = ServingWorld()
    tensors = linear_tensors() if request.param == "linear/1" else hashed_tensors(64)
    world.publish(Publisher(kind=request.param, tensors=tensors).publish(base=True))
    found = world.follower.scorer("phishing")
    assert found is not None
    assert found.version is world.follower.current("phishing")
    return found


def test_one_instance_scores_as_it_does_among_many(scorer: Scorer) -> None:
    lengths = [1.0, 5.0, 9.0]
    alone = [scorer.score({**FEATURES, "url_length": each}) for each in lengths]
    together = scorer.scores([[each, 3.5] for each in lengths], [["com"] * 3])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert len(set(alone)) == 3


def test_a_value_that_is_not_known_scores_as_empty_text(scorer: Scorer) -> None:
    assert scorer.score({**FEATURES, "tld": None}) == scorer.score({**FEATURES, "tld": ""})


@pytest.mark.parametrize(
    ("features", "field"),
    [
        ({"url_length": 12, "age_days": 3.5}, "features.tld"),
        ({**FEATURES, "age_days": "old"}, "features.age_days"),
        ({**FEATURES, "age_days": float("nan")}, "features.age_days"),
        ({**FEATURES, "tdl": "com"}, "features.tdl"),
    ],
)
def test_what_is_wrong_is_named(scorer: Scorer, features: dict[str, float | str | None], field: str) -> None:
    with pytest.raises(BadRequest) as error:
        scorer.score(features)
    assert error.value.field == field


def test_no_follower_no_scorer() -> None:
    assert ServingWorld().follower.scorer("phishing") is None
