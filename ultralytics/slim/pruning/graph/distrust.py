"""Blocks whose code counts on widths that the graph cannot see: kept whole once the proof of a pruning fails in them.

Head counts, split sizes, shapes and constants that Python code computes with leave no trace in a tensor. Where a pruned
model does not run, or is not equal to the masked one, the block whose code is at fault stays as it is from then on, and
so do all blocks of its class, unless that is most of the model: first what its own code has in hand, then all that is
below it, then so for the block around it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import nn

from .channels import ChannelGraph
from .label_book import LabelBook
from .verify import Unproved


def distrust(model: nn.Module, graph: ChannelGraph, book: LabelBook, failure: Unproved) -> str:
    """Freeze the block at which a proof failed; return what was kept whole, '' where nothing is left to keep.

    Args:
        model: The model, before it was cut.
        graph: Its channels; its book gets the reason.
        book: What is frozen in the pruning that failed, with what is tied there; it gets the reason, too.
        failure: Where it failed.
    """
    for name, below in _around(failure.where):
        kind = type(model.get_submodule(name))
        free = _free_labels(graph, book, [name], below)
        if not free.size:
            continue
        called = f"{name} ({kind.__name__})"
        peers = [] if below or kind.__module__.startswith("torch.") else _peers(model, kind)
        alike = _free_labels(graph, book, peers, below)
        if len(peers) > 1 and 2 * alike.size < len(np.unique(_still_free(book, np.arange(len(book) + 1)))):
            free, called = alike, f"{called} with the others of its class"
        why = f"{name} ({kind.__name__}): kept whole, as a narrower one fails: {_first_line(failure.why)}"
        for one in (graph.book, book):
            one.freeze(free, why)
        return f"{called}{' with all that is in it' if below else ''}"
    return ""


def _peers(model: nn.Module, kind: type) -> list[str]:
    return [name for name, m in model.named_modules() if name and type(m) is kind]


def _around(where: str) -> Iterator[tuple[str, bool]]:
    """Give a module and those around it but for the model itself, each without and with what is below it."""
    parts = where.split(".") if where else []
    for depth in range(len(parts), 0, -1):
        for below in (False, True):
            yield ".".join(parts[:depth]), below


def _free_labels(graph: ChannelGraph, book: LabelBook, names: list[str], below: bool) -> np.ndarray:
    """Return the labels that modules have in hand, or all below them, as far as they are not frozen yet."""
    inside = tuple(f"{name}." for name in names) if below else ()
    found = [
        np.ravel(labels)
        for name, handled in graph.handled.items()
        if name in names or name.startswith(inside)
        for labels in handled
    ]
    return _still_free(book, np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=int))


def _still_free(book: LabelBook, labels: np.ndarray) -> np.ndarray:
    """Return those of some labels that are not frozen."""
    return labels[(labels > 0) & ~np.isin(book.roots()[labels], list(book.frozen()))]


def _first_line(text: str) -> str:
    return text.splitlines()[0][:200] if text else "no reason given"
