"""Bookkeeping of channel labels: which channels are one and the same, which must stay, which must shrink together.

A label is a positive integer that stands for one channel of one producing layer; 0 stands for "no channel" (a position
that can never be removed and that nothing depends on). A tensor's labels are an integer array that broadcasts against
the tensor: size 1 along every dimension that holds no channels.
"""

from __future__ import annotations

import numpy as np


class LabelBook:
    """Hand out labels, unite them, freeze them, and remember which sequences of labels must keep equal counts."""

    def __init__(self):
        self._parent = [0]
        self._reason: dict[int, str] = {}
        self.families: list[list[np.ndarray]] = []

    def __len__(self) -> int:
        """Return the number of labels handed out."""
        return len(self._parent) - 1

    def new(self, n: int) -> np.ndarray:
        """Return `n` fresh labels, shape (n,)."""
        start = len(self._parent)
        self._parent.extend(range(start, start + n))
        return np.arange(start, start + n)

    def find(self, label: int) -> int:
        """Return the representative of a label (the smallest label it was united with)."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def unite(self, a: np.ndarray, b: np.ndarray, why: str = "tied to a position without a channel") -> None:
        """Unite two label arrays element by element; a label that meets 0 (no channel) is frozen."""
        for x, y in zip(*(v.ravel().tolist() for v in np.broadcast_arrays(a, b))):
            if x and y:
                x, y = self.find(x), self.find(y)
                self._parent[max(x, y)] = min(x, y)
            elif x or y:
                self._reason.setdefault(x or y, why)

    def freeze(self, labels: np.ndarray, why: str, overrule: bool = False) -> None:
        """Mark labels as not removable; the first reason given is reported, or the last that is to `overrule`."""
        for label in np.unique(labels).tolist():
            if label and (overrule or label not in self._reason):
                self._reason[label] = why

    def equal_counts(self, parts: list[np.ndarray]) -> None:
        """Demand that every part (arrays of one length) keeps the same number of channels."""
        self.families.append([np.asarray(p).ravel() for p in parts])

    def roots(self) -> np.ndarray:
        """Return the representative of every label, shape (labels + 1,), index 0 being 0."""
        return np.array([self.find(i) for i in range(len(self._parent))])

    def frozen(self) -> dict[int, str]:
        """Return {representative: reason} of everything that must stay."""
        out: dict[int, str] = {}
        for label, why in self._reason.items():
            out.setdefault(self.find(label), why)
        return out

    def copy(self) -> LabelBook:
        """Return an independent copy, so that a selection can tie labels without touching the traced graph."""
        other = LabelBook()
        other._parent, other._reason = list(self._parent), dict(self._reason)
        other.families = list(self.families)
        return other
