"""Run by torchrun in tests/test_ddp.py: one rank of a distilling training on the CPU.

Only the device plumbing of Ultralytics is replaced (gloo instead of a GPU's backend); what is tested runs as is.
"""

import functools
import hashlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ultralytics import YOLO
from ultralytics.engine import validator
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model


class OnTheCPU(DistributedDataParallel):
    """What upstream wraps the model in, without the index of a GPU."""

    def __init__(self, module, device_ids=None, **kwargs):
        super().__init__(module, **kwargs)


class OnGloo:
    """Makes a trainer one of several CPU ranks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Upstream counts the devices of this machine.
        self.world_size = int(os.environ.get("LOCAL_WORLD_SIZE", 0))

    def _setup_ddp(self):
        dist.init_process_group("gloo", rank=RANK, world_size=self.world_size)

    def _setup_train(self):
        torch.nn.parallel.DistributedDataParallel = OnTheCPU
        try:
            super()._setup_train()
        finally:
            torch.nn.parallel.DistributedDataParallel = DistributedDataParallel


class GlooTrainer(OnGloo, DetectionTrainer):
    """The detection trainer as one of several CPU ranks."""


class GlooClassifier(OnGloo, ClassificationTrainer):
    """The trainer of classifiers as one of several CPU ranks."""


def validate_on_the_cpu() -> None:
    """Upstream's validator puts the model on the current GPU of each rank."""
    backend = validator.AutoBackend

    @functools.wraps(backend)
    def on_the_cpu(**kwargs):
        return backend(**{**kwargs, "device": torch.device("cpu")})

    validator.AutoBackend = on_the_cpu
    validator.get_torch_device_backend = lambda *_: SimpleNamespace(current_device=lambda: 0)


def fingerprint(state: dict) -> str:
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def main(overrides: dict, out: Path) -> None:
    seen = {"losses": [], "images": [], "unlabelled": []}
    if overrides.pop("as_module", False):
        overrides["Distillation"] = YOLO(overrides["Distillation"])
    trainer = (GlooClassifier if overrides.get("task") == "classify" else GlooTrainer)(overrides=overrides)

    def at_start(t):
        d = t.slim.distiller
        seen.update(teacher=fingerprint(d.teacher.state_dict()), adapters_at_start=fingerprint(d.losses.state_dict()))

    def after_batch(t):
        seen["losses"].append(float(t.loss_items["distill_loss"]))

    preprocess = trainer.preprocess_batch

    def count(batch):
        seen["images"].append(len(batch["img"]))
        if "unlabelled" in batch:
            seen["unlabelled"] += batch["img"].flatten(1).float().mean(1).tolist()
        return preprocess(batch)

    trainer.preprocess_batch = count
    trainer.add_callback("on_train_start", at_start)
    trainer.add_callback("on_train_batch_end", after_batch)
    trainer.train()
    d = trainer.slim.distiller
    seen.update(
        rank=dist.get_rank(),
        ranks=dist.get_world_size(),
        ddp=isinstance(trainer.model, DistributedDataParallel),
        folder=str(trainer.save_dir),
        teacher_file=str(trainer.args.Distillation),
        start_epoch=trainer.start_epoch,
        teacher_at_end=fingerprint(d.teacher.state_dict()),
        adapters_at_end=fingerprint(d.losses.state_dict()),
        parameters=sum(p.numel() for p in unwrap_model(trainer.model).parameters()),
        weights=fingerprint(dict(trainer.model.named_parameters())),
        hooks=sum(len(m._forward_hooks) for m in trainer.model.modules()),
    )
    (out / f"rank{seen['rank']}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    validate_on_the_cpu()
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
