"""The tutorials run, without a warning; a coarse cortex makes that quick."""

from __future__ import annotations

import runpy
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import pytest

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("[0-9][0-9]_*.py"))
COARSE = "ico3"


@pytest.fixture
def quick(monkeypatch):
    """Let template heads be coarse and studies small, and keep pictures off the screen."""
    pyvista = pytest.importorskip("pyvista")
    from meg_vae import datasets

    make = datasets.template

    def coarse(spacing="oct6", *args, **kwargs):
        return make(COARSE, *args, **kwargs)

    made = datasets.simulated_study

    def small(folder, n_subjects=12, *args, snr_db=0.0, **kwargs):
        return made(folder, 4, *args, snr_db=snr_db[-4:], **kwargs)

    monkeypatch.setattr(datasets, "simulated_study", small)
    monkeypatch.setattr(import_module("meg_vae.datasets.recordings"), "template", coarse)
    monkeypatch.setattr(datasets, "template", coarse)
    monkeypatch.setattr(pyvista, "OFF_SCREEN", True)
    plt.switch_backend("agg")
    with mne.utils.use_log_level("warning"):
        yield
    plt.close("all")
    pyvista.close_all()


@pytest.mark.slow
@pytest.mark.rendering
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(path, quick, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out, "a tutorial prints what it found"
