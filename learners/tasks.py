"""What the output of a network means: the tasks, and what is asked of the features of each.

Labels are in [0, 1] in all of them, and so is what `predict` returns:

    binary      the probability of a positive label
    regression  the expected label: a value on a scale that was mapped to [0, 1]
    pairwise    the probability that the first of two candidates is preferred, sigmoid(f(first) - f(second)) with one f
                for both (Bradley and Terry 1952; RankNet, Burges et al. 2005); features come in halves, see `halves`
    classes     of each class (`FeatureSchema.actions`), the probability that it is the right one. Label 1: the class
                shown, or named by a correction (`Context.action`), is right; 0: it is wrong, and some other is right
    rewards     of each action, the expected reward; the label is the reward of the action that was chosen

The last two predict for the action in the batch's context; for rows without one, for the best action.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Context, FeatureSchema, Floats
from rheostat.learners.features import SECOND

Task = Literal["binary", "regression", "pairwise", "classes", "rewards"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)
ACTION_TASKS: Final = ("classes", "rewards")


def check_task(task: str, schema: FeatureSchema) -> None:
    """Raise ValueError for a task that there is not, or that these features are not for."""
    if task not in TASKS:
        raise ValueError(f"task {task!r} is not one of {', '.join(TASKS)}")
    if task == "pairwise":
        halves(schema)
    if task in ACTION_TASKS and len(schema.actions) < 2:
        raise ValueError(f"task {task!r} needs at least two actions, feature set {schema.id!r} has {schema.actions}")


def outputs(task: Task, schema: FeatureSchema) -> int:
    """Return how many numbers the network gives for a row."""
    return len(schema.actions) if task in ACTION_TASKS else 1


def halves(schema: FeatureSchema) -> FeatureSchema:
    """Return the features of one candidate; ValueError unless the second half is the first again, each as NAME#2."""
    sides = []
    for names in (schema.numeric, schema.categorical):
        half = len(names) // 2
        if names[half:] != tuple(f"{name}{SECOND}" for name in names[:half]):
            raise ValueError(
                f"feature set {schema.id!r}: for pairs, the features of the second candidate must follow those of the "
                f"first, in their order, each as NAME{SECOND}; got {', '.join(names)}"
            )
        sides.append(names[:half])
    return FeatureSchema(schema.id, sides[0], sides[1])


def candidates(batch: Batch) -> Batch:
    """Return a batch of pairs as one of single candidates: all the first ones, then all the second ones."""
    return Batch(
        batch.schema_id,
        np.concatenate(np.split(batch.numeric, 2, axis=1)),
        np.concatenate(np.split(batch.categorical, 2, axis=1)),
        np.tile(batch.label, 2),
        np.tile(batch.weight, 2),
    )


def of_action(choices: Floats, context: Context | None) -> Floats:
    """Return, of each row's choices (rows, actions), that of the action in its context, or else the largest."""
    best: Floats = choices.max(axis=1)
    if context is None:
        return best
    known = known_actions(context, choices.shape[1])
    return np.where(known, choices[np.arange(len(choices)), np.where(known, context.action, 0)], best)


def teachable(task: Task, schema: FeatureSchema, batch: Batch) -> Batch:
    """Return the batch with weight 0 for rows without an action, where the task is about actions.

    Raises ValueError for a batch without a context then.
    """
    if task not in ACTION_TASKS:
        return batch
    if batch.context is None:
        raise ValueError(f"task {task!r} learns from actions: its batches need a context")
    known = known_actions(batch.context, len(schema.actions))
    return batch if known.all() else replace(batch, weight=np.where(known, batch.weight, 0.0))


def known_actions(context: Context, actions: int) -> NDArray[np.bool_]:
    """Return which rows have an action at all, one of so many."""
    return (context.action >= 0) & (context.action < actions)
