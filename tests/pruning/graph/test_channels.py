"""The channel graph on small modules whose ties can be read off the code."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.nn.modules import C2f
from ultralytics.slim.errors import InputError
from ultralytics.slim.pruning.graph import channels
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.graph.label_book import LabelBook
from ultralytics.slim.pruning.graph.rewrite import slice_model
from ultralytics.slim.pruning.graph.verify import check_equal, in_float64, masking
from ultralytics.slim.pruning.select.narrowing import order_narrowings, removed
from ultralytics.slim.pruning.select.pools import make_pools

from random_models import shake
from small_modules import AAttn, Chain, Experts, Gate, Grouped, Halves, Net, Ordinary, Strange


def prune(net: nn.Module, factor: float = 0.5) -> tuple[nn.Module, float]:
    """Cut half the channels of every pool at random; return the pruned net and its distance to the masked one."""
    shake(net)
    graph = trace_channels(net)
    pools, book = make_pools(graph, np.random.default_rng(0).random(len(graph.book) + 1))
    steps = [s for s in order_narrowings(pools, "layer", 2) if s.key < factor]
    keep = ~np.isin(book.roots(), removed(pools, steps))
    pruned = copy.deepcopy(net)
    slice_model(pruned, graph, keep)
    with masking(net, graph, keep):
        return pruned, check_equal(net, pruned)


def frozen_layers(net: nn.Module) -> dict[str, str]:
    graph = trace_channels(net)
    frozen, roots = graph.book.frozen(), graph.book.roots()
    return {n: frozen[roots[labels[0]]] for n, labels in graph.layers.items() if roots[labels[0]] in frozen}


def test_labels_unite_freeze_and_count() -> None:
    book = LabelBook()
    a, b = book.new(3), book.new(3)
    book.unite(a, b)
    assert book.roots().tolist() == [0, 1, 2, 3, 1, 2, 3]
    book.freeze(b[:1], "because")
    assert book.frozen() == {1: "because"}
    book.unite(np.array([2]), np.array([0]))  # meets a position without a channel
    assert set(book.frozen()) == {1, 2}


@pytest.mark.parametrize("block", [Halves, Ordinary])
def test_ordinary_blocks_prune_exactly(block: type) -> None:
    net = Net(block())
    pruned, error = prune(net)
    assert error <= 1e-12
    assert pruned.stem[0].out_channels == 16 and pruned.stem[1].num_features == 16
    assert pruned.end.in_channels == 16 and pruned.end.out_channels == 4


def test_halves_lose_as_many_channels_each() -> None:
    pruned, _ = prune(Net(Halves()))
    assert pruned.block.cv.in_channels == pruned.block.cv.out_channels == 8


@pytest.mark.parametrize(
    ("block", "why"), [(Strange, "cumsum"), (Gate, "not 0 where a channel is masked"), (Grouped, "grouped convolution")]
)
def test_what_cannot_be_cut_is_frozen_with_the_reason(block: type, why: str) -> None:
    frozen = frozen_layers(Net(block()))
    assert why in frozen["stem.0"]
    pruned, error = prune(Net(block()))
    assert error <= 1e-12
    assert pruned.stem[0].out_channels == 32


def test_behind_an_unknown_operation_the_rest_still_prunes() -> None:
    pruned, _ = prune(Net(Strange()))
    assert pruned.block.after.out_channels == 16


def test_a_layer_used_twice_is_cut_once() -> None:
    conv = nn.Conv2d(32, 32, 3, padding=1)
    pruned, error = prune(Net(nn.Sequential(conv, nn.ReLU(), conv)))
    assert error <= 1e-12
    assert pruned.block[0] is pruned.block[2] and pruned.block[0].in_channels == 16


def test_tracing_leaves_the_model_alone() -> None:
    net = Net(Halves())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    trace_channels(net)
    assert net.training and not net.stem._forward_hooks
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_wrong_cut_is_caught_and_named() -> None:
    net = Net(Ordinary())
    shake(net)
    graph = trace_channels(net)
    pools, book = make_pools(graph, np.random.default_rng(0).random(len(graph.book) + 1))
    keep = ~np.isin(book.roots(), removed(pools, order_narrowings(pools, "layer", 8)))
    pruned = copy.deepcopy(net)
    slice_model(pruned, graph, keep)
    pruned.block.down.weight.data = pruned.block.down.weight.data.flip(1)
    with pytest.raises(RuntimeError, match=r"block\.down"), masking(net, graph, keep):
        check_equal(net, pruned)


class _Edges(nn.Module):
    """A fixed kernel that is neither a parameter nor a buffer."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv, self.kernel = nn.Conv2d(c, c, 1), torch.tensor([[[[-1.0, 0.0, 1.0]]]])

    def forward(self, x):
        return self.cv(x) * nn.functional.conv2d(x[:, :1] * 0 + 1, self.kernel, padding=(0, 1))


class _InFloat32(nn.Module):
    """Code that runs in one precision alone."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        y = self.cv(x)
        return y.flatten(2).float().softmax(2).transpose(1, 2).matmul(y.flatten(2)).matmul(y.flatten(2).transpose(1, 2))


def test_tensors_that_are_plain_attributes_follow_the_precision_and_come_back() -> None:
    net = Net(_Edges())
    kernel = net.block.kernel
    with in_float64(net, attributes=False):
        assert net.block.kernel is kernel
    assert check_equal(net, copy.deepcopy(net)) == 0 and net.block.kernel is kernel


def test_code_that_runs_in_one_precision_alone_is_named() -> None:
    net = Net(_InFloat32())
    with pytest.raises(InputError, match=r"proved in float64, in which its code fails in block: .*`\.to\(x\.dtype\)`"):
        check_equal(net, copy.deepcopy(net))


def test_a_trace_leaves_no_copy_of_the_model_behind() -> None:
    """Nothing that only the garbage collector would find: a large model's copy would stay in memory for a while."""
    net = Net(Halves())
    trace_channels(net)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(o, Net) for o in gc.get_objects())
        trace_channels(net)
        assert sum(isinstance(o, Net) for o in gc.get_objects()) == before
    finally:
        gc.enable()


def test_a_comparison_in_place_leaves_the_model_as_it_was() -> None:
    """Masked, turned into float64, run, and back: every tensor bit by bit, and what the modules keep from a run."""
    net = Net(Halves()).train()
    shake(net)
    net.block.kept = (32, 32)
    net.block.register_forward_hook(lambda m, args, output: setattr(m, "kept", output))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    graph = trace_channels(net)
    keep = np.arange(len(graph.book) + 1) % 2 == 0
    with masking(net, graph, keep), in_float64(net):
        assert not torch.equal(net.stem[1].running_mean.float(), before["stem.1.running_mean"])
        assert net(torch.ones(1, 3, 16, 16, dtype=torch.float64)).dtype == torch.float64
    assert net.training and net.block.kept == (32, 32)
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in net.state_dict().items())


def test_area_attention_in_its_first_form_is_cut_by_heads() -> None:
    net = Net(AAttn())
    pruned, error = prune(net)
    block = pruned.block
    assert error <= 1e-8 and not frozen_layers(net).keys() - {"end"}  # queries are scaled in float32
    assert block.head_dim == 8 and block.qk.conv.weight.shape == (32, 16, 1, 1)
    assert block.v.conv.out_channels == block.pe.conv.groups == block.proj.conv.in_channels == 16


def test_a_concatenation_is_0_where_its_channels_are() -> None:
    """The other piece holds no channel that could be masked."""

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.cv = nn.Conv2d(35, 32, 1)

        def forward(self, x):
            return self.cv(torch.cat([x, torch.ones_like(x[:, :3])], 1))

    class Beside(Joined):
        def forward(self, x):
            return self.cv(torch.cat([x, x.new_ones(len(x), 3, *x.shape[2:])], 1))

    assert "indexing" in frozen_layers(Net(Joined()))["stem.0"]
    assert "stem.0" not in frozen_layers(Net(Beside()))
    assert prune(Net(Beside()))[1] <= 1e-12


@pytest.mark.parametrize(
    ("limits", "frozen"), [((-1, 1), False), ((None, 2), False), ((0.1, 1), True), ((None, -1), True)]
)
def test_limits_freeze_where_0_does_not_lie_between_them(limits: tuple, frozen: bool) -> None:
    class Limited(nn.Module):
        def __init__(self):
            super().__init__()
            self.cv = nn.Conv2d(32, 32, 1)

        def forward(self, x):
            return self.cv(torch.nan_to_num(x) if torch.isnan(x).any() else torch.clamp(x, *limits))

    net = Net(Limited())
    assert ("stem.0" in frozen_layers(net)) == frozen
    assert prune(net)[1] <= 1e-12


def test_numpys_words_are_understood() -> None:
    class Axes(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.cv = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 32, 1)

        def forward(self, x):
            x = torch.cat([x, 2 * x], axis=1)
            return self.cv(x * self.fc(x.mean(axis=(2, 3), keepdims=True)))

    net = Net(Axes())
    assert set(frozen_layers(net)) == {"end"}
    pruned, error = prune(net)
    assert error <= 1e-12 and pruned.block.cv.in_channels == 32


def test_a_parameter_that_code_puts_another_in_the_place_of_keeps_its_name() -> None:
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.cv = nn.Conv2d(32, 32, 1)

        def forward(self, x):
            y = self.cv(x)
            self.cv.weight = nn.Parameter(self.cv.weight.detach().clone())
            return y

    net = Net(Replacing())
    pruned, error = prune(net)
    assert error <= 1e-12 and pruned.block.cv.in_channels == 16


@pytest.mark.parametrize("groups", [1, 32])
def test_a_convolution_by_weights_that_are_computed_stays(groups: int) -> None:
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(32, 32 // groups, 1, 1))
            self.cv = nn.Conv2d(32, 32, 1)

        def forward(self, x):
            return self.cv(nn.functional.conv2d(x, 2 * self.weight, groups=groups))

    net = Net(Computed())
    assert "computed, not stored" in frozen_layers(net)["stem.0"]
    assert prune(net)[1] <= 1e-12


def test_a_model_that_does_not_run_is_told_where() -> None:
    class Large(nn.Module):
        def forward(self, x):
            return x.unfold(2, 64, 64)

    with pytest.raises(InputError, match=r"3 channels, 64 x 96 pixels, it fails in block \(Large\): maximum size"):
        trace_channels(Net(Large()))


def test_an_image_may_have_more_channels_than_the_first_weight_reads() -> None:
    class Parted(Net):
        yaml = {"ch": 4}

        def forward(self, x):
            return super().forward(x[:, 1:4])

    net = Parted(Halves())
    assert channels.input_size(net)[1] == 4 and channels.input_size(Net(Halves()))[1] == 3
    assert prune(net)[1] <= 1e-12


# -- layers that did not run ------------------------------------------------------------------------------------------
def test_what_no_code_names_stays_and_freezes_nothing_else() -> None:
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.cv, self.unused = nn.Conv2d(32, 32, 1), nn.Sequential(nn.Conv2d(32, 7, 1), nn.ConvTranspose2d(7, 5, 2))

        def forward(self, x):
            return self.cv(x)

        def other(self, x):
            return self.unused(x)

    net = Net(Unused())
    frozen = frozen_layers(net)
    assert set(frozen) == {"block.unused.0", "block.unused.1", "end"}
    assert "never ran" in frozen["block.unused.0"] and "no code around it names it" in frozen["block.unused.0"]
    pruned, error = prune(net)
    assert error <= 1e-12 and pruned.block.cv.in_channels == 16 and pruned.block.unused[0].in_channels == 32


@pytest.mark.parametrize("way", ["attribute", "getattr", "children", "helper", "property", "outside"])
def test_what_code_may_come_to_is_joined_with_what_that_code_handles(way: str) -> None:
    frozen = frozen_layers(Net(REACHES[way]()))
    assert "may run for other images" in frozen["block.aside" if way != "outside" else "block.inner.aside"]
    assert "never ran" in frozen["stem.0"]


class _Aside(nn.Module):
    """A layer that runs where it is asked for, in one of the ways in which code comes to a layer."""

    def __init__(self):
        super().__init__()
        self.cv, self.aside, self.asked = nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1), False

    def forward(self, x):
        return self.cv(x) + (self.other(x) if self.asked else 0)


class _ByAttribute(_Aside):
    def other(self, x):
        return self.aside(x)


class _ByGetattr(_Aside):
    def other(self, x):
        return getattr(self, "as" + "ide")(x)


class _ByChildren(_Aside):
    def other(self, x):
        return list(self.children())[1](x)


def _help(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return block.aside(x)


class _ByHelper(_Aside):
    def other(self, x):
        return _help(self, x)


class _ByProperty(_Aside):
    @property
    def mine(self):
        return self.aside

    def other(self, x):
        return self.mine(x)


class _Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.asked = _Aside(), False
        self.inner.forward = self.inner.cv.forward

    def forward(self, x):
        return self.inner(x) + (self.inner.aside(x) if self.asked else 0)


REACHES = {
    "attribute": _ByAttribute,
    "getattr": _ByGetattr,
    "children": _ByChildren,
    "helper": _ByHelper,
    "property": _ByProperty,
    "outside": _Outside,
}


def test_experts_that_did_not_run_stay_right_where_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal to the masked model for images that wake the experts that no image of the trace did."""
    monkeypatch.setattr(channels, "WAKING", 0)
    net = Net(Experts())
    net.block.router.bias.data = torch.tensor([9.0, 0, 0])
    shake(net)
    frozen = frozen_layers(net)
    assert {"block.experts.1.0", "block.experts.2.2", "block.spare"} <= set(frozen)
    assert "block.experts.1" in frozen["stem.0"] and "block.experts.0.0" not in frozen
    graph = trace_channels(net)
    pools, book = make_pools(graph, np.random.default_rng(0).random(len(graph.book) + 1))
    keep = ~np.isin(book.roots(), removed(pools, order_narrowings(pools, "layer", 8)))
    pruned = copy.deepcopy(net)
    slice_model(pruned, graph, keep)
    assert pruned.block.experts[0][0].out_channels < 64
    with masking(net, graph, keep):
        for chosen in range(3):
            for model in (net, pruned):
                model.block.router.bias.data = 9.0 * torch.eye(3)[chosen]
            assert check_equal(net, pruned) <= 1e-12


def test_noise_wakes_experts_that_zeros_do_not() -> None:
    torch.manual_seed(0)
    net = Net(Experts(count=2))
    shake(net)
    net.eval()
    with torch.no_grad():  # dark images go to one expert, others to another
        dark, bright = (net.stem(level * torch.ones(1, 3, 64, 96)).mean((2, 3)) for level in (0.0, 0.5))
        net.block.router.weight[:] = torch.cat([dark - bright, bright - dark])
        net.block.router.bias[:] = torch.tensor([0.5, -0.5]) * (bright.square() - dark.square()).sum()
    woken = trace_channels(net)
    assert not any("never ran" in why and "expert" in why for why in woken.book.frozen().values())
    assert woken.positions["block.experts.0.0.weight"] == woken.positions["block.experts.1.0.weight"]
    assert prune(net)[1] <= 1e-12


class _Normed(nn.Module):
    """Convolutions before, between and behind BatchNorms."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.only, self.also, self.first, self.second, self.behind = (nn.Conv2d(c, c, 1) for _ in range(5))
        self.a, self.b, self.both, self.before = (nn.BatchNorm2d(c) for _ in range(4))

    def forward(self, x):
        y = self.also(self.a(self.only(x)))
        y = self.b(y) + y
        return self.behind(self.before(self.both(self.first(y)) + self.both(self.second(y))))


def test_the_batchnorm_of_a_convolution_is_the_one_that_alone_reads_it() -> None:
    """Not one that something else reads beside, that reads two of them, or that stands before it."""
    assert trace_channels(Net(_Normed())).norms == {"stem.0": "stem.1", "block.only": "block.a"}


class _NamedC(Halves):
    """Halves with something else called `c`."""

    def __init__(self, c: object):
        super().__init__()
        self.c = c

    def forward(self, x):
        return super().forward(x) * (self.c if isinstance(self.c, nn.Parameter) else 1)


@pytest.mark.parametrize("c", [nn.Identity(), nn.Parameter(torch.ones(1)), 16, 32], ids=lambda c: type(c).__name__)
def test_an_attribute_called_c_is_a_width_in_blocks_of_ultralytics_alone(c: object) -> None:
    pruned, error = prune(Net(_NamedC(c)))
    assert error <= 1e-12 and type(pruned.block.c) is type(c) and pruned.end.in_channels == 16
    assert not isinstance(c, int) or pruned.block.c == c


def test_a_block_derived_from_one_of_ultralytics_keeps_its_width_right() -> None:
    pruned, error = prune(Net(type("Own", (C2f,), {})(32, 32)))
    assert error <= 1e-12 and pruned.block.c == pruned.block.cv1.conv.out_channels // 2 == 8


def test_slopes_of_a_prelu_go_with_their_channels() -> None:
    net = Net(nn.Sequential(nn.PReLU(32), nn.Conv2d(32, 32, 1), nn.PReLU()))
    slopes = torch.rand(32)
    net.block[0].weight.data.copy_(slopes)
    pruned, error = prune(net)
    each, _, same = pruned.block
    assert error <= 1e-12 and each.num_parameters == len(each.weight) == pruned.stem[0].out_channels == 16
    assert same.num_parameters == 1 and set(each.weight.tolist()) < set(slopes.tolist())


class _Aux(nn.Module):
    """A side output that only the code of a loss reads."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.cv, self.aux = nn.Conv2d(c, c, 1), nn.Sequential(nn.Conv2d(c, 16, 1), nn.Conv2d(16, 16, 1))

    def forward(self, x):
        y = torch.relu(self.cv(x))
        self.side = self.aux(y)
        return y


def test_a_side_output_stays_whole_and_what_leads_there_does_not() -> None:
    net = Net(_Aux())
    reasons = frozen_layers(net)
    assert set(reasons) == {"block.aux.1", "end"} and "nothing in the model reads" in reasons["block.aux.1"]
    pruned, error = prune(net)
    assert error <= 1e-12 and pruned.block.aux[1].weight.shape == (16, 8, 1, 1)


@dataclass
class _Out:
    boxes: torch.Tensor
    feats: list[torch.Tensor]


class _Opaque:
    def __init__(self, boxes, feats):
        self.boxes, self.feats = boxes, feats


class _Head(nn.Module):
    """Puts out features: those that it is given, or its own."""

    def __init__(self, kind: type, own: bool, copied: Callable = torch.Tensor.detach, c: int = 32):
        super().__init__()
        self.boxes, self.embed, self.kind, self.own = nn.Conv2d(c, 4, 1), nn.Conv2d(c, 16, 1), kind, own
        self.copied = copied
        self.i, self.f = 2, -1

    def forward(self, x):
        embedded = self.embed(x)
        return self.kind(boxes=self.boxes(x), feats=[embedded if self.own else self.copied(x)])


def _with_head(*args: object) -> Chain:
    net = Chain(nn.Identity()).eval()
    net.model[2] = _Head(*args)
    return net


@pytest.mark.parametrize("kind", [dict, _Out])
def test_features_of_the_heads_own_are_predictions(kind: type) -> None:
    net = _with_head(kind, True)
    assert frozen_layers(net)["model.2.embed"].endswith("model output")
    other = copy.deepcopy(net)
    other.model[2].embed.bias.data += 1
    with pytest.raises(RuntimeError, match=r"outputs differ .*first in model\.2\.embed"):
        check_equal(net, other)


@pytest.mark.parametrize("copied", [torch.Tensor.detach, torch.Tensor.clone])  # some releases clone
@pytest.mark.parametrize("kind", [dict, _Out])
def test_features_that_a_head_hands_through_are_no_predictions(kind: type, copied: Callable) -> None:
    pruned, error = prune(_with_head(kind, False, copied))
    assert error <= 1e-12 and pruned.model[0][0].out_channels == 16


def test_an_output_in_which_nothing_can_be_compared_proves_nothing() -> None:
    net = _with_head(_Opaque, True)
    with pytest.raises(InputError, match=r"no floating-point tensor that could be compared, but _Opaque"):
        check_equal(net, copy.deepcopy(net))
