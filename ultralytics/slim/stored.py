"""Weights as a cut and a file need them: stored in the layer rather than computed at every run, and finite.

`torch.nn.utils.prune` masks, `weight_norm`, `spectral_norm` and parametrizations make a layer's weight out of other
tensors whenever it runs. Their present value is stored in its place, which changes no prediction.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils.hooks import RemovableHandle

from ultralytics.utils import LOGGER

from .errors import InputError
from .hints import few
from .logs import PREFIX

REMOVED = {  # what hangs on a layer before it runs: (how it is called, how it is removed and its value kept)
    prune.BasePruningMethod: ("masked", lambda layer, hook: prune.remove(layer, hook._tensor_name)),
    WeightNorm: ("weight_norm", lambda layer, hook: remove_weight_norm(layer, hook.name)),
    SpectralNorm: ("spectral_norm", lambda layer, hook: remove_spectral_norm(layer, hook.name)),
}


def plain_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose weights are all stored in its layers; the model itself stays as it is."""
    computed = {}  # PyTorch copies no tensor that was computed
    for module in model.modules():
        tensors = [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
        computed |= {id(tensor): tensor.detach().clone() for tensor in tensors}
    net = copy.deepcopy(model, computed)
    store_computed(net)
    return net


@torch.no_grad()
def store_computed(model: nn.Module) -> dict[str, str]:
    """Store computed weights at their value in evaluation mode; return {layer: what computed it}, and log it.

    Raises:
        InputError: A layer's weight is computed by something else, which cannot be removed here; names it.
    """
    _number_new_hooks_beyond(model)
    found, modes = {}, {layer: layer.training for layer in model.modules()}
    model.eval()  # where spectral norms are not moved on
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer):
            found[name] = "parametrized"
            _store_parametrized(layer)
        for hook in list(layer._forward_pre_hooks.values()):
            for kind, (called, remove) in REMOVED.items():
                if isinstance(hook, kind):
                    found[name] = called
                    remove(layer, hook)
        if type(layer).__module__.startswith("torch.nn.") and isinstance(vars(layer).get("weight"), torch.Tensor):
            raise InputError(
                f"layer {name} ({type(layer).__name__}) computes its weight whenever it runs, by something else than "
                "torch.nn.utils.prune, weight_norm, spectral_norm or a parametrization: store it first, `del "
                "layer.weight; layer.weight = torch.nn.Parameter(value)`, and remove the hook"
            )
    for layer in model.modules():
        layer.training = modes[layer]
    if found:
        names = [f"{name} ({called})" for name, called in found.items()]
        LOGGER.warning(
            f"{PREFIX}weights that are computed at every run are stored as they are now, and are trained freely from "
            f"here on: {few(names)}"
        )
    return found


def _number_new_hooks_beyond(model: nn.Module) -> None:
    """Let PyTorch number new hooks from beyond those of a model.

    The numbers in a file are those of the process that built the model, while here they begin at 0: a hook of ours with
    the number of one of the model's would take its place, and the removal of ours would remove it.
    """
    hooks = (kind for m in model.modules() for kind in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks))
    RemovableHandle.next_id = max([RemovableHandle.next_id, *(number + 1 for kind in hooks for number in kind)])


def _store_parametrized(layer: nn.Module) -> None:
    """Store what is parametrized. PyTorch's own removal would take it from the class, which copies of a layer share."""
    made = dict(layer.parametrizations.items())
    values = {key: (getattr(layer, key), any(True for _ in makes.parameters())) for key, makes in made.items()}
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]  # what it was before
    for key, (value, learns) in values.items():
        if learns:
            layer.register_parameter(key, nn.Parameter(value.detach().clone()))
        else:
            layer.register_buffer(key, value.detach().clone())
    layer._load_state_dict_pre_hooks.clear()  # that of weight_norm cannot be saved


def infinite_in(model: nn.Module) -> dict[str, str]:
    """Return {tensor: "n of m values"} of the weights and BatchNorm statistics that are NaN or infinite."""
    found, parameters = {}, {name for name, _ in model.named_parameters()}
    for name, tensor in model.state_dict().items():
        own = name in parameters or name.endswith(("running_mean", "running_var"))
        if own and tensor.is_floating_point() and (bad := int((~tensor.isfinite()).sum())):
            found[name] = f"{bad:,} of {tensor.numel():,} values"
    return found


def check_finite(model: nn.Module, what: str) -> None:
    """Raise InputError naming the weights of a model, called `what`, that are NaN or infinite."""
    if found := infinite_in(model):
        names = [f"{name} ({count})" for name, count in found.items()]
        raise InputError(
            f"{what} has weights that are NaN or infinite: {few(names)}. A training that diverged "
            "leaves such, and half precision what is beyond 65,504; take an earlier checkpoint"
        )
