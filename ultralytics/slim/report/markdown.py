"""Write a report as Markdown, with its pictures as files in a folder beside it."""

from __future__ import annotations

from ..measuring.tables import markdown_text as plain
from .blocks import Block, Chart, Document, Grid, Key, Pair, Words


def to_markdown(document: Document, pictures: str) -> str:
    """Return the report as Markdown; `pictures` is the folder of its pictures, relative to it.

    Names of files and classes are whatever the user's data says, so all words are escaped.
    """
    lines = [f"# {plain(document.title)}", plain(document.subtitle)]
    lines += [f"**{plain(document.label)}: {plain(document.headline)}**", *map(plain, document.details)]
    if document.alerts:
        lines += ["## Missing from this report", "\n".join(f"- {plain(alert)}" for alert in document.alerts)]
    rows = [(c.name, c.before.removeprefix("was "), f"{c.value} {c.unit}".strip(), c.change) for c in document.cards]
    if rows:
        lines.append(_markdown(Grid(("", "original", "compressed", "change"), rows), pictures))
    for section in document.sections:
        lines.append(f"## {plain(section.title)}")
        lines += [_markdown(block, pictures) for block in section.blocks]
    return "\n\n".join(lines) + "\n"


def _markdown(block: Block, pictures: str) -> str:
    if isinstance(block, Words):
        return plain(block.text)
    if isinstance(block, Key):
        return plain("; ".join(words for _, words in block.marks) + ".")
    if isinstance(block, Chart):
        title = plain(block.title)
        return f"**{title}**\n\n![{title}]({pictures}/{block.name}.svg)" + _note(block.note)
    if isinstance(block, Pair):
        shown = " | ".join(f"![{who}]({pictures}/{path.name})" for path, who in block.sides)
        return f"| original | compressed |\n| --- | --- |\n| {shown} |\n\n{plain(block.caption)}"
    header, *rows = [[plain(cell) for cell in row] for row in (block.header, *block.rows)]
    rule = [":--", *["--:"] * (len(block.header) - 1)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))
    return table + _note(block.note)


def _note(note: str) -> str:
    return f"\n\n{plain(note)}" if note else ""
