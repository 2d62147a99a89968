"""The lowest versions that pyproject.toml promises, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?>=(?P<lowest>[\d.]+)(,<[\d.]+)?")


def lowest(project: dict) -> dict[str, str]:
    """Lowest version of each dependency by its name, those of the extras included."""
    bounds: dict[str, str] = {}
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in group:
            found = REQUIREMENT.fullmatch(requirement)
            if found is None:
                raise ValueError(f"{requirement!r} in pyproject.toml has no lowest version")
            name, version = found["name"], found["lowest"]
            if bounds.setdefault(name, version) != version:
                raise ValueError(f"{name} has two lowest versions: {bounds[name]} and {version}")
    return bounds


if __name__ == "__main__":
    for name, version in lowest(tomllib.loads(PYPROJECT.read_text())["project"]).items():
        print(f"{name}=={version}")  # noqa: T201
