"""Models that are not pruned: each refusal names the block and tells why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ultralytics.nn.modules.block import DFL

from ...compat import RealNVP

if TYPE_CHECKING:
    from .trace import Trace


class Refusal(ValueError):
    """This model is not pruned, and the message says why."""


REFUSED = {  # by class of the block
    "RTDETRDecoder": (
        "RT-DETR is not supported: its decoder picks its queries by their rank, so that a small change of the weights "
        "changes which ones are decoded, and it would stay whole"
    ),
    "WorldDetect": (
        "YOLO-World is not supported: it compares image features with text embeddings whose width the text model sets, "
        "which fixes about half of its channels"
    ),
    "YOLOEDetect": (
        "YOLOE is not supported: it compares image features with embeddings of texts or visual prompts, and the layers "
        "that make those run only when prompts are given"
    ),
}
READ_PREDICTIONS = (DFL, RealNVP)  # no raw forward runs them; they read the predictions, which stay whole


def refuse_blocks(model: nn.Module) -> None:
    """Raise a Refusal if the model holds a block that is not pruned, of a class or a subclass in `REFUSED`."""
    for name, m in model.named_modules():
        for kind in type(m).__mro__:
            if kind.__name__ in REFUSED:
                raise Refusal(f"cannot prune {name or 'this model'} ({type(m).__name__}): {REFUSED[kind.__name__]}")


def refuse_unrun(net: nn.Module, trace: Trace) -> None:
    """Raise a Refusal if a layer with weights did not run in the trace: what it reads could be cut unnoticed."""
    spared: set[str] = set()
    for name, m in net.named_modules():
        if isinstance(m, READ_PREDICTIONS):
            spared.update(n for n, _ in m.named_modules(prefix=name))
        if name not in spared and trace.never_met(m):
            raise Refusal(
                f"cannot prune this model: {name} ({type(m).__name__}) never ran when the model was traced, so nobody "
                "knows what it reads. Remove it if the model does not use it"
            )
