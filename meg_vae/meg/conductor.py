"""MNE's field computations for any place: a sphere model, or the BEM of a forward model.

MNE offers no public function that computes fields again and again in one conductor; what its dipole
fit uses is called here, and nowhere else.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import mne
import numpy as np
from mne.forward._compute_forward import _compute_forwards_meeg, _prep_field_computation
from mne.forward._make_forward import _prep_eeg_channels, _prep_meg_channels
from mne.transforms import _ensure_trans
from numpy.typing import NDArray

from meg_vae.meg.sphere import SphereField

Array = NDArray[np.float64]
ORIGIN = (0.0, 0.0, 0.04)  # m, head coordinates: where a head's centre is when positions do not say


class Conductor:
    """Fields of dipoles in a conductor, on some channels; those it has no sensor for are zero."""

    def __init__(
        self, sensors: dict[str, Any], model: Any, n_channels: int, rows: dict[str, Any]
    ) -> None:
        self._n_channels, self._sensors, self._rows = n_channels, sensors, rows
        self._model = model
        self._fields = None
        if sensors:
            self._fields = _prep_field_computation(
                sensors=sensors, bem=model, n_jobs=1, verbose="error"
            )
            if model["is_sphere"] and list(sensors) == ["meg"]:
                own = SphereField(sensors["meg"]["defs"], model["r0"])
                self._fields |= {"fun": _in_sphere, "solutions": {"meg": own}}

    def __call__(self, rr: Array) -> Array:
        """Fields per A·m along the head's axes at places (m, 3), shape (m, n_channels, 3)."""
        out = np.zeros((len(rr), self._n_channels, 3))
        if self._fields is None or not len(rr):
            return out
        computed = _compute_forwards_meeg(
            np.ascontiguousarray(rr),
            sensors=self._sensors,
            fwd_data=self._fields,
            n_jobs=1,
            silent=True,
        )
        for kind, field in computed.items():
            given, ours = self._rows[kind]
            out[:, ours] = field.reshape(len(rr), 3, -1)[:, :, given].swapaxes(1, 2)
        return out

    def moved(self, motion: Array) -> Conductor:
        """Give the sphere after a motion (4, 4) of the head, of sensors that stay."""
        centre = mne.transforms.apply_trans(motion, self._model["r0"])
        model = mne.make_sphere_model(centre, head_radius=None, verbose="error")
        return Conductor(self._sensors, model, self._n_channels, self._rows)


def _in_sphere(rr: Array, *_: Any, solution: SphereField, **__: Any) -> Array:
    """Stand where MNE's own computation in a sphere does, which is slower."""
    return solution(rr)


def sphere_conductor(info: mne.Info, names: list[str], rr: Array) -> Conductor:
    """Fit a sphere to positions rr (n, 3), for the magnetic channels among ``names``."""
    system = np.c_[2 * rr, np.ones(len(rr))]
    centre = np.array(ORIGIN)
    if np.linalg.matrix_rank(system - system.mean(0)) == 3:
        centre = np.linalg.lstsq(system, np.square(rr).sum(1), rcond=None)[0][:3]
    model = mne.make_sphere_model(centre, head_radius=None, verbose="error")
    sensors = _sensors(info, names, eeg=False, accuracy="normal", exact=False)
    return Conductor(*_arranged(sensors, model, names))


def bem_conductor(info: mne.Info, names: list[str], bem: Any, trans: Any) -> Conductor:
    """Prepare the conductor that a forward model was computed with."""
    if bem is None or trans is None:
        given, lacking = ("trans", "bem") if bem is None else ("bem", "trans")
        raise ValueError(
            f"{given} is given without {lacking}; give both for the exact lead field, or neither."
        )
    if isinstance(bem, (str, Path)):
        bem = mne.read_bem_solution(bem, verbose="error")
    if isinstance(trans, (str, Path)):
        trans = mne.read_trans(trans)
    if not isinstance(bem, mne.bem.ConductorModel):
        raise TypeError(
            f"bem must be a BEM solution, a sphere model or a file of one, got {type(bem).__name__}"
            "; use mne.make_bem_solution, or mne.read_bem_solution."
        )
    if not isinstance(trans, mne.Transform):
        raise TypeError(f"trans must be an mne.Transform or a file, got {type(trans).__name__}.")
    model = deepcopy(bem)
    if not model["is_sphere"]:
        if "solution" not in model:
            raise ValueError("bem has no solution; solve it with mne.make_bem_solution.")
        try:
            model["head_mri_t"] = _ensure_trans(trans, "head", "mri")
        except ValueError as error:
            raise ValueError(f"trans is not between head and MRI coordinates: {error}") from None
    sensors = _sensors(info, names, eeg=True, accuracy="accurate", exact=True)
    return Conductor(*_arranged(sensors, model, names))


def _sensors(
    info: mne.Info, names: list[str], *, eeg: bool, accuracy: str, exact: bool
) -> dict[str, Any]:
    """MNE's sensor definitions of the channels in use, in head coordinates."""
    types = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
    references = [name for name in info["ch_names"] if types[name] == "ref_meg"]
    electric = [name for name in names if types[name] == "eeg"]
    magnetic = [name for name in names if name not in electric]
    out = {}
    if magnetic:
        own = _picked(info, magnetic + references)
        try:
            out["meg"] = _prep_meg_channels(own, accuracy=accuracy, verbose="error")
        except (NotImplementedError, RuntimeError, ValueError) as error:
            if exact:
                raise ValueError(
                    f"MNE cannot compute the field on these sensors ({error}); leave out bem and "
                    "trans to interpolate the forward model."
                ) from error
            own = _picked(info, magnetic)  # without the compensation, which is interpolated then
            out["meg"] = _prep_meg_channels(
                own, accuracy=accuracy, ignore_ref=True, verbose="error"
            )
    if electric and eeg:
        out["eeg"] = _prep_eeg_channels(_picked(info, electric), verbose="error")
    return out


def _picked(info: mne.Info, names: list[str]) -> mne.Info:
    index = [info["ch_names"].index(name) for name in names]
    picked = mne.pick_info(info, sorted(index), verbose="error")
    picked["bads"] = []
    return picked


def _arranged(
    sensors: dict[str, Any], model: Any, names: list[str]
) -> tuple[dict[str, Any], Any, int, dict[str, Any]]:
    """Where each computed channel belongs among the channels in use."""
    rows = {}
    for kind, one in sensors.items():
        ours = [k for k, name in enumerate(names) if name in one["ch_names"]]
        rows[kind] = ([one["ch_names"].index(names[k]) for k in ours], ours)
    return sensors, model, len(names), rows
