r"""
What the sensors can see: the lead field
========================================

Before asking where a response came from, ask the opposite question: **if this bit of cortex were
active, what would the sensors measure?** The answer for every bit of cortex at once is the *lead
field*, a matrix with a row for each sensor and a column for each dipole. MNE calls it the gain and
computes it from three things that you have after a recording:

- an :class:`~mne.Info`: where the sensors are, in the coordinates of the head;
- a *BEM* solution: how the tissues conduct, from the MRI;
- a *transform* between the two: how the head lay in the scanner.

Here all three come from the template head, which needs no download. With your own files the same
four lines do the work.
"""

# %%
import matplotlib.pyplot as plt
import mne
import numpy as np
from scipy.spatial.distance import pdist

from meg_vae import datasets, viz
from meg_vae.meg.leadfield import make_leadfield

mne.set_log_level("warning")

head = datasets.template("ico3")
print(head.info)
print(head.src)
print(head.bem)
print(head.trans)

# %%
# From the three to a lead field
# ------------------------------
# ``mindist`` leaves out positions that are so close to the inner skull that the boundary elements
# model them badly.
forward = mne.make_forward_solution(
    head.info,
    trans=head.trans,
    src=head.src,
    bem=head.bem,
    meg=True,
    eeg=False,
    mindist=5.0,
)
print(forward)

# %%
# Three columns belong to each position, one for each direction in which current could flow.
# Pyramidal cells stand across the cortical sheet, so the direction along the normal matters most;
# ``convert_forward_solution`` turns the columns that way and can keep that one alone.
fixed = mne.convert_forward_solution(forward, surf_ori=True, force_fixed=True)
gain = fixed["sol"]["data"]
print(f"{gain.shape[0]} sensors, {gain.shape[1]} positions")

# %%
# What one source looks like
# --------------------------
# A column is a field map. This is the cortex that is seen best by the magnetometers, with a current
# of 10 nA·m: a pair of hills of opposite sign, with the source between them.
magnetometers = mne.pick_types(fixed["info"], meg="mag")
strongest = np.linalg.norm(gain[magnetometers], axis=0).argmax()
field = mne.EvokedArray(10e-9 * gain[:, [strongest]], head.info)
figure, axes = plt.subplots(
    1, 4, figsize=(8, 3), width_ratios=(12, 0.5, 12, 0.5), layout="constrained"
)
field.plot_topomap(
    times=0, ch_type="mag", axes=axes[:2], show=False, time_format=""
)
field.plot_topomap(
    times=0, ch_type="grad", axes=axes[2:], show=False, time_format=""
)
axes[0].set_title("Magnetometers")
axes[2].set_title("Gradiometers (RMS of each pair)")

# %%
# Which cortex is seen at all
# ---------------------------
# The length of a column says how much a current there is worth to the sensors. Deep cortex and the
# crowns of the gyri, whose normals point at the helmet, are hard to see: a source there must be
# strong before MEG says anything about it. **No inverse method repairs this.**
sensitivity = mne.sensitivity_map(fixed, ch_type="mag", mode="fixed")
viz.plot_comparison(
    {"sensitivity": sensitivity},
    subject=head.subject,
    subjects_dir=head.subjects_dir,
    look=viz.Look(views=("lateral", "medial"), threshold=25),
).show()

# %%
# How alike two places look
# -------------------------
# Sources can be told apart only as far as their columns differ. Whiten the lead field, that is,
# express it in units of the noise, and compare the columns of all pairs of positions. In the talk's
# words this is Φ, the decoder of the autoencoder; in whitened data noise has variance 1.
noise_cov = mne.make_ad_hoc_cov(head.info)
leadfield = make_leadfield(forward, head.info, noise_cov, nave=1, loose=0.0)
unit = leadfield.Phi / np.linalg.norm(leadfield.Phi, axis=0)
likeness = np.abs(unit.T @ unit)[np.triu_indices(unit.shape[1], 1)]
distance = 1e3 * pdist(fixed["source_rr"])

edges = np.arange(0, 81, 5)
bins = [
    likeness[(distance > low) & (distance <= low + 5)] for low in edges[:-1]
]
low, middle, high = np.array(
    [np.percentile(part, (5, 50, 95)) for part in bins if len(part)]
).T
centres = np.array(
    [edge + 2.5 for edge, part in zip(edges, bins, strict=False) if len(part)]
)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.fill_between(
    centres, low, high, alpha=0.3, label="5 % to 95 % of the pairs"
)
ax.plot(centres, middle, label="median")
ax.set(
    xlabel="Distance of two sources (mm)",
    ylabel="|Correlation| of their fields",
    ylim=(0, 1.02),
)
ax.legend()

near = bins[np.flatnonzero([len(part) for part in bins])[0]]
print(
    f"closest pairs (below {centres[0] + 2.5:g} mm): {100 * np.mean(near > 0.9):.0f} % above 0.9"
)
print(f"all pairs: {100 * np.mean(likeness > 0.9):.2f} % above 0.9")

# %%
# Some neighbours are nearly indistinguishable, and others, on two sides of a sulcus, are opposite.
# This coherence is what makes the inverse problem hard, and why "sparsest" is a demanding thing to
# ask for.
#
# With your own recording
# -----------------------
# .. code-block:: python
#
#     info = mne.io.read_info("sub-01_meg.fif")
#     trans = mne.read_trans("sub-01-trans.fif")  # from mne.gui.coregistration
#     src = mne.setup_source_space("sub-01", "oct6", subjects_dir=subjects_dir)
#     model = mne.make_bem_model("sub-01", conductivity=(0.3,), subjects_dir=subjects_dir)
#     bem = mne.make_bem_solution(model)
#     forward = mne.make_forward_solution(info, trans, src, bem, meg=True, eeg=False, mindist=5.0)
#     mne.write_forward_solution("sub-01-fwd.fif", forward)
#
# or in the shell, from files:
#
# .. code-block:: console
#
#     $ meg-vae forward --info X-ave.fif --trans X-trans.fif --src X-src.fif \
#         --bem X-bem-sol.fif -o X-fwd.fif
#
# What to watch out for
# ---------------------
# - **Look at the alignment** (:func:`mne.viz.plot_alignment`) before anything else. A transform
#   that is wrong by some millimetres gives confident sources in the wrong place. :doc:`60_evidence`
#   shows how evidence can compare transforms.
# - One shell (the inner skull) is enough for MEG; EEG needs three, and their conductivities.
# - The source space decides what can be answered. With spacing ico3, as here, positions are 10 mm
#   apart, which is good for a tutorial; use oct6 or finer for research.
# - Fixed orientation trusts the surface normals. A source a few millimetres from its grid point can
#   have a normal tens of degrees away, so ``meg_vae`` takes ``loose="auto"`` as MNE does.
# - The template's helmet is a model of a 306-channel array, not a measured layout.
