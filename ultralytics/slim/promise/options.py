"""What a promise may be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

SPARE = 0.01  # share of the accuracy by which a model is better than promised, and worth telling


@dataclass(frozen=True)
class Promise:
    """How much a pruned model is to keep; `keep` and `keep_iterations` are keys of `prune`.

    Attributes:
        keep: Share of the original's accuracy on the `val` images of `data`, 0 < keep <= 1; without `data` of its
            agreement with itself on images that are kept back.
        data: The YAML of a data set with labels; empty where there is none.
        keep_iterations: Steps of the recovery after each pruning that is tried.
    """

    keep: float
    data: str = ""
    keep_iterations: int = 200

    def check(self) -> None:
        """Raise InputError where a value is out of range."""
        keep, steps = self.keep, self.keep_iterations
        if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
            raise InputError(f"keep should be the share of the accuracy to keep, 0 < keep <= 1, got {keep!r}")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"keep_iterations={steps}: expected a whole number from 1")

    def words(self, kept: float) -> str:
        """Return a share of what was measured, such as "98.7 % of the original's accuracy"."""
        return f"{kept:.1%} of the original's {'accuracy' if self.data else 'agreement'}"

    def verdict(self, before: float, after: float) -> str:
        """Say whether a model keeps what was promised.

        Args:
            before, after: Accuracy, or agreement, of the original and of the model.
        """
        kept = after / before if before else 0.0
        result, more = "kept", ""
        if kept < self.keep:
            result, more = "missed", "; ask for less, or train for longer"
        elif kept > self.keep + SPARE:
            more = "; a smaller one may do, too: give prune.flops= a little below what it has"
        words = f"the last model has {self.words(kept)}, {after:.4f} of {before:.4f}"
        return f"keep={self.keep:g} is {result}: {words}{more}"
