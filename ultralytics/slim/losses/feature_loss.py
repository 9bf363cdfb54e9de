"""One distillation loss over all tapped layers, with what aligns student and teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import InputError
from .layer_losses import FEATURE_LOSSES, LossOptions, standardise

REFERENCE_IMGSZ = 640  # losses that add up positions are scaled to what they would be at this image size


class FeatureLoss(nn.Module):
    """One distillation loss over all tapped layers, with the adapters that align student and teacher.

    A loss from `FEATURE_LOSSES` with an adapter gets the student mapped to the teacher's channels by a 1×1
    convolution where their numbers differ; maps are standardised per channel where the loss asks for it. Adapters and
    generators are parameters of this module: train them.

    Args:
        channels_s: Channels of the student's layers.
        channels_t: Channels of the teacher's layers.
        distiller: Name of the loss in `FEATURE_LOSSES`.
        strides: Strides of the layers in pixels, to make losses that add up positions independent of the image size
            (their value is then that at 640×640); None leaves them as they are.
        options: The losses' own parameters.

    Raises:
        InputError: If the name is unknown or the lists differ in length.
    """

    def __init__(
        self,
        channels_s: Sequence[int],
        channels_t: Sequence[int],
        distiller: str = "cwd",
        strides: Sequence[int] | None = None,
        options: LossOptions | None = None,
    ):
        super().__init__()
        if distiller not in FEATURE_LOSSES:
            raise InputError(f"distiller must be one of {', '.join(FEATURE_LOSSES)}, got {distiller!r}")
        if not len(channels_s) == len(channels_t) > 0 or (strides and len(strides) != len(channels_s)):
            raise InputError("channels_s, channels_t and strides must list the same layers, at least one")
        self.spec = FEATURE_LOSSES[distiller]
        self.strides = tuple(strides) if strides else None
        self.adapters = nn.ModuleList(
            nn.Conv2d(s, t, 1) if self.spec.adapter and s != t else nn.Identity()
            for s, t in zip(channels_s, channels_t)
        )
        options = options or LossOptions()
        self.losses = nn.ModuleList(self.spec.build(s, t, options) for s, t in zip(channels_s, channels_t))

    def forward(self, student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the scalar sum over the layers of the loss of features (N, C, H, W), each a mean over the batch."""
        total = torch.zeros((), device=student[0].device)
        for i, (s, t) in enumerate(zip(student, teacher)):
            total = total + self._layer_loss(i, s, t.detach())
        return total

    def _layer_loss(self, i: int, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        s = self.adapters[i](s)
        with torch.autocast(s.device.type, enabled=False):
            s, t = s.float(), t.float()
            if self.spec.standardise:
                s, t = standardise(s), standardise(t)
            return self.losses[i](s, t) * self._position_scale(i, t)

    def _position_scale(self, i: int, t: torch.Tensor) -> float:
        if not (self.spec.sums_positions and self.strides):
            return 1.0
        return (REFERENCE_IMGSZ / self.strides[i]) ** 2 / (t.shape[-2] * t.shape[-1])
