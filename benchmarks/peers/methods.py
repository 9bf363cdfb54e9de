"""The methods that are measured, by name: how each makes a small model, and how it is trained before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ultralytics import YOLO
from ultralytics.slim.pruning.prune import prune_model

from . import narrow, ports, torch_pruned

TEACHER = "the original"  # stands for the path of its checkpoint in the arguments of a training
SHARES = (0.5, 0.35)  # of the GFLOPs
STRIDE = 32


@dataclass(frozen=True)
class Task:
    """What one row is about, the same for all methods but for the share; trainings have `epochs` epochs together."""

    original: Path
    data: str
    share: float
    seed: int
    epochs: int
    imgsz: int
    fraction: float
    lr0: float
    device: str = "cpu"

    @property
    def is_timed(self) -> bool:
        """Whether time, memory and latencies are measured: all are those of a CPU, so not beside trainings on a GPU."""
        return self.device == "cpu"


@dataclass(frozen=True)
class Stage:
    """One training: its share of the epochs, and Ultralytics' arguments for it."""

    share: float = 1.0
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to a smaller or faster detector.

    Attributes:
        family: What it belongs to in the pictures.
        cut: (checkpoint, file to write, task) -> the smaller model's checkpoint; None leaves the model as it is.
        before, after: Trainings before and after the cut; their shares add up to 1.
        shares: Shares of the GFLOPs that it is measured at; 1 where there is nothing to choose.
        scales_images: Whether the GFLOPs are saved by the size of the images.
        trains_adapters: Whether the layers that align student and teacher are trained.
        export: Format that the result is measured in instead of the checkpoint.
        needs: Package that must be installed.
    """

    family: str
    cut: Callable[[Path, Path, Task], Path] | None = None
    before: tuple[Stage, ...] = ()
    after: tuple[Stage, ...] = (Stage(),)
    shares: tuple[float, ...] = SHARES
    scales_images: bool = False
    trains_adapters: bool = True
    export: str | None = None
    needs: str | None = None

    def missing(self) -> str | None:
        """Return why it cannot be measured here, None if it can."""
        absent = self.needs and not find_spec(self.needs)
        return f"{self.needs} is not installed: pip install -e '.[bench]'" if absent else None

    def makes_that_of(self, other: Method) -> bool:
        """Return whether both come to the same checkpoint, so that it need be made only once."""
        return self._making() == other._making()

    def _making(self) -> Method:
        return replace(self, family="", export=None, needs=None)

    def image_size(self, task: Task) -> int:
        """Return the side of the images, pixels: GFLOPs grow with its square."""
        size = task.imgsz * task.share**0.5 if self.scales_images else task.imgsz
        return max(STRIDE, round(size / STRIDE) * STRIDE)

    def epochs(self, total: int) -> list[tuple[Stage, int]]:
        """Return each training, in order, with its epochs: at least one each, `total` together.

        Raises:
            ValueError: If there are fewer epochs than trainings.
        """
        stages = [*self.before, *self.after]
        if total < len(stages):
            raise ValueError(f"epochs={total}: {len(stages)} trainings need at least as many")
        counts = [max(1, int(stage.share * total)) for stage in stages]
        while sum(counts) > total:
            counts[counts.index(max(counts))] -= 1
        while sum(counts) < total:
            behind = [stage.share * total - count for stage, count in zip(stages, counts)]
            counts[behind.index(max(behind))] += 1
        return list(zip(stages, counts))


# ---------------------------------------------------------------------------------------------------------- the methods


def _ours(start: Path, out: Path, task: Task, **options) -> Path:
    prune_model(YOLO(start), out, flops=task.share, imgsz=task.imgsz, images=task.data, **options)
    return out


def _torch_pruning(importance: str, start: Path, out: Path, task: Task) -> Path:
    return torch_pruned.prune(start, out, importance, task.share, task.imgsz)


def _narrower(start: Path, out: Path, task: Task) -> Path:
    return narrow.narrow(start, out, task.share, task.imgsz)


def _threshold(start: Path, out: Path, task: Task) -> Path:
    return ports.prune(start, out, task.share, task.imgsz)


def _distilling(loss: str, **options) -> dict:
    return {"Distillation": TEACHER, "loss_type": loss, **options}


SPARSE, RETRAIN = Stage(0.25, {"loss_type": "sparse"}), Stage(0.25)  # as prune_model.py divides the epochs
NATIVE = Stage(1.0, {"distill_model": TEACHER})  # Ultralytics' own distillation
REFERENCE = "unpruned, trained on"


def _at_once(**options) -> tuple[Stage]:
    return (Stage(1.0, _distilling("mgd", **options)),)


def _default(cut: Callable = _ours, loss: str = "mgd", **options) -> Method:
    """Return this project's pipeline at its default settings, or with one of them changed."""
    distilling = Stage(0.5, _distilling(loss, **options))
    return Method("ours", cut, before=(SPARSE,), after=(RETRAIN, distilling))


MAIN = {
    REFERENCE: Method("unpruned", shares=(1.0,)),
    "ours": _default(),
    "ours, distilled at once": Method("ours", _ours, after=_at_once()),
    "Torch-Pruning L2": Method("Torch-Pruning", partial(_torch_pruning, "l2"), needs="torch_pruning"),
    "Torch-Pruning BN": Method("Torch-Pruning", partial(_torch_pruning, "bn"), needs="torch_pruning"),
    "Torch-Pruning BN, sparse": Method(
        "Torch-Pruning", partial(_torch_pruning, "bn"), (SPARSE,), (Stage(0.75),), needs="torch_pruning"
    ),
    "narrower": Method("narrower", _narrower),
    "narrower, native": Method("narrower", _narrower, after=(NATIVE,)),
    "threshold": Method(
        "others",
        _threshold,
        before=(SPARSE,),
        after=(Stage(0.75, _distilling("cwd", distill_schedule="epoch")),),
        trains_adapters=False,
    ),
    "smaller images": Method("others", scales_images=True),
    "int8, ONNX Runtime": Method("others", shares=(1.0,), export="onnx-int8", needs="onnxruntime"),
    "int8, OpenVINO": Method("others", shares=(1.0,), export="openvino-int8", needs="nncf"),
}
LOSSES = ("cwd", "pkd", "mimic", "logit", "cwd+logit", "mgd+logit")
FLOORS = (0.0, 0.2, 0.3, 0.4, 0.5)  # the default is 0.40 at 50 % and 0.34 at 35 % of the GFLOPs
SCORES = ("taylor", "gamma", "l1", "l2", "lamp", "fpgm", "random")
ABLATIONS = {
    "ours, no sparse training": Method("ours", _ours, after=(Stage(0.5), Stage(0.5, _distilling("mgd")))),
    "ours, no distillation": Method("ours", _ours, before=(SPARSE,), after=(Stage(0.75),)),
    "ours, plain retraining alone": Method("ours", _ours),
    "ours, native distillation": Method("ours", _ours, after=(NATIVE,)),
    "ours, short sparse training": Method(
        "ours", _ours, (Stage(0.125, SPARSE.options),), (Stage(0.125), Stage(0.75, _distilling("mgd")))
    ),
    "ours, retraining without decay": Method(  # one cosine over both trainings, which starts late
        "ours", _ours, (SPARSE,), (Stage(0.25, {"lrf": 1.0}), Stage(0.5, _distilling("mgd", warmup_epochs=0)))
    ),
    "ours, sparse training, distilled at once": Method("ours", _ours, (SPARSE,), (Stage(0.75, _distilling("mgd")),)),
    "ours, at once, weight per epoch": Method("ours", _ours, after=_at_once(distill_schedule="epoch")),
    "ours, at once, weight constant": Method("ours", _ours, after=_at_once(distill_schedule="constant")),
    **{f"ours, at once, floor {f}": Method("ours", partial(_ours, floor=f), after=_at_once()) for f in FLOORS},
    "ours, three steps": _default(partial(_ours, steps=3)),
    **{f"ours, repair {r}": _default(partial(_ours, repair=r)) for r in ("none", "fold", "bn", "refit,bn")},
    **{f"ours, {loss}": _default(loss=loss) for loss in LOSSES},
    "ours, weight per epoch": _default(distill_schedule="epoch"),
    "ours, weight constant": _default(distill_schedule="constant"),
    **{f"ours, score {score}": _default(partial(_ours, score=score)) for score in SCORES},
}
METHODS = MAIN | ABLATIONS
