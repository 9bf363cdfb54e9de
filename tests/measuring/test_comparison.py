"""The comparison table: what it measures and how it reads."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.errors import InputError, SlimError
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring import accuracy, comparison, costs
from ultralytics.slim.measuring.accuracy import measured_once, validate
from ultralytics.slim.measuring.comparison import ComparisonTable, ModelRow, compare_models, name_paths
from ultralytics.slim.measuring.costs import count_layers, latency_ms, size_mb
from ultralytics.slim.measuring.runtimes import onnx_run
from ultralytics.slim.measuring.timing import few_rounds
from ultralytics.slim.report import measures
from ultralytics.utils.torch_utils import get_flops

from short_runs import MINI
from task_data import make_task_data


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for name in ("yolov8n", "yolov5n"):
        paths[name] = str(folder / f"my-{name[-3:]}.pt")
        YOLO(f"{name}.yaml").save(paths[name])
    return paths


def table() -> ComparisonTable:
    rows = [
        ModelRow("large <1>", 72, 3_000_000, 8.1, 20.0, 6.2, 0.6461, "a.pt"),
        ModelRow("small", 72, 900_000, 2.25, 9.04, 1.9, 0.61, "b.pt"),
    ]
    return ComparisonTable(rows, imgsz=320, device="cpu")


def test_table_reads_in_a_terminal():
    lines = str(table()).splitlines()
    assert lines[0].split() == "model layers parameters GFLOPs latency ms size MB mAP50-95".split()
    assert lines[3].split() == "small 72 900,000 2.25 9.0 1.90 0.6100".split()
    assert len({len(line) for line in lines[:4]}) == 1, "columns are aligned"
    assert "320 px" in lines[4] and "cpu" in lines[4]


def test_table_reads_in_a_notebook_and_in_markdown():
    html, markdown = table()._repr_html_(), table().to_markdown()
    assert html.count("<tr>") == 3 and "large &lt;1&gt;" in html
    assert markdown.splitlines()[1].count("--") == 7 and "| small | 72 | 900,000 |" in markdown
    assert "| large &lt;1&gt; |" in markdown and "<" not in markdown


def test_verdict_in_words():
    assert table().verdict == (
        "small against large <1>: 30% of the parameters, 28% of the GFLOPs, 31% of the size, 2.21 times as fast, "
        "mAP50-95 -0.0361"
    )


def test_table_is_a_list_of_rows():
    assert [row.name for row in table()] == ["large <1>", "small"] and table()[1].params == 900_000


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/best.pt"], ["best"]),
        (["x/best.pt", "y/last.pt"], ["best", "last"]),
        (["x/best.pt", "y/best.pt"], ["x/best", "y/best"]),
        (["x/weights/best.pt", "y/weights/best.pt", "mine.pt"], ["x/weights/best", "y/weights/best", "mine"]),
        ("x/best.pt", ["best"]),
    ],
)
def test_checkpoints_are_named_by_what_tells_them_apart(paths, names):
    assert list(name_paths(paths)) == names


def test_names_are_not_those_of_others():
    others = {"pruned": "runs/a/weights/prune.pt", "sparse": "runs/a/weights/sparse.pt"}
    given = ["runs/b/weights/sparse.pt", "old/pruned.pt", "old/new.pt"]
    assert name_paths(given, others) == dict(zip(["b/weights/sparse", "old/pruned", "new"], given))


def test_size_does_not_depend_on_what_the_file_holds(models, tmp_path):
    """A float32 file with an optimizer in it compares equal to the stripped one (CASES 8)."""
    half = torch.load(models["yolov8n"], weights_only=False)
    fat = {**half, "model": half["model"].float(), "optimizer": {"state": torch.zeros(1_000_000)}}
    torch.save(fat, tmp_path / "fat.pt")
    assert (tmp_path / "fat.pt").stat().st_size > 1.5e7
    assert size_mb(tmp_path / "fat.pt") == pytest.approx(size_mb(models["yolov8n"]), rel=0.01)


def test_layers_are_modules_without_children():
    assert count_layers(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)))) == 3


def test_latency_is_the_median_of_each_model(monkeypatch):
    """Two of the five runs of the second model are slow; neither model pays for them."""
    ticks = iter([0, 0, 1, 1, 3, 3, 4, 4, 6, 6, 7, 7, 99, 99, 100, 100, 102, 102, 103, 103, 999])
    monkeypatch.setattr(costs, "time_sync", lambda device: next(ticks))
    models = [nn.Conv2d(3, 1, 1), nn.Conv2d(1, 1, 1)]
    with few_rounds(5):
        assert latency_ms(models, 8, torch.device("cpu")) == [1000, 2000]


def test_compare_measures_each_model_fused(models, tiny_data):
    found = compare_models(models, str(tiny_data), imgsz=64, device="cpu")
    large, small = sorted(found, key=lambda row: -row.params)
    assert large.gflops > small.gflops > 0 and large.size_mb > small.size_mb
    assert all(row.latency_ms > 0 and 0 <= row.map50_95 <= 1 for row in found)
    fused = YOLO(large.path).model.fuse(verbose=False)
    assert large.params == sum(p.numel() for p in fused.parameters())
    assert found.metric == "mAP50-95"


def test_a_checkpoint_is_validated_once_within_a_run(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(
        accuracy, "_validate", lambda weights, *args, **val: done.append((str(weights), val)) or len(done)
    )
    file, copy, other = (tmp_path / name for name in ("a.pt", "copy.pt", "b.pt"))
    for path, text in ((file, "a"), (copy, "a"), (other, "b")):
        path.write_text(text)
    with measured_once():
        first = validate(file, "data.yaml", 64)
        assert validate(copy, "data.yaml", 64) == first  # the same weights under another name
        assert first not in {validate(other, "data.yaml", 64), validate(file, "data.yaml", 128)}
        validate(file, "data.yaml", 64, conf=0.5)
        assert len(done) == 4
        file.write_text("changed")
        validate(file, "data.yaml", 64)
        assert len(done) == 5
    validate(file, "data.yaml", 64)  # outside of it nothing is remembered: labels may have changed
    assert len(done) == 6


def test_what_cannot_be_compared_is_told_in_one_line(weights, tmp_path):
    """Without data the models are opened here alone: a damaged one, other channels."""
    images, whole = [np.zeros((64, 64, 3), np.uint8)], Path(weights).read_bytes()
    (tmp_path / "text.pt").write_text("no checkpoint")
    for size in (20_000, len(whole) // 2):
        (tmp_path / f"{size}.pt").write_bytes(whole[:size])
    grey = YOLO(MINI)
    grey.model = DetectionModel(str(MINI), ch=1, verbose=False)
    grey.save(tmp_path / "grey.pt")
    for other in ("text", "20000", str(len(whole) // 2), "grey"):
        pair = {"a": weights, other: str(tmp_path / f"{other}.pt")}
        with few_rounds(1), pytest.raises(SlimError, match=other):
            compare_models(pair, None, 64, "cpu", images)


def test_a_size_that_is_none_is_told_before_anything_is_measured(weights, monkeypatch):
    monkeypatch.setattr(comparison, "shared_data", lambda *_: pytest.fail("measured"))
    for imgsz in ("abc", 0):
        with pytest.raises(InputError, match="imgsz should be the side of the images in pixels"):
            compare_models({"a": weights}, "any.yaml", imgsz, "cpu")


def test_classifiers_agree_in_classes(tmp_path):
    paths = {}
    for name in ("a", "b"):
        YOLO("yolov8n-cls.yaml").save(tmp_path / f"{name}.pt")
        paths[name] = str(tmp_path / f"{name}.pt")
    with few_rounds(1):
        found = compare_models(paths, None, 32, "cpu", list(np.zeros((3, 40, 64, 3), np.uint8)))
    assert "found again" not in str(found) and "share of 3 images in which the first class is that of a" in str(found)
    assert found[0].agreement.value == 1 and found.verdict.endswith(f"in {found[1].agreement.value:.1%} of the images")


@pytest.mark.parametrize("agreement", [False, True])
def test_a_classifier_is_measured_where_there_are_images_to(agreement, tmp_path):
    YOLO("yolov8n-cls.yaml").save(tmp_path / "c.pt")
    data = make_task_data(tmp_path / "data", "classify")
    shutil.rmtree(data / "val")
    with pytest.raises(InputError, match=f"^data={data}: there is no folder val in it"):
        PruneModel(tmp_path / "c.pt").compare(tmp_path / "c.pt", data, imgsz=32, agreement=agreement)


def test_models_whose_gflops_ultralytics_cannot_count_have_some(tmp_path):
    (tmp_path / "mini.yaml").write_text(MINI.read_text().replace("Conv, [64, 3, 2]", "Focus, [64, 3]"))
    YOLO(tmp_path / "mini.yaml").save(tmp_path / "a.pt")
    assert get_flops(YOLO(tmp_path / "a.pt").model, 64) == 0
    with few_rounds(1):
        found = compare_models({"a": tmp_path / "a.pt"}, None, 64, "cpu")
    assert found[0].gflops == measures.describe(tmp_path / "a.pt", 64)["gflops"] > 0


def test_a_whole_model_in_a_file_can_be_exported_to_be_timed(weights, tmp_path):
    """`torch.save(model)`, which Ultralytics opens as a list of layers."""
    pytest.importorskip("onnx")
    torch.save(load_checkpoint(weights)[0], tmp_path / "whole.pt")
    (tmp_path / "out").mkdir()
    run = onnx_run(tmp_path / "whole.pt", 32, tmp_path / "out")
    assert run()[0].shape[0] == 1 and [p.name for p in tmp_path.iterdir()].count("whole.pt") == 1
