"""The documentation site: complete, linked, and listed; building it is a command of its own."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import meg_vae

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.glob("*.rst"))
TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))
COMMAND = 'pip install ".[docs]" && python -m sphinx -W -n docs docs/_build'
LINK = re.compile(r":doc:`(?:[^`<]*<)?([^`>]+)>?`")
FILE = re.compile(r"(?:figure|image|literalinclude)::\s+(\S+)")


def words(path):
    """Text of a page, or of the comments and the docstring of a tutorial."""
    return path.read_text(encoding="utf-8")


def missing_links(text, folder):
    """Targets of the links between pages that are neither a page nor a tutorial."""
    missing = []
    for target in LINK.findall(text):
        page = (folder / target).resolve()
        known = page.with_name(f"{page.name}.rst").is_file() or page == DOCS / "tutorials/index"
        tutorial = ROOT / "tutorials" / f"{page.name}.py"
        if not known and not (page.parent == DOCS / "tutorials" and tutorial.is_file()):
            missing.append(target)
    return missing


@pytest.mark.parametrize("path", [*PAGES, *TUTORIALS], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    folder = DOCS / "tutorials" if path.suffix == ".py" else DOCS
    assert missing_links(words(path), folder) == []
    assert [name for name in FILE.findall(words(path)) if not (path.parent / name).is_file()] == []


def test_a_broken_link_is_seen():
    text = ":doc:`limits`, :doc:`here <tutorials/99_nothing>`, :doc:`nowhere`"
    assert missing_links(text, DOCS) == ["tutorials/99_nothing", "nowhere"]


def test_every_page_is_in_the_contents():
    index = words(DOCS / "index.rst")
    entries = index.split(":hidden:")[1].strip().splitlines()
    listed = {re.sub(r".*<(.+)>", r"\1", entry.strip()) for entry in entries}
    assert listed == {path.stem for path in PAGES} - {"index"} | {"tutorials/index"}


def test_reference_is_complete():
    """Every public name stands on the page of the reference, and every name there exists."""
    module, listed = "", set()
    for line in words(DOCS / "api.rst").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split("::")[1].strip()
        elif re.fullmatch(r"   [A-Za-z_]+", line):
            listed.add(f"{module}.{line.strip()}")
    packages = [meg_vae.datasets, meg_vae.viz]
    public = {f"meg_vae.{name}" for name in meg_vae.__all__} - {"meg_vae.__version__"}
    public -= {package.__name__ for package in packages}
    public |= {f"{package.__name__}.{name}" for package in packages for name in package.__all__}
    assert public <= listed
    for name in listed:
        home, _, attribute = name.rpartition(".")
        __import__(home)
        assert hasattr(sys.modules[home], attribute), name


def test_tutorials_are_numbered_and_end_with_a_warning():
    numbers = [int(path.name[:2]) for path in TUTORIALS]
    assert numbers == sorted({*numbers, *range(10, 100, 10)})
    for path in TUTORIALS:
        headings = re.findall(r"^#? ?(.+)\n#? ?[=-]{4,}$", words(path), flags=re.MULTILINE)
        assert ast.get_docstring(ast.parse(words(path))), path.name
        assert headings[-1] in {"What to watch out for", "And where there is nothing to find"}


def test_the_command_is_documented_and_its_extra_exists():
    project = tomllib.loads(words(ROOT / "pyproject.toml"))["project"]
    assert COMMAND in words(DOCS / "install.rst")
    assert COMMAND in words(DOCS / "conf.py")
    assert COMMAND in words(ROOT / "README.md")
    extra = " ".join(project["optional-dependencies"]["docs"])
    for package in ("sphinx", "numpydoc", "sphinx-gallery", "pydata-sphinx-theme"):
        assert package in extra


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    """The tutorials are shown and not run here: they have a test of their own."""
    pytest.importorskip("sphinx_gallery", reason='needs pip install ".[docs]"')
    options = ["-W", "-n", "-q", "-D", "plot_gallery=0", "-d", tmp_path / "trees"]
    command = [sys.executable, "-m", "sphinx", *options, DOCS, tmp_path / "site"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "site" / "generated" / "meg_vae.VAEInverse.html").is_file()
    choices = json.loads((tmp_path / "site" / "_static" / "switcher.json").read_text())
    urls = tomllib.loads(words(ROOT / "pyproject.toml"))["project"]["urls"]
    assert choices[0] == {"name": "dev", "version": "dev", "url": f"{urls['Documentation']}dev/"}
    assert "version-switcher" in words(tmp_path / "site" / "index.html")
