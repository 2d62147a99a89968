"""Comparison: what several methods found in the same data, as a table and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd

from meg_vae.comparison.methods import METHODS
from meg_vae.comparison.metrics import METRICS, active
from meg_vae.viz.look import Look, with_choices

if TYPE_CHECKING:
    from pathlib import Path

    import pyvista

#: Columns of the table and their types; all of them can be missing (``pandas.NA``).
COLUMNS = {
    "method": "string",
    "title": "string",
    "status": "string",
    "n_sources": "Int64",
    "x_mm": "Float64",
    "y_mm": "Float64",
    "z_mm": "Float64",
    "agreement_mm": "Float64",
    "heldout_error": "Float64",
    **dict.fromkeys(METRICS, "Float64"),
    "note": "string",
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What several methods found in the same data.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per method, in the order asked for; what does not apply is ``pandas.NA``:

        - ``method``, ``title``: name in `meg_vae.comparison.METHODS`, and in figures.
        - ``status``: "ok", "empty" (it found nothing), "failed" or "skipped" (its package is not
          installed); the last two have no scores.
        - ``n_sources``: active positions or places; missing for a map, in which all are active.
        - ``x_mm``, ``y_mm``, ``z_mm``: the strongest position or place (MRI surface RAS); missing
          for an empty estimate.
        - ``agreement_mm``: median over the other methods of ``agreement``.
        - ``heldout_error``: as in ``meg_vae.comparison.heldout.heldout_error``; missing without
          epochs, and for a dimensionless map, from which no field can be computed.
        - every score of `meg_vae.comparison.METRICS`, those against the truth only where it is
          known, those of the field only for estimates in A·m.
        - ``seconds``, ``cpu_seconds``, ``memory_mb``: wall-clock time, processor time and peak
          memory of the method, from these data to its estimate.
        - ``note``: warnings of the method, the error that stopped it, or why it was skipped; else
          empty.
    estimates : dict of SourceEstimate
        Amplitudes by method name (A·m, or dimensionless), signed where the orientation is fixed.
        Sources between the positions are at those nearest to them. A method that failed has none.
    agreement : pandas.DataFrame, shape (n_methods, n_methods)
        Distance in mm between the strongest peaks of every two methods with an estimate, as in
        ``meg_vae.comparison.agreement.agreement``.
    truth : list of mne.Dipole | None
        The true sources, head coordinates.
    trans : mne.Transform
        The transform between head and MRI coordinates.
    subject : str | None
        The subject, where the source space knows it.
    """

    table: pd.DataFrame
    estimates: dict[str, mne.SourceEstimate]
    agreement: pd.DataFrame
    truth: list[mne.Dipole] | None
    trans: mne.Transform
    subject: str | None

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        from meg_vae.viz.tables import box, comparison_table

        known = "unknown" if self.truth is None else f"{len(self.truth)} sources"
        facts = {"truth": known, "subject": self.subject or "unnamed"}
        title = f"{len(self.table)} methods on the same data"
        return box("Comparison", title, facts, comparison_table(self.table))

    def plot(
        self,
        *,
        subject: str | None = None,
        subjects_dir: str | Path | None = None,
        views: Any = None,
        title: str | None = None,
        look: Look | None = None,
    ) -> pyvista.Plotter:
        """Draw the estimates on the cortex, a row per method, with the true sources.

        Of a sparse method, positions below 1 % of its largest peak are left out.

        Parameters
        ----------
        subject : str | None
            Name of the subject's folder; None takes the one that the source space names.
        subjects_dir : path-like | None
            FreeSurfer folder; None takes MNE's setting.
        views : str | tuple of float | sequence of them | None
            From where, as in `meg_vae.viz.Look`; None takes what ``look`` says.
        title : str | None
            Title of the picture.
        look : meg_vae.viz.Look | None
            How it looks.

        Returns
        -------
        plotter : pyvista.Plotter
            The drawing; ``.show()`` opens it.

        Raises
        ------
        ValueError
            If the subject is not known, or no method has an estimate.
        """
        from meg_vae.viz.estimate import plot_comparison

        subject = subject or self.subject
        if subject is None:
            raise ValueError("subject is unknown to the source space; give plot(subject=...).")
        if not self.estimates:
            raise ValueError("no method has an estimate to draw; see the notes in the table.")
        drawn = {}
        for name, estimate in self.estimates.items():
            method = METHODS[name]
            drawn[method.title] = _active_part(estimate) if method.sparse else estimate
        return plot_comparison(
            drawn,
            subject=subject,
            subjects_dir=mne.utils.get_subjects_dir(subjects_dir, raise_error=True),
            truth=self.truth or None,
            trans=self.trans,
            title=title,
            look=with_choices(look, views=views),
        )


def _active_part(estimate: mne.SourceEstimate) -> mne.SourceEstimate:
    """Keep the active positions of a sparse estimate."""
    keep = active(estimate)
    ends = np.cumsum([len(vertno) for vertno in estimate.vertices])
    vertices = [v[k] for v, k in zip(estimate.vertices, np.split(keep, ends[:-1]), strict=True)]
    return type(estimate)(
        estimate.data[keep], vertices, estimate.tmin, estimate.tstep, estimate.subject
    )
