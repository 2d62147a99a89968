r"""
Rhythms, and what they have to do with each other
=================================================

Ongoing activity has no average: its sources come and go with phases of their own. What stays is
their power at each frequency and how it is shared, the *cross-spectral density*. **Where do the
rhythms come from, and which of them belong together?** This page fits a cross-spectral density,
draws the spectrum of each source, turns the sources into channels and hands these to
`mne-connectivity <https://mne.tools/mne-connectivity>`_.
"""

# %%
import matplotlib.pyplot as plt
import mne
import numpy as np
from mne.time_frequency import csd_multitaper
from mne_connectivity import spectral_connectivity_epochs

from meg_vae import VAEInverse, datasets

mne.set_log_level("warning")

# %%
# A minute and a half at rest
# ---------------------------
# Three sources: two of 10 Hz, of which the second follows the first by 20 ms in half of its power,
# and one of 20 Hz that has nothing to do with either. MNE puts them on the sensors; the noise alone
# stands for a recording of the empty room. Each rhythm is far below the noise when all frequencies
# are looked at together.
case = datasets.template_recording(n_sources=0, spacing="ico3", random_state=3)
forward, info = case.forward, case.evoked.info
sfreq, seconds = info["sfreq"], 90
rng = np.random.default_rng(0)


def rhythm(frequency):
    """Noise in a band of 3 Hz, of unit power."""
    white = rng.standard_normal(int(sfreq * seconds))
    band = mne.filter.filter_data(
        white, sfreq, frequency - 1.5, frequency + 1.5
    )
    return band / band.std()


first, own, third = rhythm(10), rhythm(10), rhythm(20)
second = (np.roll(first, round(0.02 * sfreq)) + own) / 2**0.5
names = ["first, 10 Hz", "second, 10 Hz", "third, 20 Hz"]
simulator = mne.simulation.SourceSimulator(
    forward["src"], tstep=1 / sfreq, duration=seconds
)
start = np.array([[0, 0, 1]])
true = [(0, 100), (1, 300), (1, 40)]  # hemisphere, and which of its positions
for (hemi, k), course, size in zip(
    true, (first, second, third), (12e-9, 16e-9, 12e-9), strict=True
):
    vertex = forward["src"][hemi]["vertno"][k]
    label = mne.Label([vertex], hemi=("lh", "rh")[hemi])
    simulator.add_data(label, [size * course], start)
raw = mne.simulation.simulate_raw(info, simulator, forward=forward)
empty = raw.copy()
empty._data[:] = 0
for one, seed in ((raw, 1), (empty, 2)):
    mne.simulation.add_noise(one, case.noise_cov, random_state=seed)
    one.filter(1.0, None)
epochs, noise = (
    mne.make_fixed_length_epochs(one, 1.0, preload=True)
    for one in (raw, empty)
)
print(f"{len(epochs)} epochs of a second")

# %%
# Fit the rhythm of 10 Hz
# -----------------------
# Data and noise are treated alike. How many independent samples there are behind them, the
# eigenvalues tell (``n_samples=`` says it where you know better).
csd, noise_csd = (
    csd_multitaper(one, fmin=8.5, fmax=11.5, bandwidth=3).mean()
    for one in (epochs, noise)
)
inverse = VAEInverse(subjects_dir=case.subjects_dir)
inverse.fit(csd, forward, noise_csd, info=epochs.info)
print(f"{inverse.n_effective_ / 2:.0f} independent complex samples")
inverse.sources_[
    ["hemi", "vertno", "peak_nAm", "log_evidence", "radius_mm"]
].round(1)

# %%
# Two sources, in spite of what they share. Are they the true ones?
rr = np.concatenate([space["rr"][space["vertno"]] for space in forward["src"]])
n_left = len(forward["src"][0]["vertno"])
places = rr[[k + hemi * n_left for hemi, k in true]]
found = inverse.filter_.positions.rr_head
apart = 1e3 * np.linalg.norm(found[:, None] - places, axis=2)
for k, row in enumerate(apart):
    print(
        f"source {k + 1}: {row.min():.1f} mm from the {names[row.argmin()]} one"
    )

# %%
# All of them, and their spectra
# ------------------------------
# Several frequencies in one fit count together. ``apply_csd`` then gives the power of each source
# at each of them:
wide = {"fmin": 6, "fmax": 24, "bandwidth": 4}
csd, noise_csd = (csd_multitaper(one, **wide) for one in (epochs, noise))
every = VAEInverse().fit(csd, forward, noise_csd, info=epochs.info)
stc, frequencies = every.apply_csd(csd)
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
positions = every.filter_.at_positions().positions.rr_head
for row, place in zip(stc.data, positions, strict=True):
    k = np.linalg.norm(places - place, axis=1).argmin()
    ax.plot(frequencies, 1e18 * row, label=names[k])
ax.set(xlabel="Frequency (Hz)", ylabel="Power (nAm², in MNE's scale of a csd)")
ax.legend(frameon=False)

# %%
# Sources as channels
# -------------------
# ``to_epochs`` (and ``to_raw``, ``to_evoked``) gives a channel per source: its moment along the
# axis in which it is strongest. What leaks from one source into the estimate of another is known,
# since the filter and the fields are, and is taken out:
channels = every.to_epochs(epochs)
print(channels.ch_names, channels.get_channel_types())
every.leakage().round(3)

# %%
# Any method that takes MNE's epochs takes these.
connectivity = spectral_connectivity_epochs(
    channels, method="coh", fmin=8.5, fmax=11.5, faverage=True
)
coherence = connectivity.get_data("dense")[..., 0]
order = [
    int(np.linalg.norm(every.filter_.positions.rr_head - p, axis=1).argmin())
    for p in places
]
coherence = (coherence + coherence.T)[np.ix_(order, order)] + np.eye(3)
figure, ax = plt.subplots(figsize=(4.6, 3.8), layout="constrained")
image = ax.imshow(coherence, vmin=0, vmax=1)
ax.set(xticks=range(3), yticks=range(3), yticklabels=names)
ax.set_xticklabels([name.split(",")[0] for name in names])
for i in range(3):
    for j in range(3):
        ink = "white" if coherence[i, j] < 0.5 else "black"
        ax.text(
            j, i, f"{coherence[i, j]:.2f}", ha="center", va="center", c=ink
        )
figure.colorbar(image, ax=ax, label="Coherence at 10 Hz")

# %%
# The first and the second share half of their power, which is a coherence of 0.71; with the third
# there should be none. Sensors could not have told: each sees all three.

# %%
# In time and frequency
# ---------------------
# A complex decomposition (``output="complex"``) keeps the phase. It can be fitted like a
# cross-spectral density, and the sources have one of their own:
tfr = epochs[:40].compute_tfr(
    "morlet", freqs=[10.0, 20.0], n_cycles=5, output="complex"
)
own = every.apply_tfr(tfr)
power = np.square(np.abs(own.data)).mean((0, 3))
for k, name in zip(order, names, strict=True):
    print(f"{name}: {power[k, 0] / power[k, 1]:.1f} times as much at 10 Hz")

# %%
# What to watch out for
# ---------------------
# - **The noise must be of the same frequencies**, from an empty room or a baseline. A noise
#   covariance can stand for it: it tells the pattern of the noise, its level is learnt.
# - Background activity of the brain is in no empty room. What stands out of it is a source here.
# - Coherence between sources is as good as their places. A source that is not found leaks into the
#   channels of those that are, and makes them coherent.
# - The model takes all phases between sources for as likely: the imaginary part of the density
#   is not used to find them.
