"""Where things are in the checkout."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent  # what tests share, scripts that they run among it
ROOT = SUPPORT.parents[1]
