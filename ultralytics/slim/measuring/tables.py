"""A list of measured rows that reads as a table in a terminal, a notebook and Markdown."""

from __future__ import annotations

from dataclasses import asdict
from html import escape

SHOWN_AS = {"<": "&lt;", ">": "&gt;", "&": "&amp;"} | {letter: f"\\{letter}" for letter in "\\`*[]|"}


def markdown_text(words: object) -> str:
    """Return words in one line that Markdown shows as they are: no tag, link, emphasis or border of a table."""
    return "".join(SHOWN_AS.get(letter, letter) for letter in " ".join(str(words).split()))


class TextTable(list):
    """Rows that are dataclasses; a subclass says what stands in which column.

    Attributes:
        header: Names of the columns; the first holds text and stands left, the others hold numbers and stand right.
        caption: A sentence below the table, or none.
    """

    header: tuple[str, ...]
    caption: str = ""

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows as text, in the order of `header`."""
        raise NotImplementedError

    def __str__(self) -> str:
        lines = [self.header, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines)]
        body = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        return "\n".join([body[0], "-" * len(body[0]), *body[1:], self.caption])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(h)}</th>" for h in self.header)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>" for cells in self.cells())
        return f"<table><caption>{escape(self.caption)}</caption><tr>{head}</tr>{body}</table>"

    def to_dicts(self) -> list[dict[str, object]]:
        """Return the rows as dictionaries of plain values."""
        return [asdict(row) for row in self]

    def to_markdown(self) -> str:
        """Return the table as Markdown, numbers aligned to the right."""
        rule = (":--", *["--:"] * (len(self.header) - 1))
        texts = [[markdown_text(cell) for cell in cells] for cells in (self.header, *self.cells())]
        rows = "\n".join("| " + " | ".join(cells) + " |" for cells in (texts[0], rule, *texts[1:]))
        return f"{rows}\n\n{markdown_text(self.caption)}\n"
