"""The registry: what a method is, and the one place where it is entered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

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


Run = Callable[..., mne.SourceEstimate | list[mne.Dipole] | Sources]


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
    run: Run
    oracle: str = ""
    by_trial: bool = False
    weighted: bool = False
    package: str = ""
    module: str = ""

    def __post_init__(self) -> None:
        """Refuse words that are not known."""
        if self.unit not in (AM, DIMENSIONLESS):
            raise ValueError(f"unit={self.unit!r} must be {AM!r} or {DIMENSIONLESS!r}.")
        if self.family not in FAMILIES:
            raise ValueError(f"family={self.family!r} must be one of {', '.join(FAMILIES)}.")
        if self.oracle not in ("", N_SOURCES):
            raise ValueError(f"oracle={self.oracle!r} must be '' or {N_SOURCES!r}.")

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


def register(name: str, title: str, **about: Any) -> Callable[[Run], Run]:
    """Enter a function in the registry as a method, from where `compare` and benchmarks take it.

    A decorator. Functions of whitened arrays take `array_method` beneath it.

    Parameters
    ----------
    name, title : str
        The method's name in `METHODS`, and in tables and figures.
    **about : Any
        What else `Method` asks for.

    Returns
    -------
    enter : callable
        Enters the function that it is given, and gives it back.

    Raises
    ------
    ValueError
        If the name or title is taken, or a field is none of the words known.

    Examples
    --------
    >>> @register(
    ...     "nothing", "Nothing", family="Null", unit="A·m", sparse=True, knobs="", reference=""
    ... )
    ... @array_method()
    ... def nothing(Phi, X, n_orient):
    ...     return np.zeros((0, X.shape[1])), np.zeros(Phi.shape[1], bool)
    """

    def enter(run: Run) -> Run:
        method = Method(name=name, title=title, run=run, **about)
        if name in METHODS or title in {one.title for one in METHODS.values()}:
            raise ValueError(f"the name {name!r} or title {title!r} is taken.")
        METHODS[name] = method
        return run

    return enter
