"""What the penalty on γ does under several optimizers, learning rates and lengths, proximal beside sub-gradient.

    python benchmarks/sparsity.py [epochs=3,12] [seeds=0] [imgsz=160] [penalties=...] [optimizers=...] [data=drawn]

The model of the drawn diagrams (data=real: of those in ../shared) is trained on, with no penalty, with this project's
at several strengths, and with the sub-gradient that Network Slimming's code and the ports add to the gradients: s·(1 −
0.9·progress)·sign(γ). Measured on the `val` split after the last epoch: mAP50-95, the median |γ| over that at the
start, the share of γ under 0.01; and mAP50-95 right after 30 % of the GFLOPs are cut by |γ| (every layer by the same
share, constants folded), which is what the training is for. Rows that are in results/sparsity.csv are not measured
again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from bench import SOURCES, source
from common import TRAINING, by_setting, is_done, machine, mean, read_rows, write_rows

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.sparsity.gammas import absolute_gammas, gamma_stats, gammas
from ultralytics.slim.sparsity.penalty import decay
from ultralytics.utils.torch_utils import unwrap_model

OPTIMIZERS = {  # name -> Ultralytics' arguments; with auto it takes AdamW for so short a run and a rate of its own
    "SGD 0.01": {"optimizer": "SGD", "lr0": 0.01},
    "SGD 0.002": {"optimizer": "SGD", "lr0": 0.002},
    "AdamW 0.001": {"optimizer": "AdamW", "lr0": 0.001},
    "AdamW 0.0002": {"optimizer": "AdamW", "lr0": 0.0002},
    "auto": {"optimizer": "auto"},
}
PENALTIES = {  # name -> arguments of the training
    "none": {},
    "proximal, default": {"loss_type": "sparse"},
    "proximal 0.5": {"loss_type": "sparse", "sparsity": 0.5},
    "proximal 1": {"loss_type": "sparse", "sparsity": 1.0},
    "sub-gradient 0.01": {"subgradient": 0.01},  # the ports' strength
    "sub-gradient 0.001": {"subgradient": 0.001},
}
KEY = ("data", "penalty", "optimizer", "epochs", "imgsz", "seed")


class SubgradientTrainer(DetectionTrainer):
    """Adds s·decay·sign(γ) to the gradients of γ before each optimizer step."""

    strength = 0.0

    def optimizer_step(self) -> None:
        scales = gammas(unwrap_model(self.model))
        pull = self.strength * decay(self.epoch / self.epochs)
        for gamma in scales:
            gamma.grad.add_(gamma.detach().sign(), alpha=pull)
        super().optimizer_step()


def main(epochs="3,12", seeds="0", imgsz=160, penalties="", optimizers="", data="drawn") -> None:
    data, rows = source(data), read_rows("sparsity")
    for seed in str(seeds).split(","):
        for length in str(epochs).split(","):
            for optimizer in optimizers.split(";") if optimizers else OPTIMIZERS:
                for penalty in penalties.split(";") if penalties else PENALTIES:
                    key = dict(zip(KEY, (data, penalty, optimizer, length, str(imgsz), seed)))
                    if not is_done(rows, key):
                        rows.append({**key, **measure(key), **machine()})
                        write_rows("sparsity", rows)
    print_table(rows)


def measure(key: dict[str, str]) -> dict[str, str]:
    """Train with one penalty and return what it came to."""
    data, _, original = SOURCES[key["data"]]
    imgsz, options = int(key["imgsz"]), dict(PENALTIES[key["penalty"]])
    SubgradientTrainer.strength = options.pop("subgradient", 0.0)
    trainer = SubgradientTrainer if SubgradientTrainer.strength else None
    yolo, started = YOLO(original), time.perf_counter()
    before = absolute_gammas(yolo.model.requires_grad_(True)).median().item()
    with tempfile.TemporaryDirectory() as folder:
        own = {"epochs": int(key["epochs"]), "imgsz": imgsz, "seed": int(key["seed"]), "project": folder, "name": "run"}
        yolo.train(trainer=trainer, data=str(data), **{**TRAINING, **OPTIMIZERS[key["optimizer"]]}, **own, **options)
        seconds, last = time.perf_counter() - started, yolo.trainer.last
        stats = gamma_stats(YOLO(last).model.float().requires_grad_(True))
        pruned = prune_model(YOLO(last), Path(folder, "p.pt"), flops=0.7, score="gamma", imgsz=imgsz).path
        reached, cut = (accuracy(path, str(data), imgsz) for path in (last, pruned))
    return {
        "map50_95": f"{reached:.4f}",
        "median": f"{stats['gamma/median'] / before:.3f}",
        "near_zero": f"{stats['gamma/near_zero']:.4f}",
        "cut_map50_95": f"{cut:.4f}",
        "seconds": f"{seconds:.0f}",
    }


def print_table(rows: list[dict[str, str]]) -> None:
    """Print the means over the seeds as Markdown, a line for each penalty, optimizer and length."""
    print("| data | penalty | optimizer | epochs | imgsz | mAP50-95 | median γ | γ < 0.01 | after the cut |")
    print("| :-- " * 3 + "| --: " * 6 + "|")
    for setting, group in by_setting(rows, tuple(key for key in KEY if key != "seed")).items():
        whole, median, share, cut = (mean(group, key) for key in ("map50_95", "median", "near_zero", "cut_map50_95"))
        figures = f"{whole:.4f} | {median:.2f} | {share:.1%} | {cut:.4f}"
        print(f"| {' | '.join(setting)} | {figures} |")


if __name__ == "__main__":
    torch.set_num_threads(1)  # as Ultralytics' trainings set it
    main(**dict(a.split("=", 1) for a in sys.argv[1:]))
