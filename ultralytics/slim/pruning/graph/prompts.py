"""YOLOE's head without prompts: stand-ins for what it compares with, and all of its layers at every place.

Without classes it has zeros for their embeddings, which would hide all of the class branch: random ones stand for them.
A rectangle in the middle of the image is its visual prompt, so that what embeds prompts runs as well; so do the layers
for semantic maps, which YOLOE-26 has, and nobody runs. A prompt-free head (`set_vocab`) looks for classes only where
its filter lets it: here it does so everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ...kinds import is_a

VISUAL, SEMANTIC = "visual", "semantic"  # keys of a visual prompt's embedding (N, 1, width), of a map of classes


def prompted(net: nn.Module, head: nn.Module) -> Callable:
    """Return a forward that runs a head on feature maps, with or without embeddings, and embeds a visual prompt."""

    def forward(x: list[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        maps, given = list(x[: head.nl]), list(x[head.nl :])
        if not given or not given[0].any():
            given = [_embeddings(net, head).to(maps[0]).expand(len(maps[0]), -1, -1)]
        more = {}
        if hasattr(head, "savpe"):
            with _as_default(maps[0].dtype):
                more[VISUAL] = head.savpe(list(maps), _rectangle(maps[0]))
        with _semantic(head, more):
            if hasattr(head, "lrpc"):
                output = _everywhere(head, maps)
            else:
                output = type(head).forward(head, [*maps, *given], *args, **kwargs)
        return _joined(output, more)

    return forward


@contextmanager
def _as_default(dtype: torch.dtype) -> Iterator[None]:
    """Compute in a precision: SAVPE multiplies a mask by the least number of it, which the default one has to hold."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _semantic(head: nn.Module, more: dict[str, torch.Tensor]) -> Iterator[None]:
    """Run the layers for semantic maps on what mask prototypes are made of, where a head has some."""
    semseg = getattr(getattr(head, "proto", None), "semseg", None)
    if semseg is None:
        yield
        return
    handle = head.proto.feat_fuse.register_forward_pre_hook(lambda _, args: more.update({SEMANTIC: semseg(args[0])}))
    try:
        yield
    finally:
        handle.remove()


def lacks_classes(net: nn.Module) -> bool:
    """Return whether a model compares with embeddings of its classes, none of which were set."""
    known = getattr(net, "pe", None)
    head = net.model[-1] if isinstance(getattr(net, "model", None), nn.Sequential) else net
    has_texts = is_a(head, "YOLOEDetect") and not head.is_fused and not hasattr(head, "lrpc")
    return has_texts and (known is None or not known.any())


def _embeddings(net: nn.Module, head: nn.Module) -> torch.Tensor:
    """Return the embeddings of the model's classes, (1, nc, width); random ones where none were set."""
    if not lacks_classes(net) and hasattr(net, "pe"):
        return net.pe
    random = torch.randn(1, head.nc, head.embed, generator=torch.Generator().manual_seed(0))
    return nn.functional.normalize(random, dim=-1)


def _rectangle(x: torch.Tensor) -> torch.Tensor:
    """Return a visual prompt for feature maps (N, C, H, W): their middle, as a mask (N, 1, H, W)."""
    n, _, h, w = x.shape
    mask = torch.zeros(n, 1, h, w)
    mask[:, :, h // 4 : h - h // 4, w // 4 : w - w // 4] = 1
    return mask.to(x)


def _joined(output: Any, more: dict[str, torch.Tensor]) -> Any:
    """Return a head's output with more among its raw predictions."""
    raw = output[-1] if isinstance(output, tuple) else output
    branches = [raw, *raw.values()] if isinstance(raw, dict) else []
    for branch in branches:
        if isinstance(branch, dict) and "scores" in branch:
            branch.update(more)
            return output
    return [output, more] if more else output


def _everywhere(head: nn.Module, maps: list[torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the raw predictions of a prompt-free head, by branch, with how likely each place is to be looked at."""
    found = {}
    for name in ("lrpc", "one2one_lrpc"):
        only = head.end2end and not hasattr(head, "one2one_lrpc")
        prefix = "one2one_" if name.startswith("one2one") or only else ""
        boxes, classes = (getattr(head, prefix + part, None) for part in ("cv2", "cv3"))
        if not hasattr(head, name) or boxes is None:
            continue
        levels = zip(getattr(head, name), classes, boxes, maps)
        parts = [_places(part, to_classes(x), to_boxes(x)) for part, to_classes, to_boxes, x in levels]
        found[name] = {key: torch.cat([part[key] for part in parts], 2) for key in parts[0]}
        if masks := getattr(head, f"{prefix}cv5", None):
            found[name]["mask_coefficient"] = torch.cat([masks[i](x).flatten(2) for i, x in enumerate(maps)], 2)
            is_26 = is_a(head.proto, "Proto26")
            found[name]["proto"] = head.proto(maps, return_semantic=False) if is_26 else head.proto(maps[0])
    return found


def _places(part: nn.Module, classes: torch.Tensor, boxes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what a prompt-free head says at every place of one level: (N, values, places) each."""
    if isinstance(part.vocab, nn.Linear):
        scores = part.vocab(classes.flatten(2).transpose(1, 2)).transpose(1, 2)
    else:
        scores = part.vocab(classes).flatten(2)
    return {"scores": scores, "boxes": part.loc(boxes).flatten(2), "kept": part.pf(classes)[:, :1].flatten(2)}
