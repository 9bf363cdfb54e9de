"""What the γ of a sparse run do over its epochs: a warning where it leads nowhere, and a picture at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from ..files import write_whole
from .gammas import NEAR_ZERO, absolute_gammas

BINS = 60
PATIENCE = 1 / 3  # share of the run after which γ that have not moved are worth a warning
FLAT_MEDIAN, FLAT_SHARE = 0.95, 0.01  # "not moved": median still above this of the start, fewer than this near zero
COLLAPSE = 0.5  # a fitness under this share of the best so far


class GammaHistory:
    """Histograms of |γ| over the epochs of one run, all channels of the model together."""

    def __init__(self, model: nn.Module):
        values = absolute_gammas(model).numpy()
        self.edges = np.linspace(0, max(float(np.quantile(values, 0.995)), 2 * NEAR_ZERO), BINS + 1)
        self.start_median = float(np.median(values))
        self.rows = [self._histogram(values)]
        self.best: float | None = None  # fitness, before the trainer started to look for the best afresh
        self._warned: set[str] = set()

    def add(self, model: nn.Module, epoch: int) -> None:
        """Take in the γ after an epoch, counted from 0; one that is redone replaces itself."""
        self.rows = [*self.rows[: epoch + 1], self._histogram(absolute_gammas(model).numpy())]

    def flat(self, run_progress: float, stats: dict[str, float]) -> str:
        """Return a warning of γ that hardly move, once, or ''.

        Args:
            run_progress: Share of the run that is done.
            stats: As `sparsity.gamma_stats` returns them.
        """
        median = stats["gamma/median"] / max(self.start_median, 1e-12)
        if run_progress >= PATIENCE and median > FLAT_MEDIAN and stats["gamma/near_zero"] < FLAT_SHARE:
            return self._once(
                "flat",
                f"the γ hardly move: their median is {median:.0%} of that at the start and "
                f"{stats['gamma/near_zero']:.1%} "
                f"are under {NEAR_ZERO}. Pruning by γ would cut nearly at random: raise sparsity=, or train longer",
            )
        return ""

    def collapse(self, fitness: float | None, best: float | None) -> str:
        """Return a warning of a fitness far below the best so far, once, or ''; None for what is not known."""
        best = max(best or 0.0, self.best or 0.0)
        if fitness is not None and best > 0 and fitness < COLLAPSE * best:
            return self._once(
                "collapse",
                f"the fitness fell to {fitness:.4f} from {best:.4f}: the penalty is too strong for this length. Lower "
                "sparsity=, or train longer",
            )
        return ""

    def state_dict(self) -> dict[str, object]:
        """Return what a resumed run needs, in plain builtins."""
        rows = [row.tolist() for row in self.rows]
        return {"start_median": self.start_median, "edges": self.edges.tolist(), "rows": rows, "best": self.best}

    def load_state_dict(self, state: dict[str, object], epochs: int | None = None) -> None:
        """Take up the history of the run that is resumed: its γ are compared with those at its own start.

        Args:
            state: As `state_dict` returned it.
            epochs: How many of its epochs are gone on from, None for all.
        """
        rows = state["rows"] if epochs is None else state["rows"][: epochs + 1]
        self.start_median, self.edges = state["start_median"], np.array(state["edges"])
        self.rows, self.best = [np.array(row) for row in rows], state.get("best")

    def plot(self, path: Path) -> None:
        """Save the histograms as an image, an epoch a column, darker for more channels."""
        import matplotlib.pyplot as plt  # slow to import

        counts = np.log1p(np.array(self.rows)).T
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        axes.imshow(
            counts, origin="lower", aspect="auto", cmap="Blues", extent=[-0.5, len(self.rows) - 0.5, 0, self.edges[-1]]
        )
        axes.set(xlabel="epoch", ylabel="|γ|", title="Scales of the BatchNorm channels, darker for more (log)")
        write_whole(path, lambda partial: figure.savefig(partial, dpi=150))
        plt.close(figure)

    def _once(self, kind: str, message: str) -> str:
        new = kind not in self._warned
        self._warned.add(kind)
        return message if new else ""

    def _histogram(self, values: np.ndarray) -> np.ndarray:
        capped = np.minimum(values.astype(self.edges.dtype), self.edges[-1])  # NumPy 1 would round it beyond the edge
        return np.histogram(capped, self.edges)[0]
