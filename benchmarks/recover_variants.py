"""What was tried of a recovery without labels: one thing changed at a time, in short recoveries of one pruned model.

    python benchmarks/recover_variants.py [variants=NAME,...] [share=0.25] [steps=400] [seed=0] [threads=1] [data=real]

"As it is" is what was the default before these were measured (features weigh once, twice today's rate for a model near
its teacher). Agreement is that of images kept back from the recovery, which the choice was made by; mAP50-95 on the
`val` split stands beside it. Rows are added to results/recover_variants.csv as they are measured; those that are there
are not measured again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

WORDS = dict(word.split("=", 1) for word in sys.argv[1:])
os.environ["OMP_NUM_THREADS"] = WORDS.get("threads", "1")  # before torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from bench import SOURCES, source
from common import measure_rows
from torch import nn

from ultralytics.slim.command.running import use_cores
from ultralytics.slim.inputs.varied import VariedImages
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.accuracy import accuracy
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery import recover, schedule
from ultralytics.slim.recovery.options import RecoverOptions

NAME, KEY, IMGSZ = "recover_variants", ("data", "variant", "share", "steps", "seed"), 320
FEATURES_FIRST = 0.4  # of the steps


def main(
    variants: str = "",
    share: str = "0.25",
    steps: str = "400",
    seed: str = "0",
    threads: str = "1",
    data: str = "real",
) -> None:
    use_cores(threads)
    data = source(data)
    named = variants.split(",") if variants else list(VARIANTS)
    if unknown := [name for name in named if name not in VARIANTS]:
        raise SystemExit(f"variants={unknown[0]}: expected of {', '.join(VARIANTS)}")
    measure_rows(NAME, (dict(zip(KEY, (data, variant, share, steps, seed))) for variant in named), measured)


def measured(folder: Path, key: dict[str, str]) -> dict[str, str]:
    """Prune (once for all rows), and recover with the one thing changed; return the row's figures."""
    yaml, _, original = SOURCES[key["data"]]
    pruned, path = folder / "pruned.pt", folder / "recovered.pt"
    if not pruned.exists():
        prune_model(open_model(original), pruned, flops=float(key["share"]), images=str(yaml), imgsz=IMGSZ)
    options, change = VARIANTS[key["variant"]]
    schedule.NEAR = (0.05, 2e-4)
    options = {
        "imgsz": IMGSZ,
        "device": "cpu",
        "features": 1.0,
        "iterations": int(key["steps"]),
        "seed": int(key["seed"]),
        **options,
    }
    options["iterations"] *= options.pop("times", 1)
    networks = [load_checkpoint(one)[0].float().eval() for one in (pruned, original)]
    recovering = recover._Recovering(*networks, str(yaml), RecoverOptions.read(options), path)
    change(recovering)
    started = time.perf_counter()
    done = recovering.finish({})
    recover.VariedImages = VariedImages  # as it was before a change
    seconds = time.perf_counter() - started
    figures = done.before.value, done.after.value, accuracy(path, str(yaml), IMGSZ, "cpu"), seconds
    return dict(zip(("agreement_before", "agreement_after", "map50_95", "seconds"), (f"{x:.4g}" for x in figures)))


def as_it_is(recovering: recover._Recovering) -> None:
    """Change nothing."""


def rate(times: float) -> Callable:
    """Return a change of the largest learning rate."""

    def change(recovering: recover._Recovering) -> None:
        recovering.lr0 *= times

    return change


def batchnorm_alone(recovering: recover._Recovering) -> None:
    """Train the scales and shifts of the BatchNorms alone, ten times as fast."""
    for module in recovering.student.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    recovering.lr0 *= 10
    left = [p for p in (*recovering.student.parameters(), *recovering.gap.parameters()) if p.requires_grad]
    recovering.optimizer = torch.optim.AdamW(left, lr=recovering.lr0, weight_decay=0.0)


def features_first(recovering: recover._Recovering) -> None:
    """Reconstruct the features alone at first, then learn the predictions, too."""
    whole, last = recovering.loss, FEATURES_FIRST * recovering.progress.steps

    def loss(student: object, teacher: object) -> torch.Tensor:
        return whole(student, teacher) * float(recovering.progress.step >= last)

    loss.classes = whole.classes
    recovering.loss = loss


def no_average(recovering: recover._Recovering) -> None:
    """Keep the weights themselves, not their moving average."""
    recovering.ema.decay = lambda updates: 0.0


def mosaics(recovering: recover._Recovering) -> None:
    """Show four images at once every second time."""
    recover.VariedImages = Mosaics


class Mosaics(VariedImages):
    """Varied images, every second one a mosaic of four."""

    def __getitem__(self, index: int) -> torch.Tensor:
        number = self.first + index
        dice = np.random.default_rng((self.seed, 2, number))
        if dice.random() < 0.5:
            return super().__getitem__(index)
        parts = [super(Mosaics, self).__getitem__(int(i)) for i in dice.integers(0, len(self), 4)]
        square = torch.cat([torch.cat(parts[:2], 2), torch.cat(parts[2:], 2)], 1)
        y, x = dice.integers(0, self.imgsz, 2)
        return square[:, y : y + self.imgsz, x : x + self.imgsz].contiguous()


VARIANTS: dict[str, tuple[dict, Callable]] = {
    "as it is": ({}, as_it_is),
    "predictions alone": ({"features": 0.0}, as_it_is),
    "features weigh three times": ({"features": 3.0}, as_it_is),
    "features weigh ten times": ({"features": 10.0}, as_it_is),
    "half the rate and features three times": ({"features": 3.0}, rate(0.5)),
    "features first": ({}, features_first),
    "half the rate": ({}, rate(0.5)),
    "twice the rate": ({}, rate(2.0)),
    "BatchNorm alone": ({}, batchnorm_alone),
    "no average": ({}, no_average),
    "mosaics": ({}, mosaics),
    "batch 4 and twice the steps": ({"batch": 4, "times": 2}, as_it_is),
    "float32": ({"amp": False}, as_it_is),
}


if __name__ == "__main__":
    main(**WORDS)
