"""The registry: what a method is, and the one place where it is entered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import mne
import numpy as np
from numpy.typing import NDArray

AM = "A·m"
DIMENSIONLESS = "dimensionless"
N_SOURCES = "the number of sources"  # the one thing that a method may be told of the truth
FAMILIES = ("VAE", "Sparse", "Bayesian", "Minimum norm", "Scanning", "Dipoles", "Null")


@dataclass(frozen=True, eq=False)
class Sources:
    """What a method found whose sources can be larger than a point.

    Attributes
    ----------
    dipoles : list of mne.Dipole
        Each source at its place, or centre, with the moment of all of it.
    extents_mm : ndarray, shape (n_sources,)
        Its radius along the cortex, 0 for a point.
    estimate : SourceEstimate
        Three components at all positions that the sources fill, or are nearest to.
    fitted : mne.Evoked
        What they put on the sensors.
    """

    dipoles: list[mne.Dipole]
    extents_mm: NDArray[np.float64]
    estimate: mne.SourceEstimate
    fitted: mne.Evoked


@dataclass(frozen=True)
class Method:
    """An inverse method.

    Attributes
    ----------
    name : str
        Its name in `METHODS`.
    title : str
        Its name in tables and figures.
    family : str
        One of ``FAMILIES``, by which figures group the methods.
    unit : "A·m" | "dimensionless"
        Unit of its estimate.
    sparse : bool
        Whether it names few positions or places; otherwise it is a map of all positions.
    knobs : str
        The settings it runs with.
    reference : str
        Where it was published.
    run : callable
        ``run(evoked, forward, noise_cov, *, loose, rank)`` gives the estimate: of three components
        (a vector estimate) unless the orientation is fixed, and empty if it finds nothing. A method
        whose sources lie between the positions gives a list of `mne.Dipole` instead, each at one
        place, or `Sources` where they can be larger than a point; it needs a forward model of free
        orientation. ``evoked.nave`` must be 1 and ``noise_cov`` that of the average. A method that
        is told something also gets ``n_sources``.
    oracle : str
        What it is told of the truth: nothing (""), or ``N_SOURCES``; where the truth is not known,
        it is told 5.
    by_trial : bool
        Whether it models single trials: it then also gets ``nave``, the number of averages.
    weighted : bool
        Whether it takes prior weights of the positions: where some are given, it also gets
        ``weights``, an array in nats.
    package, module : str
        The package that it needs beyond those of meg_vae, as it is installed and as it is
        imported; "" if none.
    """

    name: str
    title: str
    family: str
    unit: str
    sparse: bool
    knobs: str
    reference: str
    run: Callable[..., mne.SourceEstimate | list[mne.Dipole] | Sources]
    oracle: str = ""
    by_trial: bool = False
    weighted: bool = False
    package: str = ""
    module: str = ""

    def missing(self) -> str:
        """Tell why the method cannot run here.

        Returns
        -------
        reason : str
            Empty if it can.
        """
        if not self.package:
            return ""
        try:
            import_module(self.module)
        except Exception as error:  # whatever foreign code raises when it is imported
            said = " ".join(f"{type(error).__name__}: {error}".split())
            return f"{self.package} cannot be imported ({said}); pip install {self.package}"
        return ""


#: The methods by name, in the order of tables and figures.
METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Enter a method in the registry, from where `compare` and benchmarks take it.

    Parameters
    ----------
    method : Method
        The method.

    Returns
    -------
    method : Method
        The same.

    Raises
    ------
    ValueError
        If its name or title is taken, or a field is none of the words known.
    """
    if method.name in METHODS or method.title in {one.title for one in METHODS.values()}:
        raise ValueError(f"the name {method.name!r} or title {method.title!r} is taken.")
    if method.unit not in (AM, DIMENSIONLESS):
        raise ValueError(f"unit={method.unit!r} must be {AM!r} or {DIMENSIONLESS!r}.")
    if method.family not in FAMILIES:
        raise ValueError(f"family={method.family!r} must be one of {', '.join(FAMILIES)}.")
    if method.oracle not in ("", N_SOURCES):
        raise ValueError(f"oracle={method.oracle!r} must be '' or {N_SOURCES!r}.")
    METHODS[method.name] = method
    return method
