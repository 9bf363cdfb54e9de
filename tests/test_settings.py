"""The added training arguments: read once, wrong values named, and the same in cfg/default.yaml."""

import pytest

from ultralytics.slim.losses.layer_losses import FEATURE_LOSSES
from ultralytics.slim.settings import TRAIN_ARGS, SlimSettings, loss_choices
from ultralytics.utils import DEFAULT_CFG_DICT


def test_default_yaml_holds_exactly_the_settings():
    assert {k: DEFAULT_CFG_DICT.get(k, "absent") for k in TRAIN_ARGS} == TRAIN_ARGS


@pytest.mark.parametrize("value", [None, "None", "none", ""])
def test_no_loss(value):
    settings = SlimSettings.from_args({"loss_type": value})
    assert settings == SlimSettings() and not settings.sparse


def test_sums_and_case():
    settings = SlimSettings.from_args({"Distillation": "t.pt", "loss_type": "CWD + sparse+mgd", "sparsity": 2})
    assert settings.losses == ("cwd", "mgd") and settings.sparse and settings.sparsity == 2.0
    assert SlimSettings.from_args({"loss_type": "sparse"}).sparse


@pytest.mark.parametrize(
    "args, fragment",
    [
        ({"loss_type": "CWDLoss", "Distillation": "t.pt"}, "not one of None, sparse, cwd, mgd"),
        ({"loss_type": "mdg", "Distillation": "t.pt"}, "Did you mean 'mgd'"),
        ({"loss_type": "cwd+cwd", "Distillation": "t.pt"}, "twice"),
        ({"Distillation": "t.pt"}, "needs a distillation loss"),
        ({"Distillation": "t.pt", "loss_type": "sparse"}, "needs a distillation loss"),
        ({"loss_type": "cwd"}, "needs a teacher"),
        ({"loss_type": "cwd", "Distillation": "t.pt", "distill_model": "u.pt"}, "Pass only one"),
        ({"loss_type": "sparse", "compile": True}, "compile=True cannot"),
        ({"distill_weight": -1}, "distill_weight must be a number"),
        ({"distill_weight": "big"}, "distill_weight must be a number"),
        ({"sparsity": "much"}, "sparsity must be a number"),
        ({"distill_schedule": "cosine"}, "run, epoch, constant"),
        ({"distill_tau": 0}, "distill_tau"),
        ({"distill_alpha": -1.0}, "distill_alpha"),
        ({"distill_mask": 1}, "distill_mask"),
        ({"distill_check": "yes"}, "distill_check must be True or False"),
        ({"distill_close_mosaic": None}, "distill_close_mosaic must be True or False"),
        (
            {"Distillation": "t.pt", "loss_type": "cwd", "distill_close_mosaic": False, "epochs": 10},
            "distill_close_mosaic=False leaves out the last close_mosaic=10 epochs, which is all of epochs=10",
        ),
        ({"distill_layers": "15"}, "list of layer indices"),
        ({"distill_layers": [15, -1]}, "list of layer indices"),
    ],
)
def test_wrong_values_are_named(args, fragment):
    with pytest.raises(ValueError, match=fragment):
        SlimSettings.from_args(args)


def test_no_layers_are_those_chosen_from_the_model():
    assert SlimSettings.from_args({"distill_layers": []}).distill_layers is None


def test_a_loss_of_the_users_is_found_whatever_its_case(monkeypatch):
    for name in ("Huber", "huBER"):
        monkeypatch.setitem(FEATURE_LOSSES, name, FEATURE_LOSSES["mimic"])
    for value, names in (("Huber", ("Huber",)), ("huBER+CWD", ("huBER", "cwd")), ("huber", ("huBER",))):
        assert SlimSettings.from_args({"Distillation": "t.pt", "loss_type": value}).losses == names


def test_choices_list_every_loss():
    assert loss_choices()[:4] == ["None", "sparse", "cwd", "mgd"]
