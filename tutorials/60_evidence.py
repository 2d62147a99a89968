r"""
Is this source real, and where else could it be?
================================================

A sparse method hands you a list of places. **Which of them should you believe?** There are four
questions in that one, and each has a number: does the source exist at all (*log evidence*), how
strong was it (*posterior standard deviation*), where else could it be (*bootstrap*), and is the
head model right (*evidence of the model*)?
"""

# %%
import warnings

import matplotlib.pyplot as plt
import mne
import numpy as np

from meg_vae import VAEInverse, datasets

mne.set_log_level("warning")

# %%
# Does it exist? Log evidence
# ---------------------------
# Four sources at 0 dB, that is, with as much noise as signal. The evidence of a source is what the
# data would lose, in nats, if it were taken out and all else kept.
case = datasets.template_recording(
    n_sources=4, snr_db=0, spacing="oct6", random_state=5
)
head = datasets.template("oct5")
inverse = VAEInverse(subjects_dir=case.subjects_dir)
inverse.fit(case.evoked, head.forward, case.noise_cov)

to_mri = mne.transforms.invert_transform(head.forward["mri_head_t"])
true = 1e3 * mne.transforms.apply_trans(
    to_mri, np.array([dipole.pos[0] for dipole in case.truth])
)
found = inverse.sources_[["x_mm", "y_mm", "z_mm"]].to_numpy()
table = inverse.sources_[["hemi", "peak_nAm", "sd_nAm", "log_evidence"]]
nearest = np.linalg.norm(found[:, None] - true, axis=2).min(axis=1)
table.assign(cluster=inverse.clusters_, mm_to_truth=nearest).round(1)

# %%
# Four sources went in and more came out. The true places lie between those of the grid that we
# invert, so a neighbour or two must mend what the nearest position cannot explain. **They are not
# noise, and their evidence is right to say so; they are not sources of their own either.**
# Neighbours that would take over from each other are one *cluster* and are judged together. The
# dashed line is the threshold from which a source is reported.
inverse.plot_evidence()

# %%
# What noise can do
# -----------------
# The threshold means nothing without knowing what noise alone reaches. Ten recordings without any
# source, and every position that the energy keeps, however weak:
largest = []
for seed in range(10):
    noise = datasets.template_recording(
        n_sources=0, spacing="ico3", random_state=seed
    )
    with warnings.catch_warnings():
        # An empty estimate is what we hope for.
        warnings.simplefilter("ignore")
        fit = VAEInverse(min_log_evidence=0).fit(
            noise.evoked, noise.forward, noise.noise_cov
        )
    largest.append(
        fit.sources_["log_evidence"].max() if len(fit.sources_) else 0.0
    )
print(
    "largest evidence in noise:",
    ", ".join(f"{value:.1f}" for value in largest),
    "nats",
)
print(f"threshold: {inverse.min_log_evidence:g} nats")

# %%
# Ten recordings of ideal noise are an illustration. The threshold was calibrated on hundreds,
# filtered noise and real baselines among them; ``scripts/calibrate_evidence.py`` does it again.
#
# How strong? The posterior standard deviation
# --------------------------------------------
# ``sd_nAm`` is the standard deviation of the amplitude *if the source is where it was found*. The
# bands are two of them:
inverse.plot_time_courses()

# %%
# Where else? The bootstrap
# -------------------------
# Had other trials been averaged, would the sources be in the same place? Here are 40 trials of two
# sources. The bootstrap draws 40 of them again and again, with repetition, and fits each average.
clean = datasets.template_recording(
    n_sources=2, snr_db=np.inf, spacing="oct6", random_state=1
)
n_times = len(clean.evoked.times)
raw = mne.io.RawArray(np.tile(clean.evoked.data / 8, 40), clean.evoked.info)
mne.simulation.add_noise(raw, clean.noise_cov, random_state=0)
epochs = mne.make_fixed_length_epochs(
    raw, n_times / raw.info["sfreq"], preload=True
)
small = VAEInverse(subjects_dir=clean.subjects_dir).fit(
    epochs, head.forward, clean.noise_cov
)
bootstrap = small.bootstrap(
    epochs, head.forward, clean.noise_cov, n_bootstrap=12, random_state=0
)
bootstrap.sources.round(2)

# %%
# ``probability`` is the share of the averages in which the source was found, and the ``semi_*_mm``
# are the half-axes of an ellipsoid that holds 95 % of the places where it was. For a paper take
# ``n_bootstrap=1000``. In the glass brain:
small.plot_sources(bootstrap=bootstrap, views=("lateral", "dorsal")).show()

# %%
# Is the head model right? Evidence of the model
# ----------------------------------------------
# ``log_evidence_`` belongs to the whole fit, and compares *models of the head* on the same data:
# orientation constraints, grids, conductors, transforms. First the orientation:
for loose in (0.0, 0.2, 1.0):
    fit = VAEInverse(loose=loose).fit(
        case.evoked, head.forward, case.noise_cov
    )
    print(
        f"loose={loose}: {fit.log_evidence_:9.1f} nats, {len(fit.sources_)} sources"
    )

# %%
# The simulated sources point along the cortical normal, and the data know it: the larger (less
# negative) the better. Real cortex is less obliging.
#
# Now the transform. Suppose that the head was a few millimetres from where the co-registration
# says. For each shift the forward model is computed again, and the data are asked which they
# prefer. The true one is 0.
coarse = datasets.template("ico3")
shifts = np.array([-8, -4, 0, 4, 8])  # mm, to the right
evidence = []
for shift in shifts:
    moved = mne.transforms.Transform(
        "head", "mri", coarse.trans["trans"].copy()
    )
    moved["trans"][0, 3] += 1e-3 * shift
    forward = mne.make_forward_solution(
        coarse.info,
        moved,
        coarse.src,
        coarse.bem,
        meg=True,
        eeg=False,
        mindist=0.0,
    )
    evidence.append(
        VAEInverse().fit(case.evoked, forward, case.noise_cov).log_evidence_
    )
evidence = np.array(evidence) - max(evidence)

figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(shifts, evidence, "o-")
ax.axvline(0, color="0.6", linestyle=":")
ax.set(
    xlabel="Shift of the head (mm)", ylabel="Log evidence (nats,\nbest is 0)"
)
print(f"the data prefer a shift of {shifts[evidence.argmax()]} mm")

# %%
# What to watch out for
# ---------------------
# - **Evidence takes the lead field and the noise model as given.** Where they are wrong, spurious
#   sources can have evidence too, and the more data, the more of it. It protects against noise, not
#   against a wrong head.
# - **The standard deviation is conditional** on the places and on the prior variances, so the bands
#   are too narrow when a source is off the grid. ``scripts/evidence_coverage.py`` measures by how
#   much.
# - Filtered data have fewer independent samples than time points. ``inverse.n_effective_`` says how
#   many were counted.
# - Compare evidence only on **identical data and noise covariance**. Evidence of different
#   channels, windows or covariances has no common zero.
# - Evidence against shift is coarse, and several millimetres of error can be within a few nats. It
#   is a check, not a replacement of co-registration.
