"""Each loss against hand-computed values and its properties."""

import math

import pytest
import torch
from torch import nn

from ultralytics.slim.losses.layer_losses import (
    FEATURE_LOSSES,
    CWDLoss,
    LossOptions,
    MGDLoss,
    MimicLoss,
    PKDLoss,
    standardise,
)


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", [CWDLoss(), CWDLoss(tau=4.0), MimicLoss(), PKDLoss()])
def test_equal_features_cost_nothing(loss):
    x = features(2, 3, 4, 5)
    assert loss(x, x.clone()).item() == pytest.approx(0.0, abs=1e-6)


def test_mgd_costs_nothing_where_the_generator_reproduces_the_teacher():
    loss = MGDLoss(3, 3, mask_ratio=0.0)
    loss.generator = nn.Identity()
    x = features(2, 3, 4, 5)
    assert loss(x, x.clone()).item() == 0.0


def test_cwd_by_hand():
    # One channel, two positions: p = (3/4, 1/4), q = (1/2, 1/2); KL = 3/4·ln(3/2) + 1/4·ln(1/2).
    teacher = torch.tensor([math.log(3.0), 0.0]).view(1, 1, 1, 2)
    student = torch.zeros(1, 1, 1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert CWDLoss()(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    # With τ = 2 the logits halve, p = (√3, 1)/(√3 + 1), and the loss is multiplied by 4.
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    expected = 4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert CWDLoss(tau=2.0)(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_cwd_is_a_mean_over_images_and_channels_and_not_symmetric():
    s, t = features(2, 3, 4, 5), features(2, 3, 4, 5, seed=1)
    doubled = CWDLoss()(torch.cat([s, s]), torch.cat([t, t]))
    assert doubled.item() == pytest.approx(CWDLoss()(s, t).item(), rel=1e-5)
    assert CWDLoss()(s, t).item() != pytest.approx(CWDLoss()(t, s).item(), rel=1e-3)


def test_mgd_by_hand():
    # With the generator the identity and nothing masked: α/N · Σ (S − T)² = 0.5/2 · (1 + 4 + 9 + 16).
    loss = MGDLoss(1, 1, alpha=0.5, mask_ratio=0.0)
    loss.generator = nn.Identity()
    student = torch.zeros(2, 1, 1, 2)
    teacher = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(2, 1, 1, 2)
    assert loss(student, teacher).item() == pytest.approx(0.25 * 30)


def test_mgd_masks_whole_locations_at_the_given_rate():
    seen = []

    class Recorder(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    loss = MGDLoss(4, 4, mask_ratio=0.65)
    loss.generator = Recorder()
    torch.manual_seed(0)
    loss(torch.ones(4, 4, 50, 50), torch.zeros(4, 4, 50, 50))
    masked = seen[0] == 0
    assert masked.float().mean().item() == pytest.approx(0.65, abs=0.02)
    assert (masked == masked[:, :1]).all()  # every channel of a location shares its fate


def test_mimic_and_pkd_by_hand():
    student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    assert MimicLoss()(student, teacher).item() == pytest.approx(5.0)
    a = features(2, 3, 8, 8)
    assert PKDLoss()(2 * a + 5, a).item() == pytest.approx(0.0, abs=1e-4)  # r = 1
    assert PKDLoss()(-a, a).item() == pytest.approx(2.0, abs=1e-3)  # r = −1


@pytest.mark.parametrize("name", FEATURE_LOSSES)
def test_half_precision_and_channels_last_stay_finite(name):
    """Large half-precision features neither overflow nor turn into NaN, in any memory format."""
    loss = FEATURE_LOSSES[name].build(4, 4, LossOptions())
    for dtype in (torch.float16, torch.bfloat16):
        s = (200 * features(2, 4, 40, 40)).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
        t = (200 * features(2, 4, 40, 40, seed=1)).to(dtype).to(memory_format=torch.channels_last)
        loss = loss.to(dtype)
        value = loss(s, t)
        value.backward()
        assert value.dtype == torch.float32 and value.isfinite() and s.grad.isfinite().all()


def test_options_reach_their_losses():
    options = LossOptions(tau=3.0, alpha=0.5, mask_ratio=0.25)
    assert FEATURE_LOSSES["cwd"].build(4, 4, options).tau == 3.0
    mgd = FEATURE_LOSSES["mgd"].build(4, 8, options)
    assert (mgd.alpha, mgd.mask_ratio, mgd.generator[0].out_channels) == (0.5, 0.25, 8)


def test_standardise_matches_batchnorm_without_affine_and_leaves_a_single_value():
    x = features(2, 3, 4, 5)
    assert torch.allclose(standardise(x), nn.BatchNorm2d(3, affine=False)(x), atol=1e-6)
    single = features(1, 3, 1, 1)
    assert torch.equal(standardise(single), single)


@pytest.mark.parametrize(
    "make, fragment",
    [
        (lambda: CWDLoss(tau=0), "tau must be positive"),
        (lambda: MGDLoss(2, 2, alpha=-1), "alpha"),
        (lambda: MGDLoss(2, 2, mask_ratio=1.0), "mask_ratio"),
        (lambda: CWDLoss()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 4, 3, 3)), r"\(1, 2, 3, 3\)"),
        (lambda: MGDLoss(2, 2)(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 6, 6)), r"\(1, 2, 6, 6\)"),
    ],
)
def test_bad_values_are_named(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
