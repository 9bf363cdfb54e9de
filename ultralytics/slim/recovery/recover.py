"""Recovery without labels: a pruned model is taught by its original on unlabelled images, and is never made worse.

Some images are kept back. On them the agreement with the teacher is measured before the first step and again and again
after it, of an average of the weights; whatever agreed best is saved, which may be the model as it came.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ultralytics import YOLO
from ultralytics.utils import LOGGER, TQDM
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import ModelEMA

from ..classes import task_of
from ..compat import has_bfloat16
from ..errors import InputError
from ..fewer_classes import like
from ..inputs.devices import find_device
from ..inputs.varied import VariedImages
from ..inputs.weights import check_checkpoint_path, torch_model
from ..measuring.agreement import Agreement, Reference
from ..measuring.seen import ENOUGH
from ..pruning.checkpoint import RECORD, save_checkpoint
from ..pruning.graph.raw import run_raw
from ..pruning.prune import image_size
from ..stored import check_finite, plain_copy
from .features import FeatureGap
from .images import nothing_seen, split_images, squares_of
from .loss import RecoveryLoss
from .options import RecoverOptions
from .rounding import Int8Rounding
from .schedule import GROWTH, PATIENCE, learning_rate
from .state import Progress, damage_told, load_state, save_state, state_file

MEASUREMENTS = 15  # of the agreement, over all steps
EMA_DECAY, EMA_TAU = 0.99, 50
CLIP = 10.0  # norm of the gradient, as in Ultralytics' trainer


@dataclass(frozen=True)
class Recovery:
    """What a recovery did.

    Attributes:
        path: The checkpoint written.
        before, after: Agreement with the teacher on the images kept back.
        step: Step whose weights were kept, 0 for those that it started from.
        steps: Steps made.
        lr0: Largest learning rate.
        images: Images trained on.
        seen: Share of the images kept back in which the teacher detects anything.
    """

    path: Path
    before: Agreement
    after: Agreement
    step: int
    steps: int
    lr0: float
    images: int
    seen: float

    def __str__(self) -> str:
        kept = f"after step {self.step} of {self.steps}" if self.step else "before the first step: nothing was better"
        return (
            f"recovered on {self.images} images: agreement {self.before.measure} {self.before.value:.4f} -> "
            f"{self.after.value:.4f} on {self.after.images} others ({kept})\n  saved as {self.path}"
        )

    def record(self) -> dict:
        """Return the checkpoint's record of it, in plain builtins."""
        figures = {name: value for name, value in asdict(self).items() if name not in ("path", "before", "after")}
        return {**figures, "agreement": [self.before.value, self.after.value], "measure": self.after.measure}


def recover_model(
    yolo: YOLO | nn.Module,
    teacher: YOLO | nn.Module,
    images: Any,
    save_dir: str | Path,
    resume: bool = False,
    **options: Any,
) -> Recovery:
    """Teach a model by another one on unlabelled images, and save what agrees best with it as a stock checkpoint.

    Args:
        yolo: The model, pruned for example; not modified.
        teacher: What it is to agree with: its original, or another model of its task and classes; not modified. What it
            says of classes that were taken out of the model does not count.
        images: A folder (searched below too), a text file of paths, a list of paths or of BGR arrays (H, W, 3), or a
            data set's YAML (its training images, without their labels).
        save_dir: The .pt file to write; parents are created. Beside it lies, until it is finished, what `resume` needs.
        resume: Go on with what was interrupted.
        options: Keywords of `RecoverOptions`.

    Raises:
        SlimError: An argument is out of range, no image can be read, or the models cannot be compared.
        KeyboardInterrupt: It was stopped; what agreed best so far is saved, unless that would write over the file of
            the model or the teacher, with which `resume` goes on.
    """
    settings = RecoverOptions.read(options)
    path = check_checkpoint_path(save_dir)
    student, wise = (plain_copy(torch_model(one, "recover")).float().eval() for one in (yolo, teacher))
    wise = like(wise, student)
    recovering = _Recovering(student, wise, images, settings, path)
    if resume:
        recovering.go_on()
    needed = [Path(one.ckpt_path).resolve() for one in (yolo, teacher) if getattr(one, "ckpt_path", None)]
    return recovering.finish(getattr(yolo, "ckpt", None) or {}, path.resolve() in needed)


class _Recovering:
    """One recovery, from its first step to its checkpoint; see `recover_model`."""

    def __init__(self, student: nn.Module, teacher: nn.Module, images: Any, settings: RecoverOptions, path: Path):
        self.settings, self.path = settings, path
        self.device = find_device(settings.device)
        self.loss = RecoveryLoss(student, teacher)
        self.imgsz = image_size(student, settings.imgsz)
        stride = int(max(max(getattr(model, "stride", [32])) for model in (student, teacher)))
        self.imgsz = check_imgsz(self.imgsz, stride, max_dim=1)
        self.student = student.to(self.device, memory_format=torch.channels_last).requires_grad_(True)
        self.teacher = teacher.to(self.device, memory_format=torch.channels_last).requires_grad_(False)
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(".dfl." not in name)
        self.classifies = task_of(student) == "classify"
        self.items, held = split_images(images, settings.holdout)
        self.held = squares_of(held, student, self.imgsz)
        self.channels = self.held.shape[1]
        self.reference = Reference(self.teacher, self.held)
        self._check_seen()
        self.as_used = Int8Rounding(self.student, self._passes(self.student)).on if settings.int8 else nullcontext
        self.before = self._agreement(self.student)
        self.gap = FeatureGap(self.student, self.teacher).to(self.device)
        distance = self._distance()  # whatever lr0 is: the maps of features are fitted on the way
        self.lr0 = learning_rate(distance) if settings.lr0 == "auto" else settings.lr0
        trained = [p for p in (*self.student.parameters(), *self.gap.parameters()) if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=self.lr0, weight_decay=0.0)
        self.precision = _mixed_precision(self.device) if settings.amp and not settings.int8 else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)
        self.ema = ModelEMA(self.student, decay=EMA_DECAY, tau=EMA_TAU)
        self.progress = Progress(settings.iterations)
        self.best, self.best_weights = self.before, _weights(self.student)
        self.start = _fingerprint(self.best_weights)

    def _check_seen(self) -> None:
        seen, count = self.reference.seen, len(self.held)
        if not seen:
            raise InputError(nothing_seen(count))
        if seen < ENOUGH * count:
            LOGGER.warning(
                f"recover: the teacher detects something in {seen} of {count} images only; it teaches best on images "
                "like those that the model is to be used on"
            )

    @torch.no_grad()
    def _distance(self) -> float:
        """Return how far the model is from its teacher on the images kept back; fit the maps of features to them."""
        far = []
        self.gap.attach()
        with self.as_used(self.student):
            self.gap.fit(far.append(float(self.loss(*said))) for said in self._passes(self.student, self.teacher))
        self.gap.detach()
        return sum(far) / len(far)

    @torch.no_grad()
    def _passes(self, *models: nn.Module) -> Iterator[list[Any]]:
        """Yield what models predict, raw, for the images kept back, batch by batch."""
        for part in self.held.split(self.settings.batch):
            images = part.to(self.device, memory_format=torch.channels_last).float() / 255
            yield [run_raw(model, images) for model in models]
        self._judge()

    def _agreement(self, model: nn.Module) -> Agreement:
        with self.as_used(model):
            return self.reference.agreement(model, self.loss.classes)

    def _judge(self) -> None:
        """Let the heads put out detections again, not raw predictions."""
        for model in (self.student, self.teacher):
            model.model[-1].training = False

    def finish(self, checkpoint: dict, keep: bool) -> Recovery:
        """Train to the end, and save what agreed best.

        Args:
            checkpoint: What the model was loaded from; its record goes on.
            keep: Whether what lies at the path is needed to go on with, should this be interrupted.
        """
        LOGGER.info(
            f"recover: {len(self.items)} images to learn from, {len(self.held)} kept back; {self.before.measure} "
            f"{self.before.value:.4f} against the teacher before the first step, learning rate {self.lr0:.1e}"
        )
        try:
            self._train()
        except KeyboardInterrupt:
            saved = f"recover: {self.path}, from which this started, stays as it is" if keep else self._save(checkpoint)
            LOGGER.info(f"\n{saved}\n  resume=True goes on")
            raise
        finally:
            self.gap.detach()
        recovery = self._save(checkpoint)
        state_file(self.path).unlink(missing_ok=True)
        LOGGER.info(f"{recovery}")
        return recovery

    def _train(self) -> None:
        every = max(1, self.settings.iterations // MEASUREMENTS)
        batches = self._batches()
        self._save_state()
        if self.settings.features:
            self.gap.attach()
        progress = self.progress
        with TQDM(total=progress.steps, initial=progress.step, desc="recover") as bar:
            for images in batches:
                loss = self._one_step(images)
                progress.step += 1
                bar.update(1)
                last = progress.step >= progress.steps
                if progress.step % every == 0 or last:
                    self._measure()
                    bar.set_description(f"recover: loss {loss:.3f}, agreement {self.best.value:.4f}")
                    self._save_state()
                if last:
                    break

    def _one_step(self, images: torch.Tensor) -> float:
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True).float() / 255
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr0 * self.progress.share(self.progress.step)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            with torch.no_grad():
                expected = run_raw(self.teacher, images)
            with self.as_used(self.student):
                found = run_raw(self.student, images)
        loss = self.loss(found, expected)
        total = loss + self.settings.features * self.gap() if self.settings.features else loss
        self.optimizer.zero_grad()
        self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.student)
        self._judge()
        return float(loss.detach())

    def _measure(self) -> None:
        """Measure the averaged weights, keep them if they are the best, and let the rate fall where nothing grows."""
        self.ema.ema.model[-1].training = False
        agreement = self._agreement(self.ema.ema)
        progress = self.progress
        progress.stale = 0 if agreement.value > progress.peak + GROWTH else progress.stale + 1
        progress.peak = max(progress.peak, agreement.value)
        if agreement.value > self.best.value:
            self.best, progress.best_step, self.best_weights = agreement, progress.step, _weights(self.ema.ema)
        if progress.stale >= PATIENCE:
            progress.fall(progress.step)

    def _batches(self) -> DataLoader:
        settings, at = self.settings, self.progress.step * self.settings.batch
        count = self.progress.steps * settings.batch - at
        samples = VariedImages(self.items, self.imgsz, self.channels, count, settings.seed, at, self.classifies)
        workers = settings.workers if settings.workers is not None else 0 if self.device.type == "cpu" else 4
        return DataLoader(samples, settings.batch, num_workers=workers, pin_memory=self.device.type == "cuda")

    def _save(self, checkpoint: dict) -> Recovery:
        """Write the best weights as a checkpoint."""
        best = copy.deepcopy(self.ema.ema).cpu()
        best.load_state_dict(self.best_weights)
        best = best.to(memory_format=torch.contiguous_format)
        check_finite(best, "the recovered model")
        recovery = Recovery(
            self.path, self.before, self.best, self.progress.best_step, self.progress.step, self.lr0, len(self.items),
            self.reference.seen / len(self.held),
        )  # fmt: skip
        known = checkpoint.get(RECORD)
        record = {**(known if isinstance(known, dict) else {}), "recovery": recovery.record()}
        save_checkpoint(best, self.path, record, checkpoint)
        return recovery

    def _key(self) -> dict:
        """Return what a recovery that goes on must have in common with the one that was interrupted."""
        free = ("device", "workers", "amp")
        settings = {name: value for name, value in asdict(self.settings).items() if name not in free}
        return {
            **settings,
            "imgsz": self.imgsz,
            "images": [len(self.items), len(self.held)],
            "start": self.start,
        }

    def _save_state(self) -> None:
        states = {"student": self.student, "maps": self.gap, "ema": self.ema.ema, "optimizer": self.optimizer}
        states = {name: owner.state_dict() for name, owner in {**states, "scaler": self.scaler}.items()}
        self.progress.updates = self.ema.updates
        save_state(self.path, self._key(), self.progress, {**states, "best": self.best_weights})

    def go_on(self) -> None:
        """Take up what an interrupted recovery left.

        Raises:
            InputError: There is nothing to go on with, it is damaged, or it had other settings.
        """
        progress, state = load_state(self.path, self._key(), self.device)
        with damage_told(self.path):
            best = copy.deepcopy(self.student)
            best.load_state_dict(state["best"])
            self.student.load_state_dict(state["student"])
            self.gap.load_state_dict(state["maps"])
            self.ema.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        self.progress, self.ema.updates = progress, progress.updates
        self.best, self.best_weights = self._agreement(best), _weights(best)


def _mixed_precision(device: torch.device) -> torch.dtype | None:
    """Return what mixed precision computes in on this device; None where it would gain nothing."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bfloat16() else None


def _fingerprint(weights: dict[str, torch.Tensor]) -> str:
    """Return what tells weights apart, the same for those of one checkpoint on every device."""
    found = hashlib.sha256()
    for name, tensor in weights.items():
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
