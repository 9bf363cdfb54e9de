"""How a drawing is made: the medium, its inks and paper, and how steady the hand is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .scene import Link

Color = tuple[int, int, int]  # BGR

INKS: tuple[Color, ...] = ((40, 35, 35), (120, 60, 25), (75, 75, 80), (35, 30, 120), (60, 85, 30))
LINES: tuple[Color, ...] = (*INKS, (40, 40, 200), (190, 110, 20), (60, 150, 40), (150, 150, 150), (30, 140, 230))
CLEAR: tuple[Color, ...] = ((255, 255, 255), (60, 220, 255), (140, 240, 150), (180, 170, 255), (235, 225, 120))
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
    ground: str = "paper"  # what is behind the drawing: paper, gradient or photo


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


def random_ground(rng: np.random.Generator, style: Style) -> Style:
    """Return the style with something else than paper behind the drawing, at times; on a photograph all is typed."""
    ground = str(rng.choice(["paper", "gradient", "photo"], p=[0.5, 0.2, 0.3]))
    if ground == "paper":
        return style
    plain = {"medium": "screen", "hand": False, "wobble": 0.0, "pattern": "none", "doodles": 0, "shadow": False}
    return replace(style, ground=ground, **plain)


def style_links(rng: np.random.Generator, links: list[Link], style: Style, directed: bool) -> None:
    """Give the links of a drawing one color, width, line and head; a few have a word on them."""
    color = _pick(rng, CLEAR if style.ground == "photo" else LINES)
    width, line = rng.uniform(0.9, 2.2), str(rng.choice(["solid", "dashed", "dotted"], p=[0.7, 0.2, 0.1]))
    heads = ["arrow", "arrow", "open", "hollow", "diamond", "dot"]
    head = str(rng.choice(heads)) if directed or rng.random() < 0.5 else ""
    words = ("yes", "no", "has", "uses") if rng.random() < 0.25 else ()
    for link in links:
        link.color, link.width, link.line, link.head = color, width, line, head
        link.text = str(rng.choice(words)) if words and rng.random() < 0.3 else ""


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
