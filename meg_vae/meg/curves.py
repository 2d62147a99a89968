"""What a fitted inverse draws as curves: evidence, time courses, energy, residual and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mne
import numpy as np

from meg_vae import viz
from meg_vae.meg import table
from meg_vae.meg.fitted import FittedInverse
from meg_vae.meg.spans import active_spans, relative_power, running_evidence

if TYPE_CHECKING:
    import matplotlib.figure


class FitCurves(FittedInverse):
    """The curves that a fitted inverse can draw."""

    def plot_evidence(
        self, *, ax: Any = None, show: bool | None = None
    ) -> matplotlib.figure.Figure:
        """Draw the log evidence of the sources beside the threshold.

        Parameters
        ----------
        ax : matplotlib.axes.Axes | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure.
        """
        self._fitted()
        return viz.plot_evidence(self.sources_, threshold=self.min_log_evidence, ax=ax, show=show)

    def plot_time_courses(
        self, evoked: mne.Evoked | None = None, *, ax: Any = None, show: bool | None = None
    ) -> matplotlib.figure.Figure:
        """Draw the time courses of the sources with ± 2 posterior standard deviations.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        ax : matplotlib.axes.Axes | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure; strongest evidence first.
        """
        evoked, filter_ = self._suited(evoked)
        course, axis, _ = table.main_axis(filter_.activity(evoked))
        sd = filter_.spread(filter_.data(evoked), evoked.nave, axis)
        names = viz.source_names(self.sources_)
        return viz.plot_time_courses(evoked.times, course, sd, names=names, ax=ax, show=show)

    def plot_evidence_over_time(
        self, evoked: mne.Evoked | None = None, *, ax: Any = None, show: bool | None = None
    ) -> matplotlib.figure.Figure:
        """Draw how the log evidence of the sources adds up while they are active.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        ax : matplotlib.axes.Axes | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            Nats so far against time, a step for each source from its onset to its offset, with the
            95 % intervals of both.

        Raises
        ------
        ValueError
            If there is no source, or two of them look the same to the sensors.
        """
        evoked, filter_ = self._suited(evoked)
        power = relative_power(filter_, evoked, *self._noise(filter_))
        spans = active_spans(power, evoked.times)
        return viz.plot_evidence_over_time(
            evoked.times,
            running_evidence(power),
            onsets=spans.onset_interval,
            offsets=spans.offset_interval,
            names=viz.source_names(self.sources_),
            ax=ax,
            show=show,
        )

    def plot_response_evidence(
        self, *, ax: Any = None, show: bool | None = None
    ) -> matplotlib.figure.Figure:
        """Draw what each response of the fit says for the activity of each source.

        Parameters
        ----------
        ax : matplotlib.axes.Axes | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            A row per source and a column per response; a dot where the source is active.

        Raises
        ------
        ValueError
            If the fit was on the grid, where responses do not speak by themselves.
        """
        self._fitted()
        if self.positions == "grid":
            raise ValueError(
                "on the grid responses share the prior of their sources, and none speaks by itself;"
                " fit VAEInverse(positions='free')."
            )
        return viz.plot_response_evidence(
            self.response_evidence_,
            self.active_,
            names=viz.source_names(self.sources_),
            responses=self.responses_["comment"].tolist() or None,
            ax=ax,
            show=show,
        )

    def plot_energy(self, *, ax: Any = None, show: bool | None = None) -> matplotlib.figure.Figure:
        """Draw the energy against the steps of the solver.

        Parameters
        ----------
        ax : matplotlib.axes.Axes | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure.
        """
        self._fitted()
        ends = {"certificate": self.certificate_, "tol": self.tol}
        return viz.plot_energy(self.history_, **ends, ax=ax, show=show)

    def plot_residual(
        self, evoked: mne.Evoked | None = None, *, axes: Any = None, show: bool | None = None
    ) -> matplotlib.figure.Figure:
        """Draw the sensor data beside what the sources leave unexplained.

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        axes : array of matplotlib.axes.Axes | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure.
        """
        evoked, filter_ = self._suited(evoked)
        residual = filter_.residual(evoked)
        data = evoked.copy().pick(residual.ch_names)
        return viz.plot_fit(data, residual, axes=axes, show=show)

    def plot_noise(
        self, evoked: mne.Evoked | None = None, *, axes: Any = None, show: bool | None = None
    ) -> matplotlib.figure.Figure:
        """Draw the noise: as the noise covariance says, as it was learnt, and as the data leave it.

        The covariance is the one that λ refers to: of few samples it is taken larger (ν / L times).

        Parameters
        ----------
        evoked : mne.Evoked | None
            Data of the same sensors; None takes the (first) data of the fit.
        axes : array of matplotlib.axes.Axes, shape (1, 2) | None
            Where to draw.
        show : bool | None
            Whether to show the figure; None does so for a new one, where no notebook does.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure.
        """
        evoked, filter_ = self._suited(evoked)
        noise_variance, autocorrelation = self._noise(filter_)
        residual = filter_.residual(evoked)
        whitened = filter_.whiten(residual)
        back = np.sqrt(filter_.nave / evoked.nave) * np.linalg.pinv(filter_.whitener)
        residual.data = back @ whitened  # in the directions of the fit, as the covariance is
        return viz.plot_noise(
            residual,
            np.linalg.norm(back, axis=1),
            whitened,
            noise_variance=noise_variance,
            autocorrelation=autocorrelation,
            axes=axes,
            show=show,
        )
