"""Make a front in a folder of its own: models one after the other, measured side by side, a page and files about them.

Each model is pruned from the one before it, taught by the original without labels, and trained where that is asked for.
`front.json` says which are done; an interrupted front goes on after the last of them.
"""

from __future__ import annotations

import json
import logging
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER
from ultralytics.utils.files import increment_path

from .. import logs
from ..errors import InputError, MissingFileError, SlimError
from ..files import copy_whole, fingerprint, make_folder, plain, write_json
from ..inputs.weights import open_model
from ..measuring.comparison import ComparisonTable, compare_models, name_paths
from ..measuring.flops import count_gflops
from ..pruning.prune import Pruner
from ..recovery.recover import recover_model
from ..runs.stages import ORIGINAL
from ..runs.training import fit
from .page import write_front
from .settings import FrontSettings

RECORD = "front.json"
LONGER = 1500  # steps of the recovery of one model that is to learn further


class Front:
    """A front in its folder.

    Attributes:
        folder: Where everything of it lies.
        settings: What it is made of.
        origin: SHA-256 of the original checkpoint when the front was started.
        models: What front.json says of each model that is finished: its file, SHA-256, share asked for and seconds.
    """

    def __init__(self, folder: Path, settings: FrontSettings, origin: str, models: Mapping[str, dict] | None = None):
        self.folder, self.settings, self.origin, self.models = folder, settings, origin, dict(models or {})
        self.ended = ""  # why it ends before its last share, if it does

    @classmethod
    def start(cls, project: str | Path, name: str, given: Mapping[str, Any]) -> Front:
        """Make the next numbered folder."""
        settings = FrontSettings.read(given)
        folder = increment_path(Path(project) / name).resolve()
        make_folder(folder)
        front = cls(folder, settings, fingerprint(settings.weights))
        front.save()
        return front

    @classmethod
    def resume(cls, folder: Path, given: Mapping[str, Any]) -> Front:
        """Open an earlier front.

        Raises:
            MissingFileError: There is none.
            InputError: front.json is damaged, the original has changed, or other settings are given.
        """
        settings, models, origin = read_front(folder / RECORD)
        if not Path(settings.weights).is_file() or fingerprint(settings.weights) != origin:
            raise InputError(f"{settings.weights} is gone or has changed since {folder} was started; start a new front")
        given = plain(dict(given))
        now = FrontSettings.of_record({**settings.recorded, **given}).found().recorded
        paths = ("weights", "data", "images", "compare")
        differing = [key for key in given if key not in (*paths, "device") and now[key] != settings.recorded.get(key)]
        differing += [k for k in paths if k in given and not _same_files(now[k], settings.recorded.get(k))]
        if differing:
            listed = ", ".join(f"{key}={settings.recorded.get(key)}" for key in differing)
            raise InputError(f"{folder} was made with {listed}; drop these keys, or leave out resume for a new front")
        return cls(folder.resolve(), FrontSettings.of_record({**settings.recorded, **_free(given)}), origin, models)

    def save(self, rows: list[dict] | None = None) -> None:
        """Write front.json."""
        record = {"settings": dict(self.settings.recorded), "origin": self.origin}
        record |= {"models": self.models, "rows": rows or []}
        write_json(self.folder / RECORD, record)

    def make(self) -> None:
        """Make the models that are not there yet, the largest first, each from the one before it."""
        start = Path(self.settings.weights)
        for number, share in enumerate(self.settings.shares, 1):
            name = name_of(share)
            if not self._is_done(name):
                LOGGER.info(f"\nfront: model {number} of {len(self.settings.shares)}, {share:.0%} of the GFLOPs")
                started = time.monotonic()
                if not self._made(share, start):
                    break
                self._done(name, share, started)
            start = self.file(name)

    def _made(self, share: float, start: Path) -> bool:
        """Make one model; return whether there is one so small."""
        settings = self.settings
        learned, _ = settings.split()
        before = open_model(start)
        is_first = str(start) == settings.weights
        options = replace(settings.pruning, images=learned, classes=settings.pruning.classes if is_first else None)
        pruner = Pruner(before, options)
        whole = count_gflops(open_model(settings.weights).model.float(), settings.imgsz)
        goal = share * whole / count_gflops(pruner.original, settings.imgsz)
        if goal >= 1:
            raise InputError(f"shares: the model before {share:.0%} has no more than that already; leave it out")
        target = pruner.target("flops", goal, loose=True)
        with tempfile.TemporaryDirectory() as scratch, logs.only(logging.WARNING):
            path = Path(scratch, "pruned.pt")
            result = pruner.prune(path, None, ("flops", goal), target)
            if result.gflops[1] > 1.1 * share * whole:
                self.ended = (
                    f"it ends above {share:.0%}: no layer can be narrower than its floor, and so the smallest has "
                    f"{result.gflops[1] / whole:.0%} of the GFLOPs"
                )
                LOGGER.warning(f"front: {self.ended}")
                return False
            if settings.iterations:
                self._recover(path, path, settings.iterations)
            with logs.only(logging.INFO):
                if settings.epochs:
                    self._train(path, self.file(name_of(share)), settings.epochs)
                else:
                    copy_whole(path, self.file(name_of(share)))
        LOGGER.info(
            f"front: {result.params[1]:,} parameters, {result.gflops[1]:.3g} GFLOPs, equal to the masked model within "
            f"{result.error:.1e} before it was repaired"
        )
        return True

    def _recover(self, start: Path, out: Path, iterations: int) -> None:
        images = self.settings.images or self.settings.split()[0]
        teacher = open_model(self.settings.weights)
        recover_model(open_model(start), teacher, images, out, **self.settings.recovering(iterations))

    def _train(self, start: Path, out: Path, epochs: int) -> None:
        place = {"project": str(self.folder), "name": out.stem, "exist_ok": True}
        fit(start, out, {**self.settings.fitting(epochs), "Distillation": self.settings.weights, **place})

    def train(self, share: float, epochs: int | None = None, iterations: int | None = None) -> str:
        """Train one model further, by distillation, or recover it where there are no labels; return the new one's name.

        Raises:
            InputError: There is no such model, or nothing to train it with.
        """
        known = {model["share"]: name for name, model in self.models.items() if not model.get("trained")}
        if share not in known:
            raise InputError(f"train={share}: the front has {', '.join(f'{s:g}' for s in known) or 'no model yet'}")
        if self.settings.images and epochs is not None:
            raise InputError("train= with epochs= needs labels, and this front has none; give iterations=")
        if not self.settings.images and iterations is not None:
            raise InputError("train= with iterations= is for a front without labels; for this one give epochs=")
        for key, value in (("epochs", epochs), ("iterations", iterations)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{key}={value}: expected a whole number from 1")
        start, started = self.file(known[share]), time.monotonic()
        name = f"{known[share]}, trained"
        LOGGER.info(f"\nfront: {known[share]} further")
        if self.settings.images:
            self._recover(start, self.file(name), iterations or LONGER)
        else:
            self._train(start, self.file(name), epochs or 50)
        self._done(name, share, started, trained=True)
        return name

    def file(self, name: str) -> Path:
        """Return the checkpoint of a model."""
        words = name.replace(" %", "").replace(", ", "-")
        return self.folder / "weights" / f"front-{words}.pt"

    def _is_done(self, name: str) -> bool:
        known, file = self.models.get(name), self.file(name)
        return bool(known) and file.is_file() and fingerprint(file) == known["sha256"]

    def _done(self, name: str, share: float, started: float, **more: object) -> None:
        seconds = round(time.monotonic() - started, 1)
        file = self.file(name)
        about = {"file": file.relative_to(self.folder).as_posix(), "sha256": fingerprint(file)}
        self.models[name] = {**about, "share": share, "seconds": seconds, **more}
        self.save()
        LOGGER.info(f"front: {name} saved as {file}, {seconds:.0f} s")

    def measure(self) -> ComparisonTable:
        """Measure all models side by side, and write the page and the files."""
        settings = self.settings
        named = {ORIGINAL: settings.weights, **{name: str(self.file(name)) for name in self.models}}
        beside = name_paths(settings.compare, named)
        _, held = settings.split()
        data = None if settings.images else settings.split()[0]
        table = compare_models({**named, **beside}, data, settings.imgsz, settings.device, held)
        self.save(table.to_dicts())
        write_front(self.folder, table, list(named), self.models, settings, self.ended)
        return table


def read_front(file: Path) -> tuple[FrontSettings, dict[str, dict], str]:
    """Return the settings, the models and the SHA-256 of the original that a front.json holds.

    Raises:
        MissingFileError: There is none.
        InputError: It is not the record of a front.
    """
    if not file.is_file():
        raise MissingFileError(f"resume=True: no front in {file.parent}; leave out resume to start one")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        settings, models, origin = FrontSettings.of_record(record["settings"]), record["models"], record["origin"]
        settings.check()
        for name, model in models.items():
            if not (isinstance(model["sha256"], str) and model["share"] in settings.shares and name):
                raise ValueError(f"models.{name} is {model}")
        Path(settings.weights)
    except SlimError as error:
        raise InputError(f"{file}: {error}") from error
    except Exception as error:  # of many kinds: the file may be anything
        raise InputError(f"{file}: expected the record of a front, but it is damaged: {error!r:.80}") from error
    return settings, models, origin


def name_of(share: float) -> str:
    """Return what a model is called, such as "38 %"."""
    return f"{100 * share:.4g} %"


def _free(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may differ when a front goes on."""
    return {key: value for key, value in given.items() if key == "device"}


def _same_files(given: object, recorded: object) -> bool:
    given, recorded = ([v] if isinstance(v, str) else list(v or []) for v in (given, recorded))
    return [str(Path(path).expanduser().resolve()) for path in given] == [str(Path(p).resolve()) for p in recorded]


@logs.quiet()
def make_front(
    project: str | Path, name: str | None, resume: bool | str | Path, train: float | None, given: Mapping[str, Any]
) -> ComparisonTable:
    """Make a front, or go on with one; return the comparison of its models.

    Args:
        project, name: Its folder is `project/name`, numbered where it exists; `name` is "front" if not given.
        resume: Whether to go on with `project/name`; or its folder.
        train: Share of the model that is to be trained further.
        given: The settings, see `FrontSettings`; with `train`, `epochs` or `iterations` are those of its training.

    Raises:
        SlimError: Something that the user can mend; what is finished stays, and `resume` goes on.
    """
    if train is not None:
        longer = {key: given[key] for key in ("epochs", "iterations") if key in given}
        given = {key: value for key, value in given.items() if key not in longer}
        if not resume:
            raise InputError("train= is for a model of a front that is made: give resume= its folder, or resume=True")
    if resume:
        folder = Path(project) / str(name or "front") if resume is True else Path(str(resume))
        front = Front.resume(folder, given)
    else:
        front = Front.start(project, str(name or "front"), given)
    LOGGER.info(f"{front.folder}")
    try:
        front.make()
        if train is not None:
            front.train(train, **longer)
    except BaseException:
        done = ", ".join(front.models) or "no model yet"
        LOGGER.info(f"\nfinished: {done}; to go on from there: front resume={shlex.quote(str(front.folder))}")
        raise
    return front.measure()
