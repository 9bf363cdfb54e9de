"""Cost of one training step with each distillation loss, over the plain step, yolov8n as teacher and student.

    python benchmarks/step_time.py [imgsz=160] [batch=8] [rounds=15]

All variants run in one process, one step each in turn, so that a noisy machine hits them alike; the figure is the
median over the rounds of step / plain step of the same round, with the 10 and 90 % quantiles. `native` is Ultralytics'
own distillation (`distill_model=`). Results go to benchmarks/results/step_time.csv.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from common import drawn_batch, machine, quiet_trainer, write_rows

VARIANTS = {
    "plain": {},
    "cwd": {"Distillation": "teacher", "loss_type": "cwd"},
    "pkd": {"Distillation": "teacher", "loss_type": "pkd"},
    "mgd": {"Distillation": "teacher", "loss_type": "mgd"},
    "sparse": {"loss_type": "sparse"},
    "native": {"distill_model": "teacher"},
}


def main(imgsz: int = 160, batch: int = 8, rounds: int = 15) -> None:
    trainers = {name: quiet_trainer(imgsz, batch, **options) for name, options in VARIANTS.items()}
    for trainer in trainers.values():
        trainer.slim.start_epoch()
    data = drawn_batch(imgsz, batch)
    seconds = {name: [] for name in VARIANTS}
    for i in range(rounds + 2):
        for name, trainer in trainers.items():
            start = time.perf_counter()
            step(trainer, data)
            if i >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
    plain = np.array(seconds["plain"])
    rows = []
    for name, values in seconds.items():
        low, median, high = np.quantile(np.array(values) / plain, [0.1, 0.5, 0.9])
        rows.append(
            {
                "variant": name,
                "ratio": f"{median:.3f}",
                "p10": f"{low:.3f}",
                "p90": f"{high:.3f}",
                "imgsz": imgsz,
                "batch": batch,
                "rounds": rounds,
                **machine(),
            }
        )
        print(f"{name:>8}  {median:.2f} of a plain step  ({low:.2f} to {high:.2f})")
    write_rows("step_time", rows)


def step(trainer, data: dict) -> None:
    """One forward, backward and optimizer step, as the trainer's loop does it."""
    batch = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in data.items()}
    loss, trainer.loss_items = trainer.model(batch)
    trainer.loss = loss.sum()
    trainer.loss += trainer.slim.distillation_loss(batch, 0.0)
    trainer.scaler.scale(trainer.loss).backward()
    trainer.optimizer_step()


if __name__ == "__main__":
    main(**{k: int(v) for k, v in (a.split("=") for a in sys.argv[1:])})
