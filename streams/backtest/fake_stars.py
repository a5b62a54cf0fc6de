"""Suspected fake stars laid over simulated ordinary traffic, and how many of them are found, by size of the target.

The events are real (file fake_star_events.csv.gz: user_id, item_id, ts; all suspected fake), the ordinary targets are
not: 200 of them, 60 / sqrt(rank) events a day, an hour-of-day shape, 65 % of events from a pool of 5,000 actors and the
rest from actors who come once, over the same time; seeded. So the false-alarm rate is that of simulated traffic. Twins
are items that got the same user's star at the same second (renamed repositories), at least three users in common.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from rheostat.schemas.signals import NAMES
from rheostat.streams.backtest.bursts import Progress, find_bursts
from rheostat.streams.backtest.history import History
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.bursts import events_of
from rheostat.streams.intake.settings import SlowBurstSettings

FILE = Path("fake-stars") / "fake_star_events.csv.gz"
SIZES = ((1, 1), (2, 4), (5, 9), (10, 29), (30, 99), (100, 10**9))
_SEED = 20261121
_TARGETS, _POOL, _ONE_OFF = 200, 5_000, 0.35
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_TWIN_USERS = 3

Longs = NDArray[np.int64]


def score_fake_stars(data: Path, settings: SlowBurstSettings, progress: Progress) -> dict[str, Any]:
    """Lay them over ordinary traffic, find bursts and lockstep, and count what was found. Raises ConfigError."""
    users, items, times = _read(data / FILE)
    history = _history(users, items, times)
    found = find_bursts(history, settings, progress)
    assert history.attack is not None
    lost = 1.0 - found.kept
    names = np.asarray(history.targets.to_numpy(zero_copy_only=False))
    flagged = {each.target for each in found.intervals if each.suspicion >= settings.downweight_at}
    twins = _twins(users, items, times)
    told = {each.target for each in found.intervals if each.kind == "lockstep"}
    ordinary = [each for each in found.intervals if each.target.startswith("ordinary-")]
    months = _TARGETS * (int(times.max()) - int(times.min())) / (30 * _DAY_MS)
    return {
        "set": "fake-stars",
        "events": int(history.attack.sum()),
        "recall": round(float(lost[history.attack].mean()), 4),
        "by_size": [_of_size(names[history.attack], lost[history.attack], flagged, *size) for size in SIZES],
        "twin_pairs": len(twins),
        "twin_pairs_in_lockstep": sum(one in told and other in told for one, other in twins),
        "ordinary_target_months": round(months, 1),
        "false_alarms_per_target_month": round(len(ordinary) / months, 4),
        "false_suspicions_per_target_month": round(sum(each.suspicion >= 0.5 for each in ordinary) / months, 5),
        "honest_lost_elsewhere": round(float(lost[~history.attack].mean()), 6),
    }


def _of_size(names: NDArray[np.object_], lost: NDArray[np.float64], flagged: set[str], low: int, high: int) -> Any:
    targets, where, counts = np.unique(names.astype(str), return_inverse=True, return_counts=True)
    chosen = (counts >= low) & (counts <= high)
    return {
        "events_per_target": f"{low}" if low == high else f"{low}-{high}" if high < 10**9 else f"{low}+",
        "targets": int(chosen.sum()),
        "targets_flagged": sum(target in flagged for target in targets[chosen].tolist()),
        "weight_removed": round(float(lost[chosen[where]].mean()), 4),
    }


def _read(path: Path) -> tuple[list[str], list[str], Longs]:
    try:
        types = {"user_id": pa.string(), "item_id": pa.string(), "ts": pa.string()}
        table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read as CSV: {error}") from None
    times = pc.cast(pc.cast(table["ts"], pa.timestamp("ms", "UTC")), pa.int64()).to_numpy()
    return table["user_id"].to_pylist(), table["item_id"].to_pylist(), np.asarray(times, np.int64)


def _twins(users: list[str], items: list[str], times: Longs) -> list[tuple[str, str]]:
    """Return the pairs of items that at least three users starred within one second of their own."""
    by_deed: dict[tuple[str, int], set[str]] = {}
    for user, item, time in zip(users, items, times.tolist(), strict=True):
        by_deed.setdefault((user, time), set()).add(item)
    together: Counter[tuple[str, str]] = Counter()
    for same in by_deed.values():
        ordered = sorted(same)
        together.update((one, other) for at, one in enumerate(ordered) for other in ordered[at + 1 :])
    return [pair for pair, count in together.items() if count >= _TWIN_USERS]


def _history(users: list[str], items: list[str], times: Longs) -> History:
    targets, actors, ordinary_times = _ordinary(int(times.min()), int(times.max()))
    everything = np.concatenate([times, ordinary_times])
    order = np.argsort(everything, kind="stable")
    attack = np.arange(len(everything)) < len(times)
    take = pa.array(order)
    names = pa.array([*items, *targets], pa.string()).take(take)
    who = pa.array([*users, *actors], pa.string()).take(take)
    kinds = np.full(len(order), NAMES.index("thumb"), np.int32)
    return History(
        events_of(names, who, kinds, np.ones(len(order)), everything[order]),
        pc.cast(take, pa.string()),
        names,
        None,
        None,
        attack[order],
    )


def _ordinary(start_ms: int, end_ms: int) -> tuple[list[str], list[str], Longs]:
    rng = np.random.default_rng(_SEED)
    days = (end_ms - start_ms) // _DAY_MS
    shape = 1 + 0.8 * np.sin((np.arange(24) - 12) / 24 * 2 * np.pi)
    per_day = 60 * np.arange(1, _TARGETS + 1) ** -0.5
    counts = rng.poisson(np.repeat(per_day[:, None], days, axis=1))
    target, day = (np.repeat(each.ravel(), counts.ravel()) for each in np.indices(counts.shape))
    hour = rng.choice(24, size=len(day), p=shape / shape.sum())
    times = start_ms + day * _DAY_MS + hour * _HOUR_MS + rng.integers(0, _HOUR_MS, len(day))
    actor = rng.integers(0, _POOL, len(day))
    once = rng.random(len(day)) < _ONE_OFF
    actor[once] = _POOL + np.arange(once.sum())
    return [f"ordinary-{each}" for each in target], [f"actor-{each}" for each in actor], times.astype(np.int64)
