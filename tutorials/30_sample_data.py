r"""
Auditory and visual responses of MNE's sample subject
=====================================================

Simulations know the truth. Here are real responses whose sources everybody agrees on: tones to one
ear reach both auditory cortices, first and strongest the opposite one, and a checkerboard in one
half of the visual field reaches the visual cortex on the other side. Does the fit find them there?

The data are those of MNE's sample dataset. Where it is not installed this page says how to get it;
with the environment variable ``MEG_VAE_SAMPLE`` it can be a folder of your own.
"""

# %%
import mne
import numpy as np
import pandas as pd

from meg_vae import VAEInverse, datasets, viz

mne.set_log_level("warning")

WINDOWS = {  # s: around the first large response
    "Left Auditory": (0.07, 0.13),
    "Right Auditory": (0.07, 0.13),
    "Left visual": (0.08, 0.15),
    "Right visual": (0.08, 0.15),
}
try:
    recordings = {name: datasets.sample(name) for name in WINDOWS}
except FileNotFoundError as missing:
    print(missing)
    recordings = {}

# %%
# The data
# --------
# Evoked responses, low-passed at 40 Hz and corrected for the baseline. The noise covariance was
# computed before each stimulus, and the cortex, the BEM and the transform are the subject's own.
for name, recording in recordings.items():
    evoked = recording.evoked
    print(f"{name}: {len(evoked.ch_names)} channels, {evoked.nave} averages")
    if name == "Left visual":
        evoked.plot_joint(times=[0.085, 0.11, 0.145], picks="grad", title=name)

# %%
# One fit per response
# --------------------
# The window around the response is what is explained. As always, there is nothing to tune. With the
# subject's BEM and transform MNE computes the lead field at every place between the positions;
# without them it would be interpolated.
fits = {}
for name, recording in recordings.items():
    inverse = VAEInverse(subjects_dir=recording.subjects_dir)
    evoked = recording.evoked.copy().crop(*WINDOWS[name])
    fits[name] = inverse.fit(
        evoked,
        recording.forward,
        recording.noise_cov,
        bem=recording.bem,
        trans=recording.trans,
    )

tables = [fit.sources_.assign(condition=name) for name, fit in fits.items()]
columns = [
    "condition",
    "hemi",
    "label",
    "radius_mm",
    "on_wall",
    "peak_nAm",
    "sd_nAm",
    "peak_s",
    "log_evidence",
]
pd.concat(tables)[columns].round(3) if tables else "no data"

# %%
# How far from where they should be
# ---------------------------------
# The dataset brings labels of the auditory and visual cortex, made from the anatomy and known
# responses. The distance from the source of strongest evidence to the middle of the label on the
# side *opposite* to the stimulus:
labels = {}
for name, fit in fits.items():
    side, sense = name.split()
    opposite = "rh" if side == "Left" else "lh"
    subject_dir = recordings[name].subjects_dir / recordings[name].subject
    label = mne.read_label(
        subject_dir / "label" / f"{sense[:3].capitalize()}-{opposite}.label"
    )
    labels[name] = label
    surface, _ = mne.read_surface(subject_dir / "surf" / f"{opposite}.white")
    middle = surface[label.vertices].mean(axis=0)
    strongest = fit.sources_.iloc[0]
    place = strongest[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    print(
        f"{name:15s} {strongest['hemi']} {strongest['label']:25s} "
        f"{np.linalg.norm(place - middle):5.1f} mm from the label in {opposite} "
        f"(95 % radius {strongest['radius_mm']:.0f} mm)"
    )

# %%
# Where a response is small or the averages are few (three for the left ear, in the small copy of
# the dataset that these pages may be built with), a source can be far from where it should be, and
# a weakly seen one can have an implausible amplitude: its evidence is little, its standard
# deviation and its radius are large. On the subject's own cortex, coloured by evidence, with the
# border of the label:
if fits:
    fits["Left visual"].plot_sources(
        color_by="log_evidence",
        size_by="log_evidence",
        title="Left visual",
        look=viz.Look(labels=[labels["Left visual"]]),
    ).show()

# %%
# When, and what is left
# ----------------------
# A filter that was fitted to a window can be applied to the whole response, baseline included. In
# the baseline the sources should be silent.
if fits:
    fits["Left visual"].plot_time_courses(recordings["Left visual"].evoked)

# %%
if fits:
    fits["Left visual"].plot_residual()
    for name, fit in fits.items():
        print(
            f"{name:15s} explained {fit.explained_variance():.0f} %, "
            f"noise variance {fit.noise_variance_:.2f}, certificate {fit.certificate_:.0e}"
        )

# %%
# The learnt noise variance would be 1 if the noise in this window were what the covariance and
# ``nave`` say. Above 1 there is more of it: brain activity that goes on beside the response,
# mostly, which the sources that were kept do not explain.
#
# What to watch out for
# ---------------------
# - **The window matters.** Over a long window a later, stronger response takes over. Fit the window
#   that your question is about.
# - **Amplitude and evidence rank differently.** A current that the sensors hardly see needs a large
#   amplitude to explain a little field. Read both columns, and be wary of amplitudes above 100 nAm.
# - **A radius is no better than the model.** It allows for noise, not for a head that lay elsewhere
#   or for cortex that is active over centimetres, which real responses bring.
# - **Two tones are one test.** Bilateral auditory sources have nearly the same time course, which
#   breaks beamformers and not this; but the weaker side can fall below the threshold.
# - A covariance that was regularised for another method weighs on this one. Here it is regularised
#   by 0.05, as in MNE's own examples.
# - MNE's data page asks that the sample data be used to get to know the software, not to judge the
#   system that recorded them.
