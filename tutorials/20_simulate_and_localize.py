r"""
If I knew the sources, would I find them?
=========================================

The honest way to get to know an inverse method is to give it data whose sources you know. This
tutorial simulates an evoked response in the template head, finds its sources with
:class:`meg_vae.VAEInverse`, and looks at everything the fit has to say: where, how strong, how
sure, what is left over, and whether the solver is finished.
"""

# %%
import mne
import numpy as np

from meg_vae import VAEInverse, datasets

mne.set_log_level("warning")

# %%
# An evoked response with three sources
# -------------------------------------
# The sources lie at random places of the cortex, *between* the 5,124 positions of the source space,
# because no brain keeps to anyone's grid. Looking for sources on the very positions that they were
# simulated at (``grid="same"``) is called the inverse crime, and flatters.
case = datasets.template_recording(
    n_sources=3, snr_db=10, spacing="ico4", random_state=6
)
case.evoked.plot(gfp=True, spatial_colors=True, time_unit="ms")

# %%
# Fit
# ---
# Three things go in, and there is nothing to tune: no regularisation parameter, no depth weighting,
# no number of sources. ``noise_cov`` is that of single trials; it is divided by ``evoked.nave``.
inverse = VAEInverse(subjects_dir=case.subjects_dir)
inverse.fit(case.evoked, case.forward, case.noise_cov)
inverse.sources_.round(2)

# %%
# Strongest evidence comes first. ``log_evidence`` is what the data would lose, in nats, if that
# source were taken out: a difference of 5 nats means odds of about 150 to 1. ``peak_nAm`` and
# ``sd_nAm`` are the amplitude at the peak and its posterior standard deviation.
#
# ``x_mm``, ``y_mm`` and ``z_mm`` are the place itself: the fit starts from the positions, and then
# lets each source slide to where the data put it (``hemi`` and ``vertno`` name the position that is
# nearest). ``radius_mm`` says how sure the place is: half the longest axis of the ellipsoid that
# holds it with 95 % probability.
#
# Were they found?
# ----------------
# Each true source beside the nearest one that was found, and what the positions alone would allow:
to_mri = mne.transforms.invert_transform(case.forward["mri_head_t"])
true = 1e3 * mne.transforms.apply_trans(
    to_mri, np.array([dipole.pos[0] for dipole in case.truth])
)
found = inverse.sources_[["x_mm", "y_mm", "z_mm"]].to_numpy()
grid = 1e3 * mne.transforms.apply_trans(to_mri, case.forward["source_rr"])
for k, place in enumerate(true):
    gaps = np.linalg.norm(found - place, axis=1)
    radius = inverse.sources_["radius_mm"].iloc[gaps.argmin()]
    possible = np.linalg.norm(grid - place, axis=1).min()
    print(
        f"source {k}: {gaps.min():.1f} mm away, 95 % radius {radius:.1f} mm "
        f"(nearest position {possible:.1f} mm)"
    )

# %%
# Held to the positions, as most sparse methods are, the same model needs several of them for one
# source: neighbours mend what the nearest one cannot explain.
on_grid = VAEInverse(positions="grid").fit(
    case.evoked, case.forward, case.noise_cov
)
print(
    f"{len(case.truth)} true sources: {len(inverse.sources_)} found, "
    f"{len(on_grid.sources_)} on the positions"
)

# %%
# On the cortex, spheres are what was found and diamonds what was there.
inverse.plot_sources(
    truth=case.truth, trans=case.trans, size_by="peak_nAm"
).show()

# %%
# Their time courses, with bands of two posterior standard deviations:
inverse.plot_time_courses()

# %%
# What is left over
# -----------------
# If the sources explain the data, the residual looks like the baseline: noise without a shape.
inverse.plot_residual()
print(f"explained: {inverse.explained_variance():.1f} % of the whitened power")

# %%
# At 10 dB a tenth of the whitened power is noise, so about 91 % is all there is to explain. More
# would be overfitting.
#
# Is the solver finished?
# -----------------------
# The energy never rises, and the *certificate* says how far the answer is from a stationary point
# over **all** positions, not only over those that it kept. That is where the sliding begins. At its
# end ``growth_`` says how much evidence one more source could add, at any place, on the positions
# or between: below 13 nats nothing is missing that would be reported.
inverse.plot_energy()
print(
    f"certificate {inverse.certificate_:.1e}, learnt noise variance {inverse.noise_variance_:.2f}, "
    f"a further source could add {inverse.growth_:.1f} nats"
)

# %%
# Out of the box into MNE
# -----------------------
# The estimate is a sparse :class:`~mne.SourceEstimate`, and the sources are :class:`~mne.Dipole`\ s
# too, so all that MNE can do with them, it can.
stc = inverse.apply(case.evoked)
print(stc)
for dipole in inverse.dipoles():
    best = dipole.amplitude.argmax()
    print(
        f"{1e9 * dipole.amplitude[best]:.0f} nAm at {1e3 * dipole.times[best]:.0f} ms"
    )

# %%
# And if there is nothing to find?
# --------------------------------
# The same recording without sources. A method that answers every question is no use: on noise alone
# the estimate is empty, and a warning says so.
import warnings  # noqa: E402

noise = datasets.template_recording(
    n_sources=0, spacing="oct5", random_state=4
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    empty = VAEInverse().fit(noise.evoked, noise.forward, noise.noise_cov)
print(f"{len(empty.sources_)} sources. Warning: {caught[-1].message}")

# %%
# What to watch out for
# ---------------------
# - Three focal sources, noise that the covariance describes exactly and a perfect head model are
#   the easy case. Real errors of the head model leave structure in the residual, and with enough
#   signal that structure earns evidence of its own.
# - A source may be a patch of cortex: ``extent_mm`` in the table is its radius along the surface, 0
#   for a point, with a 95 % interval.
# - Bands and radii allow for places, orientations and noise that are not known exactly, and take
#   the head and the noise covariance for right: :doc:`60_evidence` sets a bootstrap beside them.
# - Seeds matter: one simulation is an anecdote. :doc:`50_compare` scores methods, and
#   ``meg-vae benchmark`` does it over many conditions and seeds.
