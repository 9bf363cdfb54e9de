"""Weights that are computed, broken, or beyond half precision, and files that hold something else than a checkpoint."""

import copy
import os
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import prune_model as wrapper
from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.errors import InputError
from ultralytics.slim.inputs.weights import open_model
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.measuring.comparison import compare_models
from ultralytics.slim.pruning.analysis.scan import analyse_model
from ultralytics.slim.pruning.checkpoint import stripped
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.runs.training import fit
from ultralytics.slim.stored import check_finite, plain_copy, store_computed

from short_runs import MINI, SHORT, prepared, train, weights_of

warnings.filterwarnings("ignore", category=FutureWarning)  # the older weight_norm, which files still hold


def mask_twice(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", 0.3)
    prune.ln_structured(layer, "weight", 0.3, 2, 0)


HOW = {
    "masked": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "masked twice": mask_twice,
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "parametrized weight_norm": parametrizations.weight_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
}


def computing(how: str) -> DetectionModel:
    """A network in which two layers' weights are computed, with statistics that it has seen."""
    torch.manual_seed(0)
    model = DetectionModel(str(MINI), nc=2, verbose=False)
    model.names = {0: "box", 1: "disc"}
    model.train()(torch.rand(4, 3, 64, 64))
    for layer in (model.model[5].cv1.conv, model.model[8].m[0].cv2.conv):
        HOW[how](layer)
    model.train()(torch.rand(2, 3, 64, 64))  # what it leaves in the layers has a graph, which PyTorch does not copy
    return model


@torch.no_grad()
def outputs(model: nn.Module) -> torch.Tensor:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return copy.deepcopy(model).double().eval()(images.double())[0]


@pytest.mark.parametrize("how", HOW)
def test_a_copy_computes_the_same_with_stored_weights(how, log):
    model = computing(how)
    before = {name: type(layer) for name, layer in model.named_modules()}
    plain = plain_copy(model)
    assert "model.5.cv1.conv" in log.text and "model.8.m.0.cv2.conv" in log.text
    names = dict(plain.named_parameters())
    assert isinstance(names["model.5.cv1.conv.weight"], nn.Parameter) and type(plain.model[5].cv1.conv) is nn.Conv2d
    assert {name: type(layer) for name, layer in model.named_modules()} == before and not store_computed(plain)
    assert all(layer.training for layer in plain.modules())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, got = (net.eval()(x)[0] for net in (model, plain))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("how", HOW)
def test_computed_weights_are_pruned_as_they_are(how, tmp_path):
    """In memory, as a YOLO or a network; the same as the network whose weights were stored by hand."""
    model = computing(how)
    yolo = YOLO(MINI, verbose=False)
    yolo.model = model
    given = yolo, model, plain_copy(model)
    small = [prune_model(network, tmp_path / "small.pt", 0.5, score="l1").model for network in given]
    assert all(torch.equal(outputs(small[0]), outputs(other)) for other in small[1:])
    assert sum(p.numel() for p in small[0].parameters()) < 0.5 * sum(p.numel() for p in plain_copy(model).parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["masked", "masked twice", "weight_norm", "spectral_norm"]
)  # the others cannot be saved
def test_a_file_with_computed_weights_goes_through_all_stages(how, tiny_data, tmp_path):
    model, file = computing(how), tmp_path / "computing.pt"
    torch.save({"model": model, "train_args": {}}, file)
    plain = plain_copy(model)
    torch.testing.assert_close(outputs(open_model(file).model), outputs(plain), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs(load_checkpoint(file)[0]), outputs(plain), rtol=1e-4, atol=1e-4)
    analyse_model(open_model(file), str(tiny_data), tmp_path / "analysis", score="l1", shares=0.5, limit=1, imgsz=64)
    options = {**SHORT, "data": str(tiny_data), "project": str(tmp_path), "name": "run", "epochs": 1, "lr0": 0.0}
    trained = fit(file, tmp_path / "trained.pt", {**options, "warmup_bias_lr": 0.0, "weight_decay": 0.0})
    got = dict(load_checkpoint(trained.path)[0].named_parameters())["model.5.cv1.conv.weight"]
    torch.testing.assert_close(got, plain.model[5].cv1.conv.weight, rtol=1e-3, atol=1e-4)  # half precision
    losses = train(tiny_data, tmp_path, Distillation=str(file), loss_type="cwd+logit", epochs=1, name="taught")[1]
    assert float(losses.tloss["distill_loss"]) > 0


def test_a_teacher_in_memory_may_compute_its_weights(tiny_data, tmp_path):
    trainer = prepared(tiny_data, tmp_path, Distillation=computing("masked"), loss_type="cwd")
    assert trainer.slim.distiller.pairs


def test_a_weight_that_something_else_computes_is_named(tmp_path):
    model = computing("masked")
    layer = model.model[2].cv1.conv
    weight = layer.weight.data
    del layer.weight
    layer.halves, layer.weight = nn.Parameter(weight / 2), weight
    layer.register_forward_pre_hook(lambda module, _: setattr(module, "weight", 2 * module.halves))
    with pytest.raises(InputError, match=r"layer model.2.cv1.conv \(Conv2d\) computes its weight .*store it first"):
        prune_model(model, tmp_path / "small.pt", 0.5)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------- NaN and overflow


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("tensor", ["model.5.cv1.conv.weight", "model.2.cv2.bn.running_var", "model.9.cv2.0.2.bias"])
def test_broken_weights_are_named_before_anything_is_done(tensor, value, weights, tiny_data, tmp_path):
    yolo = YOLO(weights)
    yolo.model.state_dict()[tensor].view(-1)[:3] = value
    message = rf"NaN or infinite: {tensor} \(3 of [\d,]+ values\)\. A training that diverged"
    with pytest.raises(InputError, match=f"the model has weights .*{message}"):
        prune_model(yolo, tmp_path / "small.pt", 0.5)
    with pytest.raises(InputError, match=message):
        analyse_model(yolo, str(tiny_data), tmp_path / "analysis")
    assert not list(tmp_path.iterdir())
    torch.save({"model": yolo.model, "train_args": {}}, tmp_path / "broken.pt")
    with pytest.raises(InputError, match=f"broken.pt has weights .*{message}"):
        fit(tmp_path / "broken.pt", tmp_path / "out.pt", {"data": str(tiny_data)})
    with pytest.raises(InputError, match=f"the teacher '.*broken.pt' has weights .*{message}"):
        prepared(tiny_data, tmp_path / "run", Distillation=str(tmp_path / "broken.pt"), loss_type="cwd")


def test_what_half_precision_cannot_hold_is_saved_in_float32(weights, tmp_path, log):
    yolo = YOLO(weights)
    norms = yolo.model.model[2].cv1.bn, yolo.model.model[5].cv1.bn
    for norm in norms:  # a layer whose inputs are large, and a scale that makes up for it
        norm.running_var *= 1e6
        norm.weight.data *= 1e3
    wanted = prune_model(yolo, tmp_path / "small.pt", 0.3, score="l1").model
    assert "model.2.cv1.bn.running_var, model.5.cv1.bn.running_var" in log.text and "stay in float32" in log.text
    saved = torch.load(tmp_path / "small.pt", weights_only=False)["model"]
    kinds = {name: tensor.dtype for name, tensor in saved.state_dict().items() if tensor.is_floating_point()}
    wide = [name for name, kind in kinds.items() if kind == torch.float32]
    assert wide == ["model.2.cv1.bn.running_var", "model.5.cv1.bn.running_var"] and torch.float16 in kinds.values()
    check_finite(YOLO(tmp_path / "small.pt").model, "the file")
    got = outputs(YOLO(tmp_path / "small.pt").model)
    torch.testing.assert_close(got, outputs(wanted), rtol=0.02, atol=0.02)


def test_a_file_with_other_values_is_not_kept(weights, tmp_path, monkeypatch):
    """What is verified is the file: a value that is lost on the way there stops it."""

    def lossy(model):
        net = stripped(model)
        net.model[2].cv1.bn.running_var[0] *= 1.01
        return net

    monkeypatch.setattr("ultralytics.slim.pruning.checkpoint.stripped", lossy)
    with pytest.raises(RuntimeError, match="model.2.cv1.bn.running_var has other values in the file"):
        prune_model(YOLO(weights), tmp_path / "small.pt", 0.3, score="l1")
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------- files that are no checkpoint


@pytest.mark.slow
def test_a_whole_model_is_taken_as_a_checkpoint(weights, tiny_data, tmp_path, log):
    yolo = YOLO(weights)
    fused = sum(p.numel() for p in YOLO(weights).model.fuse(verbose=False).parameters())
    for name, content in (("network.pt", yolo.model), ("yolo.pt", yolo)):
        file = tmp_path / name
        torch.save(content, file)
        assert weights_of(open_model(file).model).keys() == weights_of(yolo.model).keys()
        small = prune_model(open_model(file), tmp_path / "small.pt", 0.5, score="l1")
        assert torch.equal(outputs(small.model), outputs(prune_model(yolo, tmp_path / "s.pt", 0.5, score="l1").model))
        assert compare_models({"it": file}, str(tiny_data), 64, "cpu")[0].params == fused
        options = {**SHORT, "data": str(tiny_data), "project": str(tmp_path), "name": "run", "epochs": 1}
        fit(file, tmp_path / "trained.pt", options)
        assert train(tiny_data, tmp_path, Distillation=str(file), loss_type="cwd", epochs=1, name="taught")
    assert "network.pt holds a whole DetectionModel, taken as a checkpoint" in log.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda model: model.model, "holds a Sequential; needed is a checkpoint"),
        (lambda model: model.state_dict(), "holds weights alone, a state_dict without the network; needed is"),
        (lambda model: dict(model.state_dict()), "holds weights alone, a state_dict"),
        (
            lambda model: {"state_dict": model.state_dict(), "epoch": 3},
            "holds no model under .*, only state_dict, epoch",
        ),
        (
            lambda model: {"model": model.state_dict()},
            "holds weights alone, a state_dict .*, under 'model'",
        ),
        (lambda model: [1, 2], "holds a list; needed is"),
        (lambda model: torch.zeros(3), "holds a Tensor; needed is"),
        (lambda model: nn.Linear(2, 2), "holds a Linear; needed is"),
    ],
)
def test_files_that_hold_something_else_are_told_what_is_needed(content, message, weights, tmp_path):
    torch.save(content(YOLO(weights).model), tmp_path / "odd.pt")
    for load in (open_model, load_checkpoint):
        with pytest.raises(InputError, match=f"odd.pt {message}"):
            load(tmp_path / "odd.pt")


def test_bare_layers_in_memory_are_told_what_is_needed(weights, tmp_path):
    with pytest.raises(InputError, match="prune got the layers alone, a Sequential.*needed is a checkpoint"):
        prune_model(YOLO(weights).model.model, tmp_path / "small.pt")


def test_safe_loading_is_kept(weights, tmp_path, monkeypatch):
    torch.save(YOLO(weights).model, tmp_path / "whole.pt")
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "1")
    with pytest.raises(InputError, match="holds no checkpoint but ultralytics.*DetectionModel, which safe loading"):
        open_model(tmp_path / "whole.pt")


def test_safe_loading_as_an_argument(weights, tmp_path, monkeypatch, capsys):
    """For the whole process and those it starts, and by a bare word on the command line."""
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "0")
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)
    whole = tmp_path / "whole.pt"
    torch.save(YOLO(weights).model, whole)
    with pytest.raises(InputError, match="safe=yes: expected True or False"):
        PruneModel(weights, safe="yes")
    assert wrapper.main(["prune", f"weights={whole}", f"save_dir={tmp_path / 'a.pt'}"]) == 0
    assert not tasks.SAFE_LOAD
    assert wrapper.main(["prune", f"weights={whole}", f"save_dir={tmp_path / 'b.pt'}", "safe"]) == 1
    assert "which safe loading (safe=True, ULTRALYTICS_SAFE_LOAD) forbids" in capsys.readouterr().err
    assert tasks.SAFE_LOAD and os.environ["ULTRALYTICS_SAFE_LOAD"] == "1" and not (tmp_path / "b.pt").exists()
    for refused in (lambda: PruneModel(whole), lambda: PruneModel.compare({"a": whole})):
        with pytest.raises(InputError, match="safe loading"):
            refused()
