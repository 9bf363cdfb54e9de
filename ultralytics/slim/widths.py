"""Keep a pruned model pruned: give a model that was freshly built from its YAML the widths of the weights it loads.

Ultralytics rebuilds the YAML's widths whenever it trains and then transfers the tensors that fit: of a pruned model
hardly any do. `keep_widths` is called first thing by `BaseModel.load` and takes over the pruned layers instead;
`checkpoint_of` is called by `Model.train`, so that a module without a file gets there; and `check_kept` by every
trainer, once it has its model: arguments and trainers of the user's own may leave the weights aside.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.nn.modules import Classify, Detect
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import get_num_params

from . import loading  # as a module: it may be half imported itself
from .errors import InputError
from .kinds import is_a
from .stored import store_computed

if TYPE_CHECKING:
    from ultralytics import YOLO
    from ultralytics.engine.trainer import BaseTrainer


def keep_widths(model: nn.Module, weights: Any) -> bool:
    """Take over the layers of pruned `weights` of the same architecture; return whether that was done.

    The class count and input channels of `model` are kept: only the last class layers and the first convolution are
    replaced where those differ, class rows carried over by name.

    Args:
        model: A model as its YAML builds it; changed only where True is returned.
        weights: A model, or a checkpoint with 'ema' or 'model'.

    Raises:
        InputError: If `weights` are pruned and fused: without BatchNorms they cannot be trained on.
    """
    source = (weights.get("ema") or weights.get("model")) if isinstance(weights, dict) else weights
    if isinstance(source, nn.Module):
        store_computed(source)  # also for Ultralytics, which passes over a weight that is computed, by its name
    if not _is_pruned(model, source):
        return False
    if getattr(source, "is_fused", lambda: False)() and not model.is_fused():
        raise InputError(
            "these weights are pruned and fused: their BatchNorms are gone and the YAML cannot rebuild their widths. "
            "Load the unfused checkpoint instead"
        )
    device = next(model.parameters()).device
    layers = copy.deepcopy(source.model).float().to(device).train(model.training)
    _fit_input(layers, model)
    _fit_classes(layers, model)
    if hasattr(layers[-1], "savpe") and not hasattr(model.model[-1], "savpe"):
        del layers[-1].savpe
    _adopt(model, layers, source)
    LOGGER.info(f"kept pruned widths: {get_num_params(model):,} parameters")
    return True


def checkpoint_of(yolo: YOLO, training: Mapping[str, Any]) -> dict | None:
    """Return the checkpoint of a `YOLO` object, or a stand-in for one if a pruned module was assigned to it.

    Without a checkpoint Ultralytics builds the YAML's widths and does not look at the module's weights.

    Args:
        yolo: The object that is about to be trained.
        training: The arguments that its `train` was called with.

    Raises:
        InputError: They would have the YAML's widths built for a pruned model.
    """
    pretrained = training.get("pretrained", yolo.overrides.get("pretrained", True))
    if not training.get("resume") and _replaces_weights(pretrained) and is_narrower(yolo.model):
        other = None if pretrained is False else loading.load_checkpoint(pretrained)[0]
        if other is None or not is_narrower(other):
            raise InputError(f"the model is pruned, and {_undone(pretrained)}")
    return {"model": yolo.model} if not yolo.ckpt and is_narrower(yolo.model) else yolo.ckpt


def check_kept(trainer: BaseTrainer, model: nn.Module) -> None:
    """Raise InputError where what a trainer is about to train has more parameters than the pruned file it starts from.

    Args:
        trainer: Whose arguments say what it starts from.
        model: What it made of that.
    """
    start = str(trainer.args.model)
    if not (start.endswith(".pt") and Path(start).is_file()):
        return
    pruned = loading.load_checkpoint(start)[0]
    if not (has_grown(pruned, model) and is_narrower(pruned)):
        return
    pretrained = getattr(trainer.args, "pretrained", True)
    why = (
        _undone(pretrained)
        if _replaces_weights(pretrained)
        else f"{type(trainer).__name__}.get_model() made another network of it: it should call model.load(weights)"
    )
    before, after = (get_num_params(m) for m in (pruned, model))
    raise InputError(f"{start} is pruned to {before:,} parameters, {after:,} would be trained: {why}")


def has_grown(before: nn.Module, after: nn.Module) -> bool:
    """Return whether a model has more parameters than before; with other classes or inputs, whether it is whole."""
    if _ends(before) == _ends(after):
        return get_num_params(after) > get_num_params(before)
    return is_narrower(before) and not is_narrower(after)


def _ends(model: nn.Module) -> tuple[int | None, int]:
    yaml = getattr(model, "yaml", None) or {}
    return yaml.get("nc"), yaml.get("channels", 3)


def _replaces_weights(pretrained: Any) -> bool:
    """Return whether this value of `pretrained=` makes Ultralytics leave a model's own weights aside."""
    return pretrained is False or (isinstance(pretrained, (str, Path)) and bool(str(pretrained)))


def _undone(pretrained: Any) -> str:
    """Return what an argument would do to a pruning, in words."""
    what = "the YAML's whole network anew" if pretrained is False else "a network of other widths"
    return f"pretrained={pretrained} would train {what}. Leave pretrained out to go on from the pruned weights"


def is_narrower(model: nn.Module) -> bool:
    """Return whether a model is narrower or shorter than its own YAML says: pruned; False where it has no YAML."""
    cfg = getattr(model, "yaml", None)
    if not isinstance(cfg, dict):
        return False
    return _lost(model, _Size.of(_build(type(model), cfg, cfg.get("nc"), cfg.get("channels", 3))))


@dataclass(frozen=True)
class _Size:
    """Shapes of a model's tensors and lengths of its lists of modules, by name."""

    shapes: dict[str, torch.Size]
    lengths: dict[str, int]

    @classmethod
    def of(cls, model: nn.Module) -> _Size:
        lists = (nn.ModuleList, nn.Sequential)
        lengths = {name: len(m) for name, m in model.named_modules() if isinstance(m, lists)}
        return cls({name: tensor.shape for name, tensor in model.state_dict().items()}, lengths)

    def without_prompts(self, other: _Size) -> _Size:
        """Return it without what embeds visual prompts where another model lacks that: YOLOE's trainers take it out."""

        def shared(mine: dict, theirs: dict) -> dict:
            return {name: value for name, value in mine.items() if ".savpe." not in name or name in theirs}

        return _Size(shared(self.shapes, other.shapes), shared(self.lengths, other.lengths))


def _is_pruned(model: nn.Module, source: Any) -> bool:
    """Return whether `source` has lost some of what its YAML builds, and that YAML builds just what `model` is."""
    yamls = [getattr(m, "yaml", None) for m in (model, source)]
    if not all(isinstance(y, dict) for y in yamls) or not isinstance(source.model, nn.Sequential):
        return False
    size = _Size.of(model)
    if not _lost(source, size):
        return False
    ours, theirs = ((y.get("nc"), y.get("channels", 3)) for y in yamls)
    built = _Size.of(_build(type(model), yamls[1], *ours))
    if built.without_prompts(size) != size:
        return False  # another architecture or scale
    return ours == theirs or _lost(source, _Size.of(_build(type(model), yamls[1], *theirs)))


def _build(kind: type, cfg: dict, nc: int, ch: int) -> nn.Module:
    """Return the model that a YAML builds, without shifting the caller's random numbers."""
    with torch.random.fork_rng(devices=[]):
        return kind(copy.deepcopy(cfg), ch, nc, verbose=False)  # an edited class may call the channels otherwise


def _lost(source: nn.Module, built: _Size) -> bool:
    """Return whether a tensor of `source` is smaller than the one built, or a list of its modules shorter.

    A fused model has fewer tensors, but no shorter lists. Class branches do not count: their width follows the class
    count of the first training, and Ultralytics keeps it.
    """
    branches = tuple(f"model.{len(source.model) - 1}.{name}." for name in ("cv3", "one2one_cv3"))
    size = _Size.of(source)
    for name, shape in size.shapes.items():
        other = built.shapes.get(name, shape)
        if len(other) == len(shape) and any(a < b for a, b in zip(shape, other)) and not name.startswith(branches):
            return True
    return any(length < built.lengths.get(name, length) for name, length in size.lengths.items())


def note_parameters(model: nn.Module) -> None:
    """Put right the number of parameters that Ultralytics keeps with each layer, after some of them went."""
    for m in model.modules():
        if hasattr(m, "np") and hasattr(m, "type"):
            m.np = sum(p.numel() for p in m.parameters())


def class_layers(head: nn.Module) -> list[tuple[nn.Module, object]]:
    """Return (container, key) of every last layer that puts out one channel a class, or holds one row for each."""
    if isinstance(head, Classify):
        return [(head, "linear")]
    if is_a(head, "RTDETRDecoder"):
        own = [(head, "enc_score_head"), (head, "denoising_class_embed")]
        return own + [(head.dec_score_head, index) for index in range(len(head.dec_score_head))]
    found = []
    if isinstance(head, Detect):
        for name in ("cv3", "one2one_cv3"):
            found += [(branch, len(branch) - 1) for branch in getattr(head, name, None) or ()]
        semseg = getattr(getattr(head, "proto", None), "semseg", None)
        if semseg is not None:
            found.append((semseg, len(semseg) - 1))
    return found


def _get(container: nn.Module, key: str) -> nn.Module:
    return getattr(container, str(key))


def _fit_classes(layers: nn.Sequential, model: nn.Module) -> None:
    """Replace the last class layers where the class count differs; biases start as in the freshly built head."""
    head, fresh = layers[-1], model.model[-1]
    for (container, key), (other, other_key) in zip(class_layers(head), class_layers(fresh)):
        old, new = _get(container, key), _get(other, other_key)
        if len(old.weight) == len(new.weight):
            continue
        if isinstance(old, nn.Embedding):
            layer = nn.Embedding(new.num_embeddings, old.embedding_dim)
        elif isinstance(old, nn.Linear):
            layer = nn.Linear(old.in_features, new.out_features)
        else:
            layer = nn.Conv2d(old.in_channels, new.out_channels, 1)
        if getattr(layer, "bias", None) is not None:
            layer.bias.data.copy_(new.bias.data)
        layer = layer.to(new.weight.device).train(model.training)
        setattr(container, str(key), layer)  # a Sequential's members are its attributes '0', '1', ...
    for name in ("nc", "no"):
        if hasattr(fresh, name):
            setattr(head, name, getattr(fresh, name))


@torch.no_grad()
def _fit_input(layers: nn.Sequential, model: nn.Module) -> None:
    """Give the first convolution the model's input channels: RGB filters are summed for grey input, else copied."""
    first = next((m for m in layers.modules() if isinstance(m, nn.Conv2d)), None)
    fresh = next((m for m in model.model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or fresh is None or first.groups > 1 or first.in_channels == fresh.in_channels:
        return
    old, n = first.weight, fresh.in_channels
    weight = fresh.weight.new_empty(old.shape[0], n, *old.shape[2:])
    nn.init.kaiming_uniform_(weight, a=5**0.5)
    shared = min(n, old.shape[1])
    weight[:, :shared] = old.sum(1, keepdim=True) if n == 1 else old[:, :shared]
    first.weight, first.in_channels = nn.Parameter(weight), n


def _adopt(model: nn.Module, layers: nn.Sequential, source: nn.Module) -> None:
    """Put `layers` in place of the model's own and let everything follow that depends on them."""
    trainable = {n: p.requires_grad for n, p in model.model.named_parameters()}
    for name, p in layers.named_parameters():
        p.requires_grad_(trainable.get(name, True))
    same_classes = model.yaml.get("nc") == source.yaml.get("nc")
    model.model, model.save = layers, list(source.save)
    if hasattr(source, "stride"):
        model.stride = copy.deepcopy(source.stride).float()
    if hasattr(model, "_remap_cls_by_names"):
        model._remap_cls_by_names(source.float().state_dict(), source)
    names = getattr(source, "names", None)
    if same_classes and names and model.names == {i: str(i) for i in range(len(names))}:  # the YAML's placeholders
        model.names = dict(names)
    model.pt_path = getattr(source, "pt_path", None)
