"""Configuration of the documentation site.

``pip install ".[docs]" && python -m sphinx -W -n docs docs/_build`` builds it, without a network.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path

# Small problems and no display: as the tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

import pyvista
from sphinx_gallery.sorting import FileNameSortKey

import meg_vae

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
from shown import ShownPlotters

pyvista.OFF_SCREEN = True
pyvista.BUILDING_GALLERY = True

project = "meg_vae"
author = "The meg_vae developers"
copyright = author  # noqa: A001 (Sphinx's name)
version = release = meg_vae.__version__

# The versions to choose from: "dev", and those with a date in the changelog, each in its folder.
ROOT = Path(__file__).parents[1]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
released = re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", CHANGELOG, re.MULTILINE)
choices = [
    {"name": name, "version": name, "url": f"{URLS['Documentation']}{name}/"}
    for name in ("dev", *released)
]
switcher = Path(__file__).parent / "_static" / "switcher.json"
switcher.write_text(json.dumps(choices, indent=1) + "\n", encoding="utf-8")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinxcontrib.programoutput",
    "mathml",
    "names",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "tutorials/*.ipynb", "tutorials/*.py"]
suppress_warnings = ["config.cache"]  # the gallery is configured with objects
nitpicky = True
default_role = "py:obj"

# Reference: the docstrings say the types, in words.
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../tutorials",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": FileNameSortKey,
    "image_scrapers": ("matplotlib", ShownPlotters()),
    "image_srcset": ["2x"],
    "first_notebook_cell": "%matplotlib inline",  # else MNE's first figure turns the others off
    "doc_module": ("meg_vae",),
    "backreferences_dir": "generated/backreferences",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_signature": False,
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib|pyvista|Figure|Plotter",
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "meg_vae"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "meg_vae"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "navbar_end": ["version-switcher", "theme-switcher", "navbar-icon-links"],
    "switcher": {
        "json_url": "_static/switcher.json",  # the site's own, wherever the site is
        "version_match": release if release in released else "dev",
    },
    "check_switcher": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {  # where there is nothing below a page
    name: []
    for name in ("index", "install", "mathematics", "coming_from", "shell", "glossary", "limits")
}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
