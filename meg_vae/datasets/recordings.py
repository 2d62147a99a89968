"""A recording with everything an inverse method asks for, and one made from known sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
from mne.utils import verbose

from .helmet import helmet_info
from .noise import noise_covariance
from .simulation import check_level, event_related, place_sources, simulate
from .template import cortex_vertices, forward_between, template

_SFREQ = 200.0
_TMIN, _TMAX = -0.1, 0.4
_GRIDS = ("finer", "same")


@dataclass(frozen=True, eq=False)
class Recording:
    """An evoked response and what it takes to find its sources.

    Attributes
    ----------
    evoked : mne.Evoked
        MEG data, projectors applied.
    forward : mne.Forward
        Forward solution of the same channels, free orientation. Its source space is
        ``forward["src"]``.
    noise_cov : mne.Covariance
        Noise covariance of single trials: not yet divided by ``evoked.nave``.
    truth : list of mne.Dipole | None
        The sources the data were made from (head coordinates, m, A·m), or None where nobody
        knows them.
    subjects_dir : Path
        Folder that holds the subject folder.
    subject : str
        Name of the subject folder.
    trans : mne.Transform
        Head to MRI transform.
    bem : mne.bem.ConductorModel
        BEM solution the forward solution was computed with.
    """

    evoked: mne.Evoked
    forward: mne.Forward
    noise_cov: mne.Covariance
    truth: list[mne.Dipole] | None
    subjects_dir: Path
    subject: str
    trans: mne.Transform
    bem: mne.bem.ConductorModel


@verbose
def template_recording(
    n_sources: int = 3,
    snr_db: float = 10.0,
    *,
    min_distance: float = 0.04,
    nave: int = 100,
    spacing: str = "oct6",
    grid: str = "finer",
    subjects_dir: str | Path | None = None,
    random_state: int | np.random.Generator | None = 0,
    verbose: bool | str | int | None = None,
) -> Recording:
    """Record known sources in the template head.

    The sources lie at random positions of the source grid and point along the cortical normal.
    Each has its own smooth event-related time course between 0 and 0.4 s. The data run from -0.1
    to 0.4 s at 200 Hz (101 samples); up to time zero they are noise alone.

    Data and noise are whitened by ``noise_cov / nave``, so that noise has variance 1 in each of
    the 303 whitened channels (306 less three projectors). Each source alone has the same whitened
    power, and the whitened power of all of them together, averaged over those 303 channels and
    all 101 samples, is ``10 ** (snr_db / 10)``.

    Parameters
    ----------
    n_sources : int
        Number of sources. 0: noise alone.
    snr_db : float
        Signal-to-noise ratio in dB as defined above. Infinity: no noise at all, and amplitudes
        as for 10 dB.
    min_distance : float
        Smallest distance between two sources in m.
    nave : int
        Number of averaged trials.
    spacing : {"oct6", "ico4", "oct5", "ico3"}
        Source spacing of `template`.
    grid : "finer" | "same"
        Whether sources lie at vertices of the cortex that are no positions of the source space, or
        at its positions, where an inverse method that puts sources on them finds them too easily.
    subjects_dir : path-like | None
        Where `template` writes the subject folder. None: the cache folder.
    random_state : int | numpy.random.Generator | None
        Seed of the positions, the time courses and the noise.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar is shown at "info" and below.

    Returns
    -------
    recording : Recording
        The recording, with its sources in ``truth``.

    Raises
    ------
    ValueError
        If an argument is out of range, or so many sources cannot be placed so far apart.

    Notes
    -----
    Sources are drawn from a thousand vertices of the cortex that the source space leaves out, or
    from its positions, each as likely as any other; only the medial wall, which is no cortex, is
    left out. They point along the cortical normal, and their fields are computed with the same BEM.
    Since every source gets the same sensor power, deep and radial ones have the larger currents: at
    the defaults the peak of a source is about 30 nA·m in the median, and 15 to 140 nA·m for nine
    sources in ten.

    The noise covariance is the one of `meg_vae.datasets.noise.noise_covariance`: sensor noise,
    background activity of the whole cortex, and projectors against homogeneous fields.
    """
    check_level(snr_db, nave)
    if n_sources < 0 or n_sources != int(n_sources):
        raise ValueError(f"n_sources must be a whole number of at least 0, got {n_sources}")
    if not 0 <= min_distance < np.inf:
        raise ValueError(f"min_distance must be a distance in m of at least 0, got {min_distance}")
    if grid not in _GRIDS:
        raise ValueError(f"grid must be one of {', '.join(_GRIDS)}, got {grid!r}")
    head = template(spacing, subjects_dir)
    rng = np.random.default_rng(random_state)
    cortex = cortex_vertices(head.subjects_dir)
    forward = head.forward if grid == "same" else forward_between(head)
    positions = _draw_positions(forward, cortex, n_sources, min_distance, rng)
    times = np.arange(round(_TMIN * _SFREQ), round(_TMAX * _SFREQ) + 1) / _SFREQ
    time_courses = event_related(times, n_sources, rng)
    noise_cov = noise_covariance(head.forward, head.info, cortex)
    evoked, truth = simulate(
        forward,
        helmet_info(_SFREQ),
        noise_cov,
        positions,
        time_courses,
        tmin=_TMIN,
        snr_db=snr_db,
        nave=nave,
        random_state=rng,
    )
    return Recording(
        evoked=evoked,
        forward=head.forward,
        noise_cov=noise_cov,
        truth=truth,
        subjects_dir=head.subjects_dir,
        subject=head.subject,
        trans=head.trans,
        bem=head.bem,
    )


def _draw_positions(
    forward: mne.Forward,
    cortex: list[np.ndarray],
    n_sources: int,
    min_distance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw positions of a forward solution that are cortex, far enough from each other."""
    in_cortex = [np.isin(s["vertno"], v) for s, v in zip(forward["src"], cortex, strict=True)]
    candidates = np.flatnonzero(np.concatenate(in_cortex))
    return candidates[place_sources(forward["source_rr"][candidates], n_sources, min_distance, rng)]
