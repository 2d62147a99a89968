"""The sensors of a fit: which channels it uses, and whether other data were recorded alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mne
import numpy as np
from mne.minimum_norm.inverse import _check_reference  # the one rule of MNE that has no public name
from mne.proj import make_projector
from mne.utils import use_log_level
from numpy.typing import NDArray

from meg_vae.meg.channels import check_finite, check_real, few
from meg_vae.meg.compensation import check_compensation, compensation
from meg_vae.meg.placement import device_to_head, farthest_mm, moved, sensor_places
from meg_vae.meg.rank import maxwell_rank

UNITS = {107: "V", 112: "T", 201: "T/m"}  # by FIFF's number
LARGEST = {107: 1.0, 112: 1e-3, 201: 1e-3}  # far beyond what a head gives, in these units
SAME_PROJECTOR = 1e-5  # files hold projectors in single precision


@dataclass(frozen=True)
class Sensors:
    """The channels of a fit, and how they were recorded.

    Attributes
    ----------
    ch_names : list of str
        The channels.
    units : ndarray of int, shape (n_channels,)
        Their units, as FIFF numbers them.
    compensation : int
        Grade of the compensation of MEG channels (CTF), 0 for none.
    projections : list of str
        Names of the projections of the data, applied or not.
    projected : ndarray, shape (n_channels, n_projected)
        Orthonormal basis of what they take out.
    places : ndarray, shape (n_channels, 3)
        Places of the channels in head coordinates, m; NaN where they are not known, and of no
        channel in files of earlier versions.
    dev_head_t : ndarray, shape (4, 4)
        Transform from the device to the head; NaN where it is not known.
    maxwell_rank : int
        Components that a Maxwell filter has left: 0 without one, -1 where that is not known.
    """

    ch_names: list[str]
    units: NDArray[np.int64]
    compensation: int
    projections: list[str]
    projected: NDArray[np.float64]
    places: NDArray[np.float64] = field(default_factory=lambda: np.full((1, 3), np.nan))
    dev_head_t: NDArray[np.float64] = field(default_factory=lambda: np.full((4, 4), np.nan))
    maxwell_rank: int = -1

    @classmethod
    def of(cls, info: mne.Info, ch_names: list[str]) -> Sensors:
        """Look up some channels.

        Parameters
        ----------
        info : mne.Info
            Measurement info.
        ch_names : list of str
            Which channels.

        Returns
        -------
        sensors : Sensors
            What there is to know of them.
        """
        return cls(
            ch_names=list(ch_names),
            units=_units(info, ch_names),
            compensation=compensation(info),
            projections=[projection["desc"] for projection in info["projs"]],
            projected=projected_fields(info["projs"], ch_names),
            places=sensor_places(info, ch_names),
            dev_head_t=device_to_head(info),
            maxwell_rank=maxwell_rank(info),
        )

    def pick(self, info: mne.Info, name: str) -> list[int]:
        """Find the channels in other data, and check that these were recorded alike.

        Projections need not be applied yet: the estimate is the same.

        Parameters
        ----------
        info : mne.Info
            Measurement info of the other data.
        name : str
            What to call these data in an error.

        Returns
        -------
        picks : list of int
            Index of each channel.

        Raises
        ------
        ValueError
            If a channel is missing, bad or in another unit, or the compensation, the reference,
            the projections, the head position or a Maxwell filter differ.
        """
        picks = self.pick_names(info["ch_names"], info["bads"], name)
        units = _units(info, self.ch_names)
        for k in np.flatnonzero(units != self.units)[:1]:
            there, here = (UNITS.get(int(u[k]), f"FIFF unit {u[k]}") for u in (units, self.units))
            raise ValueError(
                f"{name} has {self.ch_names[k]} in {there}, and the fit in {here}; "
                "set the channel types and units right, or fit again."
            )
        check_compensation(info, self.compensation, name, "the fit")
        check_reference(info, self.ch_names)
        self.check_projections(info["projs"], name)
        self._check_maxwell(info, name)
        self.check_places(info, name, "the fit")
        return picks

    def pick_names(self, ch_names: Sequence[str], bads: Sequence[str], name: str) -> list[int]:
        """Find the channels by name.

        Parameters
        ----------
        ch_names, bads : list of str
            Channels of the other data, and those marked bad.
        name : str
            What to call these data in an error.

        Returns
        -------
        picks : list of int
            Index of each channel.

        Raises
        ------
        ValueError
            If a channel is missing or bad.
        """
        where = {one: k for k, one in enumerate(ch_names)}
        missing = [one for one in self.ch_names if one not in where]
        if missing:
            raise ValueError(
                f"{name} lacks {len(missing)} of the {len(self.ch_names)} channels of the fit "
                f"({few(missing)}); take data of the same sensors, or fit again without these."
            )
        bad = [one for one in self.ch_names if one in bads]
        if bad:
            raise ValueError(
                f"{name} has {len(bad)} channels of the fit marked bad ({few(bad)}); "
                "interpolate them (interpolate_bads), or fit again without them."
            )
        return [where[one] for one in self.ch_names]

    def check_projections(self, projs: list[mne.Projection], name: str) -> None:
        """Refuse data whose projections take out anything else than those of the fit.

        Parameters
        ----------
        projs : list of mne.Projection
            Projections of the other data, applied or not.
        name : str
            What to call these data in an error.

        Raises
        ------
        ValueError
            If they differ.
        """
        other = projected_fields(projs, self.ch_names)
        shift = other @ other.T - self.projected @ self.projected.T
        if not (abs(shift) > SAME_PROJECTOR).any():
            return
        descs = [projection["desc"] for projection in projs]
        extra = [desc for desc in descs if desc not in self.projections]
        lost = [desc for desc in self.projections if desc not in descs]
        differs = [f"has {few(extra)}, which the fit has not"] if extra else []
        differs += [f"lacks {few(lost)} of the fit"] if lost else []
        raise ValueError(
            f"{name} has other projections than the fit: it "
            f"{' and '.join(differs) or 'takes out other fields under the same names'}. "
            "Give it the projections of the fit (add_proj, del_proj), or fit again."
        )

    def _check_maxwell(self, info: mne.Info, name: str) -> None:
        """Refuse data that a Maxwell filter has seen where the fit's have not, or vice versa."""
        filtered = maxwell_rank(info) > 0
        if self.maxwell_rank >= 0 and filtered != (self.maxwell_rank > 0):
            raise ValueError(
                f"{name} is{'' if filtered else ' not'} Maxwell-filtered, and the fit is"
                f"{' not' if filtered else ''}; filter both alike "
                "(mne.preprocessing.maxwell_filter), or fit again."
            )

    def check_places(self, info: mne.Info, name: str, whose: str) -> None:
        """Refuse data of another head position, or electrodes at other places.

        Parameters
        ----------
        info : mne.Info
            Measurement info of the other data, or of a forward model.
        name, whose : str
            What to call these data and those that they are held against.
        """
        trans = device_to_head(info)
        apart = moved(self.places, sensor_places(info, self.ch_names), self.dev_head_t, trans)
        if apart:
            raise ValueError(
                f"{name} has its sensors up to {apart} from where {whose} has them in the head's "
                "coordinates: another head position (dev_head_t) or other electrodes. Compute the "
                "forward model from this recording's info, give runs of several positions each its "
                "own (fit([run1, run2], [forward1, forward2], noise_cov)), or bring them to one "
                "(mne.preprocessing.maxwell_filter with destination=)."
            )

    def apart(self, info: mne.Info) -> float:
        """Measure how far the sensors of other data are from these, in the head's coordinates.

        Parameters
        ----------
        info : mne.Info
            Measurement info of the other data.

        Returns
        -------
        distance : float
            The largest, in mm; NaN where nothing is known.
        """
        there = set(info["ch_names"])
        shared = [k for k, name in enumerate(self.ch_names) if name in there]
        if len(self.places) != len(self.ch_names) or not shared:
            return np.nan
        others = sensor_places(info, [self.ch_names[k] for k in shared])
        return farthest_mm(self.places[shared], others)

    def check_values(self, data: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        """Refuse data that are not finite, or in another unit by their size.

        Parameters
        ----------
        data : ndarray, shape (n_channels, n_times)
            Data of these channels.
        name : str
            What to call them in an error.

        Returns
        -------
        data : ndarray, shape (n_channels, n_times)
            The same.

        Raises
        ------
        ValueError
            If a value is complex, not finite or absurdly large.
        """
        check_real(data, name)
        if not data.size:
            return data
        low, high = data.min(1), data.max(1)  # NaN if one is
        check_finite(low + high, name, self.ch_names)
        size = np.maximum(-low, high)
        for unit, largest in LARGEST.items():
            if (size[self.units == unit] > largest).any():
                raise ValueError(
                    f"{name} has values up to {size[self.units == unit].max():.3g} where "
                    f"{UNITS[unit]} is the unit; MNE expects {UNITS[unit]}, so scale the data."
                )
        return data


def projected_fields(projs: list[mne.Projection], ch_names: list[str]) -> NDArray[np.float64]:
    """Find what projections take out of some channels.

    Parameters
    ----------
    projs : list of mne.Projection
        The projections.
    ch_names : list of str
        The channels.

    Returns
    -------
    basis : ndarray, shape (n_channels, n_projected)
        Orthonormal.
    """
    with use_log_level("error"):  # MNE tells elsewhere of projections that bad channels shorten
        basis: NDArray[np.float64] = make_projector(projs, ch_names)[2]
    return basis


def check_reference(info: mne.Info, ch_names: list[str]) -> None:
    """Refuse EEG without its average reference, by the rule of MNE.

    Parameters
    ----------
    info : mne.Info
        Measurement info.
    ch_names : list of str
        Channels that are used.

    Raises
    ------
    ValueError
        If EEG channels have another reference than an average one made by a projector.
    """
    empty = np.zeros((len(info["ch_names"]), 1))
    try:
        _check_reference(mne.EvokedArray(empty, info, verbose="error"), ch_names)
    except ValueError as error:
        way_out = "set_eeg_reference('average', projection=True)"
        raise ValueError(f"{error} Use {way_out} on the recording.") from None


def _units(info: mne.Info, ch_names: list[str]) -> NDArray[np.int64]:
    where = {name: k for k, name in enumerate(info["ch_names"])}
    return np.array([int(info["chs"][where[name]]["unit"]) for name in ch_names], dtype=np.int64)
