"""What a stage needs is imported when it is built, in one thread: imports of torch and SciPy at once can fail."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("learner", "loaded"),
    [
        ("'linear', 'f'", "True False"),
        ("'river', 'f', estimator='tree.HoeffdingTreeClassifier'", "True False"),
        ("'hashed-mlp', 'f'", "False True"),
        ("'bayes-logistic', 'f'", "False False"),
    ],
)
def test_a_learner_s_libraries_are_there_before_it_is_made_and_others_never(learner: str, loaded: str) -> None:
    code = (
        "import sys\n"
        "from rheostat.learners.contract import FeatureSchema\n"
        "from rheostat.streams.config import ModelConfig\n"
        "from rheostat.streams.worker import learner_maker\n"
        f"learner_maker(ModelConfig({learner}), FeatureSchema('f@1', ('x',), ()))\n"
        "print('river' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == loaded, done.stderr
