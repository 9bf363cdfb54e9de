"""Memory of a training step with each distillation loss, over the plain step, and whether it grows over many steps.

    python benchmarks/step_memory.py [imgsz=160] [batch=8] [steps=1000]

yolov8n as teacher and student. Each variant runs in a process of its own, so that one's peak is not another's; `peak`
is the largest resident memory above that of the trainer set up (Linux only: the kernel's high-water mark, reset before
the first step), `growth` the resident memory after the last step over that after a tenth of the steps. Results go to
benchmarks/results/step_memory.csv.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
from common import drawn_batch, machine, quiet_trainer, write_rows
from step_time import VARIANTS, step


def main(imgsz: int = 160, batch: int = 8, steps: int = 1000) -> None:
    rows, plain = [], 0.0
    for name in VARIANTS:
        command = [sys.executable, __file__, f"variant={name}", f"imgsz={imgsz}", f"batch={batch}", f"steps={steps}"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures = json.loads(out.splitlines()[-1])
        plain = plain or figures["peak_mb"]
        rows.append(
            {
                "variant": name,
                "peak_ratio": f"{figures['peak_mb'] / plain:.3f}",
                **figures,
                "imgsz": imgsz,
                "batch": batch,
                "steps": steps,
                **machine(),
            }
        )
        print(f"{name:>8}  peak {rows[-1]['peak_ratio']} of a plain step, grown by {figures['growth_mb']} MB")
        write_rows("step_memory", rows)


def measure(variant: str, imgsz: int, batch: int, steps: int) -> dict[str, float]:
    """Run the steps in this process and return the peak and the growth in MB (10⁶ bytes)."""
    trainer = quiet_trainer(imgsz, batch, **VARIANTS[variant])
    trainer.slim.start_epoch()
    data, process = drawn_batch(imgsz, batch), psutil.Process()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts afresh
    before, early = process.memory_info().rss, 0
    for i in range(steps):
        step(trainer, data)
        if i == steps // 10:
            early = process.memory_info().rss
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = 1024 * int(status["VmHWM"].split()[0])
    return {
        "peak_mb": round((peak - before) / 1e6, 1),
        "growth_mb": round((process.memory_info().rss - early) / 1e6, 1),
    }


if __name__ == "__main__":
    given = dict(a.split("=", 1) for a in sys.argv[1:])
    variant = given.pop("variant", None)
    numbers = {k: int(v) for k, v in given.items()}
    print(json.dumps(measure(variant, **numbers))) if variant else main(**numbers)
