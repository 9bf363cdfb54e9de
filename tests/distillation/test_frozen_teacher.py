"""The teacher: its memory format, channels_last where its blocks can take it, and the file that a module becomes."""

import pytest
import torch
from torch import nn

from ultralytics.slim.distillation import teacher as teachers
from ultralytics.slim.distillation.taps import FeatureTaps
from ultralytics.slim.distillation.teacher import features, freeze
from ultralytics.slim.errors import SlimError


class Flat(nn.Module):
    """A block that flattens by `view`, which maps in channels_last cannot."""

    def forward(self, x):
        return x.view(len(x), -1).view(x.shape)


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError(self.says)


def frozen(block, channels_last=True):
    net = nn.Module()
    net.model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), block, nn.Identity())
    net.forward = net.model.forward
    return freeze(net, torch.device("cpu"), channels_last, keep_head=False)


def in_channels_last(net):
    return all(p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.ndim == 4)


def test_a_block_that_cannot_take_channels_last_makes_the_teacher_contiguous_once(log):
    net, images = frozen(Flat()), torch.rand(2, 3, 8, 8)
    taps = FeatureTaps(net, [2], stop_after_last=True)
    assert in_channels_last(net)
    (found,) = features(taps, images)
    with torch.no_grad():
        wanted = net.model[:2](images)
    assert torch.allclose(found, wanted) and not in_channels_last(net) and not taps._handles
    features(taps, images)
    assert log.text.count("cannot take channels_last (view size is not compatible") == 1


def test_a_teacher_that_can_stays_in_channels_last(log):
    net = frozen(nn.ReLU())
    features(FeatureTaps(net, [2], stop_after_last=True), torch.rand(2, 3, 8, 8))
    assert in_channels_last(net) and not log.text


@pytest.mark.parametrize(
    "says, channels_last",
    [("out of memory", True), ("view size is not compatible", False)],
    ids=["other", "contiguous"],
)
def test_other_failures_are_told_as_they_are(says, channels_last, log):
    block = Failing()
    block.says = says
    with pytest.raises(RuntimeError, match=says):
        features(FeatureTaps(frozen(block, channels_last), [2], True), torch.rand(2, 3, 8, 8))
    assert not log.text


def test_a_failure_that_is_not_of_the_layout_is_told_after_all(log):
    """Once contiguous, the same words come from the block itself."""
    block = Failing()
    block.says = "view size is not compatible"
    with pytest.raises(RuntimeError, match="view size"):
        features(FeatureTaps(frozen(block), [2], True), torch.rand(2, 3, 8, 8))


def test_weights_that_ask_for_gradients_are_fused_without_a_graph():
    """As in older releases, whose fusing copies weights into a new layer by `copy_`."""

    class Fusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

        def fuse(self, verbose=True):
            fused = nn.Conv2d(3, 4, 1).requires_grad_(False)
            fused.weight.copy_(self.model[0].weight * self.model[1].weight[:, None, None, None])
            self.model = nn.Sequential(fused)
            return self

    teacher = freeze(Fusing(), torch.device("cpu"), channels_last=False, keep_head=False)
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize(
    ("name", "folder", "told"),
    [
        ("run", True, "is a folder. .* such as weights/best.pt"),
        ("t.onnx", False, "is an exported model"),
        ("t_openvino_model", True, "is an exported model"),
        ("t.pt", None, "does not exist"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be_what_it_is(tmp_path, name, folder, told):
    if folder is not None:
        (tmp_path / name).mkdir() if folder else (tmp_path / name).write_bytes(b"")
    with pytest.raises(SlimError, match=f"teacher '.*{name}' {told}"):
        teachers.require_file(str(tmp_path / name))


def test_a_module_gets_a_file_of_its_own_and_the_users_are_never_taken_for_it(tmp_path, monkeypatch):
    """Not even one of the same beginning in the same temporary folder: what is taken for ours is removed."""
    monkeypatch.setattr(teachers.tempfile, "tempdir", str(tmp_path))
    ours = teachers.save_temporary(nn.Conv2d(3, 2, 1))
    assert teachers.is_temporary(ours) and torch.load(ours, weights_only=False)["model"].out_channels == 2
    teachers.remove_temporary(ours)
    teachers.remove_temporary(ours)  # again, when the process ends
    assert not list(tmp_path.iterdir())
    theirs = ["slim-teacher-large.pt", "slim-teacher-mine/best.pt", "mine/slim-teacher-x/in-memory.pt", "in-memory.pt"]
    assert not any(map(teachers.is_temporary, [None, "", *theirs, *(str(tmp_path / name) for name in theirs)]))
