"""What an analysis found: in words, as tables and as pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...charts import journey, profile
from ...charts.svg import standalone
from ...files import write_csv, write_text
from ..gamma_check import GammaCheck

MOST = 5  # groups that are suggested for exclusion
TOP = 3.0  # losses are drawn up to so many times that of the whole model


@dataclass
class Group:
    """One measurement: `share` of the channels of a group of tied layers (`units` of them) removed, nothing else."""

    layers: tuple[str, ...]
    units: int
    share: float
    value: float


@dataclass
class Factor:
    """One measurement: all layers pruned by a factor and repaired; GFLOPs as a share of the original's."""

    factor: float
    gflops: float
    accuracy: float


@dataclass
class Analysis:
    """How a model bears pruning.

    Attributes:
        metric: What `groups` hold: 'loss' or 'map'.
        keep: Share of the accuracy that was asked to be kept.
        images: Labelled images that everything was measured on.
        gammas: Whether the model is sparse enough for a factor.
        score: The score that ranked the channels.
        repairs: Repairs made when all layers were pruned.
        base: The metric of the whole model.
        groups: Each group of tied layers alone, from the input to the head.
        factors: All layers together, in the order in which they were tried; the first is the whole model.
        complete: Whether everything was measured.
        folder: Where tables and pictures are.
    """

    metric: str
    keep: float
    images: int
    gammas: GammaCheck
    score: str
    repairs: tuple[str, ...]
    base: float = float("nan")
    groups: list[Group] = field(default_factory=list)
    factors: list[Factor] = field(default_factory=list)
    complete: bool = True
    folder: Path | None = None

    @property
    def safe_factor(self) -> float | None:
        """The largest factor measured at which at least `keep` of the accuracy was left; None if none was measured."""
        good = [f.factor for f in self.factors if f.accuracy >= self.keep * self.factors[0].accuracy]
        return max(good) if len(self.factors) > 1 else None

    def harm(self, group: Group) -> float:
        """Return how many times worse than the whole model it is without these channels; 1 is as good."""
        worse, better = (group.value, self.base) if self.metric == "loss" else (self.base, group.value)
        return worse / max(better, 1e-12)

    @property
    def sensitive(self) -> list[Group]:
        """The groups that lose more than was allowed at the smallest share already, the worst first."""
        least = min((g.share for g in self.groups), default=0)
        found = [g for g in self.groups if g.share == least and self.harm(g) > 1 / self.keep]
        return sorted(found, key=self.harm, reverse=True)[:MOST]

    @property
    def exclude(self) -> tuple[str, ...]:
        """What `prune_model(exclude=...)` may be given to spare the most sensitive groups: a layer of each."""
        return tuple(g.layers[0] for g in self.sensitive)

    def __str__(self) -> str:
        """Return the findings in a few lines."""
        lines = [f"analysed on {self.images} labelled images, channels ranked by {self.score}"]
        if not self.complete:
            lines[0] += "; stopped before the end"
        lines += [f"  {self._safe()}", f"  {self._sensitive()}", f"  {self.gammas}"]
        return "\n".join([*lines, *([f"  tables and pictures in {self.folder.resolve()}"] if self.folder else [])])

    def _safe(self) -> str:
        if self.factors and self.factors[0].accuracy <= 0:
            return (
                "safe factor: none, for the whole model finds nothing right in these images; are they of its classes?"
            )
        if self.safe_factor is None:
            return "safe factor: not measured"
        whole, best = (
            self.factors[0],
            max((f for f in self.factors if f.factor <= self.safe_factor), key=lambda f: f.factor),
        )
        return (
            f"safe factor: {best.factor:g} keeps {best.accuracy:.4f} of {whole.accuracy:.4f} "
            f"({best.accuracy / max(whole.accuracy, 1e-12):.1%}; asked {self.keep:.0%}) at {best.gflops:.0%} of the "
            f"GFLOPs, "
            f"before any training{', repaired by ' + ' and '.join(self.repairs) if self.repairs else ''}"
        )

    def _sensitive(self) -> str:
        if not self.groups:
            return "groups of layers: not measured"
        if not self.sensitive:
            return f"no group of layers alone costs more than allowed at {min(g.share for g in self.groups):.0%}"
        names = [f"{g.layers[0]}{f' (+{len(g.layers) - 1})' if len(g.layers) > 1 else ''}" for g in self.sensitive]
        return (
            f"most sensitive when cut without repair, the worst first: {', '.join(names)}\n"
            f"  to spare them: exclude={','.join(self.exclude)}"
        )

    def save(self, folder: Path) -> None:
        """Write layers.csv, layers.svg, factors.csv and factors.svg into a folder, as far as they were measured."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        rows = [(" ".join(g.layers), g.units, g.share, f"{g.value:.6g}", f"{self.harm(g):.4f}") for g in self.groups]
        if rows:
            write_csv(folder / "layers.csv", ("layers", "channels", "share_cut", self.metric, "times_worse"), rows)
            _picture(folder / "layers.svg", self._layers_chart())
        if len(self.factors) > 1:
            write_csv(
                folder / "factors.csv",
                ("factor", "gflops_kept", "accuracy"),
                [
                    (f.factor, f"{f.gflops:.4f}", f"{f.accuracy:.4f}")
                    for f in sorted(self.factors, key=lambda f: f.factor)
                ],
            )
            _picture(folder / "factors.svg", self._factors_chart())

    def _layers_chart(self) -> str:
        names = list(dict.fromkeys(g.layers[0] for g in self.groups))
        shares = sorted({g.share for g in self.groups})
        measured = {(g.layers[0], g.share): self.harm(g) for g in self.groups}
        rows = {f"{s:.0%} cut": [measured.get((name, s), float("nan")) for name in names] for s in shares}
        title = f"Times by which the {self.metric} of the whole model is worse, one group of layers cut at a time"
        return profile(title, names, rows, f"times worse, {self.metric}", TOP)

    def _factors_chart(self) -> str:
        points = sorted(self.factors, key=lambda f: f.factor)
        title = "Accuracy before any training against the GFLOPs kept, by factor"
        return journey(title, [(f"{f.factor:g}", f.gflops, f.accuracy) for f in points], "GFLOPs kept", "accuracy")


def _picture(path: Path, chart: str) -> None:
    write_text(path, standalone(chart))
