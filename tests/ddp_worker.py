"""Run by torchrun in tests/test_ddp.py: one rank of a distilling training on the CPU.

Only the device plumbing of Ultralytics' trainer is replaced (gloo instead of a GPU's backend); what is tested runs as is.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed as dist

from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model


class GlooTrainer(DetectionTrainer):
    """The detection trainer as one of several CPU ranks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.world_size = int(os.environ["WORLD_SIZE"])

    def _setup_ddp(self):
        dist.init_process_group("gloo")

    def _setup_train(self):
        wrap = torch.nn.parallel.DistributedDataParallel
        torch.nn.parallel.DistributedDataParallel = lambda module, device_ids=None, **kw: wrap(module, **kw)
        try:
            super()._setup_train()
        finally:
            torch.nn.parallel.DistributedDataParallel = wrap

    def final_eval(self):
        """Skip the validation of best.pt, which puts the model on a GPU in every DDP rank."""


def fingerprint(module) -> str:
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def main(overrides: dict, out: Path) -> None:
    seen = {"losses": []}
    trainer = GlooTrainer(overrides=overrides)

    def at_start(t):
        d = t.slim.distiller
        seen.update(teacher=fingerprint(d.teacher), adapters_at_start=fingerprint(d.losses))

    trainer.add_callback("on_train_start", at_start)
    trainer.add_callback("on_train_batch_end", lambda t: seen["losses"].append(float(t.loss_items["distill_loss"])))
    trainer.train()
    d = trainer.slim.distiller
    seen.update(
        rank=dist.get_rank(),
        ddp=type(trainer.model).__name__,
        teacher_at_end=fingerprint(d.teacher),
        adapters_at_end=fingerprint(d.losses),
        parameters=sum(p.numel() for p in unwrap_model(trainer.model).parameters()),
        weights=hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trainer.model.parameters())).hexdigest(),
        hooks=sum(len(m._forward_hooks) for m in trainer.model.modules()),
    )
    (out / f"rank{seen['rank']}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
