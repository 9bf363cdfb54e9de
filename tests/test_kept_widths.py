"""A pruned model stays pruned through every way to train it, and the stock release would lose it."""

from pathlib import Path

import pytest

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.slim.errors import InputError
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.widths import checkpoint_of
from ultralytics.utils import YAML

from short_runs import MINI, Interrupt, interrupt, stop_at

SHORT = dict(imgsz=64, epochs=2, batch=4, nbs=4, workers=0, amp=False, plots=False, device="cpu", verbose=False)
SHORT |= dict(optimizer="AdamW", lr0=1e-3, warmup_epochs=0, val=False)


def widths(model) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights but those of the class convolutions, whose width is the number of classes."""
    last = tuple(f"model.{len(model.model) - 1}.cv3.{i}.2" for i in range(3))
    return {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.startswith(last)}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    path = tmp_path_factory.mktemp("pruned") / "p.pt"
    prune_model(YOLO(MINI, verbose=False), path, factor=0.4, score="l1")
    return path


@pytest.fixture
def options(tiny_data, tmp_path):
    return {**SHORT, "data": str(tiny_data), "project": str(tmp_path), "name": "run"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["file", "in memory", "distilled", "sparse", "natively distilled", "from a YAML", "loaded"]
)
def test_training_keeps_the_widths(pruned, options, how):
    expected = widths(YOLO(pruned).model)
    assert expected != widths(YOLO(MINI, verbose=False).model)
    model, more = YOLO(pruned), {}
    if how == "in memory":  # an assigned module, without a file behind it
        model = YOLO(MINI, verbose=False)
        model.model = YOLO(pruned).model
    elif how == "distilled":
        more = {"Distillation": YOLO(MINI, verbose=False), "loss_type": "cwd", "distill_check": False}
    elif how == "natively distilled":
        more = {"distill_model": str(pruned)}
    elif how == "sparse":
        more = {"loss_type": "sparse"}
    elif how == "from a YAML":
        model, more = YOLO(MINI, verbose=False), {"pretrained": str(pruned)}
    elif how == "loaded":
        model = YOLO(MINI, verbose=False).load(str(pruned))
    model.train(**options, **more)
    assert widths(model.model) == expected
    assert widths(YOLO(model.trainer.last).model) == expected
    assert model.model.nc == 2 and model.model.model[-1].cv3[0][-1].out_channels == 2


def test_resume_keeps_the_widths(pruned, options):
    model = YOLO(pruned)
    model.add_callback("on_train_epoch_start", stop_at(1))
    with pytest.raises(Interrupt):
        model.train(**options)
    last = model.trainer.last
    resumed = YOLO(last)
    resumed.train(resume=True)
    assert resumed.trainer.start_epoch == 1
    assert widths(resumed.model) == widths(YOLO(pruned).model)


def test_training_a_pruned_model_starts_from_its_weights(pruned, options):
    """Not merely its shapes: with a learning rate of zero the trained weights are the pruned ones."""
    model = YOLO(pruned)
    before = {k: v.clone() for k, v in model.model.named_parameters()}
    model.train(**{**options, "lr0": 0.0, "epochs": 1, "warmup_bias_lr": 0.0, "weight_decay": 0.0})
    after = dict(model.trainer.model.named_parameters())
    same = [k for k in before if before[k].shape == after[k].shape and before[k].equal(after[k])]
    assert len(same) >= len(before) - 6  # all but the class convolutions


def test_a_train_log_says_that_widths_are_kept(pruned, options, caplog):
    import logging

    logger = logging.getLogger("ultralytics")
    logger.addHandler(caplog.handler)
    try:
        YOLO(pruned).train(**{**options, "epochs": 1})
    finally:
        logger.removeHandler(caplog.handler)
    assert "kept pruned widths" in caplog.text


def test_an_unpruned_module_in_memory_is_left_to_ultralytics():
    model = YOLO(MINI, verbose=False)
    assert not checkpoint_of(model, {"pretrained": False})
    model.ckpt = {"epoch": 3}
    assert checkpoint_of(model, {}) == {"epoch": 3}


class Forgetful(DetectionTrainer):
    """A trainer of the user's own that leaves the weights aside."""

    def get_model(self, cfg=None, weights=None, verbose=True):
        return super().get_model(cfg, None, verbose)


UNDONE = {
    "fresh": ({"pretrained": False}, "pretrained=False would train the YAML's whole network anew"),
    "others": ({"pretrained": "whole.pt"}, "pretrained=.*whole.pt would train a network of other widths"),
    "trainer": ({"trainer": Forgetful}, "Forgetful.get_model.. made another network .* should call model.load"),
    "cfg": ({"cfg": "args.yaml"}, "pretrained=False would train the YAML's whole network anew"),
    "distilled": (
        {"pretrained": False, "Distillation": "whole.pt", "loss_type": "cwd"},
        "pretrained=False would train",
    ),
    "natively distilled": ({"trainer": Forgetful, "distill_model": "whole.pt"}, "Forgetful.get_model"),
    "one class": ({"pretrained": False, "single_cls": True}, "pretrained=False would train"),
}


@pytest.mark.parametrize("how", [*UNDONE, "trainer alone", "reset", "in memory", "in place"])
def test_what_would_undo_a_pruning_is_refused(pruned, options, tmp_path, monkeypatch, how):
    """Whatever puts the YAML's network in its place: nothing is trained, and the argument is named."""
    monkeypatch.chdir(tmp_path)
    YOLO(MINI, verbose=False).save("whole.pt")
    YAML.save("args.yaml", {"pretrained": False, "epochs": 1})
    options |= {"project": str(tmp_path / "runs"), "exist_ok": True}
    more, message = UNDONE.get(how, UNDONE["fresh"])
    model = YOLO(pruned)
    if how == "reset":  # after which train() starts from the YAML
        model.reset_weights()
        more = {}
    elif how == "in memory":
        model = YOLO(MINI, verbose=False)
        model.model = YOLO(pruned).model
    elif how == "in place":
        model = YOLO("whole.pt")
        model.model = YOLO(pruned).model
    with pytest.raises(InputError, match=message):
        if how == "trainer alone":  # without a YOLO: the yolo command's way, and that of the workers of several GPUs
            overrides = {**options, "model": str(pruned), "pretrained": False}
            DetectionTrainer(overrides=overrides).train()
        else:
            model.train(**options, **more)
    assert not list(tmp_path.rglob("runs/**/*.pt"))


@pytest.mark.parametrize("how", ["one class", "the same pruning", "grey"])
def test_what_changes_the_ends_alone_is_trained(pruned, options, tmp_path, tiny_data, how):
    """The classes and the input are the data's, and weights of the same widths may be named."""
    more = {"one class": {"single_cls": True}, "the same pruning": {"pretrained": str(pruned)}}.get(how, {})
    if how == "grey":
        grey = tmp_path / "grey.yaml"
        YAML.save(grey, {**YAML.load(tiny_data), "channels": 1})
        more = {"data": str(grey)}
    model = YOLO(pruned)
    model.add_callback("on_train_start", interrupt)
    with pytest.raises(Interrupt):
        model.train(**{**options, **more})
    trained, before = widths(model.trainer.model), widths(YOLO(pruned).model)
    assert {k for k in trained if trained[k] != before[k]} == ({"model.0.conv.weight"} if how == "grey" else set())


def test_validation_uses_the_pruned_model(pruned, options):
    model = YOLO(pruned)
    keys = {k: options[k] for k in ("imgsz", "batch", "workers", "plots", "device", "data", "project")}
    box = model.val(**keys).box
    assert 0 <= box.map <= 1 and len(box.maps) == 80
    fused = YOLO(pruned).model.float().fuse(verbose=False)
    assert widths(model.model) in (widths(fused), widths(YOLO(pruned).model))


@pytest.mark.slow
def test_tuning_keeps_the_widths(pruned, options):
    """One iteration: Ultralytics trains in a process of its own, through the `yolo` command."""
    model = YOLO(pruned)
    model.tune(iterations=1, space={"lr0": (1e-4, 1e-3)}, **{**options, "epochs": 1, "val": True})
    found = list(Path(options["project"]).rglob("best.pt"))
    assert found and all(widths(YOLO(path).model) == widths(YOLO(pruned).model) for path in found)
