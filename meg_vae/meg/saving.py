"""What a fitted inverse keeps in a file, and how it comes back from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from meg_vae.meg.estimates import Positions
from meg_vae.meg.filter import SourceFilter
from meg_vae.meg.sensors import Sensors
from meg_vae.meg.storage import write_state
from meg_vae.meg.table import COLUMNS

# What a file keeps of the options and of the results, beside the filter and the table.
OPTIONS = (
    "loose",
    "rank",
    "noise_variance",
    "orientation",
    "min_log_evidence",
    "tol",
    "max_iter",
    "subject",
)
RESULTS = (
    "noise_variance_",
    "energy_",
    "log_evidence_",
    "clusters_",
    "history_",
    "certificate_",
    "n_effective_",
    "_order",
)


class SavedInverse:
    """A fitted inverse that can be saved.

    Attributes
    ----------
    sources_ : pandas.DataFrame
        The sources.
    filter_ : SourceFilter
        The linear filter from sensors to sources.
    """

    sources_: pd.DataFrame
    filter_: SourceFilter

    def _fitted(self) -> SourceFilter:
        raise NotImplementedError

    def save(self, fname: str | Path, *, overwrite: bool = False) -> Path:
        """Save the fitted inverse.

        Parameters
        ----------
        fname : path-like
            A name that ends with ``-vae.h5``.
        overwrite : bool
            Whether to replace a file.

        Returns
        -------
        fname : Path
            The file. It does not hold the data of the fit.

        Raises
        ------
        FileExistsError
            If the file is there and ``overwrite`` is False.
        """
        self._fitted()
        return write_state(fname, self._state(), overwrite=overwrite)

    def _state(self) -> dict[str, Any]:
        """Give all that a file keeps: plain numbers, strings and arrays."""
        return {
            "options": {name: getattr(self, name) for name in OPTIONS},
            "results": {name: getattr(self, name) for name in RESULTS},
            "sources": self.sources_.to_dict("list"),
            "filter": {
                **vars(self.filter_),
                "sensors": vars(self.filter_.sensors),
                "positions": vars(self.filter_.positions),
            },
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Any:
        """Make a fitted inverse from what a file kept."""
        inverse = cls(**state["options"])
        for name, value in state["results"].items():
            setattr(inverse, name, value)
        more = [name for name in state["sources"] if name not in COLUMNS]
        inverse.sources_ = pd.DataFrame(state["sources"], columns=[*COLUMNS, *more])
        kept = state["filter"]
        parts = {"sensors": Sensors(**kept["sensors"]), "positions": Positions(**kept["positions"])}
        inverse.filter_ = SourceFilter(**kept | parts)
        inverse._responses = []
        return inverse
