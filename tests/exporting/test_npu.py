"""What compilers for NPUs stumble over is found in the graph, and not where it is not."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import prune_model
from ultralytics import YOLO
from ultralytics.slim.errors import FailedError, InputError
from ultralytics.slim.exporting.formats import packages_of
from ultralytics.slim.exporting.npu import RULES, Concern, Concerns, check_npu

from places import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, packages_of("onnx"))), reason="needs onnx: pip install -e '.[export]'"),
]
ODD = "convolution whose width is no multiple of 16"


def found(weights: Path | str, **options) -> dict[str, Concern]:
    return {concern.what: concern for concern in check_npu(weights, imgsz=64, **options)}


@pytest.fixture
def shipped(tmp_path) -> Path:
    return Path(shutil.copy(ROOT / "weights/diagram-yolov8n.pt", tmp_path / "shipped.pt"))


def test_a_failure_names_the_checkpoint_that_was_given(shipped):
    with pytest.raises(FailedError, match=f"^{shipped} could not be exported to onnx: .*imgsz=abc"):
        check_npu(shipped, imgsz="abc")


def test_a_plain_detector(shipped):
    concerns = found(shipped)
    assert len(concerns["SiLU"].nodes) == 57 and len(concerns["enlargement by nearest neighbours"].nodes) == 2
    assert not any(
        word in what for what in concerns for word in ("dynamic", "selection", "attention", "width", "softmax")
    )
    assert [p.name for p in shipped.parent.iterdir()] == ["shipped.pt"]


def test_widths_that_waste_a_block_are_named_until_they_are_rounded(shipped, tmp_path):
    prune = prune_model.PruneModel(shipped).prune
    prune(0.3, tmp_path / "odd.pt", round_to=2)
    odd = found(tmp_path / "odd.pt")
    assert odd[ODD].nodes and any("concatenation" in what for what in odd)
    prune_model.PruneModel(shipped).prune(0.3, tmp_path / "even.pt", round_to=16)
    even = found(tmp_path / "even.pt")
    assert ODD not in even and not any("concatenation" in what for what in even)


def test_sizes_and_selections_follow_the_options(shipped):
    assert any("dynamic" in what for what in found(shipped, dynamic=True))
    assert any("selection" in what for what in found(shipped, nms=True))


def test_attention_and_heads_without_nms(tmp_path):
    YOLO("yolo26n.yaml").save(tmp_path / "m.pt")
    plain, end2end = found(tmp_path / "m.pt"), found(tmp_path / "m.pt", end2end=True)
    assert any("attention" in what for what in plain) and any("selection" in what for what in end2end)
    assert not any("selection" in what for what in plain)


def test_a_large_image_makes_a_softmax_too_large(shipped):
    what = "softmax over more values than fit"
    large = {concern.what for concern in check_npu(shipped, imgsz=640)}
    assert what in large and what not in found(shipped)


def test_the_command(shipped, capsys, log):
    assert prune_model.main(["export", "check=npu", f"weights={shipped}", "imgsz=64"]) == 0
    assert "npu: places to look at" in log.text and "https://" in log.text
    assert prune_model.main(["export", "check=tpu", f"weights={shipped}"]) == 1
    assert "check=tpu: there is no such check" in capsys.readouterr().err
    with pytest.raises(InputError):
        prune_model.PruneModel(shipped).check_npu("x")


def test_nothing_found_is_said():
    assert "nothing found" in str(Concerns()) and all(rule[-1].startswith("https://") for rule in RULES)
