"""A stylised chest radiograph, 32×32, 8-bit grey: heart size, opacity of a lung, pleural fluid.

Nuisance: where the patient stands, where in the lung the opacity is, brightness, contrast, noise.
"""

from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Float, Int, UInt8

from fusionjax.clinic.world import LEVELS

SIZE = 32
# Pixels off the centre, down and right, and the centres of an opacity (lungs reach from −1 to 1).
SHIFTS = tuple(product((-0.5, 0.0, 0.5), (-0.5, 0.0, 0.5)))
PLACES = tuple(product((-0.27, -0.17), (-0.46, -0.40)))
NOISE = 0.01


def render(
    rng: np.random.Generator, findings: Int[np.ndarray, "3"], site: float
) -> UInt8[np.ndarray, "32 32"]:
    """The radiograph of these findings; `site` in −1..1 makes the film harder or softer."""
    shift, place = SHIFTS[rng.integers(len(SHIFTS))], PLACES[rng.integers(len(PLACES))]
    density = _density(findings, shift, place)
    contrast = rng.uniform(0.7, 0.8) * (1 + 0.2 * site)
    brightness = rng.uniform(0.06, 0.12) * (1 - 0.3 * site)
    grey = brightness + contrast * density + rng.normal(scale=NOISE, size=density.shape)
    return (255 * grey.clip(0, 1)).round().astype(np.uint8)


def decode(image: UInt8[np.ndarray, "32 32"]) -> Int[np.ndarray, "3"]:
    """The findings whose noiseless radiograph, wherever things are, correlates best with it."""
    findings, films = _templates()
    return findings[np.argmax(films @ _standard(image))]


def _density(
    findings: Int[np.ndarray, "3"], shift: tuple[float, float], place: tuple[float, float]
) -> Float[np.ndarray, "32 32"]:
    """What lies in the beam, from 0 for air; the patient's right is on the image's left."""
    heart, opacity, fluid = findings
    y, x = np.mgrid[:SIZE, :SIZE] * (2 / (SIZE - 1)) - 1
    y, x = y - shift[0] * 2 / (SIZE - 1), x - shift[1] * 2 / (SIZE - 1)
    body = _ellipse(y - 0.75, x, 1.75, 0.98)
    lungs = np.maximum(*(_ellipse(y + 0.08, x - side, 0.72, 0.33) for side in (-0.43, 0.43)))
    aerated = lungs * _inside(0.62 - 0.19 * fluid - y)
    spine = 0.25 * np.exp(-((x / 0.08) ** 2))
    ribs = 0.06 * lungs * np.cos(9 * (y + 0.5 * x**2) * np.pi / 2)
    tissue = body * (0.62 - 0.5 * aerated + ribs + spine)
    away = (y - place[0]) ** 2 + (x - place[1]) ** 2
    lesion = 0.24 * opacity * aerated * np.exp(-away / (2 * 0.24**2))
    shadow = _ellipse(y - 0.25, x - 0.12, 0.4, 0.14 + 0.12 * heart)
    return np.maximum(tissue + lesion, 0.68 * shadow)


def _ellipse(
    y: Float[np.ndarray, "..."], x: Float[np.ndarray, "..."], height: float, width: float
) -> Float[np.ndarray, "..."]:
    """1 within the half axes `height` and `width`, 0 without."""
    return _inside(min(height, width) * (1 - np.hypot(y / height, x / width)))


def _inside(depth: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """From 0 to 1 where the depth below a surface changes sign, over about a pixel."""
    return 1 / (1 + np.exp(-depth / 0.03))


@cache
def _templates() -> tuple[Int[np.ndarray, "film 3"], Float[np.ndarray, "film pixel"]]:
    """Every radiograph but for brightness, contrast and noise, and what it shows."""
    shown = [np.array(z) for z in product(range(LEVELS), repeat=3) for _ in product(SHIFTS, PLACES)]
    where = list(product(SHIFTS, PLACES)) * LEVELS**3
    films = [_standard(_density(z, *at)) for z, at in zip(shown, where, strict=True)]
    return np.stack(shown), np.stack(films)


def _standard(film: Float[np.ndarray, "32 32"] | UInt8[np.ndarray, "32 32"]):
    """A film without brightness and contrast: mean 0, length 1."""
    film = film.ravel() - film.mean()
    return film / np.linalg.norm(film)
