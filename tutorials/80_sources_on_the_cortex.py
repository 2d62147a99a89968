r"""
Sources on the cortex
=====================

A table says where the sources are; a picture lets others see it. **Which picture answers which
question?** Each one here is a single call, needs no display, and can be written as PNG, turned by
hand in a notebook, or saved as one HTML file that opens anywhere without a network.
"""

# %%
import tempfile
from pathlib import Path

import mne
from mne.minimum_norm import apply_inverse, make_inverse_operator

from meg_vae import VAEInverse, datasets, viz

mne.set_log_level("warning")

case = datasets.template_recording(
    n_sources=4, snr_db=-5, spacing="oct5", random_state=6
)
inverse = VAEInverse(subjects_dir=case.subjects_dir)
inverse.fit(case.evoked, case.forward, case.noise_cov)
inverse.sources_.round(2)

# %%
# Where, at a glance: the inflated cortex
# ---------------------------------------
# Dark grey is in a sulcus, light grey on a gyrus. The spheres' colour is the amplitude at the peak;
# diamonds mark the true sources, which a simulation knows.
inverse.plot_sources(truth=case.truth, trans=case.trans).show()

# %%
# When: coloured by the time of the peak
# --------------------------------------
# Any column can colour the spheres (``peak_nAm``, ``sd_nAm``, ``peak_s``, ``log_evidence``), and
# another one can size them. Two views are often enough.
inverse.plot_sources(
    color_by="peak_s", size_by="peak_nAm", views=("lateral", "medial")
).show()

# %%
# Where exactly: the folded surfaces and the glass brain
# ------------------------------------------------------
# A source lies between the vertices of any surface. On a drawn one it stands at the vertex of the
# white surface nearest to it, or, in a sulcus of a folded one, at its mouth. In the glass brain
# every source is at its own place in the depth, and around it is the ellipsoid that holds the place
# with 95 % probability, where that is larger than the mark.
inverse.plot_sources(
    surface="white", views=("lateral", "dorsal"), arrows=True, trans=case.trans
).show()

# %%
# All that says how a picture looks (what is around the brain, borders of regions, sizes, limits of
# the colours, background, window) is one object, a :class:`~meg_vae.viz.Look`, which every function
# that draws the cortex takes:
look = viz.Look(surface="glass", shell="head", views=("lateral", "dorsal"))
inverse.plot_sources(truth=case.truth, trans=case.trans, look=look).show()

# %%
# Or on slices of an MRI. The template has none of its own, so the MNI152 average stands in for it.
inverse.plot_slices(truth=case.truth, trans=case.trans)

# %%
# Beside a map
# ------------
# Distributed methods give a value everywhere, which is painted on the cortex where it is above a
# threshold. Here is sLORETA of the same data at the time of its peak, in its own unit:
operator = make_inverse_operator(
    case.evoked.info, case.forward, case.noise_cov
)
sloreta = apply_inverse(case.evoked, operator, lambda2=1 / 9, method="sLORETA")
peak_time = sloreta.get_peak(time_as_index=False)[1]
viz.plot_estimate(
    sloreta,
    subject=case.subject,
    subjects_dir=case.subjects_dir,
    time=peak_time,
    look=viz.Look(unit="dimensionless", views=("lateral", "medial")),
    title=f"sLORETA at {1e3 * peak_time:.0f} ms",
).show()

# %%
# And both side by side, each relative to its own largest value:
viz.plot_comparison(
    {"VAE": inverse.apply(case.evoked), "sLORETA": sloreta},
    subject=case.subject,
    subjects_dir=case.subjects_dir,
    truth=case.truth,
    trans=case.trans,
    look=viz.Look(views=("lateral", "medial"), threshold=50),
).show()

# %%
# For a paper, and for a colleague
# --------------------------------
# ``save_picture`` writes the still; ``save_page`` a page with the brain to turn, one file that
# loads nothing; ``save_movie`` a movie over time.
with tempfile.TemporaryDirectory() as folder:
    still = viz.save_picture(
        inverse.plot_sources(), Path(folder) / "sources.png"
    )
    page = viz.save_page(inverse.plot_sources(), Path(folder) / "sources.html")
    stc = inverse.apply(case.evoked).crop(0.05, 0.3)
    movie = viz.save_movie(
        stc,
        Path(folder) / "sources.gif",
        subject=case.subject,
        subjects_dir=case.subjects_dir,
        times=stc.times[::5],
    )
    for fname in (still, page, movie):
        print(f"{fname.name}: {fname.stat().st_size / 2**20:.1f} MiB")

# %%
# What to watch out for
# ---------------------
# - **A sphere has a size so that it can be seen.** It says nothing about the extent of the active
#   cortex, or of where else the source might be: that is what the ellipsoids are for
#   (:doc:`60_evidence`).
# - A picture of an empty estimate says "no source". It does not mean that the cortex was silent.
# - The threshold of a map is a choice, and a different one gives a different picture. State it.
# - On the inflated surface neighbours across a sulcus are far apart. Measure distances on the white
#   surface or in the volume.
# - Left is left: views from above have the nose up, those from below have the nose up and left and
#   right exchanged, as they are labelled.
