"""What is thin in a picture."""

from __future__ import annotations

import cv2
import numpy as np

THIN, THICK = 13, 17  # pixels; what is thicker is filled, and no stroke: on a busy picture, and on any other
CONTRAST = 14  # least response of a stroke
AROUND = 101  # pixels; what "around it" means


def thinness(image: np.ndarray, most: int) -> np.ndarray:
    """Return how much darker or lighter each pixel (H, W, ...) is than what is left where nothing so thin is."""
    closed = cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((most, most), np.uint8))
    return cv2.max(cv2.subtract(closed, image), lightness(image, most))


def lightness(image: np.ndarray, most: int) -> np.ndarray:
    """Return how much lighter each pixel (H, W, ...) is than what is left where nothing so thin and light is."""
    return cv2.subtract(image, cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((most, most), np.uint8)))


def largest(image: np.ndarray) -> np.ndarray:
    """Return the largest channel of each pixel (H, W, 3) of uint8; NumPy's own maximum takes ten times as long."""
    first, second, third = cv2.split(image)
    return cv2.max(cv2.max(first, second), third)
