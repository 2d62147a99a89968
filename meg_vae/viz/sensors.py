"""Sensor data, what the sources explain of them, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import in_style, open_axes, open_figure, show_figure
from .style import INK, PALETTE

if TYPE_CHECKING:
    import mne
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TYPE_NAMES = {"grad": "Gradiometers", "mag": "Magnetometers", "eeg": "EEG"}
# What MNE files under "mag" because it measures a field (T), and is a gradiometer all the same.
AXIAL = ("CTF", "KIT", "MAGNES", "BABY", "ARTEMIS123", "KRISS", "COMPUMEDICS_ADULT")
PARTS = ("data", "fit", "residual")
MOST_PEAKS = 3
APART_S = 0.02  # peaks nearer than this are one


def plot_fit(
    evoked: mne.Evoked,
    residual: mne.Evoked,
    *,
    axes: np.ndarray | None = None,
    show: bool | None = None,
) -> Figure:
    """Plot sensor data, what the sources explain of them, and what they leave.

    Parameters
    ----------
    evoked : mne.Evoked
        The data. Bad channels are left out.
    residual : mne.Evoked
        The data less the field of the estimated sources; the same channels and times.
    axes : ndarray of matplotlib.axes.Axes, shape (n_channel_types, 3) | None
        Where to plot; ``None`` opens a figure, with topographies at up to three peaks where the
        places of the channels are known.
    show : bool | None
        Whether to show the figure; ``None`` does so for a new one, where no notebook does.

    Returns
    -------
    fig : matplotlib.figure.Figure
        Data, fit and residual side by side, a row per channel type, on one scale a row, with the
        share of variance (sum of squares) that the sources explain. The topographies are axes of
        the same figure.
    """
    if evoked.ch_names != residual.ch_names or len(evoked.times) != len(residual.times):
        raise ValueError("residual must have the channels and the times of evoked.")
    fit = evoked.copy()
    fit.data = evoked.data - residual.data
    parts = dict(zip(PARTS, (evoked, fit, residual), strict=True))
    kinds = evoked.get_channel_types(unique=True, only_data_chs=True)
    peaks = _peaks(evoked, kinds) if axes is None and _has_places(evoked) else np.zeros(0)
    maps: list[np.ndarray] = []
    if len(peaks):
        axes, maps = _open(len(kinds), len(peaks))
    axes = open_axes(axes, (len(kinds), 3), (11.0, 2.4 * len(kinds)), sharex=True, sharey="row")
    for row, kind in zip(axes, kinds, strict=True):
        for ax, (name, part) in zip(row, parts.items(), strict=True):
            _butterfly(ax, part, kind, f"{type_name(evoked.info, kind)}: {name}")
            for peak in peaks:
                ax.axvline(1e3 * peak, color=INK, linewidth=0.7, linestyle=":")
        share = _explained(evoked, residual, kind)
        row[2].set_title(f"{row[2].get_title()} ({share})", fontsize=10)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    for row, kind in zip(maps, kinds, strict=len(maps) > 0):
        _topographies(row, parts, kind, peaks)
    return show_figure(axes, show)


def type_name(info: mne.Info, kind: str) -> str:
    """Return the name of a type of channels, in the plural; axial gradiometers have their own."""
    from mne import channel_indices_by_type
    from mne.io.constants import FIFF

    axial = {FIFF[f"FIFFV_COIL_{maker}_GRAD"] for maker in AXIAL} | {FIFF.FIFFV_COIL_AXIAL_GRAD_5CM}
    picks = channel_indices_by_type(info).get(kind, [])
    coils = {info["chs"][k]["coil_type"] & 0xFFFF for k in picks}  # above it: CTF's compensation
    if kind == "mag" and coils and coils <= axial:
        return "Axial gradiometers"
    return TYPE_NAMES.get(kind, kind)


def _open(n_kinds: int, n_peaks: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Open a figure with three curves a row and, under each, a topography per peak."""
    with in_style():
        fig = open_figure((11.0, 3.9 * n_kinds))
        grid = fig.add_gridspec(2 * n_kinds, 3 * n_peaks, height_ratios=[2.2, 1.3] * n_kinds)
        curves = np.empty((n_kinds, 3), dtype=object)
        for row in range(n_kinds):
            for part in range(3):
                curves[row, part] = fig.add_subplot(
                    grid[2 * row, part * n_peaks : (part + 1) * n_peaks],
                    sharex=curves[0, 0],
                    sharey=curves[row, 0],
                )
        maps = [
            np.array([fig.add_subplot(grid[2 * row + 1, k]) for k in range(3 * n_peaks)])
            for row in range(n_kinds)
        ]
    return curves, maps


def _butterfly(ax: Axes, evoked: mne.Evoked, kind: str, title: str) -> None:
    """Draw the channels of a type over one another, in the unit in which MNE shows them."""
    from mne.defaults import DEFAULTS

    scaling, unit = DEFAULTS["scalings"][kind], DEFAULTS["units"][kind]
    data = scaling * evoked.copy().pick(kind, exclude="bads").data
    ax.plot(1e3 * evoked.times, data.T, color=PALETTE[0], linewidth=0.5, alpha=0.6)
    ax.axhline(0.0, color=INK, linewidth=0.5)
    ax.set_title(title, fontsize=10)
    ax.set(xlabel="Time (ms)", ylabel=unit)
    if len(evoked.times) > 1:
        ax.set_xlim(1e3 * evoked.times[[0, -1]])


def _topographies(
    row: np.ndarray, parts: dict[str, mne.Evoked], kind: str, peaks: np.ndarray
) -> None:
    """Draw the field at the peaks, on one scale, with its colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from mne.defaults import DEFAULTS
    from mne.viz import plot_topomap

    scaling, unit = DEFAULTS["scalings"][kind], DEFAULTS["units"][kind]
    merged = kind == "grad"  # the two gradiometers of a place are drawn as their root mean square
    cmap = "Reds" if merged else "RdBu_r"
    picked = {name: part.copy().pick(kind, exclude="bads") for name, part in parts.items()}
    samples = parts["data"].time_as_index(peaks, use_rounding=True)
    top = np.abs(scaling * picked["data"].data[:, samples]).max() * (0.7 if merged else 1.0)
    limits = (0.0 if merged else -top, top)
    for part, axes in zip(picked.values(), row.reshape(3, -1), strict=True):
        for ax, sample, peak in zip(axes, samples, peaks, strict=True):
            plot_topomap(
                scaling * part.data[:, sample],
                part.info,
                axes=ax,
                vlim=limits,
                cmap=cmap,
                sensors=False,
                contours=0,
                show=False,
            )
            ax.set_title(f"{1e3 * peak:.0f} ms", fontsize=9)
    bar = row[0].figure.colorbar(
        ScalarMappable(Normalize(*limits), cmap), ax=list(row), shrink=0.9, aspect=12, pad=0.01
    )
    bar.set_label(f"RMS of pairs ({unit})" if merged else f"Field ({unit})", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _peaks(evoked: mne.Evoked, kinds: list[str]) -> np.ndarray:
    """Return the times at which the field is strongest, all channel types together (s)."""
    from scipy.signal import find_peaks

    power = np.zeros(len(evoked.times))
    for kind in kinds:
        part = np.square(evoked.copy().pick(kind, exclude="bads").data).sum(axis=0)
        power += part / max(part.max(), np.finfo(float).tiny)
    apart = max(1, round(APART_S * evoked.info["sfreq"]))
    places, _ = find_peaks(np.concatenate([[0.0], power, [0.0]]), distance=apart)
    places = places - 1
    strongest = places[np.argsort(-power[places], kind="stable")[:MOST_PEAKS]]
    return evoked.times[np.sort(strongest)]


def _has_places(evoked: mne.Evoked) -> bool:
    """Whether the places of all channels are known, more than a few of each type."""
    picked: Any = evoked.copy().pick("data", exclude="bads").info
    places = np.array([channel["loc"][:3] for channel in picked["chs"]])
    kinds = evoked.get_channel_types()
    enough = min(kinds.count(kind) for kind in set(kinds)) > 8
    return bool(enough and np.isfinite(places).all() and places.any(axis=1).all())


def _explained(evoked: mne.Evoked, residual: mne.Evoked, kind: str) -> str:
    """Return the explained share of the data's sum of squares, in words."""
    data, left = (
        float(np.sum(one.copy().pick(kind, exclude="bads").data ** 2)) for one in (evoked, residual)
    )
    share = 100 * (1 - left / data) if data > 0 else 0.0
    return f"{share:.0f} % explained"
