"""Models that are not pruned: each refusal names the layer and tells why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ultralytics.nn.modules.block import DFL

from ...compat import RealNVP

if TYPE_CHECKING:
    from .trace import Trace


class Refusal(ValueError):
    """This model is not pruned, and the message says why."""


READ_PREDICTIONS = (DFL, RealNVP)  # no raw forward runs them; they read the predictions, which stay whole


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
