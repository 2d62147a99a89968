r"""
Single trials and continuous recordings
=======================================

The average told you where the sources are. **What did they do in each trial, and between the
trials?** A fitted :class:`meg_vae.VAEInverse` is a linear filter from sensors to sources (the
talk's encoder W\ :sub:`z`), so it can be applied to single trials, to a whole recording, and to
data it has never seen, at the cost of one small matrix product.
"""

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np

from meg_vae import VAEInverse, datasets, read_vae_inverse

mne.set_log_level("warning")

# %%
# A recording in which every trial is different
# ---------------------------------------------
# Two sources answer 60 stimuli. The first one answers with a strength that changes from trial to
# trial, as real ones do; the second is always the same. MNE simulates the recording, with the very
# forward model that is then inverted: this page is about trials, and where the sources are is easy.
case = datasets.template_recording(n_sources=0, spacing="ico3", random_state=3)
info, forward = case.evoked.info, case.forward
rng = np.random.default_rng(0)
n_trials, every = 60, 150  # a trial every 150 samples, 0.75 s
onsets = 100 + every * np.arange(n_trials)
events = np.column_stack(
    [onsets, np.zeros(n_trials, int), np.ones(n_trials, int)]
)
strength = rng.gamma(4, 1 / 4, n_trials)  # 1 on average

times = np.arange(80) / info["sfreq"]
response = np.exp(-(((times - 0.15) / 0.04) ** 2))
simulator = mne.simulation.SourceSimulator(
    forward["src"], tstep=1 / info["sfreq"], duration=46.0
)
for k, (hemi, vertex, peak) in enumerate([(0, 100, 40e-9), (1, 300, 30e-9)]):
    label = mne.Label(
        [forward["src"][hemi]["vertno"][vertex]], hemi=("lh", "rh")[hemi]
    )
    sizes = strength if k == 0 else np.ones(n_trials)
    simulator.add_data(
        label,
        [peak * size * np.roll(response, 10 * k) for size in sizes],
        events,
    )
raw = mne.simulation.simulate_raw(info, simulator, forward=forward)
mne.simulation.add_noise(raw, case.noise_cov, random_state=0)
print(raw)

# %%
# Fit the epochs
# --------------
# Given :class:`~mne.Epochs`, the fit takes their average and its number of averages.
epochs = mne.Epochs(raw, events, tmin=-0.1, tmax=0.35, preload=True)
inverse = VAEInverse(subjects_dir=case.subjects_dir).fit(
    epochs, forward, case.noise_cov
)
inverse.sources_.round(2)

# %%
# Apply it to every trial
# -----------------------
# One estimate per epoch, with a row per source. ``pick_ori="normal"`` takes the component along the
# cortical normal, which has a sign, so that noise averages to zero. The average of 60 trials hides
# what the first source did:
stcs = inverse.apply_epochs(epochs, pick_ori="normal")
print(f"{len(stcs)} estimates of {stcs[0].data.shape[0]} sources")

left, right = (np.array([stc.data[row] for stc in stcs]) for row in (0, -1))
order = np.argsort(strength)
figure, axes = plt.subplots(
    1, 2, figsize=(9, 4), layout="constrained", sharey=True
)
for ax, trials, title in zip(
    axes, (left, right), ("changing source", "constant source"), strict=True
):
    image = ax.imshow(
        1e9 * trials[order],
        aspect="auto",
        origin="lower",
        extent=(1e3 * epochs.times[0], 1e3 * epochs.times[-1], 0, n_trials),
        cmap="RdBu_r",
        vmin=-80,
        vmax=80,
    )
    ax.set(title=title.capitalize(), xlabel="Time (ms)")
axes[0].set_ylabel("Trial, weakest first")
figure.colorbar(image, ax=axes, label="Amplitude (nAm)")

# %%
# How well does the amplitude at the peak follow the true strength of each trial?
peak = left[:, np.argmin(np.abs(epochs.times - 0.15))]
print(
    f"correlation with the true strength: {np.corrcoef(peak, strength)[0, 1]:.2f}"
)
other = right[:, np.argmin(np.abs(epochs.times - 0.20))]
print(f"and of the constant source: {np.corrcoef(other, strength)[0, 1]:.2f}")

# %%
# The second number should be zero. What is left of it is chance (with 60 trials up to about 0.25)
# and *leakage*: a filter is never blind to what goes on elsewhere.

# %%
# And to the whole recording
# --------------------------
# It is read in pieces, so it need not fit into memory. A linear filter can be applied before or
# after any other, such as a low-pass:
smooth = raw.copy().filter(None, 20.0)
start, stop = (int(second * info["sfreq"]) for second in (10, 16))
continuous = inverse.apply_raw(smooth, start, stop, pick_ori="normal")
figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
ax.plot(
    continuous.times,
    1e9 * continuous.data[[0, -1]].T,
    label=["changing", "constant"],
)
for onset in onsets[(onsets >= start) & (onsets < stop)]:
    ax.axvline(
        (onset - raw.first_samp) / info["sfreq"],
        color="0.7",
        linestyle=":",
        zorder=0,
    )
ax.set(xlabel="Time (s)", ylabel="Amplitude (nAm)")
ax.legend(loc="upper right")

# %%
# Fit a covariance
# ----------------
# Ongoing activity has no average. The energy depends on the data through their covariance alone, so
# a covariance is all that a fit needs; it is then about power, not about time.
data_cov = mne.compute_covariance(epochs, tmin=0.05, tmax=0.3)
by_power = VAEInverse().fit(
    data_cov, forward, case.noise_cov, info=epochs.info
)
print("from the average:   ", sorted(inverse.sources_["vertno"]))
print("from the covariance:", sorted(by_power.sources_["vertno"]))

# %%
# Keep it, and hand it to MNE
# ---------------------------
# A saved inverse gives the same answer when it is read again.
with tempfile.TemporaryDirectory() as folder:
    fname = inverse.save(Path(folder) / "sub-01-vae.h5")
    again = read_vae_inverse(fname)
evoked = epochs.average()
same = np.array_equal(again.apply(evoked).data, inverse.apply(evoked).data)
print(f"after reading, the estimate is the same: {same}")

# %%
# An MNE inverse operator has its sources at positions of the source space. Held to these, a fit can
# be handed over, and works with all of MNE's ``apply_inverse`` functions.
on_grid = VAEInverse(positions="grid").fit(epochs, forward, case.noise_cov)
operator = on_grid.to_inverse_operator(epochs.info, forward)
theirs = mne.minimum_norm.apply_inverse(
    evoked, operator, lambda2=1.0, method="MNE"
)
ours = on_grid.apply(evoked)
print(
    f"largest difference to MNE's: {1e9 * np.abs(theirs.data - ours.data).max():.1e} nAm"
)

# %%
# What to watch out for
# ---------------------
# - **A filter is as good as its fit.** It passes what looks like its sources and assigns everything
#   to them: activity from places that were not found leaks into those that were. Compare single
#   trials, not absolute values.
# - The filter belongs to these sensors: channels, projectors, compensation and reference of new
#   data are checked, and a mismatch is an error. So is another head position; runs of several are
#   fitted together, each with its own forward model:
#   ``fit([run1, run2], [forward1, forward2], noise_cov)``, and ``apply`` takes for each the filter
#   of its own position.
# - Amplitudes without an orientation (``pick_ori=None`` with loose dipoles) are lengths, never
#   negative, so noise alone gives a positive mean. Use ``pick_ori="normal"`` or ``"vector"``, as
#   here.
# - The noise of one trial is √n times that of the average of n. The posterior standard deviations
#   in ``sources_`` are those of the data of the fit.
