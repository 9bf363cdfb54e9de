"""Blocks against channels, and what a pruning with both leaves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.slim.diagrams import draw_dataset
from ultralytics.slim.errors import InputError
from ultralytics.slim.inputs.unlabelled import load_images
from ultralytics.slim.loading import load_checkpoint
from ultralytics.slim.pruning import once
from ultralytics.slim.pruning.graph.blocks import Block
from ultralytics.slim.pruning.graph.channels import trace_channels
from ultralytics.slim.pruning.prune import prune_model
from ultralytics.slim.pruning.repair.repairs import Example
from ultralytics.slim.pruning.score.blocks import BlockScore
from ultralytics.slim.pruning.select.depth import Selection, choose_blocks
from ultralytics.slim.pruning.select.narrowing import order_narrowings
from ultralytics.slim.pruning.select.pools import Pool
from ultralytics.slim.pruning.shorter import Shorter, offered_blocks

from places import ROOT
from random_models import randomised
from short_runs import MINI

SIZE = 96
IDLE = ("model.4.m.1", "model.6.m.0")  # blocks whose branch puts out next to nothing
IDLE_OF_SMALL = ("model.2.m.1", "model.5.m.0")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """Sixteen drawn diagrams."""
    folder = draw_dataset(tmp_path_factory.mktemp("drawn") / "data", train=16, val=1)
    return load_images(str(Path(folder, "images/train")), SIZE)


@pytest.fixture(scope="module")
def idle() -> YOLO:
    """The model that finds the nodes of diagrams; two of its blocks do next to nothing."""
    return with_idle(YOLO(ROOT / "weights/diagram-yolov8n.pt"), IDLE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> YOLO:
    """A network of a few layers and six blocks, two of which do next to nothing."""
    path = tmp_path_factory.mktemp("network") / "six.yaml"
    path.write_text(MINI.read_text().replace("0.33", "1").replace("1, C2f", "2, C2f"))
    return with_idle(randomised(str(path), nc=3), IDLE_OF_SMALL)


def with_idle(yolo: YOLO, names: tuple[str, ...]) -> YOLO:
    for name in names:
        block = yolo.model.get_submodule(name)
        for tensor in (block.cv2.bn.weight, block.cv2.bn.bias):
            tensor.data.mul_(1e-4)
    return yolo


def pool(layer: str, *scores: float) -> Pool:
    return Pool((layer,), np.arange(1, len(scores) + 1), np.array(scores), 1)


def block(name: str, loss: float, saved: float, *needs: str) -> BlockScore:
    return BlockScore(Block(name, "", "", 0, True, needs), frozenset((name, *needs)), loss, saved)


def selection(count: int) -> Selection:
    """Two layers of 16 channels, 8 of which can go, of a cost of 1 each; the first ones of the second are dear."""
    pools = [pool("model.1.conv", *range(1, 17)), pool("model.2.m.0.conv", *range(101, 117))]
    narrowings = order_narrowings(pools, "global", 1, [1.0, 1.0])
    return Selection(pools, narrowings, narrowings[:count])


def test_the_loss_of_a_selection_is_that_of_its_weakest_units() -> None:
    assert selection(3).loss() == 1 + 2 + 3 and selection(0).loss() == 0


@pytest.mark.parametrize(
    "loss, gone",
    [
        (5.0, ["model.9.m.0"]),  # 5 for 4 channels' worth: cheaper than the channels after the first
        (100.0, []),
    ],
)
def test_what_loses_least_for_what_it_saves_goes_first(loss: float, gone: list[str]) -> None:
    chosen = selection(8)  # the goal takes 8 of the cheap channels
    # measured as they were estimated: 36; they save 0.4 of the model, so that 0.05 is one channel's worth
    blocks = choose_blocks([block("model.9.m.0", loss, 0.2)], chosen, measured=36.0, saved=0.4)
    assert [b.name for b in blocks] == gone


def test_estimates_are_scaled_to_what_was_measured() -> None:
    chosen, dear = selection(8), block("model.9.m.0", 100.0, 0.2)
    assert choose_blocks([dear], chosen, measured=36.0, saved=0.4) == []
    assert choose_blocks([dear], chosen, measured=3600.0, saved=0.4) == [dear.block]


def test_a_block_is_better_than_channels_below_the_floor_too() -> None:
    """They may not go, but what loses more for what it saves than they would is no block that should."""
    pools = [pool("model.1.conv", *range(1, 17)), pool("model.2.m.0.conv", *range(101, 117))]
    narrowings = order_narrowings(pools, "global", 1, [1.0, 1.0], floor=0.8)
    chosen = Selection(pools, narrowings, narrowings[:5])
    assert [n.pool for n in chosen.taken] == [0, 0, 0, 1, 1]
    for loss, gone in ((20.0, 0), (5.0, 1)):  # for two channels' worth, the next of which below the floor lose 4 and 5
        assert len(choose_blocks([block("model.9.m.0", loss, 0.1)], chosen, chosen.loss(), saved=0.25)) == gone


def test_a_block_saves_no_more_than_is_still_in_it() -> None:
    # the block holds all of the second layer: taking it makes up for what the goal took there
    chosen = selection(16)
    inside, other = block("model.2.m.0", 0.1, 0.5), block("model.8.m.0", 0.2, 0.5)
    assert [b.name for b in choose_blocks([other, inside], chosen, 1000.0, 0.8)] == ["model.2.m.0", "model.8.m.0"]


@pytest.mark.slow
def test_blocks_that_do_nothing_go_and_the_result_is_sound(idle: YOLO, images: torch.Tensor, tmp_path: Path) -> None:
    wide = prune_model(idle, tmp_path / "w.pt", flops=0.9, images=images, imgsz=SIZE, depth=False)
    result = prune_model(idle, tmp_path / "d.pt", flops=0.9, images=images, imgsz=SIZE, depth=True)
    assert wide.blocks == () and set(IDLE) <= set(result.blocks)
    assert 0.88 * result.gflops[0] <= result.gflops[1] <= 0.9 * result.gflops[0]
    assert result.error <= 1e-8
    lost = {name for name, _, after in result.widths if not after}
    assert lost == {f"{b}.{cv}.conv" for b in result.blocks for cv in ("cv1", "cv2")}
    before = sum(width for _, width, _ in result.widths)
    assert [w for _, w, _ in result.widths] == [w for _, w, _ in wide.widths] and before == sum(
        w for _, w, _ in wide.widths
    )
    model, checkpoint = load_checkpoint(tmp_path / "d.pt")
    assert checkpoint["slim"]["blocks"] == list(result.blocks)
    assert sum(p.numel() for p in model.parameters()) == result.params[1]
    assert len(model.model[4].m) == 2 - sum(b.startswith("model.4.") for b in result.blocks)
    assert f"{len(result.blocks)} blocks taken out" in str(result)


@pytest.mark.slow
def test_auto_gives_up_where_channels_alone_change_less(
    small: YOLO, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log
) -> None:
    losses = itertools.count(1)  # channels alone, then with ever fewer blocks out

    def loss(judge, original, model, kept, names, first=0):
        return 0.0 if first else next(losses)

    monkeypatch.setattr(once.Judge, "loss", loss)
    wide = prune_model(small, tmp_path / "b.pt", flops=0.95, images=images, imgsz=SIZE, depth="auto")
    assert wide.blocks == () and "so they stay" in log.text


def test_channels_of_blocks_count_as_removed() -> None:
    shorter = Shorter(None, (), None, 0.0, (100, 10), {})
    assert shorter.left_of(0.55) == pytest.approx(0.5)  # 55 of 100 should go, 10 have gone: 45 of 90
    assert shorter.left_of(0.05) == 0.0


def test_excluded_layers_are_found_by_the_names_that_they_had() -> None:
    names = {"model.4.m.0.cv1.conv": "model.4.m.1.cv1.conv", "model.4.cv1.conv": "model.4.cv1.conv"}
    widths = {"model.4.m.0.cv1.conv": 8, "model.4.m.1.cv1.conv": 8, "model.4.cv1.conv": 8}  # the first block is gone
    shorter = Shorter(None, ("model.4.m.0",), Example(None, {}, names), 0.0, (24, 8), widths)
    assert shorter.exclude_of("model.4.m.1") == ("model.4.m.0.cv1.conv",)
    assert shorter.exclude_of(("model.4.cv1.conv",)) == ("model.4.cv1.conv",) and shorter.exclude_of(()) == ()


def test_excluded_blocks_are_not_offered(small: YOLO) -> None:
    model = small.model.float().eval()
    graph = trace_channels(model)
    every = [b.name for b in offered_blocks(model, graph, ())]
    assert set(IDLE_OF_SMALL) <= set(every)
    kept = [b.name for b in offered_blocks(model, graph, (IDLE_OF_SMALL[0], "model.5.m.0.cv1.*"))]
    assert kept == [name for name in every if name not in IDLE_OF_SMALL]
    assert [b.name for b in offered_blocks(model, graph, "model.2,model.5")] == [
        n for n in every if n[:8] not in ("model.2.", "model.5.")
    ]


@pytest.mark.slow
def test_several_steps_keep_the_first_names(small: YOLO, images: torch.Tensor, tmp_path: Path) -> None:
    stays = "model.5.m.1"  # which is model.5.m.0 once its neighbour is out
    options = {"depth": True, "steps": 2, "exclude": stays}
    result = prune_model(small, tmp_path / "s.pt", 0.3, images=images, imgsz=SIZE, **options)
    assert all(before == after for name, before, after in result.widths if name.startswith(stays))
    assert set(IDLE_OF_SMALL) <= set(result.blocks) and len(result.steps) == 2
    names = {name for name, m in small.model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert {name for name, _, _ in result.widths} <= names
    assert {name for name, _, after in result.widths if not after} == {
        f"{b}.{cv}.conv" for b in result.blocks for cv in ("cv1", "cv2")
    }
    assert 0.25 <= result.ratio <= 0.35


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": "deep"}, "depth should be True, False or 'auto'"),
        ({"depth": 1}, "depth should be True, False or 'auto'"),
        ({"depth": True}, "depth=True measures blocks on images"),
        ({"depth": True, "score": "l1"}, "with score='surgeon', scope='global' and repair='refit'"),
        ({"depth": True, "scope": "layer"}, "with score='surgeon', scope='global' and repair='refit'"),
        ({"depth": True, "repair": "none"}, "with score='surgeon', scope='global' and repair='refit'"),
    ],
)
def test_what_blocks_cannot_be_judged_by_is_refused(
    small: YOLO, images: torch.Tensor, tmp_path: Path, options: dict, message: str
) -> None:
    given = {} if options == {"depth": True} else {"images": images}
    with pytest.raises(InputError, match=message):
        prune_model(small, tmp_path / "n.pt", 0.3, imgsz=SIZE, **given, **options)
    assert not (tmp_path / "n.pt").exists()


def test_too_few_images_are_said(small: YOLO, images: torch.Tensor, tmp_path: Path, log) -> None:
    result = prune_model(small, tmp_path / "few.pt", 0.2, images=images[:8], imgsz=SIZE, depth=True)
    assert result.blocks == () and "8 images are too few to judge them by" in log.text


def test_too_little_memory_is_said(small: YOLO, images: torch.Tensor, tmp_path: Path, monkeypatch, log) -> None:
    monkeypatch.setattr(once, "fit_in_memory", lambda *_: (3, 9))
    prune_model(small, tmp_path / "few.pt", 0.2, images=images[:9], imgsz=SIZE, depth=True)
    assert "16 are needed; no more fit into memory at imgsz=96, a smaller one helps" in log.text


@pytest.mark.slow
def test_a_goal_that_is_not_met_without_blocks_is_met_with_them(
    small: YOLO, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log
) -> None:
    def fail(*_):
        raise InputError("flops=0.9 cannot be met")

    monkeypatch.setattr(once, "shortened", fail)
    result = prune_model(small, tmp_path / "b.pt", flops=0.9, images=images, imgsz=SIZE, depth="auto")
    assert result.blocks == () and "the goal is not reached, so they stay: flops=0.9 cannot be met" in log.text
