"""From a recording to a short sequence of band energies, as speech recognisers read sound."""

from __future__ import annotations

import io
import wave
from functools import cache

import numpy as np
from numpy.typing import NDArray

from helpers.data.records import Floats

RATE = 8000  # samples per second
WINDOW = 256  # samples of a frame, 32 ms
HOP = 128  # samples from one frame to the next, 16 ms
FRAMES = 32  # together 4,224 samples, 0.53 s
BANDS = 24
_LOWEST = 100.0  # Hz, where the first band begins; the last ends at RATE / 2
_QUIET = 0.05  # of the loudest sample: what is below it at either end is cut off
_FLOOR = 1e-4  # added to an energy before its logarithm: silence and padding give log(_FLOOR)


def log_bands(content: bytes) -> Floats:
    """Return the log energies of a WAV file's frames, float32 (``FRAMES``, ``BANDS``).

    The recording is 16-bit, mono and of ``RATE`` samples per second. It is divided by its loudest
    sample, its quiet ends are cut off, and it is cut or filled with zeros at its end. Each frame is
    weighted by a Hann window; the power of its spectrum is averaged in triangular bands.
    """
    with wave.open(io.BytesIO(content)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
    samples /= np.abs(samples).max(initial=1.0)
    loud = np.flatnonzero(np.abs(samples) >= _QUIET)
    samples = samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]
    length = (FRAMES - 1) * HOP + WINDOW
    samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    window = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / np.square(window).sum()
    return np.log(power @ _bands() + _FLOOR).astype(np.float32)


@cache
def _bands() -> NDArray[np.float64]:
    """Return the weights of each frequency in each band, (``WINDOW`` / 2 + 1, ``BANDS``).

    Bands are equally wide on the mel scale, ``2595 log10(1 + f / 700)`` for f in Hz, on which equal
    steps sound equally far apart. A band is a triangle that ends where its neighbours have their
    tops; its weights add up to 1.
    """
    low, high = (2595 * np.log10(1 + f / 700) for f in (_LOWEST, RATE / 2))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    left, top, right = corners[:-2], corners[1:-1], corners[2:]
    f = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    triangles = np.minimum((f - left) / (top - left), (right - f) / (right - top)).clip(min=0)
    return triangles / triangles.sum(axis=0)
