"""What the predictions lose by a layer, where layers put out their images in unusual places."""

import copy

import numpy as np
import torch

from ultralytics import YOLO
from ultralytics.slim.pruning.architectures import shake
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.score.sensitivity import sensitivities
from ultralytics.slim.pruning.score.surgeon import covariances

from short_runs import MINI
from small_modules import Chain, TwoScales


def test_a_transformer_that_puts_positions_first_is_left_as_it_is(tmp_path):
    """Six images are a batch of four and one of two."""
    config = tmp_path / "sequence.yaml"
    config.write_text(MINI.read_text().replace("C2f, [512, True]", "C3TR, [512]"))
    yolo = YOLO(config, verbose=False)
    shake(yolo.model, 0)
    result = prune_model(yolo, tmp_path / "s.pt", flops=0.8, images=torch.rand(6, 3, 64, 64), imgsz=64)
    assert result.gflops[1] <= 0.8 * result.gflops[0]


def test_a_layer_that_runs_twice_counts_both_times():
    """As two layers of the same weights do together."""
    torch.manual_seed(0)
    shared = Chain(TwoScales()).eval()
    apart = copy.deepcopy(shared)
    apart.model[1].small = copy.deepcopy(apart.model[1].large)
    x = torch.rand(6, 3, 32, 32)
    one, two = sensitivities(shared, x), sensitivities(apart, x)
    both, small, large = one["model.1.large"], two["model.1.small"], two["model.1.large"]
    assert torch.allclose(both.where, torch.cat([small.where, large.where], 1))
    assert torch.allclose(both.channels, small.channels + large.channels)
    assert torch.allclose(both.removal, small.removal + large.removal)
    read = []
    shared.model[1].large.register_forward_pre_hook(lambda _, args: read.append(args[0].transpose(0, 1).flatten(1)))
    with torch.no_grad():
        shared(x)
    assert np.allclose(covariances(apart, two, x)["model.1.small"], torch.cov(read[0].double()).numpy())
    shared.model[1].large._forward_pre_hooks.clear()
    found = covariances(shared, one, x)["model.1.large"]  # all positions are fewer than are sampled
    assert np.allclose(found, torch.cov(torch.cat(read, 1).double()).numpy())
