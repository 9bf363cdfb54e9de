"""How a drawing is made: the medium, its inks and paper, and how steady the hand is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[int, int, int]  # BGR

INKS: tuple[Color, ...] = ((40, 35, 35), (120, 60, 25), (75, 75, 80), (35, 30, 120), (60, 85, 30))
PASTELS: tuple[Color, ...] = (
    (250, 232, 214), (214, 240, 252), (222, 245, 220), (232, 222, 250),
    (250, 245, 205), (225, 225, 225), (205, 228, 250),
)  # fmt: skip
# How a drawing came to be, and the share of each.
MEDIA = {"screen": 0.16, "print": 0.1, "tablet": 0.16, "scan": 0.24, "photo": 0.26, "board": 0.08}
CLEAN = ("screen", "print", "tablet")  # without the noise of a camera or scanner


@dataclass
class Style:
    """Settings of one drawing; lengths in pixels of the finished image."""

    medium: str  # a key of MEDIA
    ink: Color
    accent: Color  # ink of the links and of some outlines
    paper: Color
    pattern: str  # none, grid or ruled
    hand: bool  # hand-lettered and hand-drawn, else ruler and type
    wobble: float
    stroke: float
    fills: dict[str, Color]  # by class; a class that is absent is not filled
    shadow: bool
    font: str  # a file name in matplotlib's fonts
    doodles: int  # scribbles that are no nodes


FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf")


def random_style(rng: np.random.Generator, classes: tuple[str, ...]) -> Style:
    """Return a random style whose parts fit together."""
    medium = str(rng.choice(list(MEDIA), p=list(MEDIA.values())))
    hand = medium not in ("screen", "print") and (medium == "tablet" or rng.random() < 0.85)
    ink = _pick(rng, INKS)
    filled = rng.random() < (0.25 if hand else 0.75)
    return Style(
        medium=medium,
        ink=ink,
        accent=_pick(rng, INKS) if rng.random() < 0.3 else ink,
        paper=_paper(rng, medium),
        pattern=_pattern(rng) if medium in ("scan", "photo") else "none",
        hand=hand,
        wobble=rng.uniform(0.6, 1.7) if hand else 0.0,
        stroke=rng.uniform(0.8, 2.0) if medium != "board" else rng.uniform(1.5, 2.6),
        fills=_fills(rng, classes) if filled else {},
        shadow=not hand and rng.random() < 0.4,
        font=str(rng.choice(FONTS)),
        doodles=int(rng.integers(0, 4)) if hand else 0,
    )


def _paper(rng: np.random.Generator, medium: str) -> Color:
    if medium in CLEAN:
        return _pick(rng, ((255, 255, 255), (255, 255, 255), (250, 248, 245), (236, 244, 248)))
    grey = rng.integers(205, 252)
    return tuple(int(np.clip(grey + d, 0, 255)) for d in np.array([-6, 0, 3]) + rng.integers(-4, 5, 3))


def _pattern(rng: np.random.Generator) -> str:
    return str(rng.choice(["none", "grid", "ruled"], p=[0.5, 0.35, 0.15]))


def _fills(rng: np.random.Generator, classes: tuple[str, ...]) -> dict[str, Color]:
    one = _pick(rng, PASTELS)
    return {name: one if rng.random() < 0.4 else _pick(rng, PASTELS) for name in classes if rng.random() < 0.75}


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]
