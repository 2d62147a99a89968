r"""
Sources on the cortex
=====================

A table says where the sources are; a picture lets others see it. **Which picture answers which
question?** Each one here is a single call, needs no display, and can be written as PNG, turned by hand
in a notebook, or saved as one HTML file that opens anywhere without a network.
"""

# %%
import tempfile
from pathlib import Path

import mne
from mne.minimum_norm import apply_inverse, make_inverse_operator

from meg_vae import VAEInverse, datasets, viz

mne.set_log_level("warning")

case = datasets.template_recording(n_sources=4, snr_db=5, spacing="oct5", random_state=6)
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
# Any column can colour the spheres (``peak_nAm``, ``sd_nAm``, ``peak_s``, ``log_evidence``), and another one
# can size them. Two views are often enough.
inverse.plot_sources(color_by="peak_s", size_by="peak_nAm", views=("lateral", "medial")).show()

# %%
# Where exactly: the folded surfaces and the glass brain
# ------------------------------------------------------
# Inflation moves things apart that are close. On the white or pial surface a source lies where it is,
# or, if it is in a sulcus, is drawn at its mouth; in the glass brain every source is at its own place in
# the depth.
inverse.plot_sources(surface="pial", views=("lateral", "dorsal")).show()

# %%
inverse.plot_sources(surface="glass", truth=case.truth, trans=case.trans).show()

# %%
# Beside a map
# ------------
# Distributed methods give a value everywhere. Here sLORETA of the same data is painted on the cortex, with
# what is below half of its largest value left out, beside the sparse estimate.
operator = make_inverse_operator(case.evoked.info, case.forward, case.noise_cov)
sloreta = apply_inverse(case.evoked, operator, lambda2=1 / 9, method="sLORETA")
viz.plot_comparison(
    {"VAE": inverse.apply(case.evoked), "sLORETA": sloreta},
    subject=case.subject,
    subjects_dir=case.subjects_dir,
    truth=case.truth,
    trans=case.trans,
    views=("lateral", "medial"),
    threshold=50,
).show()

# %%
# For a paper, and for a colleague
# --------------------------------
# ``save_picture`` writes the still, ``save_page`` a page with the brain to turn: one file, nothing loaded
# from anywhere.
with tempfile.TemporaryDirectory() as folder:
    still = viz.save_picture(inverse.plot_sources(), Path(folder) / "sources.png")
    page = viz.save_page(inverse.plot_sources(), Path(folder) / "sources.html")
    for fname in (still, page):
        print(f"{fname.name}: {fname.stat().st_size / 2**20:.1f} MiB")

# %%
# What to watch out for
# ---------------------
# - **A sphere has a size so that it can be seen.** It says nothing about the extent of the active cortex,
#   and little about where else the source might be: that is what confidence ellipsoids are for
#   (:doc:`60_evidence`).
# - A picture of an empty estimate says "no source". It does not mean that the cortex was silent.
# - The threshold of a map is a choice, and a different one gives a different picture. State it.
# - On the inflated surface neighbours across a sulcus are far apart. Measure distances on the white surface
#   or in the volume.
# - Left is left: views from above have the nose up, those from below have the nose up and left and right
#   exchanged, as they are labelled.
