"""What a fitted inverse keeps in a file, and how it comes back from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from meg_vae.meg.background import Background
from meg_vae.meg.estimates import Positions
from meg_vae.meg.filter import Cover, SourceFilter
from meg_vae.meg.fitted import FittedInverse
from meg_vae.meg.registration import AS_GIVEN
from meg_vae.meg.responses import COLUMNS as RESPONSES
from meg_vae.meg.sensors import Sensors
from meg_vae.meg.storage import write_state
from meg_vae.meg.table import COLUMNS

HERE = ("subjects_dir", "verbose")  # options of this computer, which no file keeps
# What a file keeps of the results, beside the filters and the tables.
RESULTS = (
    "noise_variance_",
    "energy_",
    "log_evidence_",
    "history_",
    "certificate_",
    "n_effective_",
    "noise_samples_",
    "noise_autocorrelation_",
    "growth_",
    "stationarity_",
    "position_covariance_",
    "field_covariance_",
    "field_error_",
    "spans_",
    "active_",
    "response_evidence_",
    "weights_",
    "position_weights_",
    "registration_covariance_",
    "registration_log_evidence_",
)


def kept_options(inverse: SavedInverse) -> dict[str, Any]:
    """Give the options of an inverse that a file keeps, by name."""
    return {name: value for name, value in inverse.get_params().items() if name not in HERE}


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """Give the state of a file of an earlier format what the present one has."""
    if state["version"] < 3:
        state = _off_the_grid(state)
    if state["version"] < 4:
        state = _of_one_run(state)
    if state["version"] < 5:
        state = _as_registered(state)
    if state["version"] < 6:
        state = _of_points(state)
    if state["version"] < 7:
        state = _throughout(state)
    return _in_one_table(state) if state["version"] < 8 else state


def _in_one_table(state: dict[str, Any]) -> dict[str, Any]:
    """Bring a file of format 7 to format 8: clusters become a column of the sources.

    Lead fields were taken at their word.
    """
    results = dict(state["results"])
    sources = state["sources"] | {"cluster": list(results.pop("clusters_"))}
    options = state["options"] | {"lead_field_error": 0.0}
    return state | {"version": 8, "options": options, "results": results, "sources": sources}


def _throughout(state: dict[str, Any]) -> dict[str, Any]:
    """Bring a file of format 6 to format 7: sources were taken for active throughout."""
    n = len(state["sources"]["hemi"])
    always = {
        "spans_": np.tile([-np.inf, np.inf], (n, 1)),
        "active_": np.ones((n, 0), bool),
        "response_evidence_": np.zeros((n, 0)),
    }
    return state | {
        "version": 7,
        "options": state["options"] | {"spans": "whole", "noise_autocorrelation": "learn"},
        "results": state["results"] | always,
        "responses": {name: [] for name in RESPONSES},
    }


def _of_points(state: dict[str, Any]) -> dict[str, Any]:
    """Bring a file of format 5 to format 6: sources were taken for points."""
    n = len(state["sources"]["hemi"])
    names = ("extent_low_mm", "extent_high_mm", "density_pAm_mm2")
    return state | {
        "version": 6,
        "options": state["options"] | {"extent": "point"},
        "sources": state["sources"] | {name: [np.nan] * n for name in names},
        "filters": [kept | {"cover": None} for kept in state["filters"]],
    }


def _as_registered(state: dict[str, Any]) -> dict[str, Any]:
    """Bring a file of format 4 to format 5.

    The sensors were where they were said to be, and there was no baseline.
    """
    as_given = {
        "registration_covariance_": AS_GIVEN.covariance,
        "registration_log_evidence_": AS_GIVEN.log_evidence,
    }
    return state | {
        "version": 5,
        "options": state["options"] | {"registration": None},
        "results": state["results"] | as_given,
        "registration": AS_GIVEN.transform["trans"],
        "background": [vars(Background([], np.zeros((0, 0)))) for _ in state["filters"]],
    }


def _of_one_run(state: dict[str, Any]) -> dict[str, Any]:
    """Bring a file of format 3 to format 4.

    There was one run; its noise was taken for white, and its covariance for exact.
    """
    n = len(state["filter"]["positions"]["vertno"])
    white = {"noise_samples_": np.array([np.inf]), "noise_autocorrelation_": np.ones((1, 1))}
    none = {"weights_": np.zeros(n), "position_weights_": None}
    results = state["results"] | white | none
    return state | {"version": 4, "results": results, "filters": [state["filter"]]}


def _off_the_grid(state: dict[str, Any]) -> dict[str, Any]:
    """Bring a file of format 2, of sources on the grid, to format 3."""
    results, kept = dict(state["results"]), dict(state["filter"])
    order = results.pop("_order")
    n, n_orient = kept["positions"]["axes"].shape[:2]
    kept["modes"] = np.zeros((n, 0, n_orient, kept["whitener"].shape[1]))
    ordered = _filter(kept).ordered(order)
    results |= {"growth_": np.nan, "stationarity_": np.nan, "field_error_": np.zeros(n)}
    results |= dict.fromkeys(
        ("position_covariance_", "field_covariance_"), np.full((n, 3, 3), np.nan)
    )
    new = {"radius_mm": [np.nan] * n, "extent_mm": [0.0] * n, "on_wall": [False] * n}
    return {
        "version": 3,
        "options": {"positions": "grid", **state["options"]},
        "results": results,
        "sources": state["sources"] | new,
        "filter": _plain(ordered),
    }


def _plain(filter_: SourceFilter) -> dict[str, Any]:
    """Give the numbers and texts of a filter."""
    parts = {"sensors": vars(filter_.sensors), "positions": vars(filter_.positions)}
    cover = filter_.cover
    if cover is not None:
        parts["cover"] = vars(cover) | {"positions": vars(cover.positions)}
    return vars(filter_) | parts


def _filter(kept: dict[str, Any]) -> SourceFilter:
    """Make a filter from its numbers and texts."""
    parts = {"sensors": Sensors(**kept["sensors"]), "positions": Positions(**kept["positions"])}
    cover = kept.get("cover")
    if cover is not None:
        parts["cover"] = Cover(**cover | {"positions": Positions(**cover["positions"])})
    return SourceFilter(**kept | parts)


class SavedInverse(FittedInverse):
    """A fitted inverse that can be saved."""

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
            "options": kept_options(self),
            "results": {name: getattr(self, name) for name in RESULTS},
            "sources": self.sources_.to_dict("list"),
            "responses": self.responses_.to_dict("list"),
            "filters": [_plain(one) for one in self.filters_],
            "registration": self.registration_["trans"],
            "background": [vars(one) for one in self.background_],
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Any:
        """Make a fitted inverse from what a file kept."""
        state = upgraded(state)
        inverse = cls(**state["options"])
        for name, value in state["results"].items():
            setattr(inverse, name, value)
        more = [name for name in state["sources"] if name not in COLUMNS]
        table = pd.DataFrame(state["sources"], columns=[*COLUMNS, *more])
        inverse.sources_ = table.astype({"on_wall": bool, "cluster": int})
        inverse.responses_ = pd.DataFrame(state["responses"], columns=RESPONSES)
        inverse.filters_ = [_filter(kept) for kept in state["filters"]]
        inverse.background_ = [Background(**kept) for kept in state["background"]]
        inverse.registration_ = mne.Transform("head", "head", state["registration"])
        inverse._responses = []
        return inverse
