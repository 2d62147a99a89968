"""The pictures of a fitted inverse, drawn by `meg_vae.viz`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne

from meg_vae.meg import estimates

if TYPE_CHECKING:
    import matplotlib.figure
    import numpy as np
    import pandas as pd
    import pyvista
    from numpy.typing import NDArray

    from meg_vae.meg.filter import SourceFilter


class SourcePictures:
    """What a fitted inverse can draw of itself.

    Attributes
    ----------
    sources_ : pandas.DataFrame
        The sources.
    history_ : ndarray, shape (n_steps,)
        Energy after every step.
    subject : str | None
        Subject in ``subjects_dir``; None takes the one that the source space names.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.
    """

    sources_: pd.DataFrame
    history_: NDArray[np.float64]
    certificate_: float
    tol: float
    subject: str | None
    subjects_dir: str | Path | None
    _order: NDArray[np.int64]

    def _fitted(self) -> SourceFilter:
        raise NotImplementedError

    def _data(self, evoked: mne.Evoked | None) -> mne.Evoked:
        raise NotImplementedError

    def _head(self) -> dict[str, Any]:
        """Subject and folder of the pictures."""
        subject = self.subject or self._fitted().positions.subject
        if subject is None:
            raise ValueError(
                "the source space knows no subject; give VAEInverse(subject=..., subjects_dir=...)."
            )
        return {
            "subject": subject,
            "subjects_dir": mne.utils.get_subjects_dir(self.subjects_dir, raise_error=True),
        }

    def plot_sources(self, **kwargs: Any) -> pyvista.Plotter:
        """Draw the sources on the cortex.

        Parameters
        ----------
        **kwargs : dict
            As in `meg_vae.viz.plot_cortex`.

        Returns
        -------
        plotter : pyvista.Plotter
            The drawing; ``.show()`` opens it.
        """
        from meg_vae import viz

        return viz.plot_cortex(self.sources_, **self._head() | kwargs)

    def plot_time_courses(
        self, evoked: mne.Evoked | None = None, *, ax: Any = None
    ) -> matplotlib.figure.Figure:
        """Draw the time courses of the sources with ± 2 posterior standard deviations.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        ax : matplotlib.axes.Axes | None
            Where to draw.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure; strongest evidence first.
        """
        from meg_vae import viz

        filter_, evoked = self._fitted(), self._data(evoked)
        course, sd, _ = estimates.main_axis(filter_.activity(evoked), filter_.covariance)
        sd = sd * (filter_.nave / evoked.nave) ** 0.5
        order = self._order
        return viz.plot_time_courses(
            evoked.times, course[order], sd[order], names=viz.source_names(self.sources_), ax=ax
        )

    def plot_energy(self, *, ax: Any = None) -> matplotlib.figure.Figure:
        """Draw the energy against the steps of the solver.

        Parameters
        ----------
        ax : matplotlib.axes.Axes | None
            Where to draw.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure.
        """
        from meg_vae import viz

        self._fitted()
        return viz.plot_energy(self.history_, certificate=self.certificate_, tol=self.tol, ax=ax)

    def plot_residual(
        self, evoked: mne.Evoked | None = None, *, axes: Any = None
    ) -> matplotlib.figure.Figure:
        """Draw the sensor data beside what the sources leave unexplained.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        axes : array of matplotlib.axes.Axes | None
            Where to draw.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure.
        """
        from meg_vae import viz

        filter_, evoked = self._fitted(), self._data(evoked)
        residual = filter_.residual(evoked)
        return viz.plot_fit(evoked.copy().pick(residual.ch_names), residual, axes=axes)
