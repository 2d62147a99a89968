"""From MNE's forward model and noise covariance to the whitened dictionary Φ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
from mne.minimum_norm.inverse import _check_reference  # the one rule of MNE that has no public name
from mne.utils import logger, warn
from numpy.typing import NDArray


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
    ch_names : list of str
        Channels used, in the order of the whitener's columns.
    weights : ndarray, shape (n_dipoles,)
        Orientation weights put on the columns: 1 along the cortical normal, √loose across. U =
        weights · (activity of Φ).
    n_orient : int
        Dipoles per position, 1 or 3.
    nave : float
        Number of averages that the whitener assumes.
    forward : mne.Forward
        The forward model restricted to these channels, in the orientation used.
    """

    Phi: NDArray[np.float64]
    whitener: NDArray[np.float64]
    ch_names: list[str]
    weights: NDArray[np.float64]
    n_orient: int
    nave: float
    forward: mne.Forward

    @property
    def n_positions(self) -> int:
        """Number of positions in the source space."""
        return self.Phi.shape[1] // self.n_orient


def whiten(
    evoked: mne.Evoked, whitener: NDArray[np.float64], ch_names: list[str], nave: float
) -> NDArray[np.float64]:
    """Whiten an evoked response by its own number of averages.

    Parameters
    ----------
    evoked : mne.Evoked
        The data.
    whitener : ndarray, shape (rank, n_channels)
        Whitener for ``nave`` averages.
    ch_names : list of str
        Its channels.
    nave : float
        Its number of averages.

    Returns
    -------
    X : ndarray, shape (rank, n_times)
        Whitened data, dimensionless, of noise variance 1 if the noise covariance is right.
    """
    return (evoked.nave / nave) ** 0.5 * (whitener @ evoked_data(evoked, ch_names))


def evoked_data(evoked: mne.Evoked, ch_names: list[str]) -> NDArray[np.float64]:
    """Pick the data of some channels, by name and in order.

    Parameters
    ----------
    evoked : mne.Evoked
        The data.
    ch_names : list of str
        Which channels.

    Returns
    -------
    data : ndarray, shape (n_channels, n_times)
        In the units of MNE (T, T/m, V).

    Raises
    ------
    ValueError
        If a channel is missing or a value is not finite.
    """
    missing = [name for name in ch_names if name not in evoked.ch_names]
    if missing:
        raise ValueError(
            f"evoked lacks {len(missing)} of the {len(ch_names)} channels of the lead field "
            f"({', '.join(missing[:3])}, ...); apply to data of the same sensors."
        )
    data: NDArray[np.float64] = evoked.data[[evoked.ch_names.index(name) for name in ch_names]]
    if not np.isfinite(data).all():
        raise ValueError(
            "evoked has NaN or infinite values in its good channels; mark those channels bad."
        )
    return data


def make_leadfield(
    forward: mne.Forward,
    info: mne.Info,
    noise_cov: mne.Covariance,
    *,
    nave: float = 1,
    loose: float | str = "auto",
    rank: Any = None,
) -> LeadField:
    """Whiten a forward model.

    Bad channels and SSP projectors are taken from ``info``; the rank after them (and after SSS) is
    MNE's estimate. The noise covariance is divided by ``nave``.

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
    loose : float | "auto"
        Weight of the dipoles across the cortical normal, from 0 (fixed) to 1 (free); "auto" is 0.2
        for a surface source space and 1 otherwise, as in MNE; a fixed forward stays fixed.
    rank : None | "info" | "full" | dict
        As in `mne.compute_rank`.

    Returns
    -------
    leadfield : LeadField
        Φ and the way back.

    Raises
    ------
    ValueError
        If the channels do not match, all are bad, EEG lacks its average reference, ``nave`` is
        below 1, ``loose`` does not suit the source space, or the gain or covariance is not finite.
    """
    if not nave >= 1:
        raise ValueError(f"evoked.nave={nave} must be at least 1: it divides the noise covariance.")
    ch_names = _common_channels(forward, info, noise_cov)
    _check_reference(
        mne.EvokedArray(np.zeros((len(info["ch_names"]), 1)), info, verbose="error"), ch_names
    )
    n_known = len(forward["sol"]["row_names"])
    logger.info(f"Using {len(ch_names)} good channels of the data, of {n_known} in the forward")
    forward = mne.pick_channels_forward(forward, ch_names, ordered=True, verbose="error")
    if not np.isfinite(forward["sol"]["data"]).all():
        raise ValueError("forward has NaN or infinite entries in its gain; recompute it.")
    forward = _orient(forward, loose)
    n_orient = 1 if mne.forward.is_fixed_orient(forward) else 3
    prior = mne.forward.compute_orient_prior(
        forward, loose=_loose_value(forward, loose), verbose="error"
    )
    weights = np.sqrt(prior)
    whitener, _ = mne.cov.compute_whitener(
        noise_cov, info, ch_names, rank=rank, pca=True, verbose="error"
    )
    whitener = nave**0.5 * whitener
    Phi = (whitener @ forward["sol"]["data"]) * weights
    return LeadField(Phi, whitener, ch_names, weights, n_orient, nave, forward)


def _common_channels(forward: mne.Forward, info: mne.Info, noise_cov: mne.Covariance) -> list[str]:
    """Good data channels that forward and covariance know, in the order of the data."""
    if not np.isfinite(noise_cov.data).all():
        raise ValueError("noise_cov has NaN or infinite entries; recompute it from clean data.")
    known = forward["sol"]["row_names"]
    data = [
        info["ch_names"][k]
        for k in mne.pick_types(info, meg=True, eeg=True, ref_meg=False, exclude=[])
    ]
    modelled = [name for name in data if name in known]
    if not modelled:
        raise ValueError(
            "forward and evoked have no channel in common "
            f"(evoked: {', '.join(data[:2]) or 'no MEG or EEG'}, ...; "
            f"forward: {', '.join(known[:2])}, ...); compute it from this recording's info."
        )
    good = [name for name in modelled if name not in info["bads"]]
    if not good:
        raise ValueError(
            f"all {len(modelled)} channels that evoked and forward share are marked bad in "
            "evoked.info['bads']."
        )
    covered = [
        name for name in good if name in noise_cov.ch_names and name not in noise_cov["bads"]
    ]
    lost = [name for name in good if name not in noise_cov.ch_names]
    if lost:
        raise ValueError(
            f"noise_cov does not cover {len(lost)} of the {len(good)} good channels "
            f"({', '.join(lost[:3])}, ...); "
            "compute it from the same sensors, or mark those channels bad."
        )
    if not covered:
        raise ValueError("all channels of evoked are marked bad in noise_cov['bads'].")
    types = {info.get_channel_types([info["ch_names"].index(n)])[0] for n in covered}
    same_type = mne.pick_types(info, meg=True, eeg="eeg" in types, ref_meg=False)
    unmodelled = [info["ch_names"][k] for k in same_type if info["ch_names"][k] not in known]
    if unmodelled:
        warn(
            f"forward lacks {len(unmodelled)} of the data's good channels "
            f"({', '.join(unmodelled[:3])}, ...); using the {len(covered)} that it has."
        )
    return covered


def _loose_value(forward: mne.Forward, loose: float | str) -> float:
    if mne.forward.is_fixed_orient(forward):
        return 0.0
    if loose != "auto":
        return float(loose)
    return 0.2 if forward["src"].kind == "surface" else 1.0


def _orient(forward: mne.Forward, loose: float | str) -> mne.Forward:
    """Turn the dipoles to the cortex for a loose constraint; keep normals only for a fixed one."""
    if loose != "auto" and not (isinstance(loose, (int, float)) and 0 <= loose <= 1):
        raise ValueError(f"loose={loose!r} must be 'auto' or a number from 0 (fixed) to 1 (free).")
    if mne.forward.is_fixed_orient(forward):
        if loose not in ("auto", 0):
            raise ValueError(
                f"loose={loose!r} needs a free-orientation forward, and this one is fixed; "
                "use loose='auto'."
            )
        return forward
    value = _loose_value(forward, loose)
    if value < 1 and forward["src"].kind not in ("surface", "discrete"):
        raise ValueError(
            f"loose={loose!r} needs a surface source space, and this one is "
            f"{forward['src'].kind}; use loose=1."
        )
    if value == 1:
        return forward
    return mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=value == 0, use_cps=True, verbose="error"
    )
