"""A brain to turn by hand: a page that needs nothing but a browser."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import zipfile
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .layers import Categories, Layer
from .layout import ALL_VIEWS, VIEWS
from .marks import true_mesh
from .style import INK, TRUTH
from .surfaces import HEMIS

if TYPE_CHECKING:
    import pyvista

    from .layers import Key
    from .scene import Scene

HINT = (
    "To turn the brain by hand in a notebook or a browser, install trame-vtk: "
    "<code>pip install trame-vtk</code>."
)
ICONS = "https://kitware.github.io/vtk-js/icon/"  # all that the viewer would load
MOST_VERTICES = 25_000  # of a hemisphere; finer surfaces are thinned to keep the page small
FINENESS = 64  # steps of a millimetre, or of a unit vector, on the page
DEPTH = 700.0  # from the eye to the brain (mm); the view is parallel, so it changes nothing


def can_turn() -> bool:
    """Tell whether the part that writes scenes for a browser is installed."""
    return importlib.util.find_spec("trame_vtk") is not None


def scene_page(scene: Scene) -> str:
    """Return a page that shows a scene and turns it by hand, and loads nothing."""
    if not can_turn():
        raise ImportError(HINT.replace("<code>", "").replace("</code>", ""))
    from matplotlib.colors import to_hex
    from trame_vtk.tools import vtksz2html

    shown = np.vstack([scene.ground.cortex[hemi].extent for hemi in HEMIS])
    middle, size = (shown.min(axis=0) + shown.max(axis=0)) / 2, np.ptp(shown, axis=0)
    plotter = _stand(scene, middle, size)
    try:
        data = base64.b64encode(_pack(plotter.render_window)).decode()
    finally:
        plotter.close()
    viewer = vtksz2html.HTML_VIEWER_PATH.read_text(encoding="utf-8").replace(ICONS, "data:,")
    head, body = viewer.split("<body>", 1)
    head = head[: head.index("<title>")] + f"<title>{escape(scene.title or 'Sources')}</title>"
    script = body[: body.rindex("</body>")]
    load = (
        "function loadDataSet() { OfflineLocalView.load(document.querySelector('.content'), "
        f"{{ base64Str: '{data}' }}); }}"
    )
    background = to_hex(scene.ground.look.background)
    return (
        f"{head}<style>{STYLE}</style></head><body style='background:{background}'>"
        f"{_chrome(scene)}{script}<script>{load}</script>"
        f"<script>{_buttons(middle, size)}</script></body></html>"
    )


def frame(page: str, height: int = 560) -> str:
    """Return a page as an element of another, which shows it in a frame so high (pixels)."""
    style = f"width:100%;height:{height}px;border:1px solid #ddd;border-radius:4px"
    return (
        f'<iframe title="Sources on the cortex, to turn by hand" style="{style}" '
        f'srcdoc="{escape(page)}"></iframe>'
    )


def _stand(scene: Scene, middle: np.ndarray, size: np.ndarray) -> pyvista.Plotter:
    """Return a plotter with the whole scene in one panel, seen from the left."""
    import pyvista as pv

    with pv.vtk_verbosity("error"):
        plotter = pv.Plotter(off_screen=True, lighting=None, window_size=[900, 600])
    plotter.set_background(scene.ground.look.background)
    plotter.add_light(pv.Light(light_type="headlight"))
    layers = [layer for hemi in HEMIS for layer in scene.drawn(hemi)] + scene.ground.around
    for centres in scene.ground.diamonds.values():
        layers.append(Layer(true_mesh(centres, scene.ground.look.source_size), colour=TRUTH))
    for layer in sorted(layers, key=lambda layer: -layer.opacity):
        plotter.add_mesh(_light(layer.mesh), **layer.options())
    camera = plotter.camera
    camera.focal_point, camera.position = middle, middle + np.array([-DEPTH, 0.0, 0.0])
    camera.up, camera.parallel_scale = (0.0, 0.0, 1.0), size[1:].max() / 2
    plotter.enable_parallel_projection()
    plotter.reset_camera_clipping_range()
    return plotter


def _light(mesh: pyvista.PolyData) -> pyvista.PolyData:
    """Return a mesh that takes little room: few vertices, and short numbers, which pack well."""
    from scipy.spatial import cKDTree

    light = mesh.copy()
    if mesh.n_points > MOST_VERTICES:
        light = mesh.decimate(1 - MOST_VERTICES / mesh.n_points)
        nearest = np.asarray(cKDTree(mesh.points).query(light.points)[1])
        for name in mesh.point_data:
            light.point_data[name] = np.asarray(mesh.point_data[name])[nearest]
    light.points = _short(light.points)
    if "Normals" in light.point_data:
        light.point_data["Normals"] = _short(light.point_data["Normals"])
    return light


def _short(values: Any) -> np.ndarray:
    """Round coordinates to few binary digits."""
    return (np.round(np.asarray(values) * FINENESS) / FINENESS).astype(np.float32)


def _pack(window: Any) -> bytes:
    """Return what a window shows, as the archive that vtk.js reads."""
    from trame_vtk.modules.vtk.serializers import (
        SynchronizationContext,
        extract_array_hash,
        initialize_serializers,
        reference_id,
        serialize,
    )

    initialize_serializers()
    context = SynchronizationContext()
    context.set_ignore_last_dependencies(True)
    scene = serialize(None, window, reference_id(window), context, 1)
    camera = window.GetRenderers().GetFirstRenderer().GetActiveCamera()
    scene["extra"] = {
        "vtkRefId": reference_id(window),
        "centerOfRotation": camera.GetFocalPoint(),
        "camera": reference_id(camera),
    }
    arrays = {
        entry["hash"]: {**entry, "content": context.get_cached_data_array(entry["hash"], False)}
        for entry in extract_array_hash(scene)
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.json", json.dumps({"hashes": arrays, "scene": scene}))
    return buffer.getvalue()


def _chrome(scene: Scene) -> str:
    """Return what stands around the brain: title, views, legend and colour bar."""
    from matplotlib.colors import to_rgb

    ink = INK if np.mean(to_rgb(scene.ground.look.background)) > 0.5 else "white"
    buttons = "".join(
        f"<button data-view='{view}'>{name}</button>"
        for view, name in (
            ("left", "Left"),
            ("right", "Right"),
            *((view, view.capitalize()) for view in ALL_VIEWS if view in ("dorsal", "ventral")),
            ("rostral", "Front"),
            ("caudal", "Back"),
        )
    )
    legend = "".join(_key(key, scene) for key in scene.keys)
    if scene.empty:
        foot = "<b>no source</b>"
    elif isinstance(scene.scale, Categories):
        foot = ""
    else:
        foot = _bar(scene)
    return (
        f"<div class='page' style='color:{ink}'><header><h1>{escape(scene.title or '')}</h1>"
        f"<nav>{buttons}</nav></header><div class='content'></div>"
        f"<footer><div class='legend'>{legend}</div><div class='bar'>{foot}</div></footer></div>"
    )


def _key(key: Key, scene: Scene) -> str:
    """Return a line of the legend."""
    colour = TRUTH if key.kind == "diamond" else key.colour or scene.scale.middle()
    return f"<span><i class='{key.kind}' style='--colour:{colour}'></i>{escape(key.text)}</span>"


def _bar(scene: Scene) -> str:
    """Return the colour bar."""
    scale = scene.scale
    colours = ",".join(scale.colour(v) for v in np.linspace(scale.ticks[0], scale.ticks[-1], 17))
    ticks = "".join(f"<span>{tick:g}</span>" for tick in scale.ticks)
    return (
        f"<div>{escape(scene.scale_title)}</div><div class='ticks'>{ticks}</div>"
        f"<div class='colours' style='background:linear-gradient(90deg,{colours})'></div>"
    )


def _buttons(middle: np.ndarray, size: np.ndarray) -> str:
    """Return the script of the buttons: each aims the camera and fits the brain."""
    cameras = {name: [VIEWS[name][0], VIEWS[name][2]] for name in VIEWS}
    cameras |= {"left": cameras["lateral"], "right": [VIEWS["lateral"][1], VIEWS["lateral"][2]]}
    settings = {
        "middle": middle.tolist(),
        "size": size.tolist(),
        "depth": DEPTH,
        "cameras": cameras,
    }
    return f"const settings = {json.dumps(settings)};{SCRIPT}"


SCRIPT = """
const stage = () => global.renderWindow?.getRenderers().find((one) => one.getActors().length);
function aim(view) {
  const [towards, up] = settings.cameras[view];
  const renderer = stage(), camera = renderer.getActiveCamera();
  const content = document.querySelector('.content');
  const along = (axis) => settings.size.reduce((sum, s, k) => sum + s * Math.abs(axis[k]), 0);
  const high = along(up);
  const wide = along(settings.size.map((_, k) => 1 - Math.abs(up[k]) - Math.abs(towards[k])));
  camera.setFocalPoint(...settings.middle);
  camera.setPosition(...settings.middle.map((x, k) => x + settings.depth * towards[k]));
  camera.setViewUp(...up);
  const aspect = content.clientWidth / Math.max(content.clientHeight, 1);
  camera.setParallelProjection(true);
  camera.setParallelScale(0.58 * Math.max(high, wide / aspect));
  renderer.resetCameraClippingRange();
  global.renderWindow.render();
}
document.querySelectorAll('button').forEach((button) =>
  button.addEventListener('click', () => stage() && aim(button.dataset.view)));
const waiting = setInterval(() => {
  if (!stage()) return;
  clearInterval(waiting);
  aim('left');
}, 50);
"""

STYLE = """
.page { position: absolute; inset: 0; display: flex; flex-direction: column;
  font-family: system-ui, sans-serif; font-size: 14px; }
.page h1 { font-size: 17px; font-weight: 500; margin: 0; }
.page header { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: center;
  justify-content: space-between; padding: 10px 16px; }
.page nav button { font: inherit; color: inherit; background: none; border: 1px solid #9996;
  border-radius: 4px; padding: 2px 9px; margin-right: 4px; cursor: pointer; }
.page nav button:hover { background: #9993; }
.content { position: relative; flex: 1; min-height: 200px; overflow: hidden; }
.page footer { display: flex; flex-wrap: wrap; gap: 8px 32px; align-items: center;
  padding: 8px 16px 12px; }
.legend { display: flex; flex-direction: column; gap: 2px; }
.legend span { display: flex; align-items: center; gap: 8px; }
.legend i { width: 11px; height: 11px; background: var(--colour); border-radius: 50%; }
.legend i.diamond { background: none; border: 2.5px solid var(--colour); border-radius: 0;
  transform: rotate(45deg); width: 7px; height: 7px; margin: 0 1px; }
.legend i.patch { border-radius: 2px; opacity: .6; }
.bar { flex: 1; max-width: 460px; margin: 0 auto; text-align: center; }
.colours { height: 12px; }
.ticks { display: flex; justify-content: space-between; }
"""
