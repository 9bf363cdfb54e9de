"""Trainings of a second on the tiny set, for the tests of what a run does."""

from __future__ import annotations

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from places import SUPPORT

MINI = SUPPORT / "mini.yaml"

SHORT = dict(imgsz=64, epochs=2, batch=4, nbs=4, workers=0, amp=False, plots=False, device="cpu", verbose=False)
SHORT |= dict(optimizer="AdamW", lr0=1e-3, warmup_epochs=0, val=False, seed=0, distill_check=False)


class Interrupt(Exception):
    """Ends a run from a callback."""


def train(tiny_data, tmp_path, weights=MINI, **kwargs):
    """Train and return (YOLO, trainer); pass callbacks as `on_…=function`."""
    model = weights if isinstance(weights, YOLO) else YOLO(str(weights), verbose=False)
    for event in [k for k in kwargs if k.startswith("on_")]:
        model.add_callback(event, kwargs.pop(event))
    model.train(**{**SHORT, "data": str(tiny_data), "project": str(tmp_path), "name": "run", **kwargs})
    return model, model.trainer


def prepared(*args, **kwargs):
    """Return the trainer of a run that was set up and left before its first batch; arguments as for `train`."""
    found = []
    stop = lambda trainer: found.append(trainer) or interrupt(trainer)  # noqa: E731
    try:
        train(*args, on_train_start=stop, **kwargs)
    except Interrupt:
        return found[0]


def interrupt(trainer):
    """A callback that ends the run."""
    raise Interrupt


def stop_at(epoch):
    """Return a callback that ends the run in this epoch."""
    return lambda trainer: interrupt(trainer) if trainer.epoch == epoch else None


def pretending(*fitness):
    """Return a trainer that measures these instead, one an epoch."""

    class Pretending(DetectionTrainer):
        def validate(self):
            value = fitness[self.epoch]
            if self.best_fitness is None or self.best_fitness < value:
                self.best_fitness = value
            return self.metrics, value

    return Pretending


def weights_of(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def hooks_in(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def losses_of(tiny_data, tmp_path, **options):
    """Train and return (trainer, distillation losses of every batch)."""
    losses = []
    keep = lambda t: losses.append(float(t.loss_items["distill_loss"]))  # noqa: E731
    return train(tiny_data, tmp_path, on_train_batch_end=keep, **options)[1], losses
