"""Models that read more than an image, or rank what they found: run on images alone, in a way that can be compared.

- RT-DETR decodes the queries that score best. A rounding error changes which those are and in which order, so two
  equal models cannot be compared behind that choice. Here every position's proposal is put out as it is, and the
  decoder is asked for queries at fixed positions, spread evenly: all of its layers run, and nothing is ranked.
- YOLO-World's blocks and head read embeddings of texts. The model hands them round; where its layers are run one by
  one, they are given here.
- YOLOE's head compares with embeddings of texts or of visual prompts (`prompts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

from ...kinds import is_a
from .prompts import prompted

BOX_UNIT = 40  # boxes of RT-DETR are put out in 40ths of the image, the middle stride at 640 px, as other heads do
LEAST, SIZE = 0.01, 0.05  # of an image's side: how near its border queries lie, and how large the finest ones are


def head_of(net: nn.Module) -> nn.Module:
    """Return the last layer of an Ultralytics model, any other module itself."""
    return net.model[-1] if isinstance(getattr(net, "model", None), nn.Sequential) else net


@contextmanager
def stand_ins(net: nn.Module) -> Iterator[None]:
    """Let a model run on images alone, as a whole or layer by layer, and rank nothing, for the time being."""
    head, handles = head_of(net), []
    if is_a(head, "RTDETRDecoder"):
        head.forward = MethodType(_unranked, head)
    elif is_a(head, "YOLOEDetect"):
        head.forward = prompted(net, head)
    elif is_a(head, "WorldDetect"):
        handles = _with_texts(net)
    try:
        yield
    finally:
        vars(head).pop("forward", None)
        for handle in handles:
            handle.remove()


# -- RT-DETR -----------------------------------------------------------------------------------------------------------
def _unranked(head: nn.Module, x: list[torch.Tensor], batch: Any = None) -> list[dict[str, torch.Tensor]]:
    """Return raw predictions at every position, and those of queries at fixed positions: scores (N, nc, A), boxes."""
    memory, shapes = head._get_encoder_input(x)  # (N, A, hd)
    features = head.enc_output(memory)
    boxes = head.enc_bbox_head(features) + _places(shapes).to(memory)
    proposed = {"scores": head.enc_score_head(features), "boxes": BOX_UNIT * boxes.sigmoid()}
    step = -(-memory.shape[1] // head.num_queries)
    found, scores = head.decoder(
        features[:, ::step],
        boxes[:, ::step],
        memory,
        shapes,
        head.dec_bbox_head,
        head.dec_score_head,
        head.query_pos_head,
    )  # (layers, N, queries, 4 or nc)
    decoded = {"scores": scores.transpose(0, 1).flatten(1, 2), "boxes": BOX_UNIT * found.transpose(0, 1).flatten(1, 2)}
    return [{name: t.transpose(1, 2) for name, t in part.items()} for part in (proposed, decoded)]


def _places(shapes: list[list[int]]) -> torch.Tensor:
    """Return a box at every position of the feature maps as logits of centre and size, (1, A, 4)."""
    boxes = []
    for level, (h, w) in enumerate(shapes):
        y, x = ((torch.arange(n) + 0.5) / n for n in (h, w))
        grid = torch.stack([x.repeat(h), y.repeat_interleave(w), *[torch.full((h * w,), SIZE * 2.0**level)] * 2], -1)
        boxes.append(grid)
    return torch.cat(boxes).clamp(LEAST, 1 - LEAST).logit()[None]


# -- YOLO-World --------------------------------------------------------------------------------------------------------
def _with_texts(net: nn.Module) -> list:
    """Hook the layers that read texts, for when they are run without; return the handles."""
    changed: list[torch.Tensor] = []  # what the image made of the texts, for the layers behind

    def before(layer: nn.Module, args: tuple) -> tuple | None:
        if len(args) > 1:
            return None
        x = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
        known = changed[-1] if changed and not is_a(layer, "WorldDetect") else net.txt_feats
        return args[0], known.type_as(x).expand(len(x), -1, -1)

    handles = [net.model[0].register_forward_pre_hook(lambda *_: changed.clear())]
    for layer in net.model:
        if any(is_a(layer, kind) for kind in ("C2fAttn", "ImagePoolingAttn", "WorldDetect")):
            handles.append(layer.register_forward_pre_hook(before))
        if is_a(layer, "ImagePoolingAttn"):
            handles.append(layer.register_forward_hook(lambda _, __, out: changed.append(out)))
    return handles
