"""What a fitted inverse draws of its sources: on the cortex, on slices and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd

from meg_vae import viz
from meg_vae.meg import table
from meg_vae.meg.fitted import FittedInverse
from meg_vae.viz.look import Look, filled, with_choices

if TYPE_CHECKING:
    import matplotlib.figure
    import pyvista
    from numpy.typing import NDArray

    from meg_vae.meg.bootstrap import Bootstrap


class SourcePictures(FittedInverse):
    """What a fitted inverse can draw of itself."""

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

    def _repr_html_(self) -> str:
        """Show the result in a notebook."""
        from meg_vae.viz.tables import box, sources_table

        name = type(self).__name__
        if not hasattr(self, "filters_"):
            call = "call fit(evoked, forward, noise_cov) first"
            return box(name, f"not fitted yet: {call}", {}, pd.DataFrame())
        n_sources, noise = len(self.sources_), np.atleast_1d(self.noise_variance_)
        count = {0: "no source", 1: "1 source"}.get(n_sources, f"{n_sources} sources")
        facts = {
            "channels": " and ".join(str(len(one.ch_names)) for one in self.filters_),
            "noise variance": f"{noise.mean():.3g}",
            "certificate": f"{self.certificate_:.1e} (target {self.tol:g})",
            "a further source": f"{self.growth_:.1f} nats at most",
            "energy": f"{self.energy_:.6g}",
        }
        if np.isnan(self.growth_):  # on the grid
            facts.pop("a further source")
        lead = f"{count} of {self.min_log_evidence:g} nats of log evidence or more"
        return box(name, lead, facts, sources_table(self.sources_))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        """Show the result in a notebook, where scikit-learn would show the options."""
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def plot_sources(
        self,
        *,
        surface: str | None = None,
        views: Any = None,
        truth: pd.DataFrame | list[mne.Dipole] | None = None,
        trans: mne.Transform | None = None,
        bootstrap: Bootstrap | None = None,
        arrows: bool = False,
        look: Look | None = None,
        **kwargs: Any,
    ) -> pyvista.Plotter:
        """Draw the sources, sized and coloured by their amplitude.

        Parameters
        ----------
        surface : "inflated" | "white" | "pial" | "glass" | None
            The surface; None takes what ``look`` says, else the inflated one, and the glass brain
            for a bootstrap and for sources that are not on the cortex.
        views : str | tuple of float | sequence of them | None
            From where, as in `meg_vae.viz.Look`; None takes what ``look`` says.
        truth : pandas.DataFrame | list of mne.Dipole | None
            True sources to mark.
        trans : mne.Transform | None
            The transform between head and MRI coordinates, to mark a truth.
        bootstrap : Bootstrap | None
            What `bootstrap` returned: its 95 % ellipsoids are drawn in the glass brain.
        arrows : bool
            Whether to draw the direction of each source at its peak, for which a surface is needed
            that is not inflated.
        look : meg_vae.viz.Look | None
            How it looks.
        **kwargs : dict
            As in `meg_vae.viz.plot_cortex`. In the glass brain a source between the positions has
            its own 95 % ellipsoid, unless ``ellipsoids=None``.

        Returns
        -------
        plotter : pyvista.Plotter
            The drawing; it shows itself in a notebook, and ``.show()`` opens a window.
        """
        look = with_choices(look, surface=surface, views=views)
        inside = bootstrap is not None or self._fitted().positions.kind != "surface"
        drawn: dict[str, Any] = {"size_by": "peak_nAm"}
        small = {}
        if bootstrap is not None:
            drawn["ellipsoids"] = bootstrap.ellipsoids()
        elif (look.surface or ("glass" if inside else "inflated")) == "glass":
            known = self.ellipsoids()
            if len(known):  # small marks, which hide less of the ellipsoids
                drawn["ellipsoids"], small = known, {"source_size": 3.0}
        if arrows:
            drawn["orientations"] = self._directions(trans)
        look = filled(look, surface="glass" if inside else "inflated", **small)
        options = self._head() | drawn | kwargs
        return viz.plot_cortex(self.sources_, truth=truth, trans=trans, look=look, **options)

    def labels(self) -> list[mne.Label]:
        """Give each source as a label on the cortex of the subject.

        Returns
        -------
        labels : list of mne.Label
            In the order of ``sources_``: the vertices of the white surface within ``extent_mm`` of
            a patch, and the nearest one alone for a point.

        Raises
        ------
        ValueError
            If a source is not on the cortex, or the subject is not known.
        """
        from meg_vae.viz.paint import source_labels

        self._fitted()
        return source_labels(self.sources_, **self._head())

    def ellipsoids(self) -> pd.DataFrame:
        """Give what `meg_vae.viz.plot_cortex` draws as the 95 % ellipsoids of the places.

        Returns
        -------
        ellipsoids : pandas.DataFrame
            A row per source: ``hemi``, its place ``x_mm, y_mm, z_mm`` (MRI surface RAS) and the
            covariance ``cov_xx, cov_xy, cov_xz, cov_yy, cov_yz, cov_zz`` of that in mm². Empty for
            sources on the grid, whose places are given.
        """
        turn = self._fitted().positions.to_mri
        if turn is None:  # in a file from before there were places between the positions
            turn = np.full((3, 3), np.nan)
        covariance = 1e6 * turn @ self.position_covariance_ @ turn.T
        return table.ellipsoid_table(self.sources_, covariance)

    def _directions(self, trans: mne.Transform | None) -> NDArray[np.float64]:
        """Directions of the sources at their peaks in MRI coordinates, in the table's order."""
        turn = self._fitted().positions.to_mri
        if trans is not None:
            turn = mne.transforms._ensure_trans(trans, "head", "mri")["trans"][:3, :3]
        if turn is None:
            raise ValueError("arrows=True needs trans, the transform between head and MRI.")
        evoked, filter_ = self._suited(None)
        dipoles = filter_.dipoles(evoked)
        at_peak = [one.ori[np.abs(one.amplitude).argmax()] for one in dipoles]
        return np.reshape(at_peak, (-1, 3)) @ turn.T

    def plot_slices(self, **kwargs: Any) -> matplotlib.figure.Figure:
        """Draw the sources on slices of the MRI.

        Parameters
        ----------
        **kwargs : dict
            As in `meg_vae.viz.plot_slices`.

        Returns
        -------
        fig : matplotlib.figure.Figure
            The figure, a row per source.
        """
        self._fitted()
        return viz.plot_slices(self.sources_, **self._head() | kwargs)
