"""Charts as SVG text, without a plotting library."""
