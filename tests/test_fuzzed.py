"""Whatever is damaged or odd is told in one message, or read rightly: seeded damage to everything that is read.

A fault is any other error, a file that is left half-written, or something wrong that is accepted.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
import torch
from memory import little_memory

import prune_model
from patches.apply import apply
from patches.errors import PatchError
from patches.revert import revert
from patches.state import STATE
from relation import check_parents
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.slim import logs
from ultralytics.slim.command.running import message
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.errors import SlimError
from ultralytics.slim.front.front import RECORD, Front
from ultralytics.slim.front.settings import FrontSettings
from ultralytics.slim.inputs import images as image_module
from ultralytics.slim.inputs.data import check_data
from ultralytics.slim.inputs.images import check_images, check_rows, list_images
from ultralytics.slim.inputs.weights import open_model, torch_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.plabels import read_plabels
from ultralytics.slim.promise.keep import read_tries
from ultralytics.slim.promise.search import next_share
from ultralytics.slim.recovery.options import RecoverOptions
from ultralytics.slim.recovery.recover import _Recovering
from ultralytics.slim.recovery.state import state_file
from ultralytics.slim.resuming import STATE as TRAINING_STATE
from ultralytics.slim.resuming import find_state
from ultralytics.slim.runs.record import Run
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.utils import IterableSimpleNamespace

from fake_upstream import UPSTREAM, Project
from mutations import ODD_WORDS, damaged_bytes, damaged_text, damaged_value
from random_models import seeing

FEW, MANY = range(50), range(50, 500)
ROOM = 4096  # MB; a pickle with one wrong number in it may ask for all that there is
REFUSED = object()
Trial = Callable[[Random], None]


def told(work: Callable[[], object]) -> object:
    """Return what the work returns, or REFUSED where it says in one message why not."""
    try:
        return work()
    except (SlimError, PatchError) as error:
        assert message(error), "a message says something"
        return REFUSED


class Folder:
    """What is damaged, each kind in a folder of its own; a trial restores what the one before it damaged."""

    def __init__(self, folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        shutil.copytree(data.parent, folder / "data", ignore=shutil.ignore_patterns("*.cache"))
        self.yaml = folder / "data/tiny.yaml"
        self.yaml.write_text(data.read_text().replace(data.parent.as_posix(), self.yaml.parent.as_posix()))

    def labels(self) -> Trial:
        """Those of one of eight images; what is accepted is one row an object, of a class that there is."""
        images = list_images(str(self.yaml.parent / "images/train"))
        label = self.yaml.parent / "labels/train/train0.txt"
        whole = label.read_text()

        def trial(random: Random) -> None:
            label.write_bytes(damage(random, whole))
            if told(lambda: check_rows(images, "train", {"nc": 2})) is REFUSED:
                return
            for row in label.read_text(encoding="utf-8-sig").splitlines():
                number, *sides = map(float, row.split() or [0])
                assert number in (0, 1) and (len(sides) in (0, 4) or len(sides) >= 6)
                assert all(-0.011 <= side <= 1.011 for side in sides)

        return trial

    def plabels(self) -> Trial:
        file = self.folder / "a.txt"
        rows = (
            "0 0.5 0.5 0.8 0.8 0 0 0 0 -1",
            "1 0.5 0.5 0.4 0.4 0.5 0.5 0.8 0.8 0",
            "1 0.4 0.5 0.2 0.2 0.5 0.5 0.4 0.4 1",
        )
        whole = "\n".join(rows) + "\n"

        def trial(random: Random) -> None:
            file.write_bytes(damage(random, whole))
            found = told(lambda: read_plabels(file))
            if found is not REFUSED:
                assert np.isfinite(found.boxes).all() and min(found.classes, default=0) >= 0
                assert check_parents(found.parents, found.boxes) == found.parents

        return trial

    def data_yamls(self) -> Trial:
        whole, file = self.yaml.read_text(), self.yaml.with_name("other.yaml")

        def trial(random: Random) -> None:
            file.write_bytes(damage(random, whole))
            found = told(lambda: check_data(str(file)))
            if found is not REFUSED:
                assert found["nc"] == len(found["names"]) >= 1
                assert all(isinstance(name, str) for name in found["names"].values())
                assert list_images(found["train"]) and list_images(found["val"])

        return trial

    def images(self) -> Trial:
        picture = cv2.imread(str(self.yaml.parent / "images/val/val0.png"))
        endings = [".bmp", ".jp2", ".jpg", ".png", ".tif", ".webp"]
        wholes = {ending: cv2.imencode(ending, picture)[1].tobytes() for ending in endings}

        def trial(random: Random) -> None:
            file = self.folder / f"a{random.choice(endings)}"
            file.write_bytes(damaged_bytes(random, wholes[file.suffix]))
            if told(lambda: check_images([file])) is not REFUSED:
                assert image_module.patches.imread(str(file)) is not None

        return trial

    def checkpoints(self) -> Trial:
        cfg = {**yaml_model_load("yolov8n.yaml"), "scales": {"n": [0.33, 0.0625, 64]}, "nc": 2}
        file, model = self.folder / "a.pt", DetectionModel(cfg, verbose=False)
        model.args, model.names = {"task": "detect"}, {0: "box", 1: "disc"}
        whole = {"model": model, "ema": None, "epoch": 3, "train_args": {"imgsz": 64, "task": "detect"}, "version": "8"}
        torch.save(whole, file)
        content, picture = file.read_bytes(), torch.zeros(1, 3, 64, 64)

        def work() -> object:
            network = torch_model(open_model(file), "the test")
            try:
                return network(picture)[0]
            except AttributeError:  # a name within the pickle was damaged, which the layer alone can notice
                return REFUSED

        def trial(random: Random) -> None:
            if random.random() < 0.5:
                file.write_bytes(damaged_bytes(random, content))
            else:
                torch.save(
                    damaged_value(random, {**whole, "model": None}) if random.random() < 0.3 else odd(random), file
                )
            found = told(work)
            assert found is REFUSED or found.isfinite().all()

        def odd(random: Random) -> dict:
            """A whole model in a checkpoint with something else that is wrong."""
            rest = damaged_value(random, {key: value for key, value in whole.items() if key != "model"})
            return {**rest, "model": model} if isinstance(rest, dict) else {"model": model, "train_args": rest}

        return trial

    def run_records(self) -> Trial:
        weights = self.folder / "start.pt"
        weights.write_bytes(b"the original")
        settings = RunSettings.read({"weights": str(weights), "data": str(self.yaml), "imgsz": 64})
        run = Run.start(self.folder / "runs", "run", settings)
        (run.folder / "weights").mkdir()
        run.stage("sparse", lambda out: out.write_bytes(b"sparse"))
        whole = json.loads(run.record.read_text())

        def work() -> Path:
            again = Run.resume(self.folder / "runs", "run", {})
            with again:
                return again.stage("sparse", lambda out: out.write_bytes(b"anew"))

        def trial(random: Random) -> None:
            run.record.write_bytes(damaged_json(random, whole))
            before = run.record.read_bytes()
            if told(work) is REFUSED:
                assert run.record.read_bytes() == before
            else:
                assert json.loads(run.record.read_text())["stages"]["sparse"]["sha256"]
            (run.folder / "weights/sparse.pt").write_bytes(b"sparse")

        return trial

    def training_states(self) -> Trial:
        file = self.folder / "weights" / TRAINING_STATE
        file.parent.mkdir()
        whole = {"epochs": 3, "distiller": None, "gamma_median": 0.5, "gamma_history": {"rows": [[1.0, 2.0]]}}
        torch.save(whole, file)
        content, args = file.read_bytes(), IterableSimpleNamespace(model=str(file.with_name("last.pt")))

        def trial(random: Random) -> None:
            if random.random() < 0.5:
                file.write_bytes(damaged_bytes(random, content))
            else:
                torch.save(damaged_value(random, whole), file)
            assert told(lambda: find_state(args, file.parent, 3)) in (file, None, REFUSED)

        return trial

    def recovery_states(self) -> Trial:
        """Of a recovery that had not made a step."""
        folder = draw_dataset(self.folder / "drawn/diagram", train=2, val=1)
        model = load_checkpoint(seeing(folder / "images/train", self.folder / "seeing.pt"))[0]
        path, options = self.folder / "a.pt", RecoverOptions(iterations=9, batch=2, imgsz=96, device="cpu")
        with logs.only(logging.ERROR):  # that two images are few
            recovering = _Recovering(model, copy.deepcopy(model), folder / "images/train", options, path)
        recovering._save_state()
        file, keys = state_file(path), ("key", "progress")
        content, whole = file.read_bytes(), torch.load(file, weights_only=True)

        def trial(random: Random) -> None:
            if random.random() < 0.5:
                file.write_bytes(damaged_bytes(random, content))
            elif random.random() < 0.2:
                torch.save({**whole, random.choice(list(whole)): random.choice((None, [], {}, 3))}, file)
            else:
                odd = damaged_value(random, {key: whole[key] for key in keys})
                torch.save({**whole, **odd} if isinstance(odd, dict) else odd, file)
            if told(recovering.go_on) is not REFUSED:
                assert 0 <= recovering.progress.best_step <= recovering.progress.step <= recovering.progress.steps

        return trial

    def fronts(self) -> Trial:
        """A front.json; what is accepted names models of the front with shares that can be pruned to."""
        file, weights = self.folder / RECORD, self.folder / "start.pt"
        weights.write_bytes(b"the original")
        given = {"weights": str(weights), "data": str(self.yaml), "imgsz": 64, "shares": "0.6,0.3"}
        front = Front(self.folder, FrontSettings.of_record(given), {"60 %": {"file": "a", "sha256": "b", "share": 0.6}})
        front.save()
        whole = json.loads(file.read_text())

        def trial(random: Random) -> None:
            file.write_bytes(damaged_json(random, whole))
            found = told(lambda: Front.resume(self.folder, {}))
            if found is not REFUSED:
                assert all(0 < share < 1 for share in found.settings.shares)
                assert all(model["share"] in found.settings.shares for model in found.models.values())

        return trial

    def tries(self) -> Trial:
        """What a search for keep= tried; what is accepted can be gone on from."""
        file = self.folder / "tries.json"
        whole = {"key": {"a": 1}, "tries": [{"share": 0.4, "kept": 0.9, "asked": 0.4}, {"share": 0.6, "kept": 0.99}]}

        def trial(random: Random) -> None:
            file.write_bytes(damaged_json(random, whole))
            share = next_share(read_tries(file, whole["key"]), 0.95)
            assert share is None or 0 < share < 1

        return trial

    def notes(self) -> Trial:
        """The note of a patched package: `revert` takes everything back, or touches nothing."""
        (self.folder / "patched").mkdir()
        project = Project(self.folder / "patched", self.monkeypatch)
        package = self.folder / "patched/checkout/ultralytics"
        for file, content in UPSTREAM.items():
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            (package / file).write_bytes(content)
        apply(package, project.folder, project.package / "slim")
        whole = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
        note = json.loads(whole[package / STATE])

        def trial(random: Random) -> None:
            shutil.rmtree(package)
            for path, content in whole.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            odd = damaged_json(random, note)
            (package / STATE).write_bytes(odd)
            refused = told(lambda: revert(package)) is REFUSED
            now = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
            if refused:
                assert now == {**whole, package / STATE: odd}
            else:
                assert not [path for path in now if path.suffix not in (".py", ".yaml")]

        return trial

    def command_lines(self) -> Trial:
        """Of any words; the weights are not there, so nothing is begun."""
        stages = "run front sparse analyse prune recover train distill compare predict evaluate export".split()
        keys = "data imgsz epochs factor flops keep shares cost loss_type format source classes prune.score device"
        keys += " distill.freeze lr0"
        self.monkeypatch.chdir(self.folder)

        def trial(random: Random) -> None:
            words = [random.choice(stages)] if random.random() < 0.8 else []
            for _ in range(random.randrange(1, 5)):
                key = random.choice(keys.split()) if random.random() < 0.8 else random.choice(ODD_WORDS)
                words.append(f"{key}={random.choice(ODD_WORDS)}" if random.random() < 0.9 else key)
            before = sorted(self.folder.iterdir())
            assert prune_model.main([*words, "weights=nope.pt"]) in (1, 2), words
            assert sorted(self.folder.iterdir()) == before

        return trial


def damage(random: Random, text: str) -> bytes:
    if random.random() < 0.3:
        return damaged_bytes(random, text.encode())
    return damaged_text(random, text).encode("utf-8", "surrogateescape")


def damaged_json(random: Random, value: object) -> bytes:
    if random.random() < 0.3:
        return damage(random, json.dumps(value))
    return json.dumps(damaged_value(random, value)).encode()


KINDS = "labels plabels data_yamls images checkpoints run_records training_states recovery_states notes".split()
KINDS += ["fronts", "tries", "command_lines"]


def check(kind: str, numbers: range, folder: Path, data: Path, monkeypatch, capsys) -> None:
    trial = getattr(Folder(folder, data, monkeypatch), kind)()
    faults = {}
    for number in numbers:
        try:
            with little_memory(ROOM):
                trial(Random(number))
        except Exception as error:
            faults[number] = error
        said = capsys.readouterr().err if kind == "command_lines" else ""
        if "Traceback" in said:
            faults[number] = said[-300:]
    assert not faults, f"{len(faults)} of {len(numbers)}: " + "\n".join(f"{n}: {e!r:.300}" for n, e in faults.items())


@pytest.mark.parametrize("kind", KINDS)
def test_damaged(kind, tiny_data, tmp_path, monkeypatch, capsys):
    check(kind, FEW, tmp_path, tiny_data, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_in_many_ways(kind, tiny_data, tmp_path, monkeypatch, capsys):
    """All of them with SLIM_EVERY_POINT=1 in the environment, as once a week, also where a network runs in each."""
    few = kind in ("checkpoints", "recovery_states") and not os.environ.get("SLIM_EVERY_POINT")
    check(kind, MANY[:150] if few else MANY, tmp_path, tiny_data, monkeypatch, capsys)
