r"""
A study of many subjects
========================

**What do twelve people have in common?** Each has sources of their own, a few millimetres from the
next person's, and one of them has weak data. This page runs a study on recordings that it makes
itself: the template head and eleven that are scaled from it, each lying a little differently in the
helmet.
"""

# %%
import os
import tempfile
from pathlib import Path

import mne
import numpy as np

from meg_vae import VAEInverse, datasets, study, viz

mne.set_log_level("warning")

# %%
# Twelve heads, three sources
# ---------------------------
# Most subjects have each source, about 4 mm (along each axis) from where the group has it. There
# are two conditions; in the second the first source is half as strong again, and the last silent.
# The recordings of the last subject are 25 decibels weaker. The heads are scaled copies of the
# template; folders of FreeSurfer subjects in the folder that ``MEG_VAE_HEADS`` names, if any, are
# the first of them instead.
folder = Path(tempfile.mkdtemp())
files = datasets.simulated_study(
    folder / "data",
    n_subjects=12,
    n_sources=3,
    spread_mm=4.0,
    snr_db=[0.0] * 11 + [-25.0],
    others=[
        surf.parent
        for surf in Path(os.environ.get("MEG_VAE_HEADS", "none")).glob(
            "*/surf"
        )
    ],
    random_state=2,
)
print(files.recordings.read_text()[:200], "...")

# %%
# Run it
# ------
# The table names the files of each recording. Everything in it is checked before any work; a
# subject that fails is told and left out, and a study that was stopped goes on where it was.
# ``n_jobs`` runs several subjects at a time, ``scheduler`` runs them on a cluster
# (:doc:`../studies`).
result = study(
    files.recordings,
    folder / "out",
    conditions=["standard", "deviant"],
    subjects_dir=files.subjects_dir,
    options={"extent": "point", "registration": None},
    n_jobs=2,
)
result.group.round(1)

# %%
# Three sources, each with a place on fsaverage, how far subjects are spread about it, how probable
# it is that a subject has it, and the log evidence that it is one source of the group rather than
# many of single subjects. How far are they from the true ones, and from the mean of the subjects'
# own places?
axes = ["x_mm", "y_mm", "z_mm"]
for row in result.group.itertuples():
    place = np.array([row.x_mm, row.y_mm, row.z_mm])
    gap = np.linalg.norm(files.group[axes].to_numpy() - place, axis=1)
    own = files.truth.query("source == @gap.argmin() and present")[axes]
    mean = np.linalg.norm(own.mean().to_numpy() - place)
    print(f"{gap.min():.1f} mm from the truth, {mean:.1f} mm from the mean")

# %%
# In the glass brain of fsaverage, every subject's sources, and where the next subject's are
# predicted to be:
head = {"subject": "fsaverage5", "subjects_dir": files.subjects_dir}
look = viz.Look(views="dorsal", window_size=(700, 620), threshold=20)
plotter = viz.plot_group(result.sources, result.group, look=look, **head)
plotter.show()

# %%
# Who has which source
# --------------------
# An empty field is a subject without it. The group is a prior of places: where the others have a
# source, less evidence is asked of the next.
viz.plot_presence(result.presence, result.group)
last = result.recordings["subject"].iloc[-1]
weak = result.presence.query("subject == @last")
weak[["source", "present", "distance_mm", "log_evidence", "log_odds"]].round(1)

# %%
# ``log_odds`` are the evidence, and what the other eleven add to it, less the 13 nats that are
# asked of a source. By themselves the data of the weak subject say:
member = result.plan.members[-1]
own = mne.read_evokeds(member.runs[0].evoked)
alone = VAEInverse(extent="point", registration=None, verbose="error").fit(
    own, member.runs[0].forward, member.runs[0].noise_cov
)
print("with the group:", int(weak["present"].sum()), "sources")
print("alone:", len(alone.sources_))

# %%
# What differs between conditions
# -------------------------------
# Amplitudes in both, subject by subject, and the table of contrasts: p is from exchanging the
# conditions within subjects.
viz.plot_amplitudes(result.amplitudes, result.group)
columns = ["source", "what", "n_first", "n_second", "difference", "p"]
result.contrasts[columns].round(3)

# %%
# Maps, and further work
# ----------------------
# The occurrence map says how many subjects have a source nearby; it is an `mne.SourceEstimate`, and
# :meth:`~meg_vae.studies.Study.cluster_test` compares conditions by it with MNE's cluster
# statistics.
stc = result.occurrence()
plotter = viz.plot_estimate(stc, look=look, **head)
plotter.show()
print(sorted(path.name for path in result.folder.glob("*.csv")))

# %%
# The same in the shell, with a report and a page a subject:
#
# .. code-block:: console
#
#     $ meg-vae study recordings.csv --condition standard --condition deviant \
#         --subjects-dir subjects --jobs 2 -o out

# %%
# What to watch out for
# ---------------------
# - Twelve subjects with a spread of 4 mm tell the centre of a group to about 2 mm along its length,
#   however exact each of them is: ``radius_mm`` says so.
# - The spread is what anatomy, its match to fsaverage and function differ by together. Heads here
#   are scaled copies, which match exactly; real ones differ by some millimetres more.
# - That a source is shared needs three subjects that agree closely, or more that agree less: two of
#   twelve are a coincidence.
# - p values are of the subjects that could be fitted, and an amplitude is compared only where the
#   source is active in both conditions.
