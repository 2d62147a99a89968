"""What tests of pictures share: small tables of sources, and looking at pixels."""

from __future__ import annotations

import matplotlib as mpl
import mne
import numpy as np
import pandas as pd

from meg_vae.viz import Look

SUBJECT = "fsaverage5"
SIZE = (420, 500)  # a small window draws fast
HALVES = {"lh": slice(0, SIZE[0] // 2), "rh": slice(SIZE[0] // 2, SIZE[0])}


def small(views="dorsal", **kwargs):
    """Return how a picture looks that is small, by default from above."""
    return Look(**{"views": views, "window_size": SIZE, "off_screen": True} | kwargs)


def table(*rows, peak=10.0):
    """Return a table of sources from (hemi, vertno) pairs."""
    sources = pd.DataFrame(rows, columns=["hemi", "vertno"])
    return sources.assign(peak_nAm=peak, sd_nAm=1.0, log_evidence=50.0, peak_s=0.1)


def top(cortex, hemi):
    """Return the highest vertex of an inflated hemisphere: it faces the eye in a dorsal view."""
    return int(cortex[hemi].points[:, 2].argmax())


def outermost(cortex, hemi):
    """Return the vertex of an inflated hemisphere that faces the eye in a lateral view."""
    return int(np.abs(cortex[hemi].points[:, 0]).argmax())


def away(points, vertex):
    """Return the distance of points from one of them (mm)."""
    return np.linalg.norm(points - points[vertex], axis=1)


def coloured(image):
    """Return which pixels are neither white, grey nor black."""
    image = image.astype(int)
    return image.max(axis=-1) - image.min(axis=-1) > 60


def alike(image, colour, tolerance=20):
    """Return which pixels have a colour."""
    rgb = np.array(mpl.colors.to_rgb(colour)) * 255
    return np.abs(image - rgb).max(axis=-1) <= tolerance


def brains(image):
    """Return the picture without the strip at its foot that holds legend and colour bar."""
    return image[: int(image.shape[0] * 0.82)]


def take(plotter, points):
    """Return a plotter's picture and the (row, column) at which its first panel shows points."""
    image = plotter.screenshot(return_img=True)
    renderer = plotter.renderers[1]
    pixels = []
    for point in points:
        renderer.SetWorldPoint(*point, 1.0)
        renderer.WorldToDisplay()
        x, y, _ = renderer.GetDisplayPoint()
        pixels.append((round(image.shape[0] - 1 - y), round(x)))
    plotter.close()
    return image, pixels


def texts(plotter):
    """Return all lines written on a page."""
    actors = [actor for renderer in plotter.renderers for actor in renderer.actors.values()]
    return [actor.input for actor in actors if hasattr(actor, "input")]


def estimate(vertices, data):
    """Return a source estimate with one time point."""
    return mne.SourceEstimate(np.atleast_2d(data).T, vertices, tmin=0, tstep=1)


def dense(cortex, hemi, vertex, width=20.0):
    """Return an estimate on half of the vertices, a bump around one of them."""
    vertices = [np.arange(0, 10242, 2)] * 2
    bump = np.exp(-0.5 * (away(cortex[hemi].white, vertex)[vertices[0]] / width) ** 2)
    faint = np.full(len(bump), 0.01)
    return estimate(vertices, np.concatenate([bump, faint] if hemi == "lh" else [faint, bump]))
