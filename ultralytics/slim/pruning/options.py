"""What a pruning and an analysis may be asked for: one frozen value each, in place of a score of arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import KindError
from ..hints import hint

T = TypeVar("T", "PruneOptions", "AnalyseOptions")


@dataclass(frozen=True)
class PruneOptions:
    """How `prune_model` prunes; each of these is also a keyword of it.

    Attributes:
        score: How important a channel is: one of `score.magnitude.score_names()`; 'surgeon', what its removal costs the
            predictions on `images`; 'taylor', what it does to the loss (then `images` is the YAML of a data set with
            labels); or 'auto': 'surgeon' with images, 'gamma' where those are sparse, else 'l1'.
        scope: 'layer' removes the same share of every layer, 'global' what costs least for the multiplications it
            saves; 'auto' is 'global' for 'surgeon' and 'taylor', which compare between layers, and 'layer' for the
            others.
        round_to: Widths become multiples of this.
        floor: Share of each layer's channels that 'global' goes below only where the goal cannot be met otherwise;
            'auto' is 0.57 of what an even pruning to the same goal would keep (`select.targets.read_floor`).
        classes: Names or numbers of the classes to keep, several in a list or with commas between; the others leave the
            head before anything else is cut. All if not given.
        depth: Whether whole blocks go, too: True where they lose less for what they save than channels do; 'auto' where
            in the end the predictions change less than with channels alone; False for channels alone. Measured on
            `images` with the score 'surgeon' and the repair 'refit'; without those 'auto' is False.
        exclude: Names or patterns of layers whose outputs are kept whole; several in a tuple or with commas between.
        images: A few unlabelled images for scores and repairs (see `inputs.unlabelled.load_images`).
        repair: What is done to the pruned model: some of 'fold' (the removed channels' means go to their readers),
            'refit' (the layers left are re-fitted to put out what the original's do), 'bn' (BatchNorm statistics are
            taken anew); 'none'; or 'auto': 'refit' with images, 'fold' without.
        imgsz: Side in pixels of the images and of the GFLOPs reported; the model's training size if not given.
        flops: Target instead of a factor: share of the GFLOPs to keep, 0 < share <= 1.
        params: Target: share of the parameters to keep.
        size_mb: Target: size of the checkpoint in MB (10⁶ bytes).
        latency_ms: Target: milliseconds of one inference on this machine, measured in turns with the original.
        runtime: What times are measured in: 'torch', or on the CPU 'onnx' for ONNX Runtime and 'openvino'.
        batch: Images of one inference, for the latency; their side is `imgsz`.
        device: Where 'torch' runs for the latency, as in Ultralytics; by default the first GPU, else the CPU.
        cost: What a channel's loss is weighed against where layers compete: 'flops' (parameters where those or the size
            are the target), or 'time', measured layer by layer in `runtime`; 'auto' is 'time' for `latency_ms`.
        steps: Prunings in which the goal is approached, each scored, repaired and verified anew.
        retrain: Trains a checkpoint in its place; called with its path between the steps.
        seed: Of the random score.
    """

    score: str = "auto"
    scope: str = "auto"
    round_to: int = 8
    floor: float | str = "auto"
    classes: Any = None
    depth: bool | str = False
    exclude: str | tuple[str, ...] = ()
    images: Any = None
    repair: str | tuple[str, ...] | None = "auto"
    imgsz: int | None = None
    flops: float | None = None
    params: float | None = None
    size_mb: float | None = None
    latency_ms: float | None = None
    runtime: str = "torch"
    batch: int = 1
    device: Any = None
    cost: str = "auto"
    steps: int = 1
    retrain: Callable[[Path], object] | None = None
    seed: int = 0

    @property
    def targets(self) -> dict[str, float]:
        """The targets that are given, by name."""
        return {name: value for name in TARGETS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class AnalyseOptions:
    """How `analyse_model` looks at a model; each of these is also a keyword of it.

    Attributes:
        shares: Shares of a group's channels to remove in the scan, each 0 < share < 1.
        metric: What the scan measures: 'loss', fast, or 'map', the task's main measure.
        keep: Share of the accuracy that the suggested factor should keep, and that groups are judged by.
        factor: Share of channels for which to tell whether the model is sparse enough.
        limit: Most labelled images to measure on.
        score, scope, round_to, floor, exclude, repair, seed: As in `PruneOptions`, with training images at hand.
        imgsz: Side of the images in pixels; the model's training size if not given.
    """

    shares: float | tuple[float, ...] = (0.25, 0.5, 0.75)
    metric: str = "loss"
    keep: float = 0.95
    factor: float = 0.5
    limit: int = 48
    score: str = "auto"
    scope: str = "auto"
    round_to: int = 8
    floor: float | str = "auto"
    exclude: str | tuple[str, ...] = ()
    repair: str | tuple[str, ...] | None = "auto"
    imgsz: int | None = None
    seed: int = 0


TARGETS = ("flops", "latency_ms", "params", "size_mb")  # what a pruning may aim at instead of a factor


def with_keywords(options: T, keywords: Mapping[str, object], caller: str) -> T:
    """Return options with some of them replaced by keywords.

    Raises:
        KindError: There is no such option; names the nearest one.
    """
    known = [field.name for field in fields(options)]
    if unknown := [name for name in keywords if name not in known]:
        raise KindError(f"{caller} takes no {unknown[0]}={hint(unknown[0], known)}; it takes {', '.join(known)}")
    return replace(options, **keywords)
