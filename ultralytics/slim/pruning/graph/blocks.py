"""Whole blocks that a model can do without: found by running it, and taken out exactly.

A block is an entry of a `Sequential` or of a `ModuleList`. Masked, that is with all its parameters at 0, it either
hands its input through, as a shortcut goes round its branch (a residual block), or puts out nothing (a plain one).
Without it

- a residual entry of a Sequential leaves nothing behind: what follows reads its input, as it did of the masked one;
- a residual entry of a ModuleList whose outputs are concatenated (C2f and its kind: y_k = f_k(y_k-1), all y go to one
  closing convolution) leaves y_k = y_k-1: the closing convolution's columns for y_k are added to those for y_k-1;
- a plain entry of such a list takes its columns of the closing convolution along; only the last ones can go, as
  those behind it read its output;
- so it is with a plain entry of a Sequential whose output is concatenated (a C3 without shortcuts), but that the branch
  goes on, as long as it is left: its columns are 0 at first, for a re-fit or a training to make something of them.

Which of these a block is is measured, not looked up by class, and each one is tried on its owner alone before it is
offered: blocks of other people's code are found the same way, and whatever does more than this is left alone.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...widths import note_parameters
from .channels import input_size
from .raw import raw
from .verify import TOLERANCE, check_equal, difference, flatten, in_float64, run_reference

Columns = tuple[int, int]  # first and end


@dataclass(frozen=True)
class Block:
    """A block that can be taken out.

    Attributes:
        name: Its name in the model, 'model.4.m.1'.
        owner: The module that runs the entries and what closes over them.
        container: The list that it stands in.
        index: Its place there.
        residual: Whether a shortcut goes round it.
        needs: Blocks that must go with it: those behind a plain one.
        closing: The convolution that reads it from a concatenation; '' where its container's next entry does.
        columns: Input channels of that convolution that hold its output, or its container's.
        before: Those that hold its input; None where they are not needed.
        width: Channels of its input.
    """

    name: str
    owner: str
    container: str
    index: int
    residual: bool
    needs: tuple[str, ...] = ()
    closing: str = ""
    columns: Columns = (0, 0)
    before: Columns | None = None
    width: int = 0


@dataclass
class _Seen:
    """What one run of the model showed of a module: its first input and its output."""

    x: Any
    out: Any


class _Watch(TorchFunctionMode):
    """Note what is concatenated along the channels, and which convolution reads that."""

    def __init__(self):
        super().__init__()
        self.pieces: dict[int, list[torch.Tensor]] = {}  # id of a concatenation -> what it is made of
        self.readers: dict[int, list[int]] = defaultdict(list)  # id of a tensor -> of the weights that read it
        self.alive: list[Any] = []  # an id is only unique among the living

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in ("cat", "concat", "concatenate"):
            tensors = list(args[0] if args else kwargs["tensors"])
            dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            if isinstance(result, torch.Tensor) and result.dim() == 4 and dim % 4 == 1:
                self.pieces[id(result)] = tensors
                self.alive += [result, tensors]
        elif name == "conv2d":
            self.readers[id(args[0])].append(id(args[1]))
            self.alive.append(args[0])
        return result


@dataclass
class _Run:
    """One run of the model.

    Attributes:
        net: What was run.
        seen: What each module read and put out, by name.
        watch: Concatenations and their readers.
        weights: Names of the convolutions, by the id of their weights.
    """

    net: nn.Module
    seen: dict[str, _Seen] = field(default_factory=dict)
    watch: _Watch = field(default_factory=_Watch)
    weights: dict[int, str] = field(default_factory=dict)


@torch.no_grad()
def find_blocks(model: nn.Module) -> list[Block]:
    """Return the blocks of a model that can be taken out, in the order of the network; the head's are none.

    Args:
        model: On the CPU; not modified.
    """
    net = copy.deepcopy(model)
    with in_float64(net):
        run = _observed(net)
        lists = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Sequential, nn.ModuleList))]
        head = f"model.{len(net.model) - 1}" if isinstance(getattr(net, "model", None), nn.Sequential) else ""
        found = []
        for name, container in lists:
            if "." in name and not f"{name}.".startswith(f"{head}."):
                found += _entries(run, name, container)
        found = [block for block in found if _holds(run, block, {b.name: b for b in found})]
    order = {name: index for index, (name, _) in enumerate(net.named_modules())}
    return sorted(found, key=lambda block: order[block.name])


def _observed(net: nn.Module) -> _Run:
    """Run a model once on noise and return what was seen."""
    run = _Run(net)
    run.weights = {id(m.weight): n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1}

    def note(name: str):
        def hook(_: nn.Module, args: tuple, out: Any):
            run.seen.setdefault(name, _Seen(args, out))

        return hook

    handles = [m.register_forward_hook(note(name)) for name, m in net.named_modules() if name]
    x = torch.rand(input_size(net), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    try:
        with raw(net), run.watch:
            run_reference(net, x)
    finally:
        for handle in handles:
            handle.remove()
        net.eval()
    return run


def _entries(run: _Run, name: str, container: nn.Module) -> list[Block]:
    """Return the entries of a list that look as if they could be taken out."""
    found: list[Block] = []
    owner = name if isinstance(container, nn.Sequential) else name.rpartition(".")[0]
    for index in reversed(range(len(container))):
        entry = f"{name}.{index}"
        residual = _kind(run, entry)
        if residual is None:
            continue
        x, out = run.seen[entry].x[0], run.seen[entry].out
        block = Block(entry, owner, name, index, residual, width=x.shape[1])
        if isinstance(container, nn.Sequential):
            if not residual:
                block = _in_chain(run, block, run.seen[name].out, [b.name for b in found], len(container))
        else:
            block = _in_list(run, block, x, out, [b.name for b in found], len(container))
        if block:
            found.insert(0, block)
    return found


def _kind(run: _Run, name: str) -> bool | None:
    """Return whether a masked block hands its input through, True, or puts out nothing, False; None if neither."""
    seen, block = run.seen.get(name), run.net.get_submodule(name)
    if seen is None or len(seen.x) != 1 or not all(isinstance(t, torch.Tensor) for t in (seen.x[0], seen.out)):
        return None
    if seen.x[0].shape != seen.out.shape or seen.out.dim() != 4 or not any(True for _ in block.parameters()):
        return None
    with masked_blocks(run.net, [name]):
        out = block(seen.x[0])
    if torch.equal(out, seen.x[0]):
        return True
    return False if not out.any() else None


def _in_chain(run: _Run, block: Block, out: torch.Tensor, later: list[str], n: int) -> Block | None:
    """Return a plain entry of a Sequential with where its output goes; None where that is no closing convolution."""
    closing, places = _closing(run, out)
    owner = block.container.rpartition(".")[0]
    if not closing.startswith(f"{owner}.") or len(later) != n - 1 - block.index:
        return None
    return replace(block, owner=owner, needs=tuple(later), closing=closing, columns=places[id(out)])


def _in_list(run: _Run, block: Block, x: torch.Tensor, out: torch.Tensor, later: list[str], n: int) -> Block | None:
    """Return an entry of a ModuleList with where its input and output go; None where it cannot be told."""
    closing, places = _closing(run, out)
    if not closing.startswith(f"{block.owner}."):
        return None
    block = replace(block, closing=closing, columns=places[id(out)])
    if block.residual:
        return replace(block, before=places[id(x)]) if id(x) in places else None
    return replace(block, needs=tuple(later)) if len(later) == n - 1 - block.index else None


def _closing(run: _Run, out: torch.Tensor) -> tuple[str, dict[int, Columns]]:
    """Return the convolution that alone reads a tensor from a concatenation, and the columns of all pieces, by id."""
    for whole, pieces in run.watch.pieces.items():
        if not any(piece is out for piece in pieces):
            continue
        readers = [run.weights.get(weight) for weight in run.watch.readers.get(whole, [])]
        if len(readers) != 1 or readers[0] is None:
            return "", {}
        places, start = {}, 0
        for piece in pieces:
            places[id(piece)] = (start, start + piece.shape[1])
            start += piece.shape[1]
        return readers[0], places
    return "", {}


def _holds(run: _Run, block: Block, known: dict[str, Block]) -> bool:
    """Return whether the owner without a block, and those that it needs, does what it does with these masked."""
    args = run.seen[block.owner].x if block.owner in run.seen else None
    gone = [block, *(known[name] for name in block.needs if name in known)]
    if args is None or len(gone) != 1 + len(block.needs):
        return False
    with masked_blocks(run.net, [b.name for b in gone]):
        wanted = flatten(run.net.get_submodule(block.owner)(*args))
    owner = copy.deepcopy(run.net.get_submodule(block.owner))
    try:
        _shorten(owner, block.owner, gone)
        return difference(wanted, flatten(owner(*args))) <= TOLERANCE
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError):
        return False  # other people's code, which counts on its entries


@contextmanager
def masked_blocks(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Set all parameters of these blocks to 0 for the time being, and the means of their BatchNorms."""
    names = list(names)
    with torch.no_grad():
        before = [tensor.clone() for tensor in _parameters_in(model, names)]
        for tensor in _parameters_in(model, names):
            tensor.zero_()
    try:
        yield
    finally:
        with torch.no_grad():  # looked up anew: a change of precision in between makes new buffers
            for tensor, value in zip(_parameters_in(model, names), before):
                tensor.copy_(value)


def _parameters_in(model: nn.Module, names: list[str]) -> list[torch.Tensor]:
    """Return the parameters of modules, and the means of their BatchNorms, each tensor once."""
    found: dict[int, torch.Tensor] = {}
    for name in names:
        block = model.get_submodule(name)
        means = [m.running_mean for m in block.modules() if getattr(m, "running_mean", None) is not None]
        found |= {id(tensor): tensor for tensor in [*block.parameters(), *means]}
    return list(found.values())


def with_needed(blocks: Iterable[Block], known: Iterable[Block]) -> list[Block]:
    """Return the blocks and those that must go with them, each once; a list that is emptied goes as a whole if it can.

    Args:
        blocks: Those that are to go.
        known: All that can, in the order of the network.
    """
    by_name = {block.name: block for block in known}
    gone = {name for block in blocks for name in (block.name, *block.needs)}
    for name, block in by_name.items():
        inner = [b for b in by_name.values() if b.container == name]
        if block.residual and inner and all(b.name in gone for b in inner):
            gone |= {name}
    outer = {name for name in gone if any(name.startswith(f"{other}.") for other in gone)}
    return [block for name, block in by_name.items() if name in gone - outer]


def without_blocks(model: nn.Module, blocks: Iterable[Block]) -> nn.Module:
    """Return a copy of a model without these blocks and those that they need, as `with_needed` returns them."""
    copied = copy.deepcopy(model)
    by_owner: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        by_owner[block.owner].append(block)
    # inner lists first: an entry's place in an outer one does not change what it is called
    for owner in sorted(by_owner, key=lambda name: -name.count(".")):
        _shorten(copied.get_submodule(owner), owner, by_owner[owner])
    note_parameters(copied)
    return copied


def proved_without(model: nn.Module, blocks: Sequence[Block]) -> tuple[nn.Module, float]:
    """Return a copy without these blocks, and its largest difference to the model with them masked, in float64.

    Columns are added in float64, too, so that the proof is of what is done; the copy is float32 as the model is.

    Raises:
        RuntimeError: They differ.
    """
    dtype = next(model.parameters()).dtype
    with in_float64(model, attributes=False):
        shorter = without_blocks(model, blocks)
        with masked_blocks(model, [block.name for block in blocks]):
            error = check_equal(model, shorter)
    return shorter.to(dtype), error


def names_left(model: nn.Module, blocks: Iterable[Block]) -> dict[str, str]:
    """Return {name in the model without these blocks: name in the model} of every module that is left."""
    gone: dict[str, set[int]] = defaultdict(set)
    for block in blocks:
        gone[block.container].add(block.index)
    names = {}
    for name, _ in model.named_modules():
        parts, now, lost = name.split("."), [], False
        for depth, part in enumerate(parts):
            indices = gone.get(".".join(parts[:depth]))
            if indices:
                lost = lost or int(part) in indices
                part = str(int(part) - sum(i < int(part) for i in indices))
            now.append(part)
        if not lost:
            names[".".join(now)] = name
    return names


@torch.no_grad()
def _shorten(owner: nn.Module, prefix: str, blocks: list[Block]) -> None:
    """Take blocks out of their owner, in place, and put right what reads them."""

    def inside(name: str) -> nn.Module:
        return owner.get_submodule(name[len(prefix) + 1 :]) if name != prefix else owner

    chains: dict[str, Block] = {}  # the first entry that goes of every chain of plain ones
    cut: dict[str, list[Block]] = defaultdict(list)
    last_first = sorted(blocks, key=lambda b: -b.index)
    for block in last_first:
        if isinstance(inside(block.container), nn.ModuleList):
            cut[block.closing].append(block)
        elif not block.residual:
            chains[block.container] = block
    for closing, listed in cut.items():
        _fold_columns(inside(closing), listed)
    for block in chains.values():
        _clear_columns(inside(block.closing), block)
    for block in last_first:
        del inside(block.container)[block.index]


def _fold_columns(conv: nn.Conv2d, blocks: list[Block]) -> None:
    """Take the columns of blocks out of a closing convolution; what read a residual one's output reads its input."""
    weight = conv.weight.detach().clone()
    stay = torch.ones(weight.shape[1], dtype=torch.bool)
    for block in blocks:  # the last first: its columns may go to a block that goes, too
        columns = slice(*block.columns)
        if block.residual:
            weight[:, slice(*block.before)] += weight[:, columns]
        stay[columns] = False
    _set_weight(conv, weight[:, stay])


def _clear_columns(conv: nn.Conv2d, block: Block) -> None:
    """Let a closing convolution read nothing, yet, of what a shorter chain puts out."""
    first, end = block.columns
    weight = conv.weight.detach()
    empty = weight.new_zeros(weight.shape[0], block.width, *weight.shape[2:])
    _set_weight(conv, torch.cat([weight[:, :first], empty, weight[:, end:]], 1))


def _set_weight(conv: nn.Conv2d, weight: torch.Tensor) -> None:
    conv.weight = nn.Parameter(weight.contiguous(), requires_grad=conv.weight.requires_grad)
    conv.in_channels = weight.shape[1]
