"""The gap between features: none to itself, some to a narrower model, and smaller after the maps are fitted."""

import copy

import pytest
import torch

from ultralytics.slim.pruning.graph.raw import run_raw
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.recovery.features import FeatureGap, shared_layers

from random_models import randomised


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))


def gap_between(student, teacher, images, fitted):
    """Return the gap on the images, after a fit to them where asked for."""
    gap = FeatureGap(student, teacher)

    def passes():
        for part in images.split(2):
            yield run_raw(student, part), run_raw(teacher, part)

    gap.attach()
    with torch.no_grad():
        if fitted:
            gap.fit(passes())
        run_raw(student, images), run_raw(teacher, images)
        value = float(gap())
    gap.detach()
    assert not any(m._forward_hooks for model in (student, teacher) for m in model.modules())
    return value


def test_a_fitted_map_leaves_next_to_nothing_between_a_model_and_itself(images):
    model = randomised("yolov8n.yaml").model.float().eval()
    assert gap_between(model, copy.deepcopy(model), images, fitted=True) < 0.01
    assert gap_between(model, copy.deepcopy(model), images, fitted=False) > 0.5


def test_a_narrower_model_has_a_gap_that_the_fit_makes_smaller(images, tmp_path):
    yolo = randomised("yolov8n.yaml")
    narrow = prune_model(yolo, tmp_path / "p.pt", 0.5, imgsz=64).model.float().eval()
    teacher = yolo.model.float().eval()
    assert 0.01 < gap_between(narrow, teacher, images, True) < 0.8 * gap_between(narrow, teacher, images, False)


def test_layers_are_those_that_both_have():
    model = randomised("yolov8n.yaml").model
    assert [ours.index for ours, _ in shared_layers(model, model)] == [4, 6, 9, 12, 15, 18, 21]
    other = randomised("yolov5n.yaml").model
    assert all(ours.kind == theirs.kind for ours, theirs in shared_layers(model, other))
    classifier = randomised("yolov8n-cls.yaml").model.eval()
    gap = FeatureGap(classifier, classifier)
    gap.attach()
    assert shared_layers(classifier, classifier) == [] and float(gap()) == 0
