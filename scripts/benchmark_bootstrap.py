"""How long 1,000 bootstrap fits of the sample's left visual response take, and how they agree.

The sample's averages come without their epochs. So 50 epochs are made whose average is the real
one (80 to 150 ms): noise of the real covariance, low-passed at 40 Hz as the data are, is added to
it with its mean taken out, scaled so that the average is as noisy as the real one.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import time
from typing import Annotated

import mne
import numpy as np
import pandas as pd
import torch
import typer
from evidence_common import OUT, Jobs
from talk_common import Quick, Seed

from meg_vae import VAEInverse, datasets

N_EPOCHS = 50
Samples = Annotated[int, typer.Option(help="Bootstrap samples.")]


def made_epochs(case: datasets.Recording, seed: int) -> tuple[mne.Epochs, mne.Covariance]:
    """Epochs around a real average, and the covariance of one of them."""
    rng = np.random.default_rng(seed)
    evoked, n = case.evoked, len(case.evoked.times)
    cov = case.noise_cov.copy()
    cov["data"] = cov.data * N_EPOCHS / evoked.nave
    values, vectors = np.linalg.eigh(cov.data)
    noise = rng.standard_normal((N_EPOCHS, len(cov.ch_names), n + 1200))
    sfreq = evoked.info["sfreq"]
    noise = mne.filter.filter_data(noise, sfreq, None, 40.0, verbose="error")[..., 600 : 600 + n]
    noise = np.einsum("cd,edt->ect", vectors * np.sqrt(values.clip(0)), noise / noise.std())
    order = [cov.ch_names.index(name) for name in evoked.ch_names]
    noise = noise[:, order] - noise[:, order].mean(0)
    epochs = mne.EpochsArray(evoked.data + noise, evoked.info, tmin=evoked.tmin, verbose="error")
    return epochs, cov


def main(samples: Samples = 1000, quick: Quick = False, seed: Seed = 0, n_jobs: Jobs = 2) -> None:
    """Time the bootstrap and write its table."""
    torch.set_num_threads(1)
    samples = 50 if quick else samples
    case = datasets.sample("Left visual", tmin=0.08, tmax=0.15, verbose="error")
    epochs, cov = made_epochs(case, seed)
    inverse = VAEInverse(subject=case.subject, subjects_dir=case.subjects_dir, verbose="error")
    inverse.fit(epochs.average(), case.forward, cov)
    started = time.perf_counter()
    result = inverse.bootstrap(
        epochs, case.forward, cov, n_bootstrap=samples, random_state=seed, n_jobs=n_jobs
    )
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table = result.sources.assign(
        n_bootstrap=samples,
        n_positions=result.n_positions,
        largest_missed=result.missed_log_evidence.max(),
        seconds=seconds,
        n_jobs=n_jobs,
        peak_MiB=memory,
    )
    typer.echo(table.T.to_string())
    if not quick:
        OUT.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(table).to_csv(OUT / "bootstrap.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    typer.run(main)
