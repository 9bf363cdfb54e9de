"""The releases that the patches claim, and one of each range on which they are tried."""

from __future__ import annotations

from patches.pin import load_series

SERIES = load_series()
MIDDLE = {"8.0.196": "8.0.217", "8.0.239": "8.3.0", "8.4.13": "8.4.100"}  # of the range that begins there
