"""What a saved file holds of a model, and that it computes the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ultralytics.slim.errors import InputError
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.pruning.checkpoint import save_checkpoint

from random_models import randomised
from short_runs import MINI, hooks_in


class Hooked(nn.Conv2d):
    """A layer whose own method changes what it puts out."""

    def __init__(self, c: int):
        super().__init__(c, c, 1)
        self.register_forward_hook(self.scaled)

    def scaled(self, module, args, output):
        return 3 * output + 1


@pytest.fixture
def model() -> nn.Module:
    model = randomised(str(MINI)).model.float().eval()
    model.model[3] = nn.Sequential(model.model[3], Hooked(64))
    for layer in model.model[3:4]:
        layer.i, layer.f = 3, -1
    return model


@torch.no_grad()
def test_hooks_that_are_methods_of_the_model_stay_and_others_go(model: nn.Module, tmp_path: Path) -> None:
    seen = []
    model.model[2].register_forward_hook(lambda *_: seen.append(1) or None)
    save_checkpoint(model, tmp_path / "p.pt", {})
    loaded = load_checkpoint(tmp_path / "p.pt")[0].float().eval()
    x = torch.rand(1, 3, 64, 64)
    assert (model.model[:4](x) - loaded.model[:4](x)).abs().max() < 0.01 * model.model[:4](x).abs().max()
    assert hooks_in(loaded) == 1 and hooks_in(model) == 2


def test_a_hook_from_another_process_keeps_its_place(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch numbers hooks in each process from 0, and one of a number that a layer has takes the place of its own."""
    monkeypatch.setattr(RemovableHandle, "next_id", 50)
    model.model[3][1] = Hooked(64)
    save_checkpoint(model, tmp_path / "p.pt", {})
    monkeypatch.setattr(RemovableHandle, "next_id", 0)
    loaded = load_checkpoint(tmp_path / "p.pt")[0]
    (hooked,) = (m for m in loaded.modules() if isinstance(m, Hooked))
    for _ in range(100):
        hooked.register_forward_hook(lambda *_: None).remove()
    assert list(hooked._forward_hooks.values()) == [hooked.scaled]


def test_no_mark_of_a_hook_that_goes_stays(model: nn.Module, tmp_path: Path) -> None:
    """It would hold for what gets the same number in another process."""
    model.model[2].register_forward_hook(lambda *_: None, with_kwargs=True, always_call=True)
    model.model[2].register_forward_pre_hook(lambda *_: None, with_kwargs=True)
    save_checkpoint(model, tmp_path / "p.pt", {})
    layer = load_checkpoint(tmp_path / "p.pt")[0].model[2]
    assert not [key for key, value in vars(layer).items() if "_hooks_" in key and value]


def test_a_hook_of_others_that_changes_the_model_is_refused(model: nn.Module, tmp_path: Path) -> None:
    model.model[2].register_forward_hook(lambda module, args, output: 3 * output)
    with pytest.raises(InputError, match=r"forward hooks change what the model computes \(model\.2\)"):
        save_checkpoint(model, tmp_path / "p.pt", {})
    assert not list(tmp_path.iterdir())


def test_a_hook_of_others_that_only_looks_does_not_change_what_is_saved(tmp_path: Path) -> None:
    """Also of values beyond half precision, which stay in float32 in a file whose other tensors are halved."""
    model = randomised(str(MINI)).model.float().eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[2].running_var[0] = 1e5
    model.model[2].register_forward_hook(lambda *_: None)
    save_checkpoint(model, tmp_path / "p.pt", {})
    kept = [m for m in load_checkpoint(tmp_path / "p.pt")[0].modules() if isinstance(m, nn.BatchNorm2d)]
    assert kept[2].running_var[0] == 1e5


def test_a_hook_of_others_that_fails_is_named_as_such(tmp_path: Path) -> None:
    def fails(module, args, output):
        if output.dtype == torch.float64:
            raise RuntimeError("of the tool's own")

    model = randomised(str(MINI)).model.float().eval()
    model.model[2].register_forward_hook(fails)
    with pytest.raises(InputError, match=r"forward hooks change what the model computes \(model\.2\)"):
        save_checkpoint(model, tmp_path / "p.pt", {})
