"""Recipe: a simulated recording described by a few numbers, so that nothing else is stored."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from meg_vae.datasets.simulation import check_level
from meg_vae.datasets.template import SPACINGS
from meg_vae.files import whole_file

GRIDS = ("finer", "same")
CONDUCTORS = ("bem", "sphere")
NOISES = ("brain", "white", "covariance", "baseline", "none")


@dataclass(frozen=True)
class Recipe:
    """What to simulate in the template head.

    Attributes
    ----------
    n_sources : int
        Number of sources; 0 is noise alone.
    snr_db : float
        Signal-to-noise ratio in dB: whitened power of all sources together, averaged over whitened
        channels and samples of the window, over that of the noise, which is 1. Each source alone
        has the same whitened power.
    correlation : float | None
        Correlation of any two time courses (Pearson's, from 0 to 0.99), exact; None leaves
        event-related time courses of different latencies as they are drawn.
    extent_mm : float
        Radius of a patch along the cortex in mm; 0 is a point. All places of a patch have the same
        current along their own normals, and the truth is a dipole at its centre that carries their
        sum.
    depth_mm : tuple of float
        Least and greatest distance of a source from the inner skull in mm.
    tilt_deg : float
        Angle in degrees between a source and the cortical normal, in a random direction.
    grid : "finer" | "same"
        Whether sources lie on a finer grid (the 8,196 positions of "oct6"), off the one that is
        inverted, or on that one (an inverse crime).
    coregistration_mm : float
        Root mean square displacement of the cortex, in mm, by a rigid movement of the head that
        the forward model to invert does not know of; half of its power is rotation.
    conductor : "bem" | "sphere"
        Head model that the data are made with; the one that is inverted is always the BEM.
    noise : "brain" | "white" | "covariance" | "baseline" | "none"
        Sensors and background brain activity; sensors alone; drawn from a real covariance; real
        recorded noise; or no noise at all, and amplitudes as for 10 dB. Real noise is that of the
        sample dataset, or of the two files below.
    noise_cov_file, noise_file : str | None
        Noise covariance of single trials, and raw, epoched or averaged data whose noise is taken
        (of epochs and averages the part up to time zero).
    min_distance_mm : float
        Least distance between two sources in mm.
    nave : int
        Number of averaged trials.
    spacing : {"oct6", "ico4", "oct5", "ico3"}
        Source spacing of the forward model to invert.
    tmax : float
        End of the window in s; it begins at 0 and is sampled at 200 Hz.
    """

    n_sources: int = 3
    snr_db: float = 10.0
    correlation: float | None = None
    extent_mm: float = 0.0
    depth_mm: tuple[float, float] = (0.0, np.inf)
    tilt_deg: float = 0.0
    grid: str = "finer"
    coregistration_mm: float = 0.0
    conductor: str = "bem"
    noise: str = "brain"
    noise_cov_file: str | None = None
    noise_file: str | None = None
    min_distance_mm: float = 30.0
    nave: int = 100
    spacing: str = "oct5"
    tmax: float = 0.3

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "depth_mm", tuple(float(one) for one in self.depth_mm))
        check_level(self.snr_db, self.nave)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}."
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be from {low:g} to {high:g}.")
        if self.n_sources != int(self.n_sources):
            raise ValueError(f"n_sources={self.n_sources!r} must be a whole number.")
        if self.correlation is not None and not 0 <= self.correlation <= 0.99:
            raise ValueError(f"correlation={self.correlation!r} must be from 0 to 0.99, or None.")
        if len(self.depth_mm) != 2 or not 0 <= self.depth_mm[0] < self.depth_mm[1]:
            raise ValueError(f"depth_mm={self.depth_mm!r} must be a least and a greatest depth.")
        _check_noise(self)

    @property
    def hit_radius_mm(self) -> float:
        """Distance from the centre of a source within which it counts as found, in mm."""
        return max(10.0, self.extent_mm)

    def changed(self) -> dict[str, Any]:
        """Give what differs from the defaults.

        Returns
        -------
        values : dict
            Plain values by name; infinite ones as JSON and TOML cannot write them: "inf".
        """
        values = asdict(self)
        return {
            one.name: _plain(values[one.name])
            for one in fields(self)
            if values[one.name] != one.default
        }

    def save(self, fname: str | Path) -> Path:
        """Write the recipe as JSON; the file is whole or not there.

        Parameters
        ----------
        fname : path-like
            The file, ending in ``.json``.

        Returns
        -------
        fname : Path
            The file.
        """
        path = Path(fname)
        if path.suffix != ".json":
            raise ValueError(f"fname={str(path)!r} must end in .json.")
        with whole_file(path) as part:
            part.write_text(json.dumps(self.changed(), indent=1) + "\n", encoding="utf-8")
        return path


_CHOICES = {"grid": GRIDS, "conductor": CONDUCTORS, "noise": NOISES, "spacing": SPACINGS}
_RANGES = {
    "n_sources": (0, 20),
    "extent_mm": (0, 20),
    "tilt_deg": (0, 90),
    "coregistration_mm": (0, 5),
    "min_distance_mm": (0, 200),
    "tmax": (0.1, 10),
}


def _check_noise(recipe: Recipe) -> None:
    if np.isinf(recipe.snr_db) != (recipe.noise == "none"):
        raise ValueError(
            f"snr_db={recipe.snr_db:g} and noise={recipe.noise!r} disagree: without noise "
            "(noise='none') the ratio is infinite (snr_db=inf), and only then."
        )
    if recipe.noise_file and (recipe.noise != "baseline" or not recipe.noise_cov_file):
        raise ValueError("noise_file needs noise='baseline' and a noise_cov_file to invert with.")
    if recipe.noise_cov_file and recipe.noise not in ("covariance", "baseline"):
        raise ValueError("noise_cov_file needs noise='covariance' or noise='baseline'.")
    if recipe.noise == "baseline" and recipe.noise_cov_file and not recipe.noise_file:
        raise ValueError("noise='baseline' needs both noise_file and noise_cov_file, or neither.")


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of named values, and refuse names that no recipe has.

    Parameters
    ----------
    values : mapping
        Values by name, as `Recipe` has them; the rest take their defaults.

    Returns
    -------
    recipe : Recipe
        The recipe.

    Raises
    ------
    ValueError
        If a name is not known, or a value is out of range.
    """
    known = [one.name for one in fields(Recipe)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no key of a recipe; valid are {', '.join(known)}.")
    values = dict(values)
    if "snr_db" in values:
        values["snr_db"] = float(values["snr_db"])
    elif values.get("noise") == "none":
        values["snr_db"] = np.inf
    try:
        return Recipe(**values)
    except TypeError as error:
        raise ValueError(f"the recipe {values} has a value of the wrong type ({error}).") from error


def read_recipe(fname: str | Path) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    fname : path-like
        A JSON or TOML file, such as `Recipe.save` writes.

    Returns
    -------
    recipe : Recipe
        The recipe.

    Raises
    ------
    ValueError
        If the file is neither, or holds what no recipe has.
    """
    path = Path(fname)
    text = path.read_text(encoding="utf-8")
    try:
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no recipe in JSON or TOML: {error}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is no recipe: it holds no names and values.")
    return make_recipe(values)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return "inf" if isinstance(value, float) and np.isinf(value) else value
