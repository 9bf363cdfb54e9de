"""Charts as SVG text, without a plotting library."""

from .bars import columns, dumbbells, histogram, profile
from .curves import fan, journey, scatter, stack, trace
from .svg import SERIES, standalone
