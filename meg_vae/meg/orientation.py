"""The orientation constraint: which way the dipoles of a position may point, in MNE's terms."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import mne
import numpy as np
from mne.utils import logger
from numpy.typing import NDArray

Loose = float | str | Mapping[str, float]

KINDS = {"surf": "surface", "vol": "volume", "discrete": "discrete"}  # types of source spaces
CORTICAL = 0.2  # what "auto" means for a surface source space, as in MNE


def constrain(forward: mne.Forward, loose: Loose) -> mne.Forward:
    """Turn the dipoles to the cortex for a loose constraint; keep normals only for a fixed one.

    Parameters
    ----------
    forward : mne.Forward
        Forward model, free or fixed.
    loose : float | "auto" | dict
        Weight of the dipoles across the cortical normal; a dict gives it for each kind of source
        space.

    Returns
    -------
    forward : mne.Forward
        In the orientation asked for.

    Raises
    ------
    ValueError
        If ``loose`` does not suit the source space.
    """
    weights = _by_kind(forward, loose)
    if mne.forward.is_fixed_orient(forward) or all(value == 1 for value in weights.values()):
        return forward
    fixed = not any(weights.values())
    return mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=fixed, use_cps=True, verbose="error"
    )


def check_free(forward: mne.Forward, loose: Loose = "auto") -> None:
    """Refuse orientations that are held to the normals of positions.

    Parameters
    ----------
    forward : mne.Forward
        Forward model.
    loose : float | "auto" | dict
        Weight of the dipoles across the cortical normal.

    Raises
    ------
    ValueError
        If the forward model is fixed or ``loose`` is anything but "auto" or 1.
    """
    if mne.forward.is_fixed_orient(forward):
        raise ValueError(
            "forward is of fixed orientation, and a source between its positions may point "
            "anywhere; give the forward model of free orientation, or use "
            "VAEInverse(positions='grid')."
        )
    if isinstance(loose, str) and loose == "auto":
        return
    values = list(loose.values()) if isinstance(loose, Mapping) else [loose]
    for value in values:
        _check_weight(loose, value)
    if any(value != 1 for value in values):
        raise ValueError(
            f"loose={loose!r} holds dipoles to the normals of the source space's positions, and "
            "sources at places of their own learn their orientation; use "
            "VAEInverse(positions='grid') with it, or leave loose='auto'."
        )


def own_gain(forward: mne.Forward) -> mne.Forward:
    """Let every copy of the gain be the one in ``forward["sol"]``.

    MNE turns dipoles from a copy in Cartesian axes. Who puts the gain of another toolbox in the
    place of MNE's does not see that copy.

    Parameters
    ----------
    forward : mne.Forward
        Forward model, free or fixed.

    Returns
    -------
    forward : mne.Forward
        The same, or with another copy.

    Raises
    ------
    ValueError
        If the gain has another shape than the channels and positions.
    """
    gain, n_channels = forward["sol"]["data"], len(forward["sol"]["row_names"])
    fixed = mne.forward.is_fixed_orient(forward)
    wanted = (n_channels, forward["nsource"] * (1 if fixed else 3))
    if np.shape(gain) != wanted:
        raise ValueError(
            f"forward['sol']['data'] has shape {np.shape(gain)}, and its {n_channels} channels and "
            f"{forward['nsource']} positions of {'fixed' if fixed else 'free'} orientation need "
            f"{wanted}."
        )
    if fixed or not np.isfinite(gain).all():  # is taken as it is, or refused where it is used
        return forward
    plain = gain
    if forward["surf_ori"]:
        axes = forward["source_nn"].reshape(-1, 3, 3)
        plain = np.einsum("dga,gak->dgk", gain.reshape(n_channels, -1, 3), axes).reshape(wanted)
    copied = forward["_orig_sol"]
    largest = np.abs(plain).max(initial=0.0)
    if copied.shape == wanted and np.allclose(copied, plain, rtol=0, atol=1e-6 * largest):
        return forward
    logger.info("forward['sol']['data'] is not the gain that MNE computed; it is used as it is")
    forward = mne.Forward(forward)
    forward["_orig_sol"] = plain
    return forward


def orientation_weights(forward: mne.Forward, loose: Loose) -> NDArray[np.float64]:
    """Weigh the dipoles of a forward model.

    Parameters
    ----------
    forward : mne.Forward
        As `constrain` gives it.
    loose : float | "auto" | dict
        The same as there.

    Returns
    -------
    weights : ndarray, shape (n_dipoles,)
        1 along the cortical normal, √loose across.
    """
    prior = mne.forward.compute_orient_prior(
        forward, loose=_by_kind(forward, loose), verbose="error"
    )
    return np.sqrt(prior)


def _by_kind(forward: mne.Forward, loose: Loose) -> dict[str, float]:
    """Give the weight for each kind of source space that there is."""
    src = forward["src"]
    kinds = sorted({KINDS[space["type"]] for space in src})
    if mne.forward.is_fixed_orient(forward):
        zero = isinstance(loose, Mapping) and not any(loose.values())
        if not zero and loose not in ("auto", 0):
            raise ValueError(
                f"loose={loose!r} needs a free-orientation forward, and this one is fixed; "
                "use loose='auto'."
            )
        return dict.fromkeys(kinds, 0.0)
    if isinstance(loose, str) and loose == "auto":
        return dict.fromkeys(kinds, CORTICAL if src.kind == "surface" else 1.0)
    weights = dict(loose) if isinstance(loose, Mapping) else dict.fromkeys(kinds, loose)
    if sorted(weights) != kinds:
        raise ValueError(
            f"loose={loose!r} must give a number for each kind of source space: {', '.join(kinds)}."
        )
    for kind, value in weights.items():
        _check_weight(loose, value)
        if value < 1 and kind == "volume":
            raise ValueError(
                f"loose={loose!r} needs a surface source space, and this one is {src.kind}; use "
                "loose=1, or in a mixed one loose={'surface': 0.2, 'volume': 1}."
            )
    return {kind: float(value) for kind, value in weights.items()}


def _check_weight(loose: Loose, value: object) -> None:
    """Refuse what is no weight."""
    if isinstance(value, bool) or not (isinstance(value, Real) and 0 <= value <= 1):
        raise ValueError(f"loose={loose!r} must be 'auto' or a number from 0 (fixed) to 1 (free).")
