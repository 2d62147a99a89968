"""The house: who may import whom, what is public, what is documented."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from numpydoc.validate import Validator, validate

import meg_vae

ROOT = Path(meg_vae.__file__).parent  # the installed package, which need not lie in the checkout
REFERENCE = Path(__file__).parents[1] / "docs" / "api.rst"
MAY_IMPORT = {  # part of the package: parts that it may import, nested or not
    "model": {"model"},
    "files": {"files"},
    "parallel": {"parallel", "files"},
    "versions": {"versions", "_version"},
    "viz": {"viz", "files"},
    "datasets": {"datasets", "files"},
    "meg": {"meg", "model", "viz", "files"},
    "comparison": {"comparison", "meg", "model", "viz", "datasets", "files", "parallel"},
    "studies": {"studies", "meg", "model", "datasets", "files", "parallel", "_version"},
    "report": {"report", "comparison", "studies", "meg", "viz", "files"},
    "cli": {"cli", "report", "comparison", "studies", "meg", "datasets", "viz", "files"},
}
HEAVY = {"torch", "pyvista", "matplotlib", "nilearn", "sklearn"}


def part_of(path):
    """The part of the package that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Names of the modules that a file imports, absolute."""
    package = ["meg_vae", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, node.module or ""]).strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


FILES = [path for path in ROOT.rglob("*.py") if part_of(path) in MAY_IMPORT]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    allowed = MAY_IMPORT[part_of(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "meg_vae" and len(parts) > 1 and parts[1] in MAY_IMPORT:
            assert parts[1] in allowed, f"{path.name} imports {name}"
        if part_of(path) == "model":
            assert parts[0] != "mne", f"{path.name} imports {name}"


def test_no_cycles():
    """No file needs one that needs it, types included."""
    files = {".".join(["meg_vae", *path.relative_to(ROOT).with_suffix("").parts]) for path in FILES}
    needs = {}
    for path in FILES:
        name = ".".join(["meg_vae", *path.relative_to(ROOT).with_suffix("").parts])
        # of `from package import file` the file, else the module that the name is taken from
        ends = ({wanted, wanted.rpartition(".")[0]} & files for wanted in imports(path))
        needs[name] = {max(end, key=len) for end in ends if end} - {name}
    order = list(graphlib.TopologicalSorter(needs).static_order())
    assert order.index("meg_vae.model.energy") < order.index("meg_vae.meg.inverse")


def test_every_part_is_checked():
    parts = {part_of(p) for p in ROOT.rglob("*.py")} - {"__init__", "_version"}
    assert parts == set(MAY_IMPORT)


def test_importing_the_package_is_light():
    code = (
        "import sys, meg_vae; "
        f"print([m for m in {sorted(HEAVY | {'mne', 'pandas'})!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", meg_vae.__all__)
def test_public_names_are_there_and_documented(name):
    value = getattr(meg_vae, name)
    assert name in dir(meg_vae)
    assert isinstance(value, str) or value.__doc__


def test_versions_are_told_beside_mne_s(capsys):
    meg_vae.sys_info()
    said = capsys.readouterr().out
    assert said.startswith(f"meg_vae           {meg_vae.__version__}\n")
    assert re.search(r"^torch +\d", said, re.M)
    assert re.search(r"^.*mne +\d", said, re.M)  # MNE's own list


def test_unknown_name():
    with pytest.raises(AttributeError, match="nonsense"):
        meg_vae.nonsense  # noqa: B018


def documented_names():
    """What the reference lists, and every function and class of the modules that it lists."""
    inside, home = False, "meg_vae"
    for line in REFERENCE.read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            home = line.split()[-1]
        inside = line.startswith(".. autosummary::") or (inside and line[:1] in ("", " "))
        entry = line.strip()
        if not inside or not entry or entry[0] in ":.":
            continue
        path = ROOT.parent / "/".join([*home.split("."), *entry.split(".")])
        if not (file := path.with_suffix(".py") if path.with_suffix(".py").is_file() else None):
            file = path / "__init__.py" if path.is_dir() else None
        if file is None:
            value = getattr(importlib.import_module(home), entry)
            if hasattr(value, "__module__"):  # a table of names has no docstring of its own
                yield f"{value.__module__}.{entry}"
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
                yield f"{home}.{entry}.{node.name}"


def test_the_reference_lists_what_is_public():
    listed = {name.rsplit(".", 1)[-1] for name in documented_names()}
    modules = {
        name for name in meg_vae.__all__ if isinstance(getattr(meg_vae, name), types.ModuleType)
    }
    assert set(meg_vae.__all__) - modules - {"__version__"} <= listed
    for name in modules:
        module = getattr(meg_vae, name)
        assert {one for one in module.__all__ if callable(getattr(module, one))} <= listed


@pytest.mark.parametrize("name", sorted(set(documented_names())))
def test_docstrings_are_valid_numpydoc(name):
    """Signature and docstring name the same parameters; what returns says what."""
    result = validate(name)
    checks = {"GL03", "GL08", "PR01", "PR02", "PR03", "RT01", "RT03", "SS02", "SS03"}
    value = Validator._load_obj(name)
    if (
        dataclasses.is_dataclass(value)
        or issubclass(type(value), type)
        and "Module" in str(value.__mro__)
    ):
        checks -= {"PR01", "PR02"}  # fields are attributes; torch passes its own arguments on
    assert [e for e in result["errors"] if e[0] in checks] == []


def test_contributing_names_what_is_there():
    """Where a method, a prior, a picture, ... is added: each file, and each name in it."""
    checkout = Path(__file__).parents[1]
    text = (checkout / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = text.split("## Where do I add")[1].split("\n## ")[0].splitlines()[4:]
    rows = [row for row in rows if row.startswith("|")]
    assert len(rows) >= 10
    for row in rows:
        places = re.findall(r"`((?:meg_vae|tests|tutorials)/[^`]+)`", row)
        assert any(place.startswith("tests/") for place in places), row
        for place in places:
            path, _, name = place.partition(":")
            assert (checkout / path).exists(), place
            if name:
                source = (checkout / path).read_text(encoding="utf-8")
                said = rf"^(class {name}\b|def {name}\b|.*import.*\b{name}\b)"
                assert re.search(said, source, re.MULTILINE), place
