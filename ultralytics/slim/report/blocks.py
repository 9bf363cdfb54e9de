"""What a report is made of, before it is written as HTML (report_html.py) or Markdown (report_markdown.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are aligned to the right.

    A `folded` one opens at a click on that text; one that stands `beside` shares the line of the chart before it. Of
    one that `picks` the page shows the rows whose points in the charts are clicked, and always the first.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: str = ""
    beside: bool = False
    picks: bool = False


@dataclass(frozen=True)
class Key:
    """What colours mean: pairs of (CSS style of the mark, words)."""

    marks: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Chart:
    """An SVG with a title above it and a sentence below it; `name` is its file in the Markdown report."""

    name: str
    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Two pictures of one thing, with a caption."""

    left: Path
    right: Path
    caption: str

    @property
    def sides(self) -> list[tuple[Path, str]]:
        return [(self.left, "original"), (self.right, "compressed")]


Block: TypeAlias = Words | Key | Grid | Chart | Pair


@dataclass(frozen=True)
class Card:
    """One figure: name, new value and its unit, old value, and the change in words."""

    name: str
    value: str
    unit: str
    before: str
    change: str


@dataclass(frozen=True)
class Section:
    """A part of the report under a title of its own."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report: `kind` is that of the verdict and `label` its name; `alerts` say what is missing."""

    title: str
    subtitle: str
    kind: str
    label: str
    headline: str
    details: Sequence[str]
    cards: Sequence[Card]
    sections: Sequence[Section]
    alerts: Sequence[str] = field(default_factory=tuple)
