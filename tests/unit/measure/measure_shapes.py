"""Lesions whose measurements are known."""

import math

import numpy as np

SKIN, BROWN, DARK = (220, 170, 150), (130, 80, 60), (60, 40, 40)


def grid(size=200):
    """Coordinates of pixel centres from the middle of a square image: x, y."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    return x, y


def turned(x, y, degrees):
    """Coordinates along axes that are turned by an angle."""
    angle = math.radians(degrees)
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def ellipse(a, b, degrees=0.0, centre=(0.0, 0.0), size=200):
    x, y = grid(size)
    u, v = turned(x - centre[0], y - centre[1], degrees)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def disc(radius, centre=(0.0, 0.0), size=200):
    return ellipse(radius, radius, centre=centre, size=size)


def paint(mask, colour=BROWN, skin=SKIN):
    return np.where(mask[..., None], colour, skin).astype(np.uint8)


def textured(mask, seed=0):
    """A lesion and skin with texture, without any symmetry."""
    rng = np.random.default_rng(seed)
    x, y = grid(mask.shape[0])
    waves = 25 * np.sin(x / 5 + y / 9) + 18 * np.cos(y / 4) + 0.2 * x
    noise = rng.normal(0, 9, (*mask.shape, 3))
    return np.clip(paint(mask) + waves[..., None] * (1.0, 0.8, 0.5) + noise, 0, 255).astype(np.uint8)
