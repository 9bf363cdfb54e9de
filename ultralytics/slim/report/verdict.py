"""Say in plain words what a compression gained and cost, from its figures alone; bad results are called bad."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from ..runs.stages import FINAL, ORIGINAL

FRACTIONS = {
    Fraction(1, 10): "a tenth of", Fraction(1, 8): "an eighth of", Fraction(1, 6): "a sixth of",
    Fraction(1, 5): "a fifth of", Fraction(1, 4): "a quarter of", Fraction(1, 3): "a third of",
    Fraction(2, 5): "two fifths of", Fraction(1, 2): "half", Fraction(3, 5): "three fifths of",
    Fraction(2, 3): "two thirds of", Fraction(3, 4): "three quarters of", Fraction(4, 5): "four fifths of",
}  # fmt: skip
NEAR = 0.03  # how near a ratio must be to a fraction, as a share of it, to be called by its name
KEPT, USABLE = 0.98, 0.90  # shares of the original accuracy
NOTHING = 0.01  # mAP below which a model finds nothing to speak of
SAME_SPEED = 1.05  # below this a model counts as equally fast
SAME_POINTS = 0.1  # differences of mAP below this many points count as none
FEW_IMAGES = 50
WHOLE = (ORIGINAL, FINAL)  # the two ends of a whole run without a stage left out at its end
KINDS = {
    "good": "Good", "fair": "A trade", "bad": "Not good enough", "none": "Nothing gained", "unknown": "Not measured"
}  # fmt: skip


Times = tuple[float, float, float, int]


@dataclass
class Figures:
    """What the verdict is computed from, original first; pairs are (original, compressed).

    Attributes:
        gflops: Compute of one image.
        accuracy: MAP50-95 as a share; None where it was not measured.
        classes: Name of a class -> its pair of mAP50-95.
        latency: Runtime -> pair of (median, lower quartile, upper quartile, number of runs), times in ms.
        relations: Pair of F1, or None where the data has no relations.
        images: Number of images that accuracy was measured on.
        names: What the two models are, and `whole`, what they would be in a finished run.
        path: (model, mAP50-95) of each stage in order, the original first, as far as measured.
        labelled: Whether somebody labelled the images; else the truth is what the original detects.
        promise: Whether what was to be kept is kept, in words; '' where nothing was promised.
    """

    gflops: tuple[float, float]
    accuracy: tuple[float, float] | None = None
    classes: dict[str, tuple[float, float]] = field(default_factory=dict)
    latency: dict[str, tuple[Times, Times]] = field(default_factory=dict)
    relations: tuple[float, float] | None = None
    images: int = 0
    names: tuple[str, str] = WHOLE
    whole: tuple[str, str] = WHOLE
    path: list[tuple[str, float]] = field(default_factory=list)
    labelled: bool = True
    promise: str = ""


@dataclass(frozen=True)
class Verdict:
    """`kind` is one of `KINDS`; `headline` one sentence; `details` further ones."""

    kind: str
    headline: str
    details: list[str]


def judge(figures: Figures) -> Verdict:
    """Return the verdict on a compression."""
    parts = [compute_words(figures.gflops), *speed_words(figures.latency), accuracy_words(figures)]
    parts.append(relation_words(figures.relations))
    headline = ", ".join(part for part in parts if part)
    kind = kind_of(figures)
    return Verdict(kind, headline[:1].upper() + headline[1:] + ".", [d for d in _details(figures, kind) if d])


def kind_of(figures: Figures) -> str:
    """Return 'good', 'fair', 'bad', 'none' or 'unknown'."""
    before, after = figures.gflops
    if after >= 0.98 * before:
        return "none"
    if figures.accuracy is None or finds_nothing(figures):
        return "unknown"
    kept = min(kept_shares(figures).values())
    speeds = [speed_up(*pair) for pair in figures.latency.values()]
    if kept < USABLE:
        return "bad"
    return "good" if kept >= KEPT and max(speeds, default=2.0) > 1 <= min(speeds, default=1.0) else "fair"


def finds_nothing(figures: Figures) -> bool:
    """Return whether the original is too bad to tell what was kept of it."""
    return figures.accuracy is not None and figures.accuracy[0] < NOTHING


def kept_shares(figures: Figures) -> dict[str, float]:
    """Return the share that is kept of each measure of quality: of the accuracy, and of the relations where known."""
    pairs = {"accuracy" if figures.labelled else "agreement": figures.accuracy, "relation F1": figures.relations}
    return {
        name: pair[1] / pair[0] if pair[0] > 0 else float(name == "relation F1") for name, pair in pairs.items() if pair
    }


def compute_words(gflops: tuple[float, float]) -> str:
    """Return such as "half the compute"."""
    before, after = gflops
    ratio = after / before if before else 1.0
    if ratio > 1.02:
        return f"{percent(ratio - 1)} more compute"
    return "as much compute as before" if ratio >= 0.98 else f"{share_words(ratio)} the compute"


def share_words(ratio: float) -> str:
    """Return a share in words, such as "half", "a third of" or "42 % of"."""
    nearest = min(FRACTIONS, key=lambda f: abs(ratio - float(f)))
    return FRACTIONS[nearest] if abs(ratio / float(nearest) - 1) <= NEAR else f"{percent(ratio)} of"


def percent(share: float, digits: int = 0) -> str:
    """Return such as "52 %"."""
    return f"{100 * share:.{digits}f} %"


def speed_words(latency: dict) -> list[str]:
    """Return such as ["1.7 times as fast here in PyTorch", "no faster in ONNX Runtime"]."""
    words = [_speed(speed_up(*pair)) for pair in latency.values()]
    if len(set(words)) <= 1:
        return [f"{word} here" for word in words[:1]]
    return [f"{word}{' here' * (i == 0)} in {runtime}" for i, (word, runtime) in enumerate(zip(words, latency))]


def _speed(ratio: float) -> str:
    if ratio == 1:
        return "no faster"
    return f"{ratio:.1f} times as fast" if ratio > 1 else f"{1 / ratio:.1f} times as slow"


def speed_up(before: Times, after: Times) -> float:
    """Return how many times as fast the compressed model is; 1 where the difference is small or may be chance."""
    ratio = before[0] / after[0]
    return ratio if is_apart(before, after) and not 1 / SAME_SPEED < ratio < SAME_SPEED else 1.0


def is_apart(before: Times, after: Times) -> bool:
    """Return whether two medians differ by more than twice the standard error of their difference.

    That of one median is about 0.93 times the distance of the quartiles over the root of the number of runs, for times
    spread like a normal distribution.
    """
    errors = [0.93 * (high - low) / math.sqrt(runs) for _, low, high, runs in (before, after)]
    return abs(before[0] - after[0]) > 2 * math.hypot(*errors)


def accuracy_words(figures: Figures) -> str:
    """Return such as "0.4 mAP lost, mostly in class data"."""
    if figures.accuracy is None:
        return "accuracy not measured"
    if finds_nothing(figures):
        return "but the original detects nothing here"
    lost = 100 * (figures.accuracy[0] - figures.accuracy[1])
    if abs(lost) < SAME_POINTS:
        return "accuracy kept"
    if lost < 0:
        return f"{-lost:.1f} mAP gained"
    where = where_lost(figures.classes)
    return f"{lost:.1f} mAP lost" + (f", {where}" if where else "")


def relation_words(pair: tuple[float, float] | None) -> str:
    """Return such as "11.2 relation F1 lost"; '' where a point or less was lost."""
    lost = 100 * (pair[0] - pair[1]) if pair else 0.0
    return f"{lost:.1f} relation F1 lost" if lost > 1 else ""


def where_lost(classes: dict[str, tuple[float, float]]) -> str:
    """Return in which classes most of the loss lies: one with half of it, two with two thirds; else ''."""
    losses = sorted(((b - a, name) for name, (b, a) in classes.items() if b > a), reverse=True)
    total = sum(loss for loss, _ in losses)
    if len(classes) < 3 or not total:
        return ""
    if losses[0][0] >= total / 2:
        return f"mostly in class {losses[0][1]}"
    if len(classes) > 3 and sum(loss for loss, _ in losses[:2]) >= total * 2 / 3:
        return f"mostly in classes {losses[0][1]} and {losses[1][1]}"
    return "spread over the classes"


def _details(figures: Figures, kind: str) -> list[str]:
    advice, relations = _advice(figures, kind), _relations(figures.relations)
    promise = f"{figures.promise}." if figures.promise else ""
    return [
        _partly(figures), _unlabelled(figures), promise, advice, _by_stage(figures.path), relations, _caution(figures)
    ]  # fmt: skip


def _partly(figures: Figures) -> str:
    names = figures.names
    if names == figures.whole:
        return ""
    return f"This compares the models {names[0]} and {names[1]} of an unfinished run or an incomplete folder."


def _unlabelled(figures: Figures) -> str:
    if figures.labelled:
        return ""
    return (
        "There are no labels: mAP here is agreement, with what the original detects at a score of 0.25 in images that "
        "nothing was learned from as the truth. What the original itself misses or mistakes is not seen."
    )


def _advice(figures: Figures, kind: str) -> str:
    if kind == "none":
        return "The network is as large as before: ask for a larger factor, or see why its layers could not be cut."
    if finds_nothing(figures):
        return "The original itself finds next to nothing in this data at this image size: there was nothing to keep."
    if kind == "unknown":
        return "Without accuracy nobody can say whether it is fit for use: make the data available and report again."
    shares = kept_shares(figures)
    kept = " and ".join(f"{percent(share, 1) if share <= 1 else 'all'} of the {name}" for name, share in shares.items())
    worst = min(shares.values())
    longer = "train longer (epochs=)" if figures.labelled else "recover longer (recover.iterations=) on more images"
    if worst < 0.5:
        return f"It keeps only {kept}. Do not use it: cut less (factor=) and {longer}."
    if kind == "bad":
        return f"It keeps {kept}, too little for most uses: {longer}, or cut less (factor=)."
    if kind == "fair" and worst >= KEPT:
        return f"It keeps {kept}, but here the smaller network is not faster everywhere: measure it where it will run."
    return f"It keeps {kept}: whether that is enough is yours to judge." if kind == "fair" else f"It keeps {kept}."


def _by_stage(path: list[tuple[str, float]]) -> str:
    """Return what each stage did to mAP, such as "sparse −2.1, pruned −30.0, retrained +28.5"; '' for one stage."""
    steps = [(name, 100 * (after - before)) for (_, before), (name, after) in pairwise(path)]
    if len(steps) < 2:
        return ""
    return f"mAP by stage: {', '.join(f'{name} {signed(change)}' for name, change in steps)} points."


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign; what rounds to zero has none."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def _relations(pair: tuple[float, float] | None) -> str:
    if pair is None:
        return ""
    before, after = (100 * f1 for f1 in pair)
    move = "stays at" if abs(after - before) < SAME_POINTS else "falls to" if after < before else "rises to"
    return f"The relations between nodes: F1 {move} {after:.1f}" + (
        "." if move == "stays at" else f" from {before:.1f}."
    )


def _caution(figures: Figures) -> str:
    if figures.accuracy is None or not 0 < figures.images < FEW_IMAGES:
        return ""
    few = f"{figures.images} image{'s' * (figures.images > 1)}"
    return f"Measured on {few}: that is too little to tell a point of mAP from chance."
