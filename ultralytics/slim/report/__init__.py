"""The page about a run: what went in, what each stage did, what was lost, as HTML, Markdown and JSON."""
