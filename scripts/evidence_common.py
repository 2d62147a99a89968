"""What the scripts on evidence and uncertainty share: heads, recordings and options."""

from __future__ import annotations

from functools import cache
from typing import Annotated

import numpy as np
import typer
from talk_common import HERE

from meg_vae import datasets
from meg_vae.meg.leadfield import make_leadfield, whiten
from meg_vae.model.exact.dictionary import Dictionary

Jobs = Annotated[int, typer.Option(help="Processes; -1 takes all processors.")]
OUT = HERE.parent / "data" / "evidence"
CONDITIONS = ("Left Auditory", "Right Auditory", "Left visual", "Right visual")


@cache
def sample_baselines() -> tuple[Dictionary, int, float, list[np.ndarray]]:
    """Dictionary, rank, sampling frequency, and the whitened baseline of each condition."""
    baselines = []
    for condition in CONDITIONS:
        case = datasets.sample(condition, tmax=0.0, verbose="error")
        nave = case.evoked.nave
        leadfield = make_leadfield(case.forward, case.evoked.info, case.noise_cov, nave=nave)
        baselines.append(whiten(case.evoked, leadfield.whitener, leadfield.ch_names, nave))
    phi = leadfield.Phi / nave**0.5  # the energy does not feel the scale
    return (
        Dictionary(phi, leadfield.n_orient),
        len(phi),
        case.evoked.info["sfreq"],
        baselines,
    )
