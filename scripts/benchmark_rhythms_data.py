"""Recordings of rhythms, and of sources that switch on and off, in three heads.

Sources lie off the grid along the cortical normal, with the full forward model's field; noise is
drawn from the covariance, white in time. Ratios of signal to noise are of whitened power over all
channels: of a rhythm over the whole band and time, of a source in a window over its own part of it.
"""

from __future__ import annotations

import mne
import numpy as np
from benchmark_places_heads import APART, NAVE, SAMPLE, SECOND, SFREQ, TEMPLATE, head

from meg_vae.datasets.noise import symmetric_roots
from meg_vae.datasets.simulation import place_sources, record

HEADS = (f"{TEMPLATE}oct5", SAMPLE, SECOND)
N_EPOCHS, N_TIMES = 100, 200  # of a second
LAG = 0.7  # rad, between coherent sources


def _fields(name: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places off the grid, and the fields of normal dipoles there, (n_channels, n)."""
    here = head(name)
    rows = place_sources(here.rr, n, APART, rng)
    fields = np.einsum("vda,va->dv", here.exact(here.rr[rows]), here.nn[rows])
    return here.rr[rows], fields


def _waves(
    frequencies: tuple[float, ...], coherence: float | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rhythms of unit mean power in each epoch, (n_epochs, n, n_times), and their phasors."""
    z = (rng.standard_normal((N_EPOCHS, len(frequencies), 2)) @ [1, 1j]) / 2**0.5
    if coherence is not None:
        own = np.sqrt(1 - coherence**2) * z[:, 1]
        z[:, 1] = coherence * z[:, 0] * np.exp(1j * LAG) + own
    t = np.arange(N_TIMES) / SFREQ
    turn = np.exp(2j * np.pi * np.array(frequencies)[:, None] * t)
    return 2**0.5 * np.real(z[:, :, None] * turn), z


def rhythms(
    name: str,
    seed: int,
    frequencies: tuple[float, ...],
    snr_db: float,
    coherence: float | None,
    silent: int | None = None,
) -> tuple[mne.Epochs, mne.Epochs, np.ndarray, np.ndarray]:
    """Epochs with rhythms, as many of noise alone, the places, and the phasors of each epoch.

    One of the sources can be ``silent``: there is nothing at its place.
    """
    rng = np.random.default_rng([seed, HEADS.index(name), len(frequencies)])
    here = head(name)
    places, fields = _fields(name, len(frequencies), rng)
    waves, z = _waves(frequencies, coherence, rng)
    whitener, colorer, rank = symmetric_roots(here.noise_cov, here.info)
    power = np.square(whitener @ fields).sum(0) / rank
    waves = waves * np.sqrt(10 ** (snr_db / 10) / power)[:, None]
    if silent is not None:
        waves[:, silent] = 0.0
    parts = []
    for signal in (waves, 0.0 * waves):
        noise = colorer @ rng.standard_normal((N_EPOCHS, len(colorer), N_TIMES))
        epochs = mne.EpochsArray(fields @ signal + noise, _at_rate(here.info), verbose="error")
        parts.append(epochs.add_proj(here.noise_cov["projs"]).apply_proj(verbose="error"))
    return *parts, places, z


def switching(
    name: str, seed: int, snr_db: float, share: float
) -> tuple[mne.Evoked, np.ndarray, np.ndarray]:
    """Four sources, each active in ``share`` of a quarter of its own of a second after zero.

    The response begins 0.2 s earlier. Also the places, and first and last samples (4, 2).
    """
    rng = np.random.default_rng([seed, HEADS.index(name), 4])
    here = head(name)
    places, fields = _fields(name, 4, rng)
    before, quarter = round(0.2 * SFREQ), N_TIMES // 4
    courses, spans = np.zeros((4, before + N_TIMES)), []
    for k, course in enumerate(courses):
        n = round(share * quarter)
        first = before + k * quarter + (quarter - n) // 2
        phase = 2 * np.pi * (rng.uniform(8, 14) * np.arange(n) / SFREQ + rng.uniform())
        course[first : first + n] = np.cos(phase)
        spans.append((first, first + n - 1))
    active = 10 * np.log10(share * N_TIMES / courses.shape[1])  # of all samples
    evoked, _ = record(
        fields,
        courses,
        _at_rate(here.info),
        here.noise_cov,
        tmin=-0.2,
        snr_db=snr_db + active,
        nave=NAVE,
        random_state=rng,
    )
    return evoked, places, np.array(spans)


def _at_rate(info: mne.Info) -> mne.Info:
    """Put a rate of sampling in a measurement info; nothing was filtered."""
    info = info.copy()
    with info._unlock():
        info["sfreq"], info["lowpass"], info["highpass"] = SFREQ, SFREQ / 2, 0.0
    return info
