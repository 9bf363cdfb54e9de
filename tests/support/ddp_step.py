"""Run in tests/test_ddp.py by torchrun, and by Python alone: one step of a distilling training, and what it did.

Nothing in it depends on how the images are split: BatchNorm is in evaluation mode, no image is augmented, the loss is a
mean over images that are not standardised over the batch, and the detection loss, which is none, has no weight.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from ultralytics.slim.losses.layer_losses import FEATURE_LOSSES, LossSpec
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from ddp_worker import GlooTrainer

AUGMENTATIONS = ("mosaic", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr")
STEP = dict.fromkeys((*AUGMENTATIONS, "box", "cls", "dfl", "weight_decay"), 0.0)
STEP |= dict(loss_type="plain", epochs=1, batch=8, nbs=8, lr0=0.01, distill_weight=1e-3, distill_check=False)


def student_of(trainer) -> dict:
    return {k: v.detach().clone() for k, v in unwrap_model(trainer.model).named_parameters()}


def main(overrides: dict, out: Path) -> None:
    FEATURE_LOSSES["plain"] = LossSpec(lambda c_s, c_t, options: nn.MSELoss(), weight=1.0, standardise=False)
    trainer = GlooTrainer(overrides={**overrides, **STEP})
    seen = {}

    def at_start(t):
        generator = torch.Generator().manual_seed(0)  # ranks and a single process seed their own otherwise
        for p in t.slim.distiller.losses.parameters():
            p.data = torch.randn(p.shape, generator=generator) * 0.1
        seen["before"] = student_of(t)

    def before_batch(t):
        for module in t.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def after_batch(t):
        adapters = t.slim.distiller
        moments = [adapters.optimizer.state[p]["exp_avg"] for p in adapters.losses.parameters()]
        after = student_of(t)
        seen["steps"] = {k: after[k] - v for k, v in seen.pop("before").items()}
        seen["moments"] = {str(i): m.clone() for i, m in enumerate(moments)}
        seen["loss"] = float(t.loss_items["distill_loss"])
        torch.save(seen, out / f"step{RANK}.pt")
        t.stop = True

    trainer.add_callback("on_train_start", at_start)
    trainer.add_callback("on_train_batch_start", before_batch)
    trainer.add_callback("on_train_batch_end", after_batch)
    trainer.validate = lambda: ({}, 0.0)
    trainer.final_eval = lambda: None
    trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
