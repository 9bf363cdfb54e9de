"""Exports: every format that runs here says what PyTorch says, and what cannot be exported is one clear message."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import prune_model
from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.engine.model import Model
from ultralytics.slim.diagrams.dataset import draw_dataset
from ultralytics.slim.errors import InputError, SlimError, WriteError
from ultralytics.slim.exporting import check, export, formats
from ultralytics.slim.exporting.check import ORIGINAL, TORCH, ExportTable, agreement, check_exports, compare_exports
from ultralytics.slim.exporting.export import _place, export_model, hushed
from ultralytics.slim.exporting.formats import HALVED, packages_of, read_formats, takes
from ultralytics.slim.fewer_classes import only_classes
from ultralytics.slim.inputs import weights
from ultralytics.slim.inputs.data import check_data
from ultralytics.slim.inputs.unlabelled import given_images
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.detections import Found, choose_images
from ultralytics.slim.pruning.prune import prune_model as prune
from ultralytics.utils import DEFAULT_CFG_DICT

from places import ROOT
from short_runs import MINI
from task_data import make_task_data

FORMATS = [name for name in ("torchscript", "onnx", "openvino", "ncnn") if all(map(find_spec, packages_of(name)))]
IMGSZ = 160
FACTOR = 0.05  # more would need retraining to find anything


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> str:
    """The YAML of a few drawn diagrams, as the shipped model was trained on."""
    folder = draw_dataset(tmp_path_factory.mktemp("drawn") / "diagrams", 2, 4)
    text = (ROOT / "diagram.yaml").read_text(encoding="utf-8").partition("names:")
    path = folder / "drawn.yaml"
    path.write_text(f"path: {folder.as_posix()}\ntrain: images/train\nval: images/val\n{''.join(text[1:])}")
    return str(path)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, drawn) -> Path:
    """The shipped model without some of its channels."""
    path = tmp_path_factory.mktemp("pruned") / "small.pt"
    prune(YOLO(ROOT / "weights/diagram-yolov8n.pt"), path, FACTOR)
    return path


@pytest.fixture
def small(pruned, tmp_path) -> Path:
    return Path(shutil.copy(pruned, tmp_path / "small.pt"))


@pytest.fixture
def mini(tmp_path) -> Path:
    """The small network, untrained, in a folder of its own."""
    (tmp_path / "mini").mkdir()
    YOLO(MINI).save(tmp_path / "mini/mini.pt")
    return tmp_path / "mini/mini.pt"


def found(*rows) -> Found:
    """Return detections from rows of x1, y1, x2, y2, class, score."""
    rows = np.array(rows, float).reshape(-1, 6)
    return Found(rows[:, :4], rows[:, 4].astype(int), rows[:, 5], ["x"] * len(rows))


# ---------------------------------------------------------------------------------------------------------- agreement


def test_agreement_by_hand():
    """Three of PyTorch's four are found again, once at another score; of the other's five two are its own."""
    reference = [
        found((0, 0, 10, 10, 0, 0.9), (20, 0, 30, 10, 1, 0.8)),
        found((0, 0, 10, 10, 0, 0.5), (50, 50, 60, 60, 0, 0.4)),
    ]
    other = [
        found((0, 0, 10, 9.5, 0, 0.8), (20, 0, 30, 10, 1, 0.79)),
        found((0, 0, 10, 10, 0, 0.5), (50, 50, 60, 58, 0, 0.4), (80, 80, 90, 90, 0, 0.3)),
    ]
    agreed = agreement(reference, other)
    assert agreed["of_torch"] == 3 / 4 and agreed["of_own"] == 3 / 5
    assert agreed["score_median"] == pytest.approx(0.01) and agreed["score_max"] == pytest.approx(0.1)


def test_agreement_without_detections():
    nothing = agreement([found()], [found()])
    assert set(nothing.values()) == {None}
    one_sided = agreement([found()], [found((0, 0, 1, 1, 0, 0.5))])
    assert (one_sided["of_torch"], one_sided["of_own"], one_sided["score_max"]) == (None, 0, None)


# ---------------------------------------------------------------------------------------------------- the real formats


@pytest.fixture(scope="module")
def table(pruned, drawn, tmp_path_factory) -> ExportTable:
    """The comparison in all formats whose packages are installed."""
    small = shutil.copy(pruned, tmp_path_factory.mktemp("all") / "small.pt")
    return PruneModel(small).check_exports(FORMATS, drawn, imgsz=IMGSZ, images=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchscript", "onnx", "openvino", "ncnn"])
def test_every_format_says_what_pytorch_says(table, name):
    """In float32 nothing is lost but rounding; OpenVINO computes in bfloat16 where the processor has it."""
    if name not in FORMATS:
        pytest.skip(f"needs {' and '.join(packages_of(name))}: pip install -e '.[export-all]'")
    assert table[0].format == "PyTorch" and table[0].found > 15, "there is something to compare"
    row = next(row for row in table if row.format == name)
    assert min(row.of_torch, row.of_own) >= (0.9 if name == "openvino" else 1)
    assert row.score_max < (0.1 if name == "openvino" else 1e-3)
    assert row.latency.median_ms > 0 and row.size_mb > 1


@pytest.mark.slow
def test_the_files_lie_beside_the_checkpoint_and_nothing_else_does(table):
    made = [Path(row.path) for row in table]
    assert sorted(made[0].parent.iterdir()) == sorted(made) and len(table) == 1 + len(FORMATS)


@pytest.mark.slow
def test_an_exported_model_finds_parents(table, drawn):
    """`rect=False`: PyTorch pads each image to the square that an export has."""
    of_torch, *others = [
        PruneModel(row.path).evaluate(Path(drawn).parent, save=False, imgsz=IMGSZ, rect=False, device="cpu")
        for row in table
    ]
    assert of_torch.f1 > 0.3 and len(others) == len(FORMATS)
    assert [scores.f1 for scores in others] == pytest.approx([of_torch.f1] * len(others), abs=0.03)


@pytest.mark.slow
def test_another_model_in_the_file_is_seen(small, drawn):
    """What `check` reports is about the file on disk: put a model with other class scores there, and it shows."""
    path = export_model(small, "torchscript", imgsz=IMGSZ)
    other = YOLO(small)
    for head in other.model.model[-1].cv3:
        head[-1].bias.data -= 1
    other.save(small.with_name("other.pt"))
    shutil.move(export_model(small.with_name("other.pt"), "torchscript", imgsz=IMGSZ), path)
    images = sorted((Path(drawn).parent / "images/val").iterdir())
    row = compare_exports(small, {"torchscript": path}, images, imgsz=IMGSZ)[1]
    assert row.of_torch < 1 and row.score_max > 0.1


@pytest.mark.slow
@pytest.mark.skipif("onnx" not in FORMATS, reason="needs onnx and onnxruntime: pip install -e '.[export]'")
def test_int8_is_smaller_and_keeps_the_float_export(small, drawn):
    """Ultralytics' own int8 export deletes a float32 file of the same checkpoint."""
    table = PruneModel(small).check_exports("onnx,onnx-int8", drawn, imgsz=IMGSZ, images=4)
    floats, int8 = table[1:]
    assert Path(floats.path).is_file() and Path(int8.path).is_file()
    assert int8.size_mb < 0.4 * floats.size_mb
    assert int8.of_torch is not None and floats.score_max < int8.score_max


@pytest.mark.slow
def test_half_precision_is_half_the_size_and_keeps_the_float_export(small, drawn):
    """In every runtime that takes it; a checkpoint is in half precision itself."""
    names = [name for name in FORMATS if name in HALVED]
    table = PruneModel(small).check_exports(",".join(f"{n}-fp16" for n in names), drawn, imgsz=IMGSZ, images=4)
    rows = {row.format: row for row in table}
    assert list(rows) == ["PyTorch", *(one for name in names for one in (name, f"{name}-fp16"))]
    for name in names:
        whole, half = rows[name], rows[f"{name}-fp16"]
        assert half.size_mb < 0.6 * whole.size_mb and Path(half.path).exists() and Path(whole.path).exists(), name
        assert half.of_torch >= 0.9 and half.map50_95 == pytest.approx(whole.map50_95, abs=0.02), name


@pytest.mark.slow
def test_files_of_a_forks_own_class_run_through_it(small, drawn, monkeypatch):
    """Such as YOLOv10 of the fork that brought it, which is no YOLO: it alone knows what its head puts out."""
    opened = []

    class Own(Model):
        def __init__(self, model, task=None):
            super().__init__(model, task)
            opened.append(Path(model).suffix)

        task_map = YOLO.task_map

    monkeypatch.setattr(weights, "own_class", lambda network: (Own, {}))
    table = PruneModel(small).check_exports("torchscript", drawn, imgsz=IMGSZ, images=4)
    assert opened.count(".pt") >= 1 and opened.count(".torchscript") == 1
    assert table[0].found > 0 and table[1].of_torch == 1


@pytest.mark.slow
def test_a_file_that_cannot_run_here_leaves_the_others(small, drawn, tmp_path):
    path = export_model(small, "torchscript", imgsz=IMGSZ)
    (tmp_path / "bad.torchscript").write_text("not a model")
    images = sorted((Path(drawn).parent / "images/val").iterdir())[:2]
    table = compare_exports(small, {"bad": tmp_path / "bad.torchscript", "torchscript": path}, images, imgsz=IMGSZ)
    assert table[1].latency is None and table[1].of_torch is None and table[2].of_torch == 1
    assert str(table).splitlines()[3].split()[2:] == ["–"] * 7


# ------------------------------------------------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onx", "format=onx: no such format (did you mean 'onnx'"),
        ("torchscript-int8", "expected one of torchscript, onnx"),
        ("onnx,onx", "format=onx"),
        ("onnx-int8", "int8 needs data="),
    ],
)
def test_bad_formats_are_named(small, name, message, capsys):
    assert prune_model.main(["export", f"weights={small}", f"format={name}"]) == 1
    assert message in capsys.readouterr().err


def test_missing_packages_are_named_before_anything_is_exported(small, monkeypatch, capsys, drawn):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name in ("ncnn", "pnnx", "nncf") else name)
    words = ["export", f"weights={small}", "format=torchscript,ncnn,openvino-int8", f"data={drawn}"]
    assert prune_model.main(words) == 1
    assert "needs ncnn and pnnx and nncf: pip install ncnn pnnx nncf" in capsys.readouterr().err
    with pytest.raises(ImportError, match="pip install ncnn pnnx"):
        prune_model.compress(str(small.parent / "runs"), weights=str(small), data=drawn, format="ncnn")
    assert [p.name for p in small.parent.iterdir()] == ["small.pt"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("images=0", 1, "images=0: expected how many images"),
        ("images=-3", 1, "images=-3: expected how many images"),
        ("images=True", 1, "images=True: expected how many images"),
        ("conf=2", 1, "'conf=2' is an invalid value"),
        ("conf=abc", 1, "'conf=abc' is of invalid type"),
        ("original=nowhere.pt", 1, "original=nowhere.pt: no such file"),
        ("format=onnx-int8 quantize=8", 1, "format=onnx-int8 names its precision: leave quantize= out"),
        ("format=onnx-fp16 quantize=16", 1, "format=onnx-fp16 names its precision"),
        ("data= accuracy=False", 2, "accuracy= is for a comparison with PyTorch: add data= or images="),
        ("data= original=best.pt", 2, "original= is for a comparison with PyTorch"),
        ("data= ranges=photos", 2, "ranges= is for a comparison with PyTorch"),
    ],
)
def test_options_are_refused_before_anything_is_exported(mini, tiny_data, capsys, words, status, message):
    given = dict(word.split("=") for word in f"format=torchscript data={tiny_data} imgsz=64 {words}".split())
    line = [f"{key}={value}" for key, value in given.items() if value]
    assert prune_model.main(["export", f"weights={mini}", *line]) == status
    assert message in capsys.readouterr().err and list(mini.parent.iterdir()) == [mini]


@pytest.mark.slow
def test_images_are_a_number_of_those_of_the_data(mini, tiny_data, log, monkeypatch):
    monkeypatch.setattr(check, "REST", 0)
    words = [f"weights={mini}", f"data={tiny_data}", "images=2", "format=torchscript", "imgsz=32"]
    assert prune_model.main(["export", *words]) == 0 and "Detections in 2 images" in log.text


# ------------------------------------------------------------------------------------------- Ultralytics' own int8


@pytest.fixture
def asked(monkeypatch) -> dict:
    """The options of an export by Ultralytics, which makes nothing worth the name."""
    options = {}

    def made(self, **given):
        options.update(given)
        Path(self.model.pt_path).with_suffix(".made").write_text("x")
        return str(Path(self.model.pt_path).with_suffix(".made"))

    monkeypatch.setattr(YOLO, "export", made)
    return options


@pytest.mark.parametrize("how", [{"quantize": 8}, {"quantize": "int8"}, {"quantize": "w8a16"}])
@pytest.mark.parametrize("name", ["onnx", "engine"])
def test_int8_of_ultralytics_takes_its_ranges_from_the_data(mini, tiny_data, asked, name, how):
    export_model(mini, name, str(tiny_data), imgsz=64, **how)
    assert asked == {**asked, "data": str(tiny_data), "split": "train", "fraction": 1.0, **how}
    with pytest.raises(InputError, match=f"format={name} takes its ranges from data="):
        export_model(mini, name, images="photos", imgsz=64, **how)


def test_a_data_set_may_be_called_images(mini, asked, tiny_data, tmp_path):
    """Its `path:` holds seen from where the YAML lies, and Ultralytics looks in the working directory."""
    shutil.copytree(tiny_data.parent / "images", tmp_path / "set/images")
    shutil.copytree(tiny_data.parent / "labels", tmp_path / "set/labels")
    yaml = tmp_path / "set/my.yaml"
    yaml.write_text("path: .\ntrain: images/train\nval: images/val\nnames: [box, decision]\n")
    export_model(mini, "onnx", images=str(yaml), imgsz=64, quantize=8)
    assert check_data(asked["data"])["train"] == str(tmp_path / "set/images/train")


def test_what_ultralytics_warns_of_is_said_once(mini, asked, tiny_data, log):
    export_model(mini, "torchscript", str(tiny_data), imgsz=64, half=True)
    assert "deprecated" not in log.text and asked["half"]  # that is its own export's to say, which is made up here


def test_a_whole_model_in_a_file_is_exported_beside_it(mini, asked, tmp_path):
    torch.save(load_checkpoint(mini)[0], tmp_path / "whole.pt")
    assert export_model(tmp_path / "whole.pt", "torchscript") == tmp_path / "whole.made"


@pytest.mark.parametrize(("name", "how"), [("onnx", {}), ("onnx", {"quantize": 16}), ("mnn", {"quantize": 8})])
def test_other_exports_are_handed_no_data(mini, tiny_data, asked, name, how):
    """MNN's int8 has no ranges, and Ultralytics refuses data= with it."""
    export_model(mini, name, str(tiny_data), imgsz=64, **how)
    assert "data" not in asked and "fraction" not in asked


@pytest.mark.parametrize(
    ("listed", "taken"),
    [
        ({}, {"onnx", "mnn"}),
        ({"Arguments": [["half"], ["int8"]]}, {"onnx", "mnn"}),
        ({"Arguments": [["data"], ["int8"]]}, {"onnx"}),
    ],
)
def test_releases_tell_which_formats_take_an_option_or_do_not(monkeypatch, listed, taken):
    monkeypatch.setattr(formats, "export_formats", lambda: {"Argument": ["onnx", "mnn"], **listed})
    assert {name for name in ("onnx", "mnn") if takes(name, "data")} == taken


def test_one_array_is_a_source_of_images(mini, monkeypatch):
    seen = []
    monkeypatch.setattr(export, "split_for_ranges", lambda source: seen.append(source) or ([], []))
    monkeypatch.setattr(export, "_converted", lambda *_: mini)
    monkeypatch.setattr(export, "quantise", lambda *_: mini)
    photos = np.zeros((4, 8, 8, 3), np.uint8)
    export_model(mini, "onnx-int8", images=photos)
    assert seen[0] is photos and len(given_images(photos)) == 4


def test_a_classifier_takes_its_ranges_from_training_images(tmp_path, monkeypatch):
    """The folder that is its data set holds those of all splits."""
    YOLO("yolov8n-cls.yaml").save(tmp_path / "c.pt")
    monkeypatch.setattr(export, "_converted", lambda *_: tmp_path / "c.pt")
    found = []
    monkeypatch.setattr(export, "quantise", lambda yolo, made, base, ranges, *_: found.extend(ranges) or made)
    data = make_task_data(tmp_path / "data", "classify")
    export_model(tmp_path / "c.pt", "onnx-int8", str(data), folder=tmp_path)
    assert len(found) == 2 and all(data / "train" in path.parents for path in found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"formats": "onnx-int8", "dynamic": True}, "takes its ranges from data="),
        ({"formats": "onnx,openvino", "quantize": 8}, "needs nncf"),
    ],
)
def test_what_would_be_refused_in_one_format_is_said_before_the_first(mini, monkeypatch, given, message):
    if "quantize" in given and "quantize" not in DEFAULT_CFG_DICT:
        pytest.skip("this release has no quantize=")
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "nncf" else name)
    monkeypatch.setattr(check, "export_model", lambda *_, **__: pytest.fail("exported"))
    with pytest.raises(SlimError, match=message):
        check_exports(mini, images=[np.zeros((8, 8, 3), np.uint8)], **given)


# ------------------------------------------------------------------------------------------- what has the name already


@pytest.fixture
def made(tmp_path) -> Path:
    """A folder of an export in the making, beside what has its name already."""
    (tmp_path / "making/made").mkdir(parents=True)
    (tmp_path / "making/made/new").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/theirs").touch()
    return tmp_path / "making/made"


@pytest.mark.parametrize("there", ["nothing", "file", "folder", "link to a folder", "dangling link"])
def test_a_folder_takes_the_place_of_what_has_its_name(made, tmp_path, there):
    target = tmp_path / "m"
    if there == "file":
        target.touch()
    elif there == "folder":
        shutil.copytree(tmp_path / "elsewhere", target)
    elif there != "nothing":
        target.symlink_to(tmp_path / ("elsewhere" if there == "link to a folder" else "gone"))
    assert _place(made, tmp_path, "m") == target and not target.is_symlink()
    assert [path.name for path in target.iterdir()] == ["new"] and (tmp_path / "elsewhere/theirs").is_file()


def test_a_file_takes_the_place_of_a_link_and_of_no_folder(made, tmp_path):
    file = made / "new"
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WriteError, match="elsewhere is a folder, and the export is a file"):
        _place(file, tmp_path, "elsewhere")
    assert _place(file, tmp_path, "link").is_file() and (tmp_path / "elsewhere/theirs").is_file()


def test_the_earlier_folder_comes_back_where_the_new_cannot_take_its_place(made, tmp_path, monkeypatch):
    real = os.replace

    def interrupted(source, target):
        if source == made:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _place(made, tmp_path, "elsewhere")
    assert (tmp_path / "elsewhere/theirs").is_file()


def test_a_failed_export_leaves_the_earlier_one(small, monkeypatch):
    earlier = small.with_suffix(".torchscript")
    earlier.write_text("whole")

    def fail(self, **options):
        Path(self.model.pt_path).with_suffix(".torchscript").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(YOLO, "export", fail)
    with pytest.raises(RuntimeError, match=r"small.pt could not be exported to torchscript: disk full"):
        export_model(small, "torchscript", imgsz=IMGSZ)
    assert earlier.read_text() == "whole" and len(list(small.parent.iterdir())) == 2


def test_what_a_converter_prints_is_kept_back_unless_it_fails(capfd, log):
    with hushed(True):
        os.write(1, b"noise")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError), hushed(True):
        os.write(2, b"the reason")
        raise ValueError
    assert "the reason" in log.text


def test_parse_takes_lists_and_commas():
    assert read_formats("onnx, openvino-int8") == read_formats(["onnx", "openvino-int8"]) == ["onnx", "openvino-int8"]


def test_the_original_of_more_classes_is_measured_by_its_own_names(drawn, tmp_path):
    """No weight was changed: what the original says of the kept classes is what the model without the others says."""
    original = ROOT / "weights/diagram-yolov8n.pt"
    few = YOLO(original)
    data = tmp_path / "seen.yaml"
    data.write_text(Path(drawn).read_text().replace("train: images/train", "train: images/val"))
    labels = (Path(drawn).parent / "labels/val").glob("*.txt")
    labelled = Counter(int(row.split()[0]) for file in labels for row in file.read_text().splitlines())
    few.model = only_classes(few.model, sorted(number for number, _ in labelled.most_common(2)))
    few.save(tmp_path / "few.pt")
    images = choose_images(check_data(drawn)["val"], 4)
    before = {ORIGINAL.format(TORCH): original}
    table = compare_exports(tmp_path / "few.pt", {}, images, imgsz=IMGSZ, before=before, data=str(data))
    here, there = (row.map50_95 for row in table)
    assert here > 0.1 and there == pytest.approx(here, abs=0.02)


def test_a_classifier_is_exported_from_the_command_line(tmp_path):
    """There are no detections to compare."""
    YOLO("yolov8n-cls.yaml").save(tmp_path / "c.pt")
    words = [f"weights={tmp_path / 'c.pt'}", f"images={ROOT / 'docs'}", "imgsz=64", "format=torchscript"]
    assert prune_model.main(["export", *words]) == 0 and (tmp_path / "c.torchscript").is_file()
