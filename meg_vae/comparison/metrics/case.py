"""Scored: one estimate with all that its scores need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mne
import numpy as np
from numpy.typing import NDArray

from meg_vae.comparison.metrics import pairing as p
from meg_vae.meg.leadfield import LeadField
from meg_vae.model.spacing import apart

THRESHOLDS = tuple(np.arange(1, 10) / 10)  # of its largest value, at which a map is scored


@dataclass(frozen=True)
class Truth:
    """True sources.

    Attributes
    ----------
    places : ndarray, shape (n_true, 3)
        In mm, head coordinates.
    courses : list of ndarray, shape (n_times,)
        Their time courses in A·m.
    radius : float
        Distance within which a source counts as found, in mm.
    extents_mm : ndarray, shape (n_true,) | None
        How far each goes along the cortex; 0 is a point, and None takes all for points.
    """

    places: NDArray[np.float64]
    courses: list[NDArray[np.float64]]
    radius: float = p.HIT_MM
    extents_mm: NDArray[np.float64] | None = None

    @property
    def extents(self) -> NDArray[np.float64]:
        """How far each goes along the cortex, mm, shape (n_true,)."""
        return np.zeros(len(self.places)) if self.extents_mm is None else self.extents_mm


@dataclass(frozen=True, eq=False)
class Scored:
    """An estimate, the data it is of, and the truth where it is known.

    A method may name places between the positions, as dipoles. Distances, counts, strengths, time
    courses and the field are then those of the dipoles at their places; where a map of the
    positions is needed (ROC, average precision, region error), the estimate stands for them, in
    which a point is at the position nearest to it and a patch fills its positions.

    Attributes
    ----------
    estimate : SourceEstimate
        Amplitudes or vectors.
    sparse : bool
        Whether it names few positions; otherwise it is a map.
    field : ndarray, shape (rank, n_times) | None
        What the sources put on the whitened sensors; None if they are not in A·m.
    evoked : mne.Evoked
        The data.
    leadfield : LeadField
        Of these data.
    truth : Truth | None
        The true sources.
    dipoles : list of mne.Dipole | None
        The sources, where the method named places.
    extents_mm : ndarray, shape (n_found,) | None
        Their radii along the cortex, where the method knows sources that are larger than a point.
    """

    estimate: mne.SourceEstimate
    sparse: bool
    field: NDArray[np.float64] | None
    evoked: mne.Evoked
    leadfield: LeadField
    truth: Truth | None
    dipoles: list[mne.Dipole] | None = None
    extents_mm: NDArray[np.float64] | None = None

    @cached_property
    def found_rr(self) -> NDArray[np.float64]:
        """Place of each source in mm, head coordinates, shape (n_found, 3)."""
        if self.dipoles is None:
            return self.source_rr[self._index]
        return 1e3 * p.dipole_places(self.dipoles)

    @cached_property
    def activity(self) -> NDArray[np.float64]:
        """Activity of each source, (n_found, n_times) or vectors, (n_found, 3, n_times)."""
        if self.dipoles is None:
            return np.asarray(self.estimate.data)
        return p.dipole_moments(self.dipoles, len(self.evoked.times))

    @cached_property
    def _index(self) -> NDArray[np.int64]:
        """Row of the forward model's positions for each row of the estimate."""
        return p.positions_of(self.estimate, self.leadfield.forward)

    @cached_property
    def source_rr(self) -> NDArray[np.float64]:
        """Places of all positions in mm, head coordinates, shape (n_positions, 3)."""
        rr: NDArray[np.float64] = 1e3 * self.leadfield.forward["source_rr"]
        return rr

    @cached_property
    def magnitude(self) -> NDArray[np.float64]:
        """Largest magnitude over time of each source; what counts as zero is zero."""
        return self._magnitude(self.activity)

    def _magnitude(self, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        magnitude = p.peak_magnitude(activity)
        return np.where(p.counts(magnitude), magnitude, 0.0) if self.sparse else magnitude

    @cached_property
    def strength(self) -> NDArray[np.float64]:
        """Root mean square over time of each source that is not zero, in the estimate's unit."""
        data = self.activity
        power = np.square(data).sum(axis=tuple(range(1, data.ndim)))
        strength = np.sqrt(power / max(data.shape[-1], 1))
        return np.where(self.magnitude > 0, strength, 0.0)

    @cached_property
    def everywhere(self) -> NDArray[np.float64]:
        """Magnitude at every position of the forward model."""
        full = np.zeros(len(self.source_rr))
        data = np.asarray(self.estimate.data)
        named = self.dipoles is not None  # the positions of a patch are all meant
        full[self._index] = p.peak_magnitude(data) if named else self._magnitude(data)
        return full

    @cached_property
    def peak_rows(self) -> NDArray[np.int64]:
        """Numbers of the sources that are peaks, strongest first."""
        places, rr = np.zeros((0, 3)) if self.truth is None else self.truth.places, self.found_rr
        return p.peaks(self.magnitude, rr, len(rr), p.peak_radius(places))

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Shares of the largest value at which peaks are counted: 0 alone where it is sparse."""
        return (0.0,) if self.sparse else THRESHOLDS

    def peaks_above(self, share: float) -> NDArray[np.int64]:
        """Give the rows of the peaks of at least a share of the largest one.

        Parameters
        ----------
        share : float
            From 0 to 1.

        Returns
        -------
        rows : ndarray of int, shape (n_found,)
            Strongest first.
        """
        height = self.magnitude[self.peak_rows]
        return self.peak_rows[height >= share * height.max(initial=0.0)]

    @cached_property
    def n_places(self) -> int:
        """How many peaks the source space could hold: a greedy packing of radius 20 mm."""
        return n_places(self.source_rr)


def n_places(source_rr: NDArray[np.float64], radius: float = p.PEAK_RADIUS_MM) -> int:
    """Count places that are pairwise farther apart than a radius, taken greedily in order.

    Parameters
    ----------
    source_rr : ndarray, shape (n_positions, 3)
        Positions in mm.
    radius : float
        In mm.

    Returns
    -------
    count : int
        Number of places.
    """
    return len(apart(source_rr, radius))
