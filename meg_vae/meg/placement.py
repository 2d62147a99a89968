"""Where the sensors were, relative to the head, in one recording and in another."""

from __future__ import annotations

import mne
import numpy as np
from numpy.typing import NDArray

TOLERANCE_MM = 1.0
DEVICE, HEAD = 1, 4  # FIFF's numbers of the coordinate frames


def sensor_places(info: mne.Info, ch_names: list[str]) -> NDArray[np.float64]:
    """Look up where some channels were in the head's coordinates.

    Parameters
    ----------
    info : mne.Info
        Measurement info.
    ch_names : list of str
        Which channels.

    Returns
    -------
    places : ndarray, shape (n_channels, 3)
        In m; NaN where that is not known.
    """
    where = {name: k for k, name in enumerate(info["ch_names"])}
    to_head = device_to_head(info)
    places = np.full((len(ch_names), 3), np.nan)
    for k, name in enumerate(ch_names):
        channel = info["chs"][where[name]]
        place, frame = channel["loc"][:3], int(channel["coord_frame"])
        if not place.any():
            continue
        if frame == DEVICE:
            places[k] = mne.transforms.apply_trans(to_head, place)
        elif frame == HEAD:
            places[k] = place
    return places


def device_to_head(info: mne.Info) -> NDArray[np.float64]:
    """Give the transform from the device's to the head's coordinates.

    Parameters
    ----------
    info : mne.Info
        Measurement info.

    Returns
    -------
    trans : ndarray, shape (4, 4)
        NaN where it is not known.
    """
    trans = info["dev_head_t"]
    return np.full((4, 4), np.nan) if trans is None else np.array(trans["trans"], float)


def farthest_mm(places: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Give how far a sensor is at most from where it is in another recording.

    Parameters
    ----------
    places, others : ndarray, shape (n_channels, 3)
        As of `sensor_places`.

    Returns
    -------
    distance : float
        In mm; NaN where nothing is known.
    """
    gaps = 1e3 * np.linalg.norm(places - others, axis=1)
    known = gaps[np.isfinite(gaps)]
    return float(known.max()) if len(known) else np.nan


def moved(
    places: NDArray[np.float64],
    others: NDArray[np.float64],
    trans: NDArray[np.float64],
    other: NDArray[np.float64],
) -> str:
    """Say how far sensors lie apart in two recordings.

    Parameters
    ----------
    places, others : ndarray, shape (n_channels, 3)
        As of `sensor_places`.
    trans, other : ndarray, shape (4, 4)
        As of `device_to_head`.

    Returns
    -------
    text : str
        Such as "24.3 mm and 7.0°"; empty within the tolerance, or where nothing is known.
    """
    gap = farthest_mm(places, others)
    if not gap > TOLERANCE_MM:
        return ""
    turn = other[:3, :3].T @ trans[:3, :3]
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return f"{gap:.1f} mm" + (f" and {degrees:.1f}°" if degrees > 0.05 else "")
