"""Settings of a whole run are completed, checked early and divided among its stages."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ultralytics import RTDETR
from ultralytics.slim.errors import InputError, SlimError
from ultralytics.slim.pruning.options import PruneOptions
from ultralytics.slim.runs.run_settings import DEMO, RunSettings
from ultralytics.slim.runs.settle import as_recorded, settled
from ultralytics.slim.runs.stage_settings import PruningSettings
from ultralytics.slim.runs.training import TRAINING, check_training

MINE = {"weights": "a.pt", "data": "a.yaml"}


def read(**given) -> RunSettings:
    return RunSettings.read({**MINE, **given})


def test_the_demo_stands_in_where_nothing_is_given():
    settings = RunSettings.read({"factor": 0.3})
    assert (
        settings.weights == DEMO["weights"] and settings.imgsz == DEMO["imgsz"] == 320 and settings.prune.factor == 0.3
    )
    assert read().imgsz == TRAINING["imgsz"] == 640


@pytest.mark.parametrize("given", [{"weights": "a.pt"}, {"data": "a.yaml"}])
def test_half_of_the_user_s_own_is_not_mixed_with_the_demo(given):
    with pytest.raises(SlimError, match="give weights= .* with data= "):
        RunSettings.read(given)


@pytest.mark.parametrize(("epochs", "shares"), [(100, [50, 50, 100]), (3, [2, 2, 3]), (1, [1, 1, 1])])
def test_epochs_are_divided(epochs, shares):
    assert [training.epochs for training in read(epochs=epochs).trainings.values()] == shares


def test_arguments_reach_their_stage_alone():
    settings = read(**{"lr0": 0.002, "sparse.lr0": 0.1, "sparse.epochs": 7})
    sparse, distill = settings.sparse.arguments, settings.distill.arguments
    assert (sparse["lr0"], sparse["epochs"]) == (0.1, 7) and (distill["lr0"], distill["epochs"]) == (0.002, 100)
    assert not sparse.keys() & {"weights", "factor", "format", "compare"} and sparse["data"] == "a.yaml"
    assert (sparse["loss_type"], distill["loss_type"]) == (
        "sparse",
        "mgd",
    ) and "loss_type" not in settings.retrain.arguments


def test_distillation_is_gentle_unless_it_is_told_otherwise():
    assert read().distill.arguments["optimizer"] == "AdamW" and "optimizer" not in read().retrain.arguments
    own = read(optimizer="SGD").distill.arguments
    assert own["optimizer"] == "SGD" and "warmup_bias_lr" not in own


def test_the_plan_in_words():
    settings = {"epochs": 4, "format": "onnx"}
    assert "sparse training (2 epochs), pruning (factor=0.5)" in read(**settings).plan
    assert "pruning (flops=0.4)" in read(**settings, **{"prune.flops": 0.4}).plan
    assert "pruning (factor=0.2)" in read(**settings, **{"prune.factor": 0.2}).plan


def test_sparse_training_and_retraining_may_be_left_out():
    settings = read(**{"epochs": 4, "sparse.epochs": 0, "retrain.epochs": 0})
    assert [stage.name for stage in settings.stages] == [
        "prune",
        "distill",
    ] and settings.sparse is settings.retrain is None
    assert settings.plan.startswith("plan: pruning (factor=0.5), distillation (mgd, 4 epochs), ")


@pytest.mark.parametrize(
    ("key", "epochs"), [("distill.epochs", 0), ("sparse.epochs", -1), ("retrain.epochs", 1.5), ("sparse.epochs", False)]
)
def test_other_numbers_of_epochs_are_refused(key, epochs):
    with pytest.raises(SlimError, match=f"{key}=.* expected a whole number from 1, or 0 to leave"):
        read(**{key: epochs})


@pytest.mark.parametrize("factor", [1, 1.0, -0.1, "half", None, True, float("nan")])
def test_factor_is_a_share(factor):
    with pytest.raises(SlimError, match="factor"):
        read(factor=factor)


@pytest.mark.parametrize("key", ["distil.lr0", "distill.loss_type", "export.format", "prune.save_dir", "train.lr0"])
def test_what_no_stage_would_take_is_refused_at_once(key):
    """From Python too: some would have gone unheeded, others have ended a run in its last stage."""
    with pytest.raises(SlimError, match=f"{key}: expected STAGE.key"):
        read(**{key: 1})


def test_training_arguments_are_checked():
    check_training({"epochs": 3, "loss_type": "sparse"})
    for bad in ({"epochs": "many"}, {"lr0": 7}, {"loss_type": "cdw"}, {"Distillation": "t.pt"}, {"nonsense": 1}):
        with pytest.raises(SlimError):
            check_training(bad)


@pytest.mark.parametrize(
    "given",
    [
        {"pretrained": False},
        {"pretrained": "other.pt"},
        {"retrain.pretrained": False},
        {"distill.pretrained": False, "pretrained": True},
        {"prune.epochs": 1, "prune.steps": 2, "prune.pretrained": False},
        {"cfg": "fresh.yaml"},
    ],
)
def test_what_would_undo_the_pruning_is_refused_before_the_first_stage(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fresh.yaml").write_text("pretrained: False\n")
    with pytest.raises(InputError, match="pretrained=.* would train the original's widths again"):
        read(**given)


def test_what_keeps_the_pruning_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fresh.yaml").write_text("pretrained: False\nlr0: 0.002\n")
    assert read(**{"sparse.pretrained": False}).sparse.arguments["pretrained"] is False
    assert read(pretrained=True) and read(cfg="fresh.yaml", pretrained=True)


@pytest.mark.parametrize("key", ["model", "retrain.model"])
def test_another_model_than_that_of_the_weights_is_refused(key):
    with pytest.raises(InputError, match="model=yolo11n.yaml: the model that is trained is weights="):
        read(**{key: "yolo11n.yaml"})


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"prune.flops": 1.5}, "flops should be the share"),
        ({"prune.factor": 1}, "factor should be the share"),
        ({"prune.flops": 0.5, "prune.params": 0.5}, "give one goal"),
        ({"prune.steps": 0}, "steps should be"),
        ({"prune.epochs": 2}, "between the steps"),
        ({"prune.runtime": "tensorrt"}, "runtime should be"),
        ({"prune.repair": "glue"}, "repair should be"),
    ],
)
def test_pruning_arguments_are_checked_before_the_first_stage(given, fault):
    with pytest.raises(SlimError, match=fault):
        read(**given)


def test_a_training_between_prunings_is_told_from_the_pruning():
    both = {"flops": 0.5, "steps": 3, "imgsz": 320, "data": "a.yaml", "epochs": 2, "lr0": 0.01, "batch": 4}
    found = PruningSettings.read(both)
    assert found.options == PruneOptions(flops=0.5, steps=3, imgsz=320) and found.factor is None
    assert found.between == {"data": "a.yaml", "epochs": 2, "lr0": 0.01, "batch": 4, "imgsz": 320}
    assert PruningSettings.read({"factor": 0.5, "batch": 4}) == PruningSettings(0.5, PruneOptions(batch=4), None)
    timed = PruningSettings.read({**both, "flops": None, "latency_ms": 5})
    assert timed.options.batch == 4 and "batch" not in timed.between


@pytest.mark.parametrize(
    "options", [{"lr0": 0.1}, {"epochs": 2}, {"data": "a.yaml"}, {"data": "a.yaml", "epochs": 2, "lr": 1}]
)
def test_half_a_training_between_prunings_is_refused(options):
    with pytest.raises(SlimError, match="prune takes no|lr"):
        PruningSettings.read({"factor": 0.5, "steps": 2, **options}).check()


def test_the_pruning_of_a_run():
    given = {"lr0": 0.002, "batch": 16, "prune.flops": 0.5, "prune.steps": 3}
    whole = PruneOptions(imgsz=640, flops=0.5, steps=3, images="a.yaml")
    assert read(**given).prune == PruningSettings(None, whole, None)
    pruning = read(**given, **{"prune.epochs": 2, "prune.lr0": 0.1, "retrain.mosaic": 0.5}).prune
    assert pruning.options == whole
    between = pruning.between
    assert between["data"] == "a.yaml" and between["batch"] == 16 and between["epochs"] == 2
    assert between["lr0"] == 0.1 and between["mosaic"] == 0.5


def test_what_is_recorded_reads_back_as_the_same_settings():
    """run.json holds the keywords, flat, as runs before RunSettings wrote them."""
    settings = read(
        **{"sparse.epochs": 0, "prune.flops": 0.5, "export.half": True, "compare": "b.pt,c.pt", "lr0": 0.002}
    )
    recorded = json.loads(json.dumps(dict(settings.recorded)))
    assert recorded["prune.flops"] == 0.5 and recorded["loss_type"] == "mgd" and recorded["epochs"] == 100
    assert RunSettings.of_record(recorded) == settings and settings.compare == ("b.pt", "c.pt")
    assert settings.export.options == {"half": True} and settings.sparse is None


def test_what_an_older_record_lacks_has_its_default():
    settings = RunSettings.of_record({"weights": "a.pt", "data": "a.yaml"})
    assert (settings.imgsz, settings.epochs, settings.loss_type, settings.compare) == (640, 100, "mgd", ())


def test_what_changes_no_model_may_change_when_a_run_goes_on():
    settings = read(format="torchscript", epochs=3)
    free = {"format": "onnx", "export.simplify": False, "compare": ["b.pt"], "sparse.workers": 1}
    going_on, differing = settings.resumed({**free, "epochs": 3}, lambda same: same)
    assert not differing and (going_on.export.format, going_on.compare) == ("onnx", ("b.pt",))
    assert going_on.export.options == {"simplify": False} and going_on.sparse.arguments["workers"] == 1
    assert settings.resumed({"sparse.lr0": 0.1}, lambda same: same)[1] == ["sparse.lr0=None (now 0.1)"]
    with pytest.raises(InputError, match="onyx"):
        settings.resumed({"format": "onyx"}, lambda same: same)


def test_a_run_without_labels_gives_int8_of_ultralytics_no_ranges():
    with pytest.raises(InputError, match="takes its ranges from data="):
        RunSettings.read({"weights": "a.pt", "images": "a/", "format": "torchscript,onnx-int8", "export.dynamic": True})


def test_a_run_goes_on_with_the_words_that_it_was_started_with(tiny_data, weights, tmp_path, monkeypatch):
    """Paths from the working directory, lists in text, an image size between two strides."""
    shutil.copy(weights, tmp_path / "best.pt")
    shutil.copy(weights, tmp_path / "other.pt")
    (tmp_path / "photos").symlink_to(tiny_data.parent / "images/train")
    monkeypatch.chdir(tmp_path)
    given = {"weights": "best.pt", "data": str(tiny_data), "compare": "other.pt", "unlabelled": ["photos"], "imgsz": 70}
    recorded = settled(RunSettings.read(given))
    assert recorded.imgsz == 80 and recorded.resumed(given, as_recorded)[1] == []


def test_images_of_a_run_may_be_several_folders(tiny_data, weights, tmp_path):
    folders = [str(tiny_data.parent / "images" / split) for split in ("train", "val")]
    settings = settled(RunSettings.read({"weights": weights, "images": folders, "imgsz": 64}))
    assert settings.images == settings.prune.options.images == folders


def test_collections_of_folders_are_lists_and_arrays_are_refused(tiny_data, weights, tmp_path):
    val = tiny_data.parent / "images/val"
    settings = settled(RunSettings.read({"weights": weights, "data": tiny_data, "unlabelled": (val,), "imgsz": 64}))
    assert settings.unlabelled == [str(val)] and json.dumps(dict(settings.recorded), default=str)
    for key, beside in (("images", {}), ("unlabelled", {"data": tiny_data})):
        for given in (np.zeros((4, 8, 8, 3), np.uint8), [np.zeros((8, 8, 3), np.uint8)]):
            with pytest.raises(InputError, match=f"^{key} must be a folder of images, or a list"):
                RunSettings.read({"weights": weights, **beside, key: given})


def test_a_promise_that_cannot_be_measured_is_refused_before_the_first_stage(tiny_data, tmp_path):
    RTDETR("rtdetr-l.yaml").save(tmp_path / "r.pt")
    with pytest.raises(InputError, match="compares predictions at anchor points"):
        settled(RunSettings.read({"weights": str(tmp_path / "r.pt"), "data": str(tiny_data), "keep": 0.9, "imgsz": 64}))
