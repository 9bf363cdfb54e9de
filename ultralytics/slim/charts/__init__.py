"""Charts as SVG text, without a plotting library."""

from .bars import columns from .bars import dumbbells from .bars import histogram from .bars import profile from .curves import fan from .curves import journey from .curves import scatter from .curves import stack from .curves import trace from .svg import SERIES from .svg import standalone
