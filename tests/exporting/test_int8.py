"""Int8: what stays float is found in the graph, biases make up for rounding, and the way is chosen by what it finds."""

from __future__ import annotations

import logging
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import prune_model
from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.slim.errors import InputError
from ultralytics.slim.exporting import check, export
from ultralytics.slim.exporting.check import check_exports, slower_than_float, with_float
from ultralytics.slim.exporting.export import export_model
from ultralytics.slim.exporting.formats import FP16, INT8, packages_of, with_precision
from ultralytics.slim.exporting.int8 import judge
from ultralytics.slim.exporting.int8 import quantise as quantising
from ultralytics.slim.exporting.int8.decoding import decoding_nodes, is_expectation
from ultralytics.slim.exporting.int8.judge import Judge, Verdict
from ultralytics.slim.exporting.int8.onnx import ranges_of, rounding_shift, silu_inputs
from ultralytics.slim.exporting.int8.openvino import OpenVinoQuantiser
from ultralytics.slim.exporting.int8.ranges import RangeImages, split_for_ranges
from ultralytics.slim.measuring import processor
from ultralytics.slim.measuring.timing import Latency
from ultralytics.slim.runs.run_settings import RunSettings

from places import ROOT

IMGSZ = 160
HAS_ONNX = all(map(find_spec, packages_of("onnx")))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs onnx and onnxruntime: pip install -e '.[export]'")
needs_nncf = pytest.mark.skipif(
    not all(map(find_spec, packages_of("openvino-int8"))),
    reason="needs openvino and nncf: pip install -e '.[export-all]'",
)


@pytest.fixture
def shipped(tmp_path) -> Path:
    return Path(shutil.copy(ROOT / "weights/diagram-yolov8n.pt", tmp_path / "shipped.pt"))


# ------------------------------------------------------------------------------------------------------------ by hand


def test_what_comes_behind_the_last_trained_layers_is_decoding():
    """a and c are trained: b leads on to c, d and e do not lead anywhere; f is beside the network and decodes, too."""
    readers = {"a": ["b"], "b": ["c", "d"], "c": ["d"], "d": ["e"], "e": [], "f": ["e"]}
    assert decoding_nodes(readers, ["a", "c"]) == ["d", "e", "f"]


def test_a_deep_network_needs_no_recursion():
    readers = {str(n): [str(n + 1)] for n in range(5000)} | {"5000": []}
    assert decoding_nodes(readers, ["4000"]) == [str(n) for n in range(4001, 5001)]


def test_the_mean_over_bins_is_no_trained_layer():
    bins = np.arange(16, dtype=np.float32)
    assert is_expectation(bins.reshape(1, 16, 1, 1))
    assert not is_expectation(bins[::-1].reshape(1, 16, 1, 1))
    assert not is_expectation(np.zeros((1, 1, 1, 1), np.float32))


def test_rounding_shift_by_hand():
    """Scale 1/127: the weight 0.5 of the one channel becomes 64/127 or 63/127, that of the other is exact."""
    weight = np.array([[1.0, 0.5], [1.0, 1.0]], np.float32).reshape(2, 2, 1, 1)
    change = np.round(63.5) / 127 - 0.5
    assert rounding_shift(weight, np.array([5.0, 2.0])) == pytest.approx([2 * change, 0])


def test_rounding_shift_of_groups_reads_their_own_channels():
    weight = np.array([0.3, 0.7, 0.2, 0.9], np.float32).reshape(2, 2, 1, 1)
    mean = np.array([1.0, 2.0, 3.0, 4.0])
    both = [rounding_shift(weight[i : i + 1], mean[2 * i : 2 * i + 2])[0] for i in range(2)]
    assert rounding_shift(weight, mean, groups=2) == pytest.approx(both)
    assert rounding_shift(np.zeros((1, 2, 1, 1), np.float32), mean[:2]) == pytest.approx([0])


def test_range_images_are_what_the_network_reads():
    image = np.zeros((20, 40, 3), np.uint8)
    image[..., 2] = 255  # red
    (square,) = RangeImages([image], (32, 64))
    assert square.shape == (1, 3, 32, 64) and square.dtype == np.float32
    assert square[0, :, 16, 32].tolist() == [1, 0, 0]
    (grey,) = RangeImages([image], (32, 32), channels=1, batch=2)
    assert grey.shape == (2, 1, 32, 32)


def test_ranges_and_judgement_have_images_of_their_own(log):
    items = [np.full((4, 4, 3), n, np.uint8) for n in range(80)]
    ranges, judged = split_for_ranges(items)
    assert len(judged) == 20 and len(ranges) == 60 and not set(map(id, ranges)) & set(map(id, judged))
    ranges, judged = split_for_ranges(items[:5])
    assert ranges is judged and "its ranges come from 5 images" in log.text
    with pytest.raises(InputError, match="1 is too few, give at least 32"):
        split_for_ranges(items[:1])


def test_names_are_those_of_ultralytics():
    assert with_precision("a.b.onnx", INT8) == "a.b_int8.onnx"
    assert with_precision("x_openvino_model", INT8) == "x_int8_openvino_model"
    assert with_precision("a_model.pt_ncnn_model", FP16) == "a_model.pt_fp16_ncnn_model"


def test_the_float_file_stands_beside_each_int8_one():
    assert with_float(["onnx-int8", "torchscript"]) == ["onnx", "onnx-int8", "torchscript"]
    assert with_float(["ncnn-fp16", "onnx-int8"]) == ["ncnn", "ncnn-fp16", "onnx", "onnx-int8"]
    assert with_float(["onnx", "onnx-int8"]) == ["onnx", "onnx-int8"]


def test_an_int8_file_that_gains_no_time_is_named(monkeypatch):
    times = {"onnx": Latency(10, 9, 11, 5), "onnx-int8": Latency(12, 11, 13, 5)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx2": True}, raising=False)
    assert slower_than_float(times, "onnx-int8").startswith(
        "onnx-int8: takes 1.20 times as long here as onnx (this proc"
    )
    assert processor.int8_instructions() == ""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx_vnni": True})
    assert processor.int8_instructions() == "VNNI" and "processor" not in slower_than_float(times, "onnx-int8")
    assert not slower_than_float({**times, "onnx-int8": Latency(8, 7, 9, 5)}, "onnx-int8")
    halved = {**times, "onnx-fp16": times["onnx-int8"]}
    assert slower_than_float(halved, "onnx-fp16").startswith(
        "onnx-fp16: takes 1.20 times as long here as onnx: use onnx"
    )
    assert not slower_than_float(times, "onnx") and not slower_than_float({}, "onnx-int8")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert processor.int8_instructions() is None


@needs_onnx
def test_only_what_a_silu_alone_reads_may_be_cut_off():
    """a is read by a SiLU, b by a sigmoid alone, c by a SiLU and an addition."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Sigmoid", [name], [f"s{name}"], f"sigmoid_{name}") for name in "abc"]
    nodes += [helper.make_node("Mul", [name, f"s{name}"], [f"y{name}"], f"mul_{name}") for name in "ac"]
    nodes += [helper.make_node("Add", ["c", "ya"], ["sum"], "add")]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "abc"]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("sb", "yc", "sum")]
    assert silu_inputs(helper.make_model(helper.make_graph(nodes, "g", given, made))) == ["a"]


def test_ranges_by_hand():
    seen = {"x": np.array([[-20.0, 1.0], [-4.0, 3.0]])}
    assert ranges_of(seen, moving=True) == {"x": (-12.0, 2.0)} and ranges_of(seen, moving=False) == {"x": (-20.0, 3.0)}


# --------------------------------------------------------------------------------------------------------- the choice


class Ways:
    """A quantiser whose files hold as much as is written in them."""

    shares = (0.5, 0.99, 1.0)

    def __init__(self, path, images, folder):
        self.recipes = [quantising.OnnxQuantiser.recipes[0]] * len(self.shares)
        self.left = iter(self.shares)

    @staticmethod
    def input_shape(path):
        return 1, 3, 32, 32

    def make(self, recipe, path):
        path.write_text(str(next(self.left)))


@pytest.fixture
def ways(monkeypatch, tmp_path):
    """Quantise with `Ways`; returns what was written into the file that is taken."""
    monkeypatch.setitem(quantising.QUANTISERS, "onnx", Ways)
    monkeypatch.setattr(Judge, "_said_by", lambda self, model: [0] * 4)
    monkeypatch.setattr(
        Judge, "verdict", lambda self, path: Verdict(float(path.read_text()), 0, float(path.read_text()))
    )
    (tmp_path / "x.onnx").write_text("float")
    model = SimpleNamespace(task="classify")
    return lambda *teach: quantising.quantise(model, tmp_path / "x.onnx", "onnx", [], [], *teach).read_text()


def test_the_first_way_that_holds_is_taken(ways):
    assert ways() == "0.99"


def test_where_none_holds_it_is_the_best_and_said(ways, monkeypatch, log, tmp_path):
    monkeypatch.setattr(Ways, "shares", (0.5, 0.9, 0.7))
    assert ways() == "0.9" and "of all ways the best" in log.text and "less than 98%" in log.text
    assert "iterations=300" in log.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.onnx", "x_int8.onnx"], "no trial is left"


def test_one_that_holds_comes_before_one_that_is_closer_elsewhere(ways, monkeypatch, tmp_path):
    """The first holds less at IoU 0.75, and more over all."""
    given = {"0.5": Verdict(0.97, 0.97, 0.97), "0.99": Verdict(0.99, 0.8, 0.9)}
    monkeypatch.setattr(Judge, "verdict", lambda self, path: given[path.read_text()])
    assert ways() == "0.99"


@pytest.mark.parametrize(
    ("shares", "learnt", "taken"),
    [((0.5, 0.99), (1.0,), "0.99"), ((0.5, 0.9), (0.99, 1.0), "0.99"), ((0.5, 0.9), (0.8, 0.7), "0.9")],
)
def test_it_learns_only_where_none_holds(ways, monkeypatch, tmp_path, log, shares, learnt, taken):
    """And what holds more is taken, learnt or not."""
    monkeypatch.setattr(Ways, "shares", shares)

    def teach(folder, imgsz):
        assert imgsz == 32
        monkeypatch.setattr(Ways, "shares", learnt)
        (folder / "x.onnx").write_text("float")
        return folder / "x.onnx"

    assert ways(teach) == taken and "iterations=" not in log.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.onnx", "x_int8.onnx"]


# ------------------------------------------------------------------------------------------------------ the real tools


def least_of_silus(model) -> float:
    """Return the least value that an int8 file has a step for before its SiLUs."""
    from onnx import numpy_helper

    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    convs = {out for node in model.graph.node if node.op_type == "Conv" for out in node.output}
    rounded = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in convs]
    return min(float(-tensors[n.input[2]].astype(float) * tensors[n.input[1]]) for n in rounded)


@needs_onnx
@pytest.mark.slow
def test_onnx_runtime_computes_in_int8(shipped, tiny_data, tmp_path):
    """Not one convolution but the first, the six last and the mean over bins is left in float; the metadata is kept."""
    import onnxruntime

    path = export_model(shipped, "onnx-int8", images=Path(tiny_data).parent / "images/train", imgsz=IMGSZ)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    import onnx

    kinds = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    assert kinds.count("QLinearConv") == 56 and kinds.count("Conv") == 8
    assert least_of_silus(onnx.load(path)) == pytest.approx(-8, abs=0.2), "no step is left for what comes to nothing"
    assert session.get_modelmeta().custom_metadata_map["task"] == "detect"
    assert sorted(p.name for p in shipped.parent.iterdir() if p.suffix != "") == ["run.onnx", "shipped.pt", path.name]


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11n-seg.yaml", "yolo11n-cls.yaml", "yolo26n.yaml", "yolo11n-obb.yaml"])
def test_every_task_is_quantised(name, tiny_data, tmp_path, log):
    """Attention, prototypes, rotated boxes, boxes without bins, classes; no image is known, and that is said."""
    YOLO(name).save(tmp_path / "m.pt")
    path = export_model(tmp_path / "m.pt", "onnx-int8", images=Path(tiny_data).parent / "images", imgsz=64)
    assert path.stat().st_size < 0.4 * sum(p.numel() for p in YOLO(tmp_path / "m.pt").model.parameters()) * 4
    (result,) = YOLO(path, task=YOLO(name).task).predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    assert result.names
    assert "-cls" in name or "the float model detects nothing" in log.text


@needs_onnx
@pytest.mark.slow
def test_ranges_from_arrays(shipped, log):
    """As from files: a few arrays, in which the model finds nothing."""
    images = [np.full((40, 60, 3), 9 * n, np.uint8) for n in range(4)]
    assert export_model(shipped, "onnx-int8", images=images, imgsz=64).exists()
    assert "its ranges come from 4 images" in log.text and "not judged" in log.text


@needs_onnx
@pytest.mark.slow
def test_a_model_learns_to_do_with_int8(shipped, tiny_data, log, monkeypatch):
    """Where no way is good enough; the checkpoint and the float file are as without."""
    monkeypatch.setattr(judge, "HELD", 1.1)
    before, images = shipped.read_bytes(), Path(tiny_data).parent / "images/train"
    asked = {"images": images, "imgsz": 64}
    export_model(shipped, "onnx", imgsz=64)
    plain = shipped.with_suffix(".onnx").read_bytes()
    path = export_model(shipped, "onnx-int8", **asked, iterations=2)
    assert path.name == "shipped_int8.onnx" and "in 2 steps with int8's rounding" in log.text
    assert shipped.read_bytes() == before and shipped.with_suffix(".onnx").read_bytes() == plain
    assert len(list(shipped.parent.iterdir())) == 3


@pytest.mark.parametrize("given", [-1, True, 1.5])
def test_steps_are_a_whole_number(shipped, given):
    with pytest.raises(InputError, match=f"iterations={given}: expected a whole number from 0"):
        export_model(shipped, "onnx-int8", images="photos", iterations=given)


@pytest.mark.parametrize("given", ["format=onnx", "format=onnx,torchscript", "format=onnx-int8 dynamic=True"])
def test_steps_that_nothing_would_take_are_refused(shipped, tiny_data, capsys, given):
    """Before anything is exported, and a run before its first stage."""
    words = [f"weights={shipped}", f"data={tiny_data}", *given.split()]
    assert prune_model.main(["export", *words, "iterations=3"]) == 1
    assert "iterations=3 lets a model learn to do with int8, in onnx-int8 and openvino-int8" in capsys.readouterr().err
    assert [path.name for path in shipped.parent.iterdir()] == ["shipped.pt"]
    with pytest.raises(InputError, match="iterations=3 lets a model learn"):
        RunSettings.read({"weights": str(shipped), "data": str(tiny_data), "format": "onnx", "export.iterations": 3})


@needs_nncf
@pytest.mark.slow
def test_openvino_holds(shipped, tiny_data):
    images = Path(tiny_data).parent / "images/train"
    table = check_exports(shipped, "openvino-int8", images=str(images), imgsz=IMGSZ)
    assert [row.format for row in table] == ["PyTorch", "openvino", "openvino-int8"]
    assert table[2].size_mb < 0.5 * table[1].size_mb and Path(table[2].path, "metadata.yaml").is_file()


@needs_nncf
@pytest.mark.slow
def test_openvino_leaves_in_float_what_a_way_says(shipped, tiny_data, tmp_path, monkeypatch):
    """The first convolution reads the image as it is, or rounded; and whoever listens to NNCF's log still does."""
    import nncf  # noqa: F401 (makes its logger)
    import openvino

    listening = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger("nncf"), "handlers", [listening])
    whole = export_model(shipped, "openvino", imgsz=64)
    images = RangeImages(split_for_ranges(Path(tiny_data).parent / "images/train")[0], (64, 64))
    maker = OpenVinoQuantiser(whole, images, tmp_path)
    for recipe in (maker.recipes[0], maker.recipes[-1]):
        maker.make(recipe, tmp_path / recipe.name)
        made = openvino.Core().read_model(next((tmp_path / recipe.name).glob("*.xml")))
        kinds = {target.get_node().get_type_name() for target in made.inputs[0].get_target_inputs()}
        assert kinds == {"Convolution" if recipe.first_float else "FakeQuantize"}
        names = {node.get_friendly_name() for node in made.get_ordered_ops()}
        assert set(maker.last) <= names and len(maker.last) == 6 and len(maker.first) == 1
    assert listening.level == logging.NOTSET


@needs_onnx
@pytest.mark.slow
def test_the_chain_from_the_original_to_int8(shipped, tiny_data, tmp_path, monkeypatch):
    """Beside the int8 file stand its float one and the original's, timed and validated; the original's are gone.

    All at the size of the images that the small one was trained at.
    """
    small, sides = tmp_path / "small" / "small.pt", []
    PruneModel(shipped).prune(0.05, small)
    trained = torch.load(small, weights_only=False)
    trained["train_args"]["imgsz"] = 64
    torch.save(trained, small)

    def exported(*given, **how):
        sides.append(how["imgsz"])
        return export_model(*given, **how)

    monkeypatch.setattr(check, "export_model", exported)
    table = check_exports(small, "onnx-int8", str(tiny_data), 2, original=shipped)
    assert sides == [64] * 3 and table.imgsz == [64, 64]
    names = ["PyTorch", "onnx", "onnx-int8", "PyTorch, original", "onnx, original"]
    assert [row.format for row in table] == names
    assert all(row.latency and row.map50_95 is not None for row in table)
    assert [bool(row.path) for row in table] == [True] * 3 + [False] * 2
    assert sorted(p.name for p in small.parent.iterdir()) == ["small.onnx", "small.pt", "small_int8.onnx"]
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".onnx"] == []


@needs_onnx
@pytest.mark.slow
def test_an_interrupted_one_leaves_the_earlier_file(shipped, tiny_data, monkeypatch):
    earlier = shipped.with_name("shipped_int8.onnx")
    earlier.write_text("whole")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "quantise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(shipped, "onnx-int8", str(tiny_data), imgsz=64)
    assert earlier.read_text() == "whole" and len(list(shipped.parent.iterdir())) == 2


def test_without_images_it_is_one_message(shipped, capsys):
    assert prune_model.main(["export", f"weights={shipped}", "format=onnx-int8"]) == 1
    assert "int8 needs data=" in capsys.readouterr().err


def test_images_and_data_at_once_are_refused(shipped, tiny_data):
    with pytest.raises(InputError, match="or the images themselves"):
        check_exports(shipped, "torchscript", str(tiny_data), images=str(Path(tiny_data).parent))
