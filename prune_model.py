"""Make a trained Ultralytics detector smaller: sparse-train, prune, retrain, distil, evaluate, export.

From the command line, `python prune_model.py --help`; from Python:

    from prune_model import PruneModel

    model = PruneModel("best.pt")
    model.sparse_train(data="my.yaml")
    model.prune(factor=0.5)
    model.train(data="my.yaml")
    model.distill("best.pt", data="my.yaml")
    PruneModel.compare({"before": "best.pt", "after": "weights/distill.pt"}, data="my.yaml")
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is imported, and Ultralytics, which sets one thread where the user has set none.
ASKED_CORES = os.environ.get("OMP_NUM_THREADS")
if "ultralytics" in sys.modules and ASKED_CORES == "1":
    ASKED_CORES = None  # it was imported before, and this is most likely its own doing
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait by spinning crawl where others compute too

import ultralytics

if "+slim" not in (version := getattr(ultralytics, "__version__", "not made")):
    place, elsewhere = next(iter(ultralytics.__path__)), ""
    if version == "not made":
        found = "is not made yet"
    elif Path(place, "slim").is_dir():
        found = f"is the release {version}, patched"
        elsewhere = "there, `python -m ultralytics.slim` and `from ultralytics.slim import PruneModel` do the same; or "
    else:
        found = f"is the stock release {version}"
    raise (SystemExit if __name__ == "__main__" else ImportError)(
        f"prune_model needs this project's fork of Ultralytics, but {place} {found}: {elsewhere}run `pip install -e .` "
        "in this project's checkout, which takes its place, or use an environment of its own for it"
    )

from ultralytics.slim.command.main import main_of
from ultralytics.slim.wrapper import METHODS, PruneModel, compress, front

__all__ = ("METHODS", "PruneModel", "compress", "front", "main")


def main(args: list[str] | None = None) -> int:
    """Do what the command line asks for, with all cores that the user leaves it; return the exit status."""
    return main_of(PruneModel, METHODS, sys.argv[1:] if args is None else args, ASKED_CORES)


if __name__ == "__main__":
    sys.exit(main())
