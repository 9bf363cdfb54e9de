"""Charts as SVG text, without a plotting library."""

from .bars import columns, dumbbells, histogram, profile
from .curves import fan, journey, scatter, stack, trace
from .svg import SERIES, standalone

__all__ = (
    "SERIES",
    "columns",
    "dumbbells",
    "fan",
    "histogram",
    "journey",
    "profile",
    "scatter",
    "stack",
    "standalone",
    "trace",
)
