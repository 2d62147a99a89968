"""Pages that turn the brain, and pictures in a notebook."""

from __future__ import annotations

import io
import re
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import pyvista as pv
from browser import browser
from pictures import alike, coloured, outermost, small, table, top

from meg_vae import viz
from meg_vae.viz import interactive, style, surfaces

mpl.use("agg")
LOADS = re.compile(r"""(?:src|href)\s*=\s*["'](?!data:|#)|@import|url\((?!["']?data:)""")
needs_trame = pytest.mark.skipif(not interactive.can_turn(), reason="needs trame-vtk")


@pytest.fixture
def plotter(where, cortex):
    sources = table(("lh", outermost(cortex, "lh")), ("rh", top(cortex, "rh")), peak=[10.0, 5.0])
    truth = table(("rh", outermost(cortex, "rh")))
    plotter = viz.plot_cortex(sources, truth=truth, title="<b>", look=small(), **where)
    yield plotter
    plotter.close()


@needs_trame
@pytest.mark.rendering
def test_a_page_stands_alone_and_is_small(plotter, tmp_path):
    path = viz.save_page(plotter, tmp_path / "brain.html")
    html = path.read_text(encoding="utf-8")
    ours = html[: html.index("<script")] + html[html.rindex("<script>") :]
    assert not LOADS.search(ours)
    assert "kitware.github.io/vtk-js/icon" not in html
    assert path.stat().st_size < 3e6
    for said in ("estimate", "true source", "Peak amplitude (nAm)", "&lt;b&gt;"):
        assert said in html
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"\.html"):
        viz.save_page(plotter, tmp_path / "brain.htm")
    plotter.scene = None
    with pytest.raises(ValueError, match="several estimates"):
        viz.save_page(plotter, path)


@needs_trame
@pytest.mark.rendering
def test_a_fine_cortex_is_thinned(cortex, monkeypatch):
    monkeypatch.setattr(interactive, "MOST_VERTICES", 4000)
    mesh = pv.PolyData.from_regular_faces(cortex["lh"].points, cortex["lh"].triangles)
    mesh["curvature"] = cortex["lh"].curvature
    light = interactive._light(mesh)
    assert 3000 < light.n_points < 4500
    far = [np.linalg.norm(light.points - one, axis=1).min() for one in mesh.points[::997]]
    assert max(far) < 5  # mm: it is still the same surface
    shares = [(one["curvature"] > 0).mean() for one in (light, mesh)]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


@pytest.mark.rendering
def test_without_trame_a_notebook_has_the_still_picture_and_the_hint(plotter, monkeypatch):
    monkeypatch.setattr(interactive, "can_turn", lambda: False)
    shown = plotter._repr_mimebundle_()
    assert "pip install trame-vtk" in shown["text/html"]
    assert "<iframe" not in shown["text/html"]
    assert shown["text/html"].count("data:image/png;base64,") == 1
    assert len(shown["image/png"]) > 10_000
    with pytest.raises(ImportError, match="pip install trame-vtk"):
        interactive.scene_page(plotter.scene)


@needs_trame
@pytest.mark.rendering
def test_a_notebook_shows_the_picture_and_the_brain_to_turn(plotter):
    shown = plotter._repr_mimebundle_()
    assert "<iframe" in shown["text/html"]
    assert "pip install" not in shown["text/html"]
    viz.picture(plotter)  # it was left open
    assert "closed" in plotter._repr_mimebundle_()["text/plain"]


@needs_trame
@pytest.mark.slow
@pytest.mark.rendering
def test_the_page_opens_in_a_browser_and_turns(plotter, tmp_path):
    path = viz.save_page(plotter, tmp_path / "brain.html")
    images = {}
    with browser(tmp_path) as session:
        session.open(path, (700, 600))
        session.wait("stage() && stage().getActiveCamera().getParallelProjection()")
        for view in ("left", "right", "dorsal"):
            session.run(f"document.querySelector('[data-view={view}]').click()")
            images[view] = mpl.image.imread(io.BytesIO(session.screenshot()))[..., :3] * 255
        assert session.problems() == []
    brain = {view: image[50:-90] for view, image in images.items()}
    full, half = (mpl.colormaps[style.SEQUENTIAL](share)[:3] for share in (1.0, 0.5))
    # The left source is seen from the left alone, the other from above; the truth from the right.
    assert alike(brain["left"], full, 60).sum() > 100 > 5 > alike(brain["right"], full, 60).sum()
    assert alike(brain["dorsal"], half, 60).sum() > 100
    rows, columns = np.nonzero(alike(brain["dorsal"], half, 60))
    assert columns.mean() > brain["dorsal"].shape[1] / 2
    assert alike(brain["right"], style.TRUTH, 90).sum() > 50
    assert coloured(images["left"][-90:]).sum() > 1000  # the colour bar
    assert set(surfaces.HEMIS) == {"lh", "rh"}


NOTEBOOK = """
from meg_vae import VAEInverse, compare, datasets, viz
case = datasets.template_recording(n_sources=2, spacing="ico3", verbose="error")
inverse = VAEInverse(subjects_dir=case.subjects_dir, verbose="error")
inverse.fit(case.evoked, case.forward, case.noise_cov)
---
inverse.plot_time_courses()
---
inverse.plot_residual()
print("a figure in the middle of a cell is shown too")
---
viz.plot_energy(inverse.history_)
---
inverse.plot_sources(views="dorsal", look=viz.Look(window_size=(420, 500)))
---
compare(case.evoked, case.forward, case.noise_cov, ["vae", "dspm"], verbose="info")
"""


@pytest.mark.slow
@pytest.mark.rendering
def test_a_notebook_runs_and_shows_everything(tmp_path, recording):
    """Each cell shows one thing once; ``recording`` has filled the cache of the head."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("ipywidgets")
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in NOTEBOOK.split("---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the kernel's own sockets
        nbclient.NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
        ).execute()
    outputs = [[one.get("data", {}) for one in cell.outputs] for cell in notebook.cells]
    assert "VAEInverse" in outputs[0][-1]["text/html"]
    assert "log evidence" in outputs[0][-1]["text/html"]
    for figure in outputs[1:4]:
        assert sum("image/png" in one for one in figure) == 1
    assert "data:image/png" in outputs[4][-1]["text/html"]
    bars = [one for one in outputs[5] if "application/vnd.jupyter.widget-view+json" in one]
    assert len(bars) == 1
    assert "2 methods on the same data" in outputs[5][-1]["text/html"]
    (tmp_path / "notebook.ipynb").write_text(nbformat.writes(notebook))
