"""Links that Sphinx cannot find itself: short names of this package, and names of other packages.

A name is linked where the installed package has it, so that a misspelt one is still a warning. That
needs no inventories, hence no network.
"""

from __future__ import annotations

import pydoc

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

PAGES = {  # package: page of a class or a function
    "mne": "https://mne.tools/stable/generated/{name}.html",
    "pandas": "https://pandas.pydata.org/docs/reference/api/{name}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{name}.html",
    "pyvista": "https://docs.pyvista.org/api/core/_autosummary/{name}.html",
    "matplotlib": "https://matplotlib.org/stable/api/_as_gen/{name}.html",
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{name}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{name}.html",
}


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Link what is known by another name, or elsewhere."""
    name = node.get("reftarget", "")
    page = PAGES.get(name.partition(".")[0])
    if page is not None:
        return _outside(name, page, content)
    if node.get("refdomain") == "py" and app.builder is not None:
        return _inside(name, app, env, node, content)
    return None


def _outside(name: str, page: str, content: nodes.Element) -> nodes.reference | None:
    """Link a name of another package, a method to the page of its class."""
    if "." not in name or pydoc.locate(name) is None:
        return None
    owner = name.rpartition(".")[0]
    home = owner if isinstance(pydoc.locate(owner), type) else name
    target = f"{page.format(name=home)}#{name}"
    return nodes.reference("", "", content, internal=False, refuri=target)


def _inside(
    name: str, app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Link a short name, and an attribute that a docstring lists to its class."""
    known = env.domains.python_domain.objects
    owner, _, attribute = name.rpartition(".")
    for wanted in (name, owner):
        for full, entry in known.items():
            if wanted and (full == wanted or full.endswith(f".{wanted}")):
                if wanted == owner and attribute not in (pydoc.locate(full).__doc__ or ""):
                    continue
                return make_refnode(
                    app.builder, node["refdoc"], entry.docname, entry.node_id, content, full
                )
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Ask here for what Sphinx cannot find itself."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
