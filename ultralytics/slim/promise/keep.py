"""Prune to the smallest model that keeps a share of the accuracy: one is tried after the other, each recovered shortly.

Channels and blocks are scored once. Each trial is cut to a share of the GFLOPs, repaired, taught by the original
for a few steps without labels, and measured: on the validation images, or by its agreement with the original on images
that are kept back. What was tried is kept beside the result until that is there, and an interrupted search goes on.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from ultralytics.utils import LOGGER

from .. import logs
from ..errors import InputError
from ..files import copy_whole, fingerprint, make_folder, plain, write_json
from ..inputs.weights import check_checkpoint_path, open_model, torch_model
from ..loading import load_checkpoint, read_checkpoint
from ..measuring.accuracy import accuracy, shared_data
from ..measuring.agreement import Reference
from ..pruning.checkpoint import RECORD, save_checkpoint
from ..pruning.options import PruneOptions
from ..pruning.prune import Pruner
from ..pruning.result import PruneResult
from ..recovery.images import split_images, squares_of
from ..recovery.loss import RecoveryLoss
from ..recovery.options import RecoverOptions
from ..recovery.recover import recover_model
from .options import Promise
from .search import Try, nearest_short, next_share, smallest

FLOPS = "flops"
TRIES = "tries.json"  # what was tried, beside its checkpoints


def prune_to_keep(
    weights: str | Path, save_dir: str | Path, promise: Promise, options: PruneOptions, is_last: bool = True
) -> PruneResult:
    """Save the smallest pruned model that keeps what is promised; or one that meets a target, if that keeps it.

    Args:
        weights: The checkpoint of the original.
        save_dir: The .pt file to write: the pruned model after its short recovery.
        promise: What is to be kept, and what it is measured on.
        options: How to prune, with images; `flops`, `params`, `size_mb` or `latency_ms` among them is a second goal.
        is_last: Whether nothing is trained after it. Else a model that meets a second goal and keeps too little is
            saved with a warning, as training may make up for it.

    Raises:
        InputError: The promise cannot be kept, alone or with the second goal; says what comes closest. Or as
            `prune_model`.
    """
    promise.check()
    path = check_checkpoint_path(save_dir)
    check_keep(options, has_images=options.images is not None)
    trials = _Trials(weights, path, promise, options)
    if goal := next(iter(options.targets.items()), None):
        return trials.within(goal, is_last)
    return trials.finish(trials.search())


def check_keep(options: PruneOptions, factor: float | None = None, has_images: bool = True) -> None:
    """Raise InputError where these options contradict a promise, leave nothing to measure on, or are for one try."""
    if factor is not None:
        raise InputError("keep= looks for how much to remove; leave factor= out")
    if options.steps != 1:
        raise InputError("keep= looks for one pruning that keeps enough, so it takes no steps=; leave one of them out")
    if not has_images or isinstance(options.images, torch.Tensor):
        raise InputError(
            "keep= measures what is kept: give images= a data set's YAML (the accuracy on its val images counts) or a "
            "folder of images (the agreement with the original counts)"
        )


def read_tries(file: Path, key: dict) -> list[Try]:
    """Return what an interrupted search with the same settings tried; none where the file is damaged."""
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        tries = [Try(**one) for one in state["tries"]]
        whole = all(0 < t.share <= 1 and math.isfinite(t.kept) and (t.asked is None or 0 < t.asked < 1) for t in tries)
        return tries if state["key"] == key and whole else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


class _Trials:
    """The models that are tried for one promise."""

    def __init__(self, weights: str | Path, path: Path, promise: Promise, options: PruneOptions):
        self.path, self.promise, self.weights = path, promise, str(weights)
        self.original = open_model(weights)
        torch_model(self.original, "prune")  # raises where it has no layers to work on
        self.images = options.images
        recover = {"imgsz": options.imgsz, "device": options.device, "iterations": promise.keep_iterations}
        self.recover = {key: value for key, value in recover.items() if value is not None}
        RecoveryLoss(self.original.model, self.original.model)  # raises where its predictions cannot be compared
        if not promise.data:
            learned, self.held = split_images(self.images, RecoverOptions().holdout)
            options = replace(options, images=learned)
        self.pruner = Pruner(self.original, options)
        self.imgsz = self.pruner.options.imgsz
        self._whole: float | None = None
        self._goal: tuple[str, float] | None = None
        self._latest: tuple[Try | None, PruneResult | None] = (None, None)
        self.tries: list[Try] = []
        self.folder = path.with_name(f".{path.stem}.keeping")
        self._go_on(options)

    def _go_on(self, options: PruneOptions) -> None:
        """Take up what an interrupted search with the same settings left."""
        is_timed = options.latency_ms is not None or options.cost == "time"
        device = options.device if is_timed else None  # of others it changes no result
        options = replace(options, images=None, retrain=None, device=device)
        settings = {**asdict(options), **asdict(self.promise), "keep": None}
        source = self.images if isinstance(self.images, (str, Path)) else len(self.images)
        key = {**settings, "images": str(source), "weights": fingerprint(self.weights)}
        self._key = plain(key)
        self.tries = [t for t in read_tries(self.folder / TRIES, self._key) if self._file(t.share).is_file()]
        if self.tries:
            LOGGER.info(f"keep: going on after {len(self.tries)} models that were tried earlier")
        else:
            if self.folder.is_dir():
                LOGGER.info(f"keep: {self.folder} is of a search with other settings, and made anew")
            shutil.rmtree(self.folder, ignore_errors=True)
            make_folder(self.folder)

    @property
    def whole(self) -> float:
        """What the original reaches, measured as the others are."""
        if self._whole is None:
            self._whole = self._measured_original()
            if not self._whole > 0:
                raise InputError("keep= of nothing: the original finds nothing in the images that it is measured on")
        return self._whole

    def _measured_original(self) -> float:
        if not self.promise.data:
            squares = squares_of(self.held, self.pruner.model, self.imgsz)
            return Reference(self.pruner.model, squares).agreement(self.pruner.model).value
        data = shared_data([self.weights, *self.folder.glob("*.pt")], self.promise.data)
        return accuracy(self.weights, data, self.imgsz, self.pruner.options.device)

    def _file(self, share: float) -> Path:
        return self.folder / f"{share:.6f}.pt"

    def search(self) -> Try:
        """Try models until the smallest that keeps enough is found.

        Raises:
            InputError: None of them does.
        """
        keep = self.promise.keep
        while share := next_share(self.tries, keep):
            self._try(share)
        if found := smallest(self.tries, keep):
            return found
        best = max(self.tries, key=lambda t: t.kept)
        raise InputError(
            f"keep={keep:g} cannot be met: the closest of {len(self.tries)} models keeps "
            f"{self.promise.words(best.kept)} at {best.share:.1%} of the GFLOPs; ask for less, give more images, or "
            f"let each learn for longer (keep_iterations={self.promise.keep_iterations}). {self._kept_for()}"
        )

    def _kept_for(self) -> str:
        return f"What was tried is kept in {self.folder}, and serves another keep= of the same settings"

    def within(self, goal: tuple[str, float], is_last: bool) -> PruneResult:
        """Save the model that meets a second goal, the largest that does, if it keeps enough."""
        keep, words = self.promise.keep, self.promise.words
        self._goal = goal
        what, value = goal
        found = self.tries[0] if self.tries else self._try(None)
        if found.kept >= keep:
            return self.finish(found)
        short = f"keep={keep:g}: with {what}={value:g} the model keeps {words(found.kept)}"
        if not is_last:
            LOGGER.warning(f"{short} before it is trained; what it keeps in the end is measured then")
            return self.finish(found)
        target = self.pruner.target(*goal)
        try:
            least = self.search()
        except InputError as error:
            raise InputError(f"{short}, and {error}") from None
        if target.measure(self._tried(least)).value <= target.goal:
            return self.finish(least)
        has, takes = (target.words(target.measure(self._tried(one)).value) for one in (found, least))
        raise InputError(
            f"keep={keep:g} and {what}={value:g} cannot both be met: with {has} the model keeps {words(found.kept)}, "
            f"and {words(least.kept)} take {takes} ({least.share:.1%} of the GFLOPs); ask for one of them, or let each "
            f"learn for longer (keep_iterations={self.promise.keep_iterations}). {self._kept_for()}"
        )

    def _try(self, share: float | None) -> Try:
        """Prune to a share of the GFLOPs, or to the second goal; recover, measure, and keep the model."""
        number, words = len(self.tries) + 1, f"{share:.1%} of the GFLOPs" if share else "{}={}".format(*self._goal)
        LOGGER.info(f"keep: model {number}, pruned to {words} ...")
        result, one = None, None
        hushed = logs.only(logging.ERROR if self.tries else logging.WARNING)  # warnings are the same for all of them
        with tempfile.TemporaryDirectory() as scratch, hushed:
            pruned, recovered = Path(scratch, "pruned.pt"), Path(scratch, "recovered.pt")
            result = self._pruned(share, pruned)
            recovery = recover_model(open_model(pruned), self.original, self.images, recovered, **self.recover)
            has = result.gflops[1] / result.gflops[0]
            copy_whole(recovered, self._file(has))
            reached = recovery.after.value
            if self.promise.data:
                reached = accuracy(recovered, self.promise.data, self.imgsz, self.pruner.options.device)
            one = Try(has, reached / self.whole, share)
        self.tries.append(one)
        if smallest(self.tries, self.promise.keep) in (one, None):
            self._latest = one, result
        state = {"key": self._key, "tries": [asdict(t) for t in self.tries]}
        write_json(self.folder / TRIES, state)
        LOGGER.info(f"keep: model {number} has {has:.1%} of the GFLOPs and keeps {self.promise.words(one.kept)}")
        return one

    def _pruned(self, share: float | None, path: Path) -> PruneResult:
        """Prune to a share of the GFLOPs, as near as widths allow, or to the second goal."""
        asked = (FLOPS, share) if share else self._goal
        return self.pruner.prune(path, None, asked, self.pruner.target(*asked, loose=bool(share)))

    def _tried(self, one: Try) -> nn.Module:
        """Return a model that was tried."""
        return load_checkpoint(self._file(one.share))[0].float().eval()

    def finish(self, found: Try) -> PruneResult:
        """Save a model that was tried; return what its pruning did."""
        if self._latest[0] == found:
            result = self._latest[1]
        else:  # it was tried before an interruption, or is not the latest
            with tempfile.TemporaryDirectory() as scratch, logs.only(logging.WARNING):
                result = self._pruned(found.asked, Path(scratch, "pruned.pt"))
        checkpoint, model = read_checkpoint(self._file(found.share)), self._tried(found)
        short = nearest_short(self.tries, self.promise.keep)
        told = {**asdict(self.promise), "kept": found.kept, "original": self.whole, "tries": len(self.tries)}
        told["short"] = asdict(short) if short else None
        save_checkpoint(model, self.path, {**checkpoint[RECORD], "promise": told}, checkpoint)
        shutil.rmtree(self.folder, ignore_errors=True)
        result = replace(result, path=self.path, model=model, promise=self._told(found, short))
        LOGGER.info(f"{result}")
        return result

    def _told(self, found: Try, short: Try | None) -> str:
        """Say what the model that was found keeps, and what the next smaller one did."""
        at = f"; at {short.share:.1%} of the GFLOPs it was {short.kept:.1%}" if short else ""
        steps = f"{len(self.tries)} models tried, {self.promise.keep_iterations} steps of recovery each"
        return f"keeps {self.promise.words(found.kept)}{at} ({steps})"
