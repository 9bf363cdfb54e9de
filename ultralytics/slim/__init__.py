"""Slimming for Ultralytics detectors: distillation, sparsity and structured pruning.

What other programs use is imported from here, when it is asked for.
"""

from importlib import import_module

from .moved import keep_earlier_names

_PLACES = {
    "prune_model": "pruning.prune",
    "analyse_model": "pruning.analysis.scan",
    "PruneResult": "pruning.result",
    "PruneOptions": "pruning.options",
    "AnalyseOptions": "pruning.options",
    "FeatureLoss": "losses.feature_loss",
    "CWDLoss": "losses.layer_losses",
    "MGDLoss": "losses.layer_losses",
    "LossSpec": "losses.layer_losses",
    "FEATURE_LOSSES": "losses.layer_losses",
    "SlimError": "errors",
}
__all__ = tuple(_PLACES)

keep_earlier_names()


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
