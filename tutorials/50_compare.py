r"""
The same data, many methods
===========================

Which method should you trust? **Give all of them the same data and look.** :func:`meg_vae.compare`
hands every method the same channels, projectors, rank, orientation constraint and noise covariance
(already divided by the number of averages), times it, and scores it where the truth is known.
"""

# %%
import matplotlib.pyplot as plt
import mne
import pandas as pd

from meg_vae import compare, datasets
from meg_vae.comparison import METHODS

mne.set_log_level("warning")

METHODS_TO_SHOW = ["vae", "mxne", "irmxne", "gamma_map", "sloreta", "dspm"]

# %%
# What each one is told
# ---------------------
# A comparison is only as fair as its settings. The registry says for each method which knobs it
# runs with and what it knows beyond the data.
for name in METHODS_TO_SHOW:
    print(f"{METHODS[name].title}: {METHODS[name].knobs}")

# %%
# One recording
# -------------
# Three sources between the positions that are inverted: no method that keeps to these can put a
# source where it really was, and "vae", whose sources lie in and between them, can.
case = datasets.template_recording(
    n_sources=3, snr_db=10, spacing="oct6", random_state=2
)
forward = datasets.template("oct5").forward
result = compare(
    case.evoked, forward, case.noise_cov, METHODS_TO_SHOW, truth=case.truth
)
scores = [
    "title",
    "n_sources",
    "localization_error_mm",
    "hit_rate",
    "false_positives",
    "f1",
    "emd_mm",
]
result.table[scores].round(2)

# %%
# Three sources, three ways to fail: a place that is wrong (``localization_error_mm``, where true
# and found places are paired so that the sum of the distances is least, and a source that is missed
# costs 100 mm), a source that is missed (``hit_rate``), and one that is not there
# (``false_positives``). The earth mover's distance ``emd_mm`` needs no peaks: it is how far the
# whole estimate would have to be carried to lie on the truth, so it sees the spread of a map. Every
# score is defined, with its source, in `meg_vae.comparison.METRICS`.
result.table[
    ["title", "explained_variance", "dispersion_mm", "roc_auc", "seconds"]
].round(2)

# %%
# Side by side
# ------------
# Each row has its own scale, because units differ between methods: dSPM and sLORETA are statistics,
# not currents. Diamonds are the true sources.
result.plot(
    subjects_dir=case.subjects_dir, views=("lateral", "dorsal", "medial")
).show()

# %%
# More noise
# ----------
# The same sources ever deeper in noise. One recording at each level is an anecdote, not a
# benchmark; ``meg-vae benchmark`` runs many seeds and gives intervals.
levels = [10, 0, -5, -10]
rows = []
for snr_db in levels:
    one = datasets.template_recording(
        3, snr_db, spacing="oct6", random_state=2
    )
    table = compare(
        one.evoked,
        forward,
        one.noise_cov,
        ["vae", "irmxne", "sloreta"],
        truth=one.truth,
    ).table
    rows.append(table.assign(snr_db=snr_db))
errors = pd.concat(rows).pivot_table(
    "localization_error_mm", "snr_db", "title", sort=False
)

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for title, marker in zip(errors, "osD", strict=True):
    ax.plot(errors.index, errors[title], marker=marker, label=title)
ax.set(
    xlabel="Signal-to-noise ratio (dB)",
    ylabel="Localization error (mm)",
    ylim=(0, None),
)
ax.legend()
errors.round(1)

# %%
# What to watch out for
# ---------------------
# - **gamma-MAP is the same model.** At its optimum the linear autoencoder's energy is the type-II
#   likelihood, so where the two differ it is because of the noise level, the update rule or the
#   stopping, not because of the model.
# - **Knobs are choices.** MxNE with ``alpha=55`` is a default and not the best for your data;
#   choosing it by the truth would be cheating, choosing it by SURE takes time (``"mxne_sure"``).
# - **Maps and points are scored by one rule, and it leans towards maps**: they are told how many
#   peaks to take. Look at the picture too.
# - Times are of one run on this machine. For ratios measured with care see ``data/benchmarks``.
# - Where the truth is unknown the table still has explained variance and agreement, but explaining
#   more of the data is not being right: noise can be explained too.
