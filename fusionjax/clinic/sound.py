"""A phonocardiogram, 1.5 s at 2 kHz, 16-bit: systolic murmur, third heart sound, lung crackles.

Each sign has a band and a place in the cycle of its own, and its grade is a loudness against the
first heart sound. Nuisance: heart rate, phase, pitch, loudness of the second sound, gain, noise.
"""

import numpy as np
from jaxtyping import Float, Int, Int16

RATE = 2000
SECONDS = 1.5
TIME = np.arange(int(RATE * SECONDS)) / RATE
FREQUENCY = np.fft.rfftfreq(len(TIME), 1 / RATE)
SYSTOLE = 0.30
# Hz: the two heart sounds, and what they leave to each sign.
BEAT = (90.0, 200.0)
BANDS = ((230.0, 420.0), (20.0, 65.0), (600.0, 950.0))
# Amplitude of grades 0..3 against the first heart sound, in dB; grade 0 is silence.
LOUDNESS = (
    (-np.inf, -32.0, -22.0, -12.0),
    (-np.inf, -24.0, -14.0, -4.0),
    (-np.inf, -24.0, -14.0, -4.0),
)
# dB in the sign's band against the beat's: where one grade ends and the next begins.
BETWEEN = ((-29.5, -18.7, -8.5), (-33.0, -19.5, -9.5), (-27.0, -16.6, -6.7))
NOISE = -46.0


def render(
    rng: np.random.Generator, findings: Int[np.ndarray, "3"], site: float
) -> Int16[np.ndarray, "3000"]:
    """A recording of these findings; `site` in −1..1 makes the recorder noisier or quieter."""
    murmur, third, crackles = (10 ** (LOUDNESS[f][g] / 20) for f, g in enumerate(findings))
    first, pitch = _beats(rng), rng.uniform(0.97, 1.03)
    sound = (
        _thud(first, 130 * pitch, 0.018)
        + rng.uniform(0.6, 0.8) * _thud(first + SYSTOLE, 160 * pitch, 0.015)
        + third * _thud(first + SYSTOLE + 0.14, 40 * pitch, 0.03)
        + murmur * _murmur(rng, first)
        + crackles * _crackles(rng)
        + 10 ** ((NOISE + 3 * site) / 20) * rng.normal(size=len(TIME))
    )
    gain = rng.uniform(0.25, 0.32)
    return (32767 * (gain * sound).clip(-1, 1)).round().astype(np.int16)


def decode(sound: Int16[np.ndarray, "3000"]) -> Int[np.ndarray, "3"]:
    """The grade of each sign, from its loudness against the heart beat's."""
    beat = _loudness(sound, BEAT)
    signs = [_loudness(sound, band) - beat for band in BANDS]
    return np.array([np.searchsorted(b, s) for b, s in zip(BETWEEN, signs, strict=True)])


def _beats(rng: np.random.Generator) -> Float[np.ndarray, " beat"]:
    """Times in seconds of the first heart sounds: the recorder starts just before one."""
    return np.arange(rng.uniform(0.08, 0.12), SECONDS, 60 / rng.uniform(64, 72))


def _thud(
    times: Float[np.ndarray, " beat"], pitch: float, width: float
) -> Float[np.ndarray, " sample"]:
    """Short tones of `pitch` Hz under Gaussian envelopes of `width` seconds."""
    since = TIME - times[:, None]
    return (np.exp(-((since / width) ** 2) / 2) * np.cos(2 * np.pi * pitch * since)).sum(0)


def _murmur(
    rng: np.random.Generator, first: Float[np.ndarray, " beat"]
) -> Float[np.ndarray, " sample"]:
    """Rough noise that swells and fades between the first and the second sound."""
    phase = (TIME - first[:, None]) / SYSTOLE
    swell = np.sin(np.pi * phase.clip(0, 1)).sum(0)
    return swell * _band_noise(rng, 240.0, 390.0)


def _crackles(rng: np.random.Generator) -> Float[np.ndarray, " sample"]:
    """A click of a few milliseconds in every 50, somewhere."""
    every = RATE // 20
    clicks = np.zeros(len(TIME))
    clicks[np.arange(0, len(TIME), every) + rng.integers(every, size=len(TIME) // every)] = 1.0
    since = np.arange(-25, 26) / RATE
    click = np.exp(-((since / 0.003) ** 2) / 2) * np.cos(2 * np.pi * 775 * since)
    return np.convolve(clicks, click, mode="same")


def _band_noise(rng: np.random.Generator, low: float, high: float) -> Float[np.ndarray, " sample"]:
    """White noise kept to a band of frequencies, of root mean square 1."""
    noise = _keep(rng.normal(size=len(TIME)), low, high)
    return noise / np.sqrt(np.mean(noise**2))


def _keep(
    sound: Float[np.ndarray, " sample"], low: float, high: float
) -> Float[np.ndarray, " sample"]:
    spectrum = np.fft.rfft(sound) * ((low <= FREQUENCY) & (high >= FREQUENCY))
    return np.fft.irfft(spectrum, len(TIME))


def _loudness(sound: Int16[np.ndarray, " sample"], band: tuple[float, float]) -> float:
    """Mean power in dB; the ends are faded, since a heart sound cut short rings in every band."""
    fade = (10 * np.minimum(TIME, TIME[::-1])).clip(0, 1)
    return 10 * np.log10(np.mean(_keep(fade * sound, *band) ** 2))
