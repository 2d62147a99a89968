"""A head of three layers, the fields of sources in it, and forward models that are not its own.

The head is the second one, the only one with surfaces of all layers. Fields and forward models are
computed once and kept in the cache folder, which took six minutes.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import mne
import numpy as np
from benchmark_places_heads import SECOND, SUBJECT, Head, head, heads_folder, skull

from meg_vae.datasets.cache import cache_dir, cached_folder
from meg_vae.meg.conductor import bem_conductor

CONDUCTIVITY = (0.3, 0.006, 0.3)  # S/m of brain, skull and scalp
LAYERS = ("inner_skull", "outer_skull", "outer_skin")
FINE = 4  # of MNE's icosahedra: 2,562 vertices a layer
POOL = 2000  # vertices of the cortex that sources are drawn from
SAME, SPHERE, ONE = "same", "sphere", "one layer"
#: Forward models of three layers for the inverse: coarseness and conductivity.
SHELLS = {
    SAME: (FINE, CONDUCTIVITY),
    "skull 0.003 S/m": (FINE, (0.3, 0.003, 0.3)),
    "skull 0.012 S/m": (FINE, (0.3, 0.012, 0.3)),
    "642 vertices": (3, CONDUCTIVITY),
}
FORWARDS = (*SHELLS, ONE, SPHERE)


def sphere(here: Head) -> mne.bem.ConductorModel:
    """Fit a sphere to the inner skull by least squares, head coordinates."""
    rr = skull(here.bem, here.trans)
    system = np.c_[2 * rr, np.ones(len(rr))]
    centre = np.linalg.lstsq(system, np.square(rr).sum(1), rcond=None)[0][:3]
    return mne.make_sphere_model(centre, head_radius=None, verbose="error")


def solved(
    surfaces: dict[str, tuple[np.ndarray, np.ndarray]],
    ico: int,
    conductivity: tuple[float, ...],
) -> mne.bem.ConductorModel:
    """Solve the BEM of these layers, thinned to an icosahedron, with MNE."""
    with tempfile.TemporaryDirectory() as folder:
        bem = Path(folder) / "x" / "bem"
        bem.mkdir(parents=True)
        for layer, (rr, tris) in surfaces.items():
            mne.write_surface(bem / f"{layer}.surf", rr, tris)
        options = {"conductivity": conductivity, "subjects_dir": folder, "verbose": "error"}
        model = mne.make_bem_model("x", ico=ico, **options)
    return mne.make_bem_solution(model, verbose="error")


def conductor(forward: str) -> mne.bem.ConductorModel:
    """Solve the conductor of one of the forward models."""
    if forward not in SHELLS:
        return sphere(head(SECOND)) if forward == SPHERE else head(SECOND).bem
    folder = heads_folder() / SUBJECT / "bem"
    layers = {layer: mne.read_surface(folder / f"{layer}.surf") for layer in LAYERS}
    return solved(layers, *SHELLS[forward])


def _made(forward: str) -> Path:
    """Make a forward model, and the field of the pool where it is the true one, once."""
    key = f"1-mne-{mne.__version__}"
    words = f"{SECOND} {forward}".replace("/", " per ").replace(".", "_").split()
    folder = cache_dir() / f"benchmark-forwards-{'-'.join(words)}-{key}"
    return cached_folder(folder, key, lambda made: _write(forward, made))


def _write(forward: str, folder: Path) -> None:
    here, bem = head(SECOND), conductor(forward)
    options = {"meg": True, "eeg": False, "mindist": 0.0, "verbose": "error"}
    found = mne.make_forward_solution(here.info, here.trans, here.forward["src"], bem, **options)
    mne.write_forward_solution(folder / "model-fwd.fif", found, verbose="error")
    if forward == SAME:
        rr, nn = pool()
        fields = bem_conductor(here.info, here.info.ch_names, bem, here.trans)(rr)
        np.save(folder / "fields.npy", np.einsum("kda,ka->kd", fields, nn))


@cache
def pool() -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 3) in m and normals of the vertices that sources are drawn from."""
    here = head(SECOND)
    some = np.random.default_rng(0).permutation(len(here.rr))[:POOL]
    return here.rr[some], here.nn[some]


@cache
def true_fields() -> np.ndarray:
    """Field per A·m of the pool in the true conductor, along the normals, (n, n_channels)."""
    return np.load(_made(SAME) / "fields.npy")


@cache
def forward_of(forward: str) -> mne.Forward:
    """Read one of the forward models, once a process."""
    return mne.read_forward_solution(_made(forward) / "model-fwd.fif", verbose="error")


def off(forward: mne.Forward, true: mne.Forward, whitener: np.ndarray) -> np.ndarray:
    """Share of each position's whitened lead field by which it is not the true one, (n,)."""
    one, other = (
        (whitener @ each["sol"]["data"]).reshape(len(whitener), -1, 3) for each in (forward, true)
    )
    return np.linalg.norm(one - other, axis=(0, 2)) / np.linalg.norm(other, axis=(0, 2))
