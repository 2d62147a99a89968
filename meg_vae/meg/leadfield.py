"""From MNE's forward model and noise covariance to the whitened dictionary Φ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mne
import numpy as np
from mne.utils import logger, use_log_level
from numpy.typing import NDArray

from meg_vae.meg.channels import check_covariance, common_channels, evoked_data, square
from meg_vae.meg.compensation import check_compensation, compensation
from meg_vae.meg.orientation import Loose, constrain, orientation_weights
from meg_vae.meg.placement import HEAD
from meg_vae.meg.rank import agree_on_rank
from meg_vae.meg.sensors import Sensors, check_reference


@dataclass(frozen=True)
class LeadField:
    """A whitened lead field.

    Attributes
    ----------
    Phi : ndarray, shape (rank, n_dipoles)
        Whitened lead field, per A·m, weighted by ``weights``; the dipoles of one position are
        adjacent.
    whitener : ndarray, shape (rank, n_channels)
        Takes sensor data to whitened data; it holds the square root of ``nave``.
    sensors : Sensors
        Channels used, in the order of the whitener's columns, and how they were recorded.
    weights : ndarray, shape (n_dipoles,)
        Orientation weights put on the columns: 1 along the cortical normal, √loose across. U =
        weights · (activity of Φ).
    n_orient : int
        Dipoles per position, 1 or 3.
    nave : float
        Number of averages that the whitener assumes.
    forward : mne.Forward
        The forward model restricted to these channels, in the orientation used.
    projector : ndarray, shape (n_channels, n_channels)
        SSP projection of the data and of the noise covariance.
    noise_cov : mne.Covariance
        The noise covariance of single trials that the whitener was made of.
    rank : dict
        Its rank by channel type, as in `mne.compute_rank`.
    """

    Phi: NDArray[np.float64]
    whitener: NDArray[np.float64]
    sensors: Sensors
    weights: NDArray[np.float64]
    n_orient: int
    nave: float
    forward: mne.Forward
    projector: NDArray[np.float64]
    noise_cov: mne.Covariance
    rank: dict[str, int]

    @property
    def ch_names(self) -> list[str]:
        """Names of the channels used."""
        return self.sensors.ch_names

    @property
    def n_positions(self) -> int:
        """Number of positions in the source space."""
        return self.Phi.shape[1] // self.n_orient

    def whiten(self, evoked: mne.Evoked) -> NDArray[np.float64]:
        """Whiten an evoked response by its own number of averages.

        Parameters
        ----------
        evoked : mne.Evoked
            Data with these channels.

        Returns
        -------
        X : ndarray, shape (rank, n_times)
            Whitened data, dimensionless, of noise variance 1 if the noise covariance is right.
        """
        return self.whitened(evoked_data(evoked, self.ch_names), evoked.nave)

    def whitened(self, data: NDArray[np.float64], nave: float) -> NDArray[np.float64]:
        """Whiten data of these channels, (n_channels, n_times), that are ``nave`` averages."""
        return (nave / self.nave) ** 0.5 * (self.whitener @ data)

    def reduced(self, rank: int) -> LeadField:
        """Keep the directions that the lead field fills most, and whiten in these alone.

        A covariance of few samples cannot whiten many directions; which ones are kept does not
        depend on how it errs between channels.

        Parameters
        ----------
        rank : int
            How many to keep.

        Returns
        -------
        leadfield : LeadField
            The same in fewer whitened channels.
        """
        picks = [self.noise_cov.ch_names.index(name) for name in self.ch_names]
        cov = square(self.noise_cov)[np.ix_(picks, picks)]
        scale = 1 / np.sqrt(np.diag(cov))
        seen = scale[:, None] * (self.projector @ self.forward["sol"]["data"])
        axes = np.linalg.eigh(seen @ seen.T)[1][:, ::-1][:, :rank]
        some = (axes.T * scale) @ self.projector
        root = np.linalg.cholesky(some @ cov @ some.T)
        whitener = self.nave**0.5 * np.linalg.solve(root, some)
        Phi = (whitener @ self.forward["sol"]["data"]) * self.weights
        return replace(self, Phi=Phi, whitener=whitener)


def make_leadfield(
    forward: mne.Forward,
    info: mne.Info,
    noise_cov: mne.Covariance,
    *,
    nave: float = 1,
    loose: Loose = "auto",
    rank: Any = None,
    data: Any = None,
) -> LeadField:
    """Whiten a forward model.

    Bad channels and SSP projectors are taken from ``info``; the rank is the smallest that data,
    covariance and info support. The noise covariance is divided by ``nave``.

    Parameters
    ----------
    forward : mne.Forward
        Forward model, free or fixed.
    info : mne.Info
        Measurement info of the data.
    noise_cov : mne.Covariance
        Noise covariance of single trials.
    nave : float
        Number of averages in the data.
    loose : float | "auto" | dict
        Weight of the dipoles across the cortical normal, from 0 (fixed) to 1 (free); "auto" is 0.2
        for a surface source space and 1 otherwise, as in MNE; a fixed forward stays fixed. A dict
        gives it for each kind of a mixed source space.
    rank : None | "info" | "full" | dict
        As in `mne.compute_rank`.
    data : FitData | None
        The data, which are checked, and whose rank counts.

    Returns
    -------
    leadfield : LeadField
        Φ and the way back.

    Raises
    ------
    ValueError
        If the channels do not match, all are bad, EEG lacks its average reference, the forward
        model is not in head coordinates or of another compensation, ``nave`` is below 1, ``loose``
        does not suit the source space, or the gain or covariance is not finite.
    """
    if not nave >= 1:
        raise ValueError(f"evoked.nave={nave} must be at least 1: it divides the noise covariance.")
    _check_frame(forward)
    ch_names = common_channels(forward, info, noise_cov)
    check_covariance(noise_cov, ch_names)
    check_reference(info, ch_names)
    check_compensation(info, compensation(forward["info"]), "evoked", "the forward model")
    sensors = Sensors.of(info, ch_names)
    sensors.check_places(forward["info"], "forward", "evoked")
    n_known = len(forward["sol"]["row_names"])
    logger.info(f"Using {len(ch_names)} good channels of the data, of {n_known} in the forward")
    forward = mne.pick_channels_forward(forward, ch_names, ordered=True, verbose="error")
    if not np.isfinite(forward["sol"]["data"]).all():
        raise ValueError("forward has NaN or infinite entries in its gain; recompute it.")
    forward = constrain(forward, loose)
    weights = orientation_weights(forward, loose)
    moments = None
    if data is not None:
        data.check(sensors)
        moments = data.moments
    noise_cov, rank = agree_on_rank(noise_cov, info, ch_names, rank, moments)
    whitener, _ = mne.cov.compute_whitener(
        noise_cov, info, ch_names, rank=rank, pca=True, verbose="error"
    )
    whitener = nave**0.5 * whitener
    projections = [*info["projs"], *noise_cov["projs"]]
    with use_log_level("error"):
        projector = mne.proj.make_projector(projections, ch_names)[0]
    return LeadField(
        Phi=(whitener @ forward["sol"]["data"]) * weights,
        whitener=whitener,
        sensors=sensors,
        weights=weights,
        n_orient=1 if mne.forward.is_fixed_orient(forward) else 3,
        nave=nave,
        forward=forward,
        projector=projector,
        noise_cov=noise_cov,
        rank=rank,
    )


def _check_frame(forward: mne.Forward) -> None:
    """Refuse a forward model in other than head coordinates."""
    frames = {int(forward["coord_frame"]), *(int(space["coord_frame"]) for space in forward["src"])}
    if frames != {HEAD}:
        raise ValueError(
            "forward must be in head coordinates throughout (FIFF frame "
            f"{HEAD}), and has frames {sorted(frames)}; read it with mne.read_forward_solution, or "
            "compute it with mne.make_forward_solution."
        )
