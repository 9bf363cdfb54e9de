"""Slimming for Ultralytics detectors: distillation, sparsity and structured pruning.

What other programs use is imported from here, when it is asked for.
"""

from importlib import import_module

from .moved import keep_earlier_names

FACE = {  # name -> the module that has it
    "PruneModel": "wrapper",
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

keep_earlier_names()


def __getattr__(name: str) -> object:
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FACE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *FACE})
