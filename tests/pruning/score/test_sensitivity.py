"""What the predictions lose by a layer, where layers put out their images in unusual places."""

import torch

from ultralytics import YOLO
from ultralytics.slim.pruning.architectures import shake
from ultralytics.slim.pruning.prune import prune_model

from short_runs import MINI


def test_a_transformer_that_puts_positions_first_is_left_as_it_is(tmp_path):
    """Six images are a batch of four and one of two."""
    config = tmp_path / "sequence.yaml"
    config.write_text(MINI.read_text().replace("C2f, [512, True]", "C3TR, [512]"))
    yolo = YOLO(config, verbose=False)
    shake(yolo.model, 0)
    result = prune_model(yolo, tmp_path / "s.pt", flops=0.8, images=torch.rand(6, 3, 64, 64), imgsz=64)
    assert result.gflops[1] <= 0.8 * result.gflops[0]
