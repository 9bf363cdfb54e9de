"""Settings of a whole run are completed, checked early and divided among its stages."""

import pytest

from ultralytics.slim import plan

DEMO = {"weights": "demo.pt", "data": "demo.yaml", "imgsz": 320, "epochs": 8}
TRAINING = {"imgsz": 640, "amp": False}
MINE = {"weights": "a.pt", "data": "a.yaml"}


def test_the_demo_stands_in_where_nothing_is_given():
    settings = plan.complete({"factor": 0.3}, DEMO, TRAINING)
    assert settings["weights"] == "demo.pt" and settings["imgsz"] == 320 and settings["factor"] == 0.3
    assert plan.complete(MINE, DEMO, TRAINING)["imgsz"] == 640


@pytest.mark.parametrize("given", [{"weights": "a.pt"}, {"data": "a.yaml"}])
def test_half_of_the_user_s_own_is_not_mixed_with_the_demo(given):
    with pytest.raises(ValueError, match="both weights= "):
        plan.complete(given, DEMO, TRAINING)


@pytest.mark.parametrize(("epochs", "shares"), [(100, (50, 50, 100)), (3, (2, 2, 3)), (1, (1, 1, 1))])
def test_epochs_are_divided(epochs, shares):
    assert tuple(plan.epochs_of(epochs, stage) for stage in ("sparse", "retrain", "distill")) == shares


def test_arguments_reach_their_stage_alone():
    settings = plan.complete({**MINE, "lr0": 0.002, "sparse.lr0": 0.1, "sparse.epochs": 7}, DEMO, TRAINING)
    sparse, distill = plan.training_of(settings, "sparse"), plan.training_of(settings, "distill")
    assert (sparse["lr0"], sparse["epochs"]) == (0.1, 7) and (distill["lr0"], distill["epochs"]) == (0.002, 100)
    assert not sparse.keys() & {"weights", "factor", "format", "loss_type"} and sparse["data"] == "a.yaml"


def test_the_plan_in_words():
    settings = plan.complete({**MINE, "epochs": 4, "format": "onnx"}, DEMO, TRAINING)
    assert "sparse training (2 epochs), pruning (factor=0.5)" in plan.describe(settings)
    assert "pruning (flops=0.4)" in plan.describe({**settings, "prune.flops": 0.4})
    assert "pruning (factor=0.2)" in plan.describe({**settings, "prune.factor": 0.2})


def test_sparse_training_and_retraining_may_be_left_out():
    settings = plan.complete({**MINE, "epochs": 4, "sparse.epochs": 0, "retrain.epochs": 0}, DEMO, TRAINING)
    assert plan.trainings(settings) == ("distill",)
    assert plan.describe(settings).startswith("plan: pruning (factor=0.5), distillation (mgd, 4 epochs), ")


@pytest.mark.parametrize(
    ("key", "epochs"), [("distill.epochs", 0), ("sparse.epochs", -1), ("retrain.epochs", 1.5), ("sparse.epochs", False)]
)
def test_other_numbers_of_epochs_are_refused(key, epochs):
    with pytest.raises(ValueError, match=f"{key}=.* expected a whole number from 1, or 0 to leave"):
        plan.complete({**MINE, key: epochs}, DEMO, TRAINING)


@pytest.mark.parametrize("factor", [1, 1.0, -0.1, "half", None, True, float("nan")])
def test_factor_is_a_share(factor):
    with pytest.raises(ValueError, match="factor"):
        plan.complete({**MINE, "factor": factor}, DEMO, TRAINING)


@pytest.mark.parametrize("key", ["distil.lr0", "distill.loss_type", "export.format", "prune.save_dir", "train.lr0"])
def test_what_no_stage_would_take_is_refused_at_once(key):
    """From Python too: some would have gone unheeded, others have ended a run in its last stage."""
    with pytest.raises(ValueError, match=f"{key}: expected STAGE.key"):
        plan.complete({**MINE, key: 1}, DEMO, TRAINING)


def test_training_arguments_are_checked():
    plan.check_training({"epochs": 3, "loss_type": "sparse"})
    for bad in ({"epochs": "many"}, {"lr0": 7}, {"loss_type": "cdw"}, {"Distillation": "t.pt"}, {"nonsense": 1}):
        with pytest.raises((TypeError, ValueError, SyntaxError)):
            plan.check_training(bad)


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
    with pytest.raises(ValueError, match=fault):
        plan.complete({**MINE, **given}, DEMO, TRAINING)


def test_a_training_between_prunings_is_told_from_the_pruning():
    both = {"flops": 0.5, "steps": 3, "imgsz": 320, "data": "a.yaml", "epochs": 2, "lr0": 0.01, "batch": 4}
    pruning, training = plan.split_pruning(both)
    assert pruning == {"flops": 0.5, "steps": 3, "imgsz": 320}
    assert training == {"data": "a.yaml", "epochs": 2, "lr0": 0.01, "batch": 4, "imgsz": 320}
    assert plan.split_pruning({"factor": 0.5, "batch": 4}) == ({"factor": 0.5, "batch": 4}, {})
    pruning, training = plan.split_pruning({**both, "flops": None, "latency_ms": 5})
    assert pruning["batch"] == 4 and "batch" not in training


@pytest.mark.parametrize("options", [{"lr0": 0.1}, {"epochs": 2}, {"data": "a.yaml"}, {"data": "a.yaml", "epochs": 2, "lr": 1}])
def test_half_a_training_between_prunings_is_refused(options):
    with pytest.raises((TypeError, SyntaxError), match="prune takes no|lr"):
        plan.split_pruning({"factor": 0.5, "steps": 2, **options})


def test_the_pruning_of_a_run():
    settings = plan.complete({**MINE, "lr0": 0.002, "batch": 16, "prune.flops": 0.5, "prune.steps": 3}, DEMO, TRAINING)
    assert plan.pruning_of(settings) == ({"imgsz": 640, "device": None, "flops": 0.5, "steps": 3}, {})
    pruning, training = plan.pruning_of({**settings, "prune.epochs": 2, "prune.lr0": 0.1, "retrain.mosaic": 0.5})
    assert pruning == {"imgsz": 640, "device": None, "flops": 0.5, "steps": 3}
    assert training["data"] == "a.yaml" and training["batch"] == 16 and training["epochs"] == 2
    assert training["lr0"] == 0.1 and training["mosaic"] == 0.5
