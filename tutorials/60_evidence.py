r"""
Is this source real, and where else could it be?
================================================

A sparse method hands you a list of places. **Which of them should you believe?** There are four
questions in that one, and each has a number: does the source exist at all (*log evidence*), how
strong was it (*posterior standard deviation*), where else could it be (*the ellipsoid of its
place*, and the *bootstrap*), and is the head model right (*evidence of the model*)?
"""

# %%
import warnings

import matplotlib.pyplot as plt
import mne
import numpy as np

from meg_vae import VAEInverse, datasets, viz

mne.set_log_level("warning")

# %%
# Does it exist? Log evidence
# ---------------------------
# Four sources at 0 dB, that is, with as much noise as signal. The evidence of a source is what the
# data would lose, in nats, if it were taken out and all else kept.
case = datasets.template_recording(
    n_sources=4, snr_db=0, spacing="oct5", random_state=5
)
inverse = VAEInverse(subjects_dir=case.subjects_dir)
inverse.fit(case.evoked, case.forward, case.noise_cov)

to_mri = mne.transforms.invert_transform(case.forward["mri_head_t"])
true = 1e3 * mne.transforms.apply_trans(
    to_mri, np.array([dipole.pos[0] for dipole in case.truth])
)
found = inverse.sources_[["x_mm", "y_mm", "z_mm"]].to_numpy()
names = ["hemi", "peak_nAm", "sd_nAm", "log_evidence", "radius_mm", "cluster"]
nearest = np.linalg.norm(found[:, None] - true, axis=2).min(axis=1)
table = inverse.sources_[names]
table.assign(mm_to_truth=nearest).round(1)

# %%
# Four sources went in, between the positions of the source space, and four came out. Sources whose
# places cannot be told apart, because their ellipsoids overlap, are one *cluster*. The dashed line
# is the threshold from which a source is reported.
inverse.plot_evidence()

# %%
# Evidence is about what the model can say. Held to the positions, it needs neighbours to mend what
# the nearest one cannot explain. **They are not noise, and their evidence is right to say so; they
# are not sources of their own either.**
on_grid = VAEInverse(positions="grid").fit(
    case.evoked, case.forward, case.noise_cov
)
print(f"{len(on_grid.sources_)} sources on the positions, the weakest with")
print(f"{on_grid.sources_['log_evidence'].min():.0f} nats of evidence")

# %%
# What noise can do
# -----------------
# The threshold means nothing without knowing what noise alone reaches. Three recordings without any
# source, and every position that the energy keeps, however weak:
largest = []
for seed in range(3):
    noise = datasets.template_recording(
        n_sources=0, spacing="ico3", random_state=seed
    )
    with warnings.catch_warnings():
        # An empty estimate is what we hope for.
        warnings.simplefilter("ignore")
        fit = VAEInverse(positions="grid", min_log_evidence=0)
        fit.fit(noise.evoked, noise.forward, noise.noise_cov)
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
# Three recordings of ideal noise, fitted on the positions, are an illustration. Between these there
# are more places at which noise may look like a source, and it reaches more. The threshold was
# calibrated on hundreds, filtered noise and real baselines among them;
# ``scripts/calibrate_evidence.py`` does it again.
#
# How strong? The posterior standard deviation
# --------------------------------------------
# ``sd_nAm`` is the standard deviation of the amplitude at the peak. Places, orientations and noise
# are not known exactly either, and it allows for them; so the bands, two of them wide, are wider
# where the source is strong:
inverse.plot_time_courses()

# %%
# Where else? The ellipsoid of its place
# --------------------------------------
# ``position_covariance_`` says how sure each place is, with all else unknown too, from the
# curvature of the energy. In the glass brain it is drawn as the ellipsoid that holds the place with
# 95 % probability; ``radius_mm`` is half its longest axis. These are small, so the marks are
# smaller.
inverse.plot_sources(
    surface="glass",
    views=("lateral", "dorsal"),
    truth=case.truth,
    trans=case.trans,
    look=viz.Look(source_size=0.7),
).show()

# %%
# Where else? The bootstrap
# -------------------------
# Had other trials been averaged, would the sources be in the same place? That question needs the
# trials and no curvature. Here are 40 trials of two sources. The bootstrap draws 40 of them again
# and again, with repetition, and fits each average. Sources are taken for points here.
clean = datasets.template_recording(
    n_sources=2, snr_db=np.inf, spacing="oct5", random_state=1
)
n_times = len(clean.evoked.times)
raw = mne.io.RawArray(np.tile(clean.evoked.data / 8, 40), clean.evoked.info)
mne.simulation.add_noise(raw, clean.noise_cov, random_state=0)
epochs = mne.make_fixed_length_epochs(
    raw, n_times / raw.info["sfreq"], preload=True
)
small = VAEInverse(extent="point", subjects_dir=clean.subjects_dir)
small.fit(epochs, clean.forward, clean.noise_cov)
bootstrap = small.bootstrap(
    epochs, clean.forward, clean.noise_cov, n_bootstrap=8, random_state=0
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
# orientation constraints, grids, conductors, transforms. First places and orientation: on the
# positions, held to the cortical normal more or less, and between them. The larger (less negative)
# the better:
for loose in (0.0, 0.2, 1.0):
    fit = VAEInverse(positions="grid", loose=loose).fit(
        case.evoked, case.forward, case.noise_cov
    )
    print(
        f"on the positions, loose={loose}: {fit.log_evidence_:9.1f} nats, "
        f"{len(fit.sources_)} sources"
    )
print(
    f"between the positions:       {inverse.log_evidence_:9.1f} nats, "
    f"{len(inverse.sources_)} sources"
)

# %%
# On the positions the data prefer dipoles along the cortical normal, as the simulated ones are. But
# places between the positions are worth far more: hundreds of nats, with fewer sources.
#
# Now the transform. Suppose that the head was a few millimetres from where the co-registration
# says. For each shift the forward model is computed again, and the data are asked which they
# prefer, with the registration taken as given. The true one is 0.
coarse = datasets.template("ico3")
shifts = np.array([-6, 0, 6])  # mm, to the right
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
    inverse = VAEInverse(registration=None, extent="point")
    inverse.fit(case.evoked, forward, case.noise_cov)
    evidence.append(inverse.log_evidence_)
evidence = np.array(evidence) - max(evidence)

figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(shifts, evidence, "o-")
ax.axvline(0, color="0.6", linestyle=":")
ax.set(
    xlabel="Shift of the head (mm)", ylabel="Log evidence (nats,\nbest is 0)"
)
print(f"the data prefer a shift of {shifts[evidence.argmax()]} mm")

# %%
# Nobody has to try shifts. By default the head is looked for with the sources where the data ask
# for it, and a warning says so; here it is asked for (with points alone, which takes less time).
# ``forward`` is now that of the last shift.
learnt = VAEInverse(registration="learn", extent="point")
learnt.fit(case.evoked, forward, case.noise_cov)
shift = 1e3 * learnt.registration_["trans"][:3, 3]
sure = 1e3 * np.sqrt(np.diag(learnt.registration_covariance_)[:3])
print(f"the sensors lie {shift.round(1)} ± {sure.round(1)} mm from there")
print(f"log evidence of that: {learnt.registration_log_evidence_:.0f} nats")

# %%
# What to watch out for
# ---------------------
# - **Evidence takes the lead field and the noise model as given.** Where they are wrong, spurious
#   sources can have evidence too, and the more data, the more of it. It protects against noise, not
#   against a wrong head.
# - **Deviations and ellipsoids are approximations** at one minimum: they know nothing of another
#   explanation of the data elsewhere, of an extended source or of a head that lay otherwise.
# - Filtered data have fewer independent samples than time points. ``inverse.n_effective_`` says how
#   many were counted.
# - Compare evidence only on **identical data and noise covariance**. Evidence of different
#   channels, windows or covariances has no common zero.
# - Evidence against shift is coarse, and several millimetres of error can be within a few nats.
#   With few or weak sources it is a check, not a replacement of co-registration.
