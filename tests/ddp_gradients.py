"""Run by torchrun in tests/test_ddp.py: gradients of a distilled student and its adapters on two ranks, and on one.

BatchNorm is in evaluation mode and the maps are not standardised over the batch, so the joined batch and the halves
compute the same function of each image.
"""

import sys
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn

from ultralytics import YOLO
from ultralytics.slim import losses
from ultralytics.slim.distill import FeatureLoss, FeatureTaps
from ultralytics.slim.distiller import _average_gradients, _broadcast

LAYERS = [15, 18, 21]


def build(seed: int):
    torch.manual_seed(0)
    student = YOLO("yolov8n.yaml", verbose=False).model.float().eval()
    torch.manual_seed(1)
    teacher = YOLO("yolov8s.yaml", verbose=False).model.float().eval().requires_grad_(False)  # wider: needs adapters
    torch.manual_seed(seed)  # adapters differ between ranks until they are broadcast
    loss = FeatureLoss([64, 128, 256], [128, 256, 512], "cwd", [8, 16, 32])
    loss.spec = losses.LossSpec(loss.spec.build, 1.0, standardise=False)
    for adapter in loss.adapters:
        nn.init.normal_(adapter.weight, std=0.1)
    return student, teacher, loss


def forward(model, student, teacher, loss, images, ranks: int):
    """Backpropagate the loss as the trainer scales it: mean over images × batch size × number of ranks."""
    taps = FeatureTaps(student, LAYERS)
    taps.attach()
    out = model(images)
    reached = sum(t.sum() for t in (out[1]["boxes"], out[1]["scores"])) * 0  # every parameter takes part, as in training
    wanted = FeatureTaps(teacher, LAYERS, stop_after_last=True).run(images)
    total = loss(taps.pop(), wanted) * len(images) * ranks + reached
    taps.detach()
    total.backward()


def gradients(student, loss) -> dict:
    named = {**dict(student.named_parameters()), **{f"loss.{k}": v for k, v in loss.named_parameters()}}
    return {k: v.grad.clone() for k, v in named.items() if v.grad is not None}


def main(out: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    student, teacher, loss = build(seed=3 + rank)
    _broadcast(loss)
    ddp = nn.parallel.DistributedDataParallel(student, find_unused_parameters=True)
    forward(ddp, student, teacher, loss, images[2 * rank : 2 * rank + 2], ranks=2)
    _average_gradients(loss)
    torch.save(gradients(student, loss), out / f"two{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        student, teacher, loss = build(seed=3)
        forward(student, student, teacher, loss, images, ranks=1)
        torch.save(gradients(student, loss), out / "one.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
