"""A small Ultralytics of our own making, with all the places at which the patches put their edits; to be edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from patches.apply import apply, check
from patches.export import diff, export
from patches.pin import HERE
from patches.revert import revert, status
from patches.show import show

LOSS = "                    self.loss, self.loss_items = self.model(batch)\n"
SCALED = "                    if RANK != -1:\n                        self.loss *= world_size\n"
STEP = "        self.scaler.step(self.optimizer)\n"
TRAINER = f'''"""A trainer."""

from ultralytics.cfg import get_cfg
from ultralytics.utils.autobatch import check_train_batch_size


class BaseTrainer:
    def __init__(self, cfg=None, overrides=None):
        self.args = get_cfg(cfg, overrides)
        self.check_resume(overrides)
        self.loss = None

    def train(self):
        self._do_train(1)

    def _setup_train(self):
        self.ema = Average(self.model)
        self.resume_training(None)
        self.run_callbacks("on_pretrain_routine_end")

    def _do_train(self, world_size):
        nb = len(self.train_loader)
        for epoch in range(2):
            pbar = enumerate(self.train_loader)
            for i, batch in pbar:
                self.run_callbacks("on_train_batch_start")
                with autocast(self.amp):
                    batch = self.preprocess_batch(batch)
{LOSS}{SCALED}                self.scaler.scale(self.loss).backward()
                self.optimizer_step()
            self.run_callbacks("on_train_epoch_end")

    def optimizer_step(self):
        self.scaler.unscale_(self.optimizer)
{STEP}        self.scaler.update()

    def check_resume(self, overrides):
        resume = self.args.resume
        self.resume = resume
'''
FILES = {
    "__init__.py": '__version__ = "8.3.50"\n',
    "engine/trainer.py": TRAINER,
    "engine/model.py": """class Model:
    def train(self, trainer=None, **kwargs):
        self._check_is_pytorch_model()
        checks.check_pip_update_available()

        overrides = self.overrides
        self.trainer = trainer(overrides)
""",
    "nn/tasks.py": """from ultralytics.utils.torch_utils import (
    intersect_dicts,
)


class BaseModel:
    def load(self, weights, verbose=True):
        model = weights["model"] if isinstance(weights, dict) else weights
        csd = model.float().state_dict()
        self.load_state_dict(intersect_dicts(csd, self.state_dict()))
""",
    "cfg/default.yaml": "task: detect\nepochs: 100\n\n# Custom config.yaml ---\ncfg:\n",
}


class Checkout:
    """Somebody's own copy, with the real patches and a `slim` of one file to put into it."""

    def __init__(self, root: Path) -> None:
        self.root, self.package, self.slim = root / "theirs", root / "theirs" / "ultralytics", root / "slim"
        self.slim.mkdir(parents=True)
        (self.slim / "__init__.py").write_text("ours = True\n")
        for name, text in FILES.items():
            self.write(name, text.encode())

    def write(self, name: str, content: bytes) -> None:
        (self.package / name).parent.mkdir(parents=True, exist_ok=True)
        (self.package / name).write_bytes(content)

    def edit(self, name: str, *changes: tuple[str, str], encode: Callable[[str], bytes] = str.encode) -> None:
        """Replace text in a file of the small Ultralytics, and write it."""
        text = FILES[name]
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.write(name, encode(text))

    def edit_trainer(self, *changes: tuple[str, str]) -> None:
        self.edit("engine/trainer.py", *changes)

    def snapshot(self) -> dict[str, bytes]:
        files = (path for path in self.package.rglob("*") if path.is_file())
        return {path.relative_to(self.package).as_posix(): path.read_bytes() for path in files}

    def check(self) -> str:
        return check(self.root, HERE, self.slim)

    def apply(self) -> str:
        return apply(self.root, HERE, self.slim)

    def show(self) -> str:
        return show(self.root)

    def diff(self) -> bytes:
        return diff(self.root, HERE, self.slim)

    def export(self, folder: Path, whole: bool = False) -> str:
        return export(folder, None if whole else self.root, HERE, self.slim)

    def patched(self, name: str = "engine/trainer.py") -> list[str]:
        """Check, apply, status and revert byte for byte; return the lines of a file as it was in between."""
        before = self.snapshot()
        assert "every seam in place" in self.check()
        assert self.snapshot() == before
        self.apply()
        after = self.snapshot()
        assert "changed since" not in status(self.root)
        revert(self.root)
        assert self.snapshot() == before
        return after[name].decode("utf-8", "surrogateescape").splitlines()
