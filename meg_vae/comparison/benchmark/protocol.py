"""Protocol: which methods run on which simulated recordings, and how many of them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from meg_vae.comparison.comparison import check_methods
from meg_vae.comparison.methods import METHODS
from meg_vae.comparison.metrics import METRICS
from meg_vae.datasets.recipes import Recipe, make_recipe

NULLS = ("zeros", "random")  # always there, to measure the others against
KEYS = ("title", "methods", "metrics", "seeds", "loose", "left_out", "recipe", "condition")
CONDITION_KEYS = ("name", "also", "without")


@dataclass(frozen=True)
class Condition:
    """One kind of recording.

    Attributes
    ----------
    name : str
        Its name in tables.
    recipe : Recipe
        What is simulated.
    methods : tuple of str
        What runs on it.
    """

    name: str
    recipe: Recipe
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """What a benchmark runs.

    Attributes
    ----------
    title : str
        Its title.
    conditions : tuple of Condition
        The kinds of recordings and the methods that run on each.
    seeds : tuple of int
        Every condition is simulated once with each.
    metrics : tuple of str
        The scores to keep.
    loose : float | "auto"
        The orientation constraint of all methods that have one.
    left_out : dict of str
        Methods that do not run everywhere, with the reason.
    """

    title: str
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    loose: float | str
    left_out: Mapping[str, str]

    @property
    def methods(self) -> list[str]:
        """All methods that run anywhere, in the order of the registry."""
        used = {name for one in self.conditions for name in one.methods}
        return [name for name in METHODS if name in used]

    @property
    def tasks(self) -> list[tuple[str, int, str]]:
        """Condition, seed and method of every run, in the order of the table."""
        return [
            (condition.name, seed, method)
            for condition in self.conditions
            for seed in self.seeds
            for method in condition.methods
        ]

    @property
    def digest(self) -> str:
        """Fingerprint of all that the rows depend on."""
        conditions = [(one.name, one.recipe.changed(), one.methods) for one in self.conditions]
        said = [conditions, self.seeds, self.metrics, self.loose]
        text = json.dumps(said, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_protocol(fname: str | Path) -> Protocol:
    """Read a protocol and check it.

    Parameters
    ----------
    fname : path-like
        A TOML file: ``title``, ``seeds`` (a number or a list), ``methods``, ``metrics`` (default:
        all), ``loose``, a table ``left_out`` of reasons by method, a table ``recipe`` of what all
        conditions share, and tables ``[[condition]]`` with a ``name``, what is special in their
        recipe, and ``also`` or ``without`` to change the methods.

    Returns
    -------
    protocol : Protocol
        The protocol, with the null methods in every condition.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no TOML, has a key, method or metric that is not known, or a value out of range.
    """
    path = Path(fname)
    if not path.is_file():
        raise FileNotFoundError(f"there is no protocol {path}.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no protocol in TOML: {error}.") from error
    try:
        return make_protocol(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def make_protocol(values: Mapping[str, Any]) -> Protocol:
    """Make a protocol of the values that its file holds.

    Parameters
    ----------
    values : mapping
        As `read_protocol` finds them.

    Returns
    -------
    protocol : Protocol
        The protocol.

    Raises
    ------
    ValueError
        If a key, method or metric is not known, or a value is out of range.
    """
    _known(values, KEYS, "key of a protocol")
    for name in ("methods", "condition"):
        if not values.get(name):
            raise ValueError(f"the protocol names no {name}.")
    metrics = list(values.get("metrics", METRICS))
    _known(metrics, METRICS, "metric")
    left_out = dict(values.get("left_out", {}))
    _known(left_out, METHODS, "method")
    conditions = [
        _condition(one, values.get("recipe", {}), values["methods"]) for one in values["condition"]
    ]
    names = [one.name for one in conditions]
    if len(set(names)) < len(names):
        raise ValueError(f"the names of the conditions must differ, got {', '.join(names)}.")
    return Protocol(
        title=str(values.get("title", "Benchmark")),
        conditions=tuple(conditions),
        seeds=_seeds(values.get("seeds", 20)),
        metrics=tuple(metrics),
        loose=values.get("loose", "auto"),
        left_out=left_out,
    )


def _condition(
    values: Mapping[str, Any], shared: Mapping[str, Any], methods: Sequence[str]
) -> Condition:
    own = {key: value for key, value in values.items() if key not in CONDITION_KEYS}
    _known(own, [one.name for one in fields(Recipe)], "key of a condition", more=CONDITION_KEYS)
    _known(shared, [one.name for one in fields(Recipe)], "key of the recipe")
    name = values.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"every condition needs a name; {dict(values)} has none.")
    also, without = values.get("also", []), values.get("without", [])
    asked = check_methods([*methods, *also])
    _known(without, asked, "method of this condition")
    wanted = {*asked, *NULLS} - set(without)
    ordered = [one for one in METHODS if one in wanted]
    try:
        recipe = make_recipe({**shared, **own})
    except ValueError as error:
        raise ValueError(f"condition {name!r}: {error}") from error
    return Condition(name, recipe, tuple(ordered))


def _seeds(given: Any) -> tuple[int, ...]:
    seeds = range(given) if isinstance(given, int) else given
    if (
        not isinstance(seeds, (list, range))
        or not all(isinstance(one, int) and one >= 0 for one in seeds)
        or not seeds
        or len(set(seeds)) < len(seeds)
    ):
        raise ValueError(f"seeds={given!r} must be how many there are, or a list of them.")
    return tuple(seeds)


def _known(names: Iterable[str], valid: Iterable[str], what: str, more: Sequence[str] = ()) -> None:
    """Refuse names that are not known, and list those that are."""
    valid = [*more, *valid]
    for name in names:
        if name not in valid:
            raise ValueError(f"{name!r} is no {what}; valid are {', '.join(valid)}.")
