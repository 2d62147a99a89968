"""Shared fixtures: small seeded problems and recordings, made once a session."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small problems: threads cost more than they bring

import numpy as np  # noqa: E402
import pytest  # noqa: E402


def sparse_problem(d=20, n_groups=30, n=40, *, n_orient=1, n_active=3, noise=0.1, seed=0):
    """Φ, U and X = ΦU + noise with a few active groups."""
    rng = np.random.default_rng(seed)
    Phi = rng.standard_normal((d, n_groups * n_orient))
    U = np.zeros((n_groups * n_orient, n))
    active = np.sort(rng.choice(n_groups, n_active, replace=False))
    rows = (active[:, None] * n_orient + np.arange(n_orient)).ravel()
    U[rows] = rng.standard_normal((len(rows), n))
    X = Phi @ U + noise * rng.standard_normal((d, n))
    return SimpleNamespace(Phi=Phi, U=U, X=X, active=active, noise=noise, n_orient=n_orient)


@pytest.fixture(autouse=True)
def logging_of_mne():
    """Put back how much MNE says: scripts turn it down, and no warning would come after them."""
    logger = logging.getLogger("mne")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the shell's pictures, which take longer than what is looked at."""
    monkeypatch.setattr("meg_vae.report.localization_pictures", lambda *_, **__: {})


@pytest.fixture
def problem():
    """A problem with three active single columns."""
    return sparse_problem()


@pytest.fixture
def grouped():
    """A problem with three active groups of three columns."""
    return sparse_problem(n_orient=3, n_groups=15)


@pytest.fixture(scope="session")
def recording():
    """Two sources in the template head at a coarse spacing."""
    from meg_vae import datasets

    return datasets.template_recording(n_sources=2, spacing="ico3", verbose="error")


@pytest.fixture(scope="session")
def fitted(recording):
    """An inverse fitted to the recording."""
    from meg_vae import VAEInverse

    inverse = VAEInverse(subjects_dir=recording.subjects_dir)
    return inverse.fit(recording.evoked, recording.forward, recording.noise_cov)


@pytest.fixture(scope="session")
def cortex_dir(tmp_path_factory):
    """A FreeSurfer folder with the cortex that nilearn carries, and the head that MNE carries."""
    import mne
    import nibabel
    import nilearn.datasets

    root = tmp_path_factory.mktemp("subjects")
    folder = root / "fsaverage5"
    for name in ("surf", "bem"):
        (folder / name).mkdir(parents=True)
    data = Path(nilearn.datasets.__file__).parent / "data" / "fsaverage5"
    for hemi, side in (("lh", "left"), ("rh", "right")):
        for kind, name in (("white", "white"), ("pial", "pial"), ("inflated", "infl")):
            arrays = nibabel.load(data / f"{name}_{side}.gii.gz").darrays
            file = folder / "surf" / f"{hemi}.{kind}"
            nibabel.freesurfer.write_geometry(file, arrays[0].data, arrays[1].data)
        curvature = nibabel.load(data / f"curv_{side}.gii.gz").darrays[0].data
        nibabel.freesurfer.write_morph_data(folder / "surf" / f"{hemi}.curv", curvature)
    head = Path(mne.__file__).parent / "data" / "fsaverage" / "fsaverage-head.fif"
    shutil.copyfile(head, folder / "bem" / "fsaverage5-head.fif")
    return root


@pytest.fixture
def where(cortex_dir):
    """Subject and folder, as pictures of the cortex ask for them."""
    return {"subject": "fsaverage5", "subjects_dir": cortex_dir}


@pytest.fixture(scope="session")
def cortex(cortex_dir):
    """The inflated cortex."""
    from meg_vae.viz import surfaces

    return surfaces.load_cortex("fsaverage5", cortex_dir, "inflated")
