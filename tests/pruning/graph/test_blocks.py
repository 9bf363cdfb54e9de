"""Blocks are found, taken out exactly, and only where that is exact."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from ultralytics.nn.modules import C3, C2f, Conv
from ultralytics.slim.pruning.architectures import shipped
from ultralytics.slim.pruning.checkpoint import save_checkpoint
from ultralytics.slim.pruning.graph.blocks import (
    find_blocks,
    masked_blocks,
    names_left,
    proved_without,
    with_needed,
    without_blocks,
)
from ultralytics.slim.pruning.graph.verify import TOLERANCE, in_float64

from random_models import randomised, shake
from small_modules import Net

FAST = re.compile(r"yolo(v8n|12n|26n|v5n)\.")
WITHOUT = re.compile(r"yolov3-tiny|yolov6")  # chains of convolutions alone
LARGE = re.compile(r"yolov3-spp|yolov9[cem]|yolov10[smblx]|resnet101|rtdetr-x")  # other sizes of what is listed
names = [pytest.param(n, marks=[] if FAST.match(n) else pytest.mark.slow) for n in shipped() if not LARGE.search(n)]


class Nested(nn.Module):
    """A block inside a network, the way parse_model puts it: the network has `model`, a Sequential, and a head."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.model = nn.Sequential(Conv(3, 16, 3), block, nn.Conv2d(16, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def nested(block: nn.Module) -> Nested:
    torch.manual_seed(0)
    net = Nested(block).eval()
    shake(net)
    return net


def found(net: nn.Module) -> dict[str, bool]:
    return {block.name: block.residual for block in find_blocks(net)}


@pytest.mark.parametrize("name", names)
def test_all_blocks_of_every_architecture_go_exactly(name: str) -> None:
    model = randomised(name).model.float().eval()
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    blocks = find_blocks(model)
    assert bool(blocks) is not bool(WITHOUT.match(name))
    gone = with_needed(blocks, blocks)
    shorter, error = proved_without(model, gone)
    assert error <= TOLERANCE and {p.dtype for p in shorter.parameters()} == {torch.float32}
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    lost = sum(p.numel() for b in gone for p in model.get_submodule(b.name).parameters())
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, shorter))
    assert before - after >= lost > 0 or not blocks
    assert not {b.name for b in gone} & set(names_left(model, gone).values())


@pytest.mark.parametrize("name", ["yolov8n.yaml", pytest.param("yolo26n.yaml", marks=pytest.mark.slow)])
def test_every_block_goes_alone_exactly(name: str) -> None:
    model = randomised(name).model.float().eval()
    blocks = find_blocks(model)
    for block in blocks:
        gone = with_needed([block], blocks)
        assert proved_without(model, gone)[1] <= TOLERANCE


def test_columns_of_a_residual_block_are_added_to_those_of_its_input() -> None:
    net = nested(C2f(16, 16, n=2, shortcut=True))
    assert found(net) == {"model.1.m.0": True, "model.1.m.1": True}
    blocks, before = find_blocks(net), net.model[1].cv2.conv.weight.detach()  # 8 columns each for a, b, y1, y2
    for gone, wanted in (
        ([0], [before[:, :8], before[:, 8:16] + before[:, 16:24], before[:, 24:]]),
        ([1], [before[:, :16], before[:, 16:24] + before[:, 24:]]),
        ([0, 1], [before[:, :8], before[:, 8:16] + before[:, 16:24] + before[:, 24:]]),
    ):
        shorter = without_blocks(net, [blocks[i] for i in gone])
        assert torch.allclose(shorter.model[1].cv2.conv.weight, torch.cat(wanted, 1), atol=1e-6)
        assert shorter.model[1].cv2.conv.in_channels == 32 - 8 * len(gone) and len(shorter.model[1].m) == 2 - len(gone)


def test_a_plain_block_takes_those_behind_it_along() -> None:
    net = nested(C2f(16, 16, n=3, shortcut=False))
    blocks = find_blocks(net)
    assert found(net) == {f"model.1.m.{i}": False for i in range(3)}
    assert [b.needs for b in blocks] == [("model.1.m.1", "model.1.m.2"), ("model.1.m.2",), ()]
    shorter = without_blocks(net, with_needed(blocks[1:2], blocks))
    assert len(shorter.model[1].m) == 1
    assert torch.equal(shorter.model[1].cv2.conv.weight, net.model[1].cv2.conv.weight[:, :24])


def test_a_chain_without_shortcuts_goes_on_shorter_read_by_nothing_at_first() -> None:
    net = nested(C3(16, 16, n=2, shortcut=False))
    blocks = find_blocks(net)
    shorter = without_blocks(net, blocks[1:])
    assert len(shorter.model[1].m) == 1 and not shorter.model[1].cv3.conv.weight[:, :8].any()
    assert torch.equal(shorter.model[1].cv3.conv.weight[:, 8:], net.model[1].cv3.conv.weight[:, 8:])


class Counted(C2f):
    """Other people's block, which counts on a number of entries."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        for k in range(2):
            y.append(self.m[k](y[-1]))
        return self.cv2(torch.cat(y, 1))


class Weighted(C2f):
    """Other people's block, which hands on more than its entries' outputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat([piece * (i + 1) for i, piece in enumerate(y)], 1))


class Foreign(nn.Module):
    """Other people's block of another form: a list of branches that end in a sum, closed over by a convolution."""

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(Residual() for _ in range(3))
        self.close = nn.Conv2d(64, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for step in self.steps:
            seen.append(step(seen[-1]))
        return self.close(torch.cat(seen, dim=1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(16, 4, 1), nn.GELU(), nn.Conv2d(4, 16, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch(x) + x


def test_blocks_of_other_peoples_code_are_found_by_what_they_do() -> None:
    net = nested(Foreign())
    assert found(net) == {f"model.1.steps.{i}": True for i in range(3)}
    blocks = find_blocks(net)
    assert proved_without(net, [blocks[1]])[1] <= TOLERANCE


def test_what_cannot_go_does_not_hold_those_before_it() -> None:
    foreign = Foreign()
    foreign.steps[2] = nn.Sequential(nn.Conv2d(16, 16, 1), nn.Sigmoid())  # masked it puts out 0.5
    assert found(nested(foreign)) == {"model.1.steps.0": True, "model.1.steps.1": True}


@pytest.mark.parametrize("kind", [Counted, Weighted])
def test_what_counts_on_its_entries_is_left_alone(kind: type) -> None:
    assert find_blocks(nested(kind(16, 16, n=2, shortcut=True))) == []


def test_nothing_is_found_where_there_are_no_lists() -> None:
    assert find_blocks(Net(nn.Identity()).eval()) == []


def test_names_follow_those_that_are_left() -> None:
    net = nested(C2f(16, 16, n=3, shortcut=True))
    blocks = find_blocks(net)
    names = names_left(net, [blocks[1]])
    assert names["model.1.m.0.cv1"] == "model.1.m.0.cv1" and names["model.1.m.1.cv1"] == "model.1.m.2.cv1"
    assert "model.1.m.2" not in names and set(names) == {n for n, _ in without_blocks(net, [blocks[1]]).named_modules()}


def test_a_list_that_is_emptied_goes_as_a_whole() -> None:
    blocks = find_blocks(randomised("yolo12n.yaml").model.float().eval())
    inner = [b for b in blocks if b.container == "model.6.m.0"]
    assert [b.name for b in with_needed(inner, blocks)] == ["model.6.m.0"]
    assert [b.name for b in with_needed(inner[:1], blocks)] == ["model.6.m.0.0"]


def test_masking_is_undone_also_where_the_precision_changes_in_between() -> None:
    net = nested(C2f(16, 16, n=1, shortcut=True))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with masked_blocks(net, ["model.1.m.0"]):
        with in_float64(net):  # makes new buffers
            pass
        assert not net.model[1].m[0].cv1.bn.running_mean.any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_shorter_model_keeps_its_length_where_a_fresh_one_loads_it(tmp_path) -> None:
    from ultralytics import YOLO
    from ultralytics.slim.widths import is_narrower, keep_widths

    model = randomised("yolov5n.yaml").model.float().eval()
    gone = [b for b in find_blocks(model) if b.residual][1:2]
    shorter = without_blocks(model, gone)  # of a C3: no tensor is narrower, a list is shorter
    save_checkpoint(shorter, tmp_path / "s.pt", {})
    loaded, fresh = YOLO(tmp_path / "s.pt").model, YOLO("yolov5n.yaml").model
    assert is_narrower(loaded) and not is_narrower(fresh)
    assert keep_widths(fresh, loaded) and len(fresh.model[4].m) == len(shorter.model[4].m) == len(model.model[4].m) - 1
