"""What a recovery may be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InputError, KindError
from ..hints import hint


@dataclass(frozen=True)
class RecoverOptions:
    """How `recover_model` recovers; each of these is also a keyword of it.

    Attributes:
        iterations: Most optimizer steps; fewer where the agreement stops growing.
        batch: Images a step.
        imgsz: Side of the images in pixels; the model's training size if not given.
        lr0: Largest learning rate of AdamW, or 'auto': the farther the model is from its teacher, the larger.
        features: Weight of the gap between features (`FeatureGap`) beside the divergence of the predictions; 0 leaves
            it out.
        int8: Whether to learn with weights and activations rounded as an int8 file rounds them (`Int8Rounding`), and to
            measure the agreement so; without mixed precision.
        holdout: Most images that are kept from the training, to measure the agreement on; a tenth of all at most.
        device: As in Ultralytics; by default the first GPU, else the CPU.
        amp: Whether to compute in mixed precision, on a GPU and on a processor that has bfloat16.
        workers: Processes that read images; by default none on a CPU, where they would take the cores.
        seed: Of the order and the augmentation of the images.
    """

    iterations: int = 1500
    batch: int = 8
    imgsz: int | None = None
    lr0: float | str = "auto"
    features: float = 3.0
    int8: bool = False
    holdout: int = 64
    device: Any = None
    amp: bool = True
    workers: int | None = None
    seed: int = 0

    @classmethod
    def read(cls, given: dict[str, Any]) -> RecoverOptions:
        """Return what is given, checked.

        Raises:
            KindError: There is no such option; names the nearest one.
            InputError: A value is out of range.
        """
        known = [option.name for option in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise KindError(f"recover takes no {unknown[0]}={hint(unknown[0], known)}; it takes {', '.join(known)}")
        options = cls(**given)
        for name, least in (("iterations", 1), ("batch", 1), ("holdout", 1), ("seed", 0), ("workers", 0)):
            value = getattr(options, name)
            if value is None and name == "workers":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name}={value}: expected a whole number from {least}")
        for name in ("int8", "amp"):
            if not isinstance(getattr(options, name), bool):
                raise InputError(f"{name}={getattr(options, name)}: expected True or False")
        lr0 = options.lr0
        if lr0 != "auto" and (isinstance(lr0, bool) or not isinstance(lr0, (int, float)) or not 0 < lr0 < 1):
            raise InputError(f"lr0={lr0}: expected 'auto', or a learning rate between 0 and 1")
        weight = options.features
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise InputError(f"features={weight}: expected a weight from 0")
        return options
