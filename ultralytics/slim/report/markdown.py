"""Write a report as Markdown, with its pictures as files in a folder beside it."""

from __future__ import annotations

from .blocks import Block, Chart, Document, Grid, Key, Pair, Words


def to_markdown(document: Document, pictures: str) -> str:
    """Return the report as Markdown; `pictures` is the folder of its pictures, relative to it."""
    lines = [f"# {document.title}", document.subtitle, f"**{document.label}: {document.headline}**", *document.details]
    if document.alerts:
        lines += ["## Missing from this report", "\n".join(f"- {alert}" for alert in document.alerts)]
    rows = [(c.name, c.before.removeprefix("was "), f"{c.value} {c.unit}".strip(), c.change) for c in document.cards]
    lines.append(_markdown(Grid(("", "original", "compressed", "change"), rows), pictures))
    for section in document.sections:
        lines.append(f"## {section.title}")
        lines += [_markdown(block, pictures) for block in section.blocks]
    return "\n\n".join(lines) + "\n"


def _markdown(block: Block, pictures: str) -> str:
    if isinstance(block, Words):
        return block.text
    if isinstance(block, Key):
        return "; ".join(words for _, words in block.marks) + "."
    if isinstance(block, Chart):
        return f"**{block.title}**\n\n![{block.title}]({pictures}/{block.name}.svg)" + f"\n\n{block.note}" * bool(
            block.note
        )
    if isinstance(block, Pair):
        shown = " | ".join(f"![{who}]({pictures}/{path.name})" for path, who in block.sides)
        return f"| original | compressed |\n| --- | --- |\n| {shown} |\n\n{block.caption}"
    clean = [[str(c).replace("|", "\\|") for c in row] for row in (block.header, *block.rows)]
    rule = [":--", *["--:"] * (len(block.header) - 1)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (clean[0], rule, *clean[1:]))
    return table + f"\n\n{block.note}" * bool(block.note)
