"""Drawn skin lesions, which are nobody's skin: golden inputs, examples and test images."""

import numpy as np
from numpy.typing import NDArray

_SKINS = ((236, 200, 182), (224, 180, 156), (198, 150, 122), (150, 106, 82), (104, 72, 56))


def draw_lesion(seed: int, size: int, *, irregular: bool = False) -> NDArray[np.uint8]:
    """Draw one lesion on skin: (size, size, 3) uint8 RGB. The same arguments give the same image.

    An irregular one has a ragged border, several colours and no symmetry; a regular one is an
    even brown disc. Neither is meant to look like a diagnosis.
    """
    rng = np.random.default_rng([seed, irregular])
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    skin = np.array(_SKINS[rng.integers(len(_SKINS))], float)
    image = skin * (1 - 0.12 * (x**2 + y**2))[..., None] + 5 * _blotches(rng, size, 24)[..., None]

    centre = rng.uniform(-0.1, 0.1, 2)
    dx, dy = x - centre[0], y - centre[1]
    angle = np.arctan2(dy, dx)
    radius = np.full_like(angle, rng.uniform(0.35, 0.5))
    for wave in range(1, 8):
        amplitude = (0.16 if irregular else 0.03) / wave
        radius += amplitude * rng.normal() * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    softness = 0.03 if irregular else 0.06
    inside = 1 / (1 + np.exp((np.hypot(dx, dy) - radius) / softness))

    pigment = skin * (0.30, 0.24, 0.20) + (40, 20, 12)
    colour = pigment * (1 + 0.25 * _blotches(rng, size, 12)[..., None])
    if irregular:
        for other in ((52, 60, 84), (24, 16, 14), (172, 84, 78)):
            patch = np.clip(1.5 * _blotches(rng, size, 4), 0, 0.7)[..., None]
            colour = colour * (1 - patch) + np.array(other, float) * patch
    image += inside[..., None] * (colour - image) + rng.normal(0, 2, image.shape)
    pixels: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def _blotches(rng: np.random.Generator, size: int, cells: int) -> NDArray[np.float64]:
    """Draw smooth noise of mean 0 and deviation near 1/2, `cells` blotches across: (size, size)."""
    knots = rng.normal(0, 0.75, (cells + 1, cells + 1))
    at = np.linspace(0, cells, size)
    low = np.minimum(at.astype(int), cells - 1)
    part = at - low
    part = part * part * (3 - 2 * part)
    rows = knots[low] * (1 - part)[:, None] + knots[low + 1] * part[:, None]
    smooth: NDArray[np.float64] = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return smooth


def draw_photo(seed: int, size: int, *, irregular: bool = False) -> NDArray[np.uint8]:
    """Draw a lesion as through a dermatoscope: (size, size, 3) uint8 RGB.

    `draw_lesion` with the grain of skin, a pigment network and hairs, so that a model that was
    trained on photos accepts it as a lesion.
    """
    rng = np.random.default_rng([seed, irregular, 1])
    image = draw_lesion(seed, size, irregular=irregular).astype(float)
    pigmented = 1 - image.mean(axis=2, keepdims=True) / image.mean(axis=2).max()
    # Each octave is weaker than the one before, as in natural images.
    grain = np.sum([_blotches(rng, size, 12 * 2**n) / 1.5**n for n in range(5)], axis=0)
    network = np.abs(_blotches(rng, size, 40)) + np.abs(_blotches(rng, size, 55))
    image *= 1 + 0.05 * grain[..., None] - 0.5 * pigmented * (0.6 - network[..., None])
    for _ in range(rng.integers(2, 7)):
        _draw_hair(rng, image)
    pixels: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def _draw_hair(rng: np.random.Generator, image: NDArray[np.float64]) -> None:
    size = len(image)
    start, direction = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
    bend, width = rng.normal(0, 0.8) / size, rng.uniform(0.002, 0.004) * size
    y, x = np.mgrid[:size, :size]
    along = (x - start[0]) * np.cos(direction) + (y - start[1]) * np.sin(direction)
    across = (y - start[1]) * np.cos(direction) - (x - start[0]) * np.sin(direction)
    distance = np.abs(across - bend * along**2)
    hair = np.exp(-((distance / width) ** 2)) * (np.abs(along) < rng.uniform(0.2, 0.6) * size)
    image *= 1 - 0.7 * hair[..., None]
