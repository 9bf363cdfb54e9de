"""Layers that no image runs through: what is known to stay whole, and what only a visual prompt runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...compat import is_a

if TYPE_CHECKING:
    from .trace import Trace

UNRUN = {  # (class of the head, attribute) -> why the layers below it stay whole, and cut nothing that they read
    ("YOLOEDetect", "reprta"): "turns embeddings of texts into others of their width, once for all images",
    ("RTDETRDecoder", "denoising_class_embed"): "adds queries of their width in training alone",
    ("RTDETRDecoder", "dec_score_head"): "puts out classes, and reads queries, whose width stays",
}
ON_PROMPTS = (("YOLOEDetect", "savpe"),)  # runs on feature maps, but only where a visual prompt is given


def keep_unrun(net: nn.Module, trace: Trace) -> None:
    """Note as whole what `UNRUN` names and did not run."""
    for head in net.modules():
        for (kind, attribute), why in UNRUN.items():
            if not is_a(head, kind):
                continue
            for m in getattr(head, attribute).modules():
                if trace.never_met(m):
                    trace.keep_whole(m, f"{type(head).__name__}.{attribute} {why}")


def free_prompts(net: nn.Module, trace: Trace) -> None:
    """Let what runs only with visual prompts cost no time an image: it is cut, but not to make the model faster."""
    for head in net.modules():
        for kind, attribute in ON_PROMPTS:
            for m in getattr(head, attribute, nn.Module()).modules() if is_a(head, kind) else ():
                for tensor in m.parameters(recurse=False):
                    trace.positions.pop(id(tensor), None)
