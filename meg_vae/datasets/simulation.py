"""Known sources to an evoked response, at a stated signal-to-noise ratio."""

from __future__ import annotations

import mne
import numpy as np

from meg_vae.datasets.noise import symmetric_roots

# Without noise there is no ratio to set the amplitude by, so it is set as for this one.
NOISELESS_SNR_DB = 10.0

_PLACING_ATTEMPTS = 50


def place_sources(
    positions: np.ndarray,
    n_sources: int,
    min_distance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw positions at random, pairwise at least some distance apart.

    Parameters
    ----------
    positions : array, shape (n_positions, 3)
        Candidate positions in m.
    n_sources : int
        Number of positions to draw.
    min_distance : float
        Smallest distance between two of them, in m.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    chosen : array of int, shape (n_sources,)
        Rows of ``positions``.

    Raises
    ------
    ValueError
        If that many could not be placed so far apart.
    """
    most = 0
    for _ in range(_PLACING_ATTEMPTS):
        chosen: list[int] = []
        free = np.ones(len(positions), bool)
        while len(chosen) < n_sources and free.any():
            chosen.append(int(rng.choice(np.flatnonzero(free))))
            distance = np.linalg.norm(positions - positions[chosen[-1]], axis=1)
            free &= (distance >= min_distance) & (distance > 0)
        if len(chosen) == n_sources:
            return np.array(chosen, int)
        most = max(most, len(chosen))
    raise ValueError(
        f"n_sources={n_sources} could not be placed at least min_distance={min_distance} m apart "
        f"({most} could). Ask for fewer sources or a smaller min_distance."
    )


def event_related(times: np.ndarray, n_sources: int, rng: np.random.Generator) -> np.ndarray:
    """Draw smooth event-related time courses that start at time zero.

    Each is an oscillation of 6 to 12 Hz under a gamma-shaped envelope, with its peak at a latency
    of its own between 80 and 280 ms (the range is divided evenly among the sources) and a width
    (standard deviation) of 20 to 40 ms. Different latencies make them linearly independent.

    Parameters
    ----------
    times : array, shape (n_times,)
        Times in s.
    n_sources : int
        Number of time courses.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    time_courses : array, shape (n_sources, n_times)
        Dimensionless, 1 or -1 at the peak, exactly 0 up to time zero.
    """
    slots = rng.permutation(n_sources) + rng.uniform(0.2, 0.8, n_sources)
    latency = (0.08 + 0.2 * slots / max(n_sources, 1))[:, np.newaxis]
    width = rng.uniform(0.02, 0.04, (n_sources, 1))
    frequency = rng.uniform(6.0, 12.0, (n_sources, 1))
    sign = rng.choice([-1.0, 1.0], (n_sources, 1))
    shape = (latency / width) ** 2
    age = np.maximum(times, 0.0) / latency  # 1 at the peak
    envelope = (age * np.exp(1.0 - age)) ** shape
    return sign * envelope * np.cos(2.0 * np.pi * frequency * latency * (age - 1.0))


def simulate(
    forward: mne.Forward,
    info: mne.Info,
    noise_cov: mne.Covariance,
    positions: np.ndarray,
    time_courses: np.ndarray,
    *,
    tmin: float = 0.0,
    snr_db: float = 10.0,
    nave: int = 1,
    random_state: int | np.random.Generator | None = None,
) -> tuple[mne.Evoked, list[mne.Dipole]]:
    """Simulate the average of ``nave`` trials of known cortical sources.

    Data and noise are whitened by ``noise_cov / nave``, so that noise has variance 1 in each of
    the ``rank`` whitened channels. The sources are scaled so that each alone has the same
    whitened power, and so that the whitened power of all of them together, averaged over the
    ``rank`` channels and all samples (baseline included), is ``10 ** (snr_db / 10)``.

    Parameters
    ----------
    forward : mne.Forward
        Forward solution, free orientation. It need not be the one that sources are sought with.
    info : mne.Info
        Measurement info of the same channels, in the same order, none of them bad.
    noise_cov : mne.Covariance
        Noise covariance of single trials; its projectors are added and applied to the data.
    positions : array of int, shape (n_sources,)
        Positions of the forward solution, counted over both hemispheres. The sources point along
        the cortical normal there, as MNE defines it (the average over the cortical patch).
    time_courses : array, shape (n_sources, n_times)
        Time courses at the sampling frequency of ``info``; only their shape counts.
    tmin : float
        Time of the first sample in s.
    snr_db : float
        Signal-to-noise ratio in dB as defined above. Infinity: no noise at all, and amplitudes
        as for 10 dB.
    nave : int
        Number of averaged trials: noise is drawn from ``noise_cov / nave``, white in time.
    random_state : int | numpy.random.Generator | None
        Seed of the noise.

    Returns
    -------
    evoked : mne.Evoked
        The data, projectors applied.
    truth : list of mne.Dipole
        The sources, in the order of ``positions``: position in head coordinates (m), orientation,
        amplitude (A·m) over the times of ``evoked``, goodness of fit 100.

    Raises
    ------
    ValueError
        If the channels differ, a time course is zero or not finite, or ``snr_db`` or ``nave`` is
        out of range.
    """
    positions, time_courses = np.asarray(positions, int), np.asarray(time_courses, float)
    check_level(snr_db, nave)
    _check_sources(forward, info, positions, time_courses)
    fixed = mne.convert_forward_solution(forward, force_fixed=True, verbose="warning")
    evoked, amplitude = record(
        fixed["sol"]["data"][:, positions],
        time_courses,
        info,
        noise_cov,
        tmin=tmin,
        snr_db=snr_db,
        nave=nave,
        random_state=random_state,
    )
    sources = zip(
        fixed["source_rr"][positions], fixed["source_nn"][positions], amplitude, strict=True
    )
    truth = [fixed_dipole(evoked.times, *source) for source in sources]
    return evoked, truth


def record(
    gain: np.ndarray,
    time_courses: np.ndarray,
    info: mne.Info,
    noise_cov: mne.Covariance,
    *,
    tmin: float = 0.0,
    snr_db: float = 10.0,
    nave: int = 1,
    noise: np.ndarray | None = None,
    random_state: int | np.random.Generator | None = None,
) -> tuple[mne.Evoked, np.ndarray]:
    """Put sources of given fields and a given signal-to-noise ratio on the sensors.

    Parameters
    ----------
    gain : array, shape (n_channels, n_sources)
        Field of each source per A·m.
    time_courses : array, shape (n_sources, n_times)
        Time courses at the sampling frequency of ``info``; only their shape counts.
    info : mne.Info
        Measurement info of the channels.
    noise_cov : mne.Covariance
        Noise covariance of single trials; its projectors are added and applied to the data.
    tmin : float
        Time of the first sample in s.
    snr_db : float
        Signal-to-noise ratio in dB, as `simulate` defines it.
    nave : int
        Number of averaged trials.
    noise : array, shape (n_channels, n_times) | None
        Noise of the average. None: drawn from ``noise_cov / nave``, white in time.
    random_state : int | numpy.random.Generator | None
        Seed of the noise.

    Returns
    -------
    evoked : mne.Evoked
        The data, projectors applied.
    amplitude : array, shape (n_sources, n_times)
        The scaled time courses in A·m.
    """
    rng = np.random.default_rng(random_state)
    n_sources, n_times = time_courses.shape
    empty = np.zeros((len(info.ch_names), n_times))
    comment = f"{n_sources} simulated source{'' if n_sources == 1 else 's'}"
    evoked = mne.EvokedArray(empty, info, tmin, comment, nave, verbose="warning")
    evoked.add_proj(noise_cov["projs"], verbose="warning")
    whitener, colorer, rank = symmetric_roots(noise_cov, evoked.info)
    level = NOISELESS_SNR_DB if np.isinf(snr_db) else snr_db
    power = rank * n_times * 10.0 ** (level / 10.0)
    amplitude = _scale(np.sqrt(nave) * whitener @ gain, time_courses, power)
    evoked.data = gain @ amplitude
    if np.isfinite(snr_db):
        if noise is None:
            noise = colorer @ rng.standard_normal(evoked.data.shape) / np.sqrt(nave)
        evoked.data += noise
    return evoked.apply_proj(verbose="warning"), amplitude


def check_level(snr_db: float, nave: int) -> None:
    """Raise ValueError unless the signal-to-noise ratio and number of averages make sense."""
    if np.isnan(snr_db) or snr_db == -np.inf:
        raise ValueError(f"snr_db must be a number of dB or infinity (no noise), got {snr_db}")
    if nave < 1 or nave != int(nave):
        raise ValueError(f"nave must be a whole number of at least 1, got {nave}")


def _check_sources(
    forward: mne.Forward, info: mne.Info, positions: np.ndarray, time_courses: np.ndarray
) -> None:
    if forward["sol"]["row_names"] != info.ch_names or info["bads"]:
        raise ValueError(
            "forward and info must have the same channels in the same order, none of them bad; "
            "use mne.pick_channels_forward and mne.pick_info first"
        )
    if time_courses.ndim != 2 or len(time_courses) != len(positions):
        raise ValueError(
            "time_courses must have one row for each of the positions, got shape "
            f"{time_courses.shape} for {len(positions)} positions"
        )
    if not np.isfinite(time_courses).all() or not time_courses.any(axis=1).all():
        raise ValueError("time_courses must be finite, and none of them zero throughout")


def _scale(whitened_gain: np.ndarray, time_courses: np.ndarray, power: float) -> np.ndarray:
    """Scale time courses to equal whitened power and a given power of their sum, in A·m."""
    if len(time_courses) == 0:
        return time_courses
    fields = np.linalg.norm(whitened_gain, axis=0)
    equal = time_courses / (fields * np.linalg.norm(time_courses, axis=1))[:, np.newaxis]
    return equal * np.sqrt(power) / np.linalg.norm(whitened_gain @ equal)


def fixed_dipole(
    times: np.ndarray, position: np.ndarray, direction: np.ndarray, amplitude: np.ndarray
) -> mne.Dipole:
    """Make a dipole that keeps its place and direction.

    Parameters
    ----------
    times : array, shape (n_times,)
        Times in s.
    position : array, shape (3,)
        In head coordinates, m.
    direction : array, shape (3,)
        Unit vector in head coordinates.
    amplitude : array, shape (n_times,)
        In A·m.

    Returns
    -------
    dipole : mne.Dipole
        Its goodness of fit is 100.
    """
    every = np.ones((len(times), 1))
    gof = np.full(len(times), 100.0)
    return mne.Dipole(times, every * position, amplitude, every * direction, gof, verbose="warning")
