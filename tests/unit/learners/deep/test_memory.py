"""What a learner holds, however many ids there are: told beforehand, refused where it is too much, and never more."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep.network import Shape
from rheostat.learners.deep_settings import DeepSettings, state_bytes
from tests.unit.learners.deep.support import ACTIONS, IDS, REWARDS, SMALL
from tests.unit.learners.support import MIXED

OWN_IDS = replace(SMALL, ids=IDS)


@pytest.mark.parametrize(("schema", "settings"), [(MIXED, SMALL), (MIXED, OWN_IDS), (ACTIONS, REWARDS)])
def test_a_learner_takes_the_bytes_it_tells_and_is_refused_more(schema: FeatureSchema, settings: DeepSettings) -> None:
    needed = state_bytes(settings, sum(Shape.of(schema, settings).dense))
    learner = HashedMLP(schema, replace(settings, memory_bytes_max=needed))
    names = ("table", "table.squares", "dense", "dense.squares", "ids.keys", "ids.seen", "ids.counters")
    tensors = learner.snapshot().tensors
    marks = settings.table_rows + settings.own_rows
    assert sum(tensors[name].nbytes for name in names if name in tensors) + marks == needed
    with pytest.raises(ValueError, match=f"needs {needed:,} bytes, memory_bytes_max is {needed - 1:,}: lower"):
        HashedMLP(schema, replace(settings, memory_bytes_max=needed - 1))


FEED = """
import sys
import numpy as np
from rheostat.learners.contract import Batch, FeatureSchema
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.idtable import IdSettings

examples, bound = int(sys.argv[1]), int(sys.argv[2])
schema = FeatureSchema("users@1", (), ("user",))
random = np.random.default_rng(1)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def batch(rows=50_000):
    ids = random.integers(1, 1 << 63, (rows, 1), np.uint64)
    return Batch(schema.id, np.zeros((rows, 0)), ids, (ids[:, 0] % 2).astype(float), np.ones(rows))

HashedMLP(schema, DeepSettings(table_bits=4)).learn(batch())
before = resident()
ids = IdSettings(rows_bits=18, admit_after=1, expire_after_rows=100_000)
learner = HashedMLP(schema, DeepSettings(batch_rows=1_024, hidden=8, ids=ids, memory_bytes_max=bound))
most = 0
for _ in range(examples // 50_000):
    learner.learn(batch())
    most = max(most, resident() - before)
given = len(np.unique(learner.parameters()["ids.keys"]))
print(most, given)
"""


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_fifty_million_examples_of_new_ids_stay_within_the_bound() -> None:
    bound = 32 << 20
    feeding = [sys.executable, "-c", FEED, "50000000", str(bound)]
    done = subprocess.run(feeding, capture_output=True, text=True, timeout=1_700, check=False)
    assert done.returncode == 0, done.stderr
    most, given = map(int, done.stdout.split())
    assert given == 1 << 18
    assert most <= bound
