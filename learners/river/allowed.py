"""What a state may name: classes that River defines, and the few functions and methods that its objects hold."""

from __future__ import annotations

import importlib
import inspect
import statistics
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import river.api  # noqa: F401  every family is imported, so that its classes are known
from river._river_rust import drift, stats
from river.utils.vectordict import VectorDict

_NOT_STATE = ("river.checks", "river.datasets", "river.evaluate", "river.stream", "river.compat")
"""Parts of River that read files or the network, or are no part of a model."""

_BUILTINS = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset, Counter, OrderedDict, defaultdict, deque)

_FUNCTIONS = (
    "copy:deepcopy",
    "numpy:array",
    "numpy:ones",
    "river.feature_extraction.vectorize:strip_accents_unicode",
    "river.tree.splitter.ebst_splitter:EBSTNode._update_estimator_univariate",
    "river.tree.splitter.ebst_splitter:EBSTNode._update_estimator_multivariate",
    "river.tree.splitter.nominal_splitter_reg:NominalSplitterReg._update_estimator_univariate",
    "river.tree.splitter.nominal_splitter_reg:NominalSplitterReg._update_estimator_multivariate",
    "river.forest.online_extra_trees:ExtraTrees._detection_mode_all",
    "river.forest.online_extra_trees:ExtraTrees._detection_mode_drop",
    "river.forest.online_extra_trees:ExtraTrees._detection_mode_off",
    "river.naive_bayes.gaussian:GaussianNB._make_gaussian",
    "river.utils.vectordict:euclidean_distance_dict",
    "river.utils.vectordict:euclidean_distance_tuple",
)

_METHODS = (
    "river.base.base:Base.clone",
    "river.drift.page_hinkley:PageHinkley._test_both",
    "river.drift.page_hinkley:PageHinkley._test_decrease",
    "river.drift.page_hinkley:PageHinkley._test_increase",
    "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag",
    "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag_me",
    "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag_half",
    "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_bag_wt",
    "river.ensemble.bagging:LeveragingBaggingClassifier._leveraging_subag",
    "river.feature_extraction.kernel_approx:RBFSampler._random_weights",
    "river.linear_model.pa:BasePA._calc_tau_0",
    "river.linear_model.pa:BasePA._calc_tau_1",
    "river.linear_model.pa:BasePA._calc_tau_2",
    "river.preprocessing.random_projection:GaussianRandomProjector._rand_gauss",
    "river.preprocessing.random_projection:SparseRandomProjector._rand_weights_for_feature",
    "river.preprocessing.scale_target:TargetMinMaxScaler._scale",
    "river.preprocessing.scale_target:TargetMinMaxScaler._unscale",
    "river.preprocessing.scale_target:TargetStandardScaler._scale",
    "river.preprocessing.scale_target:TargetStandardScaler._unscale",
    "river.tree.splitter.qo_splitter:Slot._update_estimator_univariate",
    "river.tree.splitter.qo_splitter:Slot._update_estimator_multivariate",
)

NATIVE: Mapping[str, type] = {
    cls.__name__: cls
    for cls in (
        drift.AdaptiveWindowing,
        stats.RsEWMean,
        stats.RsEWVar,
        stats.RsIQR,
        stats.RsKurtosis,
        stats.RsPeakToPeak,
        stats.RsQuantile,
        stats.RsRollingIQR,
        stats.RsRollingPRAUC,
        stats.RsRollingQuantile,
        stats.RsRollingROCAUC,
        stats.RsSkew,
    )
}
"""Objects of Rust that give their state as bytes."""


@cache
def classes() -> Mapping[str, type]:
    """Return the classes of which a state may have objects, by name ("river.stats.mean:Mean")."""
    modules = [module for name, module in sys.modules.items() if _may_define(name)]
    found = (cls for module in modules for cls in _defined(vars(module).values(), module.__name__))
    return {_name(cls): cls for cls in (*found, statistics.NormalDist) if is_named_tuple(cls) or _is_plain(cls)}


@cache
def references() -> Mapping[str, type]:
    """Return the classes that a state may hold as values, in a factory of defaults for example."""
    return {**classes(), **{_name(cls): cls for cls in (*_BUILTINS, VectorDict)}}


@cache
def functions() -> Mapping[str, Callable[..., Any]]:
    """Return the functions that a state may hold, by name."""
    return {name: _resolve(name) for name in _FUNCTIONS}


@cache
def methods() -> Mapping[str, Callable[..., Any]]:
    """Return the functions of which a state may hold a bound method, by name."""
    return {name: _resolve(name) for name in _METHODS}


@cache
def class_names() -> Mapping[type, str]:
    """Return the name of every class in `references`."""
    return {cls: name for name, cls in references().items()}


@cache
def function_names() -> Mapping[Callable[..., Any], str]:
    """Return the name of everything in `functions` and `methods`."""
    return {function: name for name, function in {**functions(), **methods()}.items()}


def is_named_tuple(cls: type) -> bool:
    """Whether its objects are tuples of a fixed length, without anything else."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def slots(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield name and descriptor of every slot of a class, those of its bases first."""
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if inspect.ismemberdescriptor(member):
                yield name, member


def _may_define(module: str) -> bool:
    if not module.startswith("river."):
        return False
    return not any(module == part or module.startswith(f"{part}.") for part in (*_NOT_STATE, "river._river_rust"))


def _defined(values: Any, module: str) -> Iterator[type]:
    for value in list(values):
        if isinstance(value, type) and value.__module__ == module:
            yield value
            yield from _defined(vars(value).values(), module)


def _is_plain(cls: type) -> bool:
    """Whether attributes are all that its objects have."""
    return getattr(cls, "__new__", None) is object.__new__ and not issubclass(cls, BaseException)


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _resolve(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = inspect.getattr_static(found, part)
    return found.__func__ if isinstance(found, staticmethod | classmethod) else found
