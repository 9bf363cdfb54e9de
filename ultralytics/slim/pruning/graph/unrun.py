"""Layers that no image runs through: what is known to stay whole, and what only a visual prompt runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from ...kinds import is_a

if TYPE_CHECKING:
    from .trace import Trace

UNRUN = {  # (class of the head, attribute) -> why the layers below it stay whole, and cut nothing that they read
    ("YOLOEDetect", "cv4"): "compares with embeddings, whose width stays",
    ("YOLOEDetect", "one2one_cv4"): "compares with embeddings, whose width stays",
    ("YOLOEDetect", "reprta"): "turns embeddings of texts into others of their width, once for all images",
    ("RTDETRDecoder", "denoising_class_embed"): "adds queries of their width in training alone",
    ("RTDETRDecoder", "dec_score_head"): "puts out classes, and reads queries, whose width stays",
}
ON_PROMPTS = (("YOLOEDetect", "savpe"),)  # runs on feature maps, but only where a visual prompt is given


def keep_unrun(net: nn.Module, trace: Trace) -> None:
    """Note as whole what `UNRUN` names and did not run."""
    for (kind, attribute), why in UNRUN.items():
        for head, m in _below(net, kind, attribute):
            if trace.never_met(m):
                trace.keep_whole(m, f"{type(head).__name__}.{attribute} {why}")


def free_prompts(net: nn.Module, trace: Trace) -> None:
    """Let what runs only with visual prompts cost no time an image: it is cut, but not to make the model faster."""
    for kind, attribute in ON_PROMPTS:
        for _, m in _below(net, kind, attribute):
            for tensor in m.parameters(recurse=False):
                trace.positions.pop(id(tensor), None)


def _below(net: nn.Module, kind: str, attribute: str) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Give every head of a class with each module below one of its attributes, as far as it has that."""
    for head in net.modules():
        part = getattr(head, attribute, None) if is_a(head, kind) else None
        for m in part.modules() if isinstance(part, nn.Module) else ():
            yield head, m
