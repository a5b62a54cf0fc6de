"""Feature sets and settings of the tests of the deep learners."""

from __future__ import annotations

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.deep_settings import DeepSettings, RewardSettings
from rheostat.learners.idtable import IdSettings

PAIRS = FeatureSchema("pairs@1", ("price", "age", "price#2", "age#2"), ("site", "brand", "site#2", "brand#2"))
ACTIONS = FeatureSchema("actions@1", ("price", "age"), ("site",), ("red", "green", "blue"))
IDS = IdSettings(rows_bits=5, admit_after=2, expire_after_rows=500, sketch_bits=8)

SMALL = DeepSettings(table_bits=8, dim=4, hidden=16, batch_rows=32)
PAIRWISE = DeepSettings(table_bits=8, dim=4, hidden=16, batch_rows=32, task="pairwise")
CLASSES = DeepSettings(table_bits=8, dim=4, hidden=16, batch_rows=32, task="classes")
REWARDS = DeepSettings(table_bits=8, dim=4, hidden=16, batch_rows=32, task="rewards")
SQUARED = RewardSettings(loss="squared", self_normalised=True)
