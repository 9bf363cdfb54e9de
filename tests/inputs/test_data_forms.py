"""A data set in every form that Ultralytics trains on is taken wherever data is read."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.slim.errors import KindError, MissingFileError, SlimError
from ultralytics.slim.exporting.export import export_model
from ultralytics.slim.inputs.data import as_yaml, check_data, find_data, prepare_data
from ultralytics.slim.inputs.unlabelled import load_images
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score.labelled import LabelledImages
from ultralytics.slim.runs.run_settings import RunSettings
from ultralytics.slim.runs.settle import settled
from ultralytics.utils import YAML

from short_runs import SHORT

FORMS = ("yaml", "folder", "archive", "name", "ndjson")


@pytest.fixture(autouse=True)
def converted_here(tmp_path, monkeypatch):
    """Keep what Ultralytics unpacks and converts out of the user's folder of data sets."""
    for module in ("ultralytics.data.converter", "ultralytics.data.utils"):
        monkeypatch.setattr(f"{module}.DATASETS_DIR", tmp_path / "datasets")
    as_yaml.__globals__["_as_yaml"].cache_clear()


def in_form(form: str, tiny_data: Path, folder: Path) -> str:
    """Return what `data=` is given for the tiny data set in one of `FORMS`, below `folder`, the working directory."""
    root = folder / "mine"
    shutil.copytree(tiny_data.parent, root, ignore=shutil.ignore_patterns("*.cache"))
    YAML.save(root / "tiny.yaml", {**YAML.load(tiny_data), "path": root.as_posix()})
    if form == "yaml":
        return str(root / "tiny.yaml")
    if form == "folder":
        return str(root)
    if form == "name":
        shutil.copy(root / "tiny.yaml", folder / "small.yaml")
        return "small"
    if form == "archive":
        with zipfile.ZipFile(folder / "mine.zip", "w") as archive:
            for file in sorted(root.rglob("*.*")):
                archive.write(file, file.relative_to(folder))
        shutil.rmtree(root)
        return str(folder / "mine.zip")
    return str(as_ndjson(root))


def as_ndjson(root: Path) -> Path:
    records = [{"type": "dataset", "task": "detect", "path": ".", "class_names": {"0": "box", "1": "disc"}}]
    for image in sorted(root.glob("images/*/*.png")):
        labels = root / "labels" / image.parent.name / f"{image.stem}.txt"
        boxes = [[float(number) for number in line.split()] for line in labels.read_text().splitlines()]
        boxes = [[int(number), *box] for number, *box in boxes]
        records.append(
            {"type": "image", "file": image.name, "split": image.parent.name, "annotations": {"boxes": boxes}}
        )
    path = root / "tiny.ndjson"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_everywhere(form, tiny_data, tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = in_form(form, tiny_data, tmp_path)
    prepared = prepare_data(data)
    assert Path(prepared).suffix == ".yaml" and prepare_data(prepared) == prepared
    found = check_data(prepared)
    assert found["names"] == {0: "box", 1: "disc"}
    assert [len(list(Path(found[split]).iterdir())) for split in ("train", "val")] == [8, 4]
    settings = settled(RunSettings.read({"weights": weights, "data": data, "imgsz": 64}))
    assert settings.recorded["data"] == str(Path(prepared).resolve())
    if form in ("folder", "name"):
        return  # as `images=` these are a folder of images, and no file at all
    assert load_images(data, 64).shape == (8, 3, 64, 64)
    yolo = YOLO(weights)
    yolo.model.names = {**yolo.model.names, 0: "box", 1: "disc"}
    assert LabelledImages(yolo.model, data, "val", 64).count == 4


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_trained_on_and_measured(form, tiny_data, tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, model = in_form(form, tiny_data, tmp_path), PruneModel(weights)
    options = {**SHORT, "epochs": 1, "project": str(tmp_path), "name": "run"}
    trained = model.train(tmp_path / "trained.pt", data=data, **options)
    assert trained.path.exists()
    if form not in ("folder", "name"):
        prune_model(YOLO(trained.path), tmp_path / "small.pt", 0.5, images=data, score="taylor", imgsz=64)
        assert export_model(trained.path, "onnx-int8", data, imgsz=64).exists()
    assert len(model.check_exports("torchscript", data, imgsz=64)) == 2
    assert YOLO(trained.path).names == {0: "box", 1: "disc"}


def test_a_changed_ndjson_is_converted_anew(tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = Path(in_form("ndjson", tiny_data, tmp_path))
    assert len(list(Path(check_data(data)["val"]).iterdir())) == 4
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(lines[:-1]))
    assert len(list(Path(check_data(data)["val"]).iterdir())) == 3


def test_what_is_no_data_is_one_message(tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="data=nothing: no such file"):
        find_data("nothing")
    with pytest.raises(KindError, match="one data set is taken at a time"):
        prepare_data([str(tiny_data), str(tiny_data)])
    Path("empty").mkdir()
    Path("broken.zip").write_text("no archive")
    Path("broken.ndjson").write_text("{}\n{}\n")
    Path("none.ndjson").write_text("no json\n")
    for data in ("empty", "broken.zip", "broken.ndjson", "none.ndjson"):
        with pytest.raises(SlimError):
            prepare_data(data)
    Path("mine.ndjson").write_text('{"type": "dataset", "task": "detect", "class_names": {"0": "a"}}\n')
    with pytest.raises(SlimError, match="missing required 'train' split"):
        prepare_data("mine.ndjson")
