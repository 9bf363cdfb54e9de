"""The embedded default data set: diagrams with nodes and their parents, drawn on the user's machine from a seed."""

from .dataset import draw_dataset
