r"""
Add your own method to the comparison
=====================================

You have an inverse method and want to know how it compares. Write one function from data to an
estimate, register it, and everything that compares methods knows it: :func:`meg_vae.compare`,
benchmarks and reports. As an example, the simplest method that could work: **correlate every
column of the lead field with the data, and take the best few.**
"""

# %%
import mne
import numpy as np

from meg_vae import compare, datasets
from meg_vae.comparison import METHODS, array_method, register

mne.set_log_level("warning")

# %%
# The method
# ----------
# A method is a function of whitened arrays, as MNE's custom solvers are: ``Phi``, shape
# ``(n_channels, n_dipoles)``, with the ``n_orient`` dipoles of a position adjacent, and the data
# ``X``, whose noise has variance 1. It gives the activity ``U`` of some dipoles in A·m, and the
# mask of those dipoles. The number of averages is in the whitening, so that no method can treat it
# differently from the others.
#
# :func:`~meg_vae.comparison.register` enters it. The entry says what a reader of the comparison
# must know: the unit, whether it names few places, the settings it runs with, and what it is told
# of the truth. Three sources is a setting here, the same for all data; a method that is told the
# *true* number would have to say so in ``oracle``.


@register(
    "best_columns",
    "Best columns",
    family="Sparse",
    unit="A·m",
    sparse=True,
    knobs="three positions, whatever the data are; greedy, refitted after each",
    reference="This tutorial; Mallat & Zhang (1993), IEEE Trans. Signal Process. 41:3397",
)
@array_method()
def best_columns(Phi, X, n_orient, n_best=3):
    """Fit the data by the positions whose lead fields explain most of them, one after the other."""
    blocks = Phi.T.reshape(-1, n_orient, len(X))
    bases = np.linalg.svd(blocks, full_matrices=False)[
        2
    ]  # of the field space of each position

    active = np.zeros((len(blocks), n_orient), bool)
    residual = X
    for _ in range(n_best):
        explained = np.linalg.norm(bases @ residual, axis=(1, 2))
        active[explained.argmax()] = True
        columns = Phi[:, active.ravel()]
        U = np.linalg.lstsq(columns, X, rcond=None)[0]
        residual = X - columns @ U
    return U, active.ravel()


# %%
# Compare
# -------
case = datasets.template_recording(
    n_sources=3, snr_db=5, spacing="oct6", random_state=2
)
forward = datasets.template("ico3").forward
methods = ["vae", "best_columns", "sloreta", "zeros", "random"]
result = compare(
    case.evoked, forward, case.noise_cov, methods, truth=case.truth
)
columns = [
    "title",
    "n_sources",
    "localization_error_mm",
    "hit_rate",
    "false_positives",
    "seconds",
]
result.table[columns].round(2)

# %%
# The last two rows are *null methods*: finding nothing, and guessing. Any method worth its name is
# well away from both, and a score by which it is not is no good score.
shown = {
    name: result.estimates[name] for name in ("vae", "best_columns", "sloreta")
}
print(
    {
        METHODS[name].title: estimate.data.shape
        for name, estimate in shown.items()
    }
)
result.plot(subjects_dir=case.subjects_dir, views=("lateral", "medial")).show()

# %%
# A setting that happens to be right
# ----------------------------------
# Three sources went in, and three is what the new method always names. That is luck, not merit. On
# noise it names three as well:
noise = datasets.template_recording(
    n_sources=0, spacing="ico3", random_state=2
)
nothing = compare(
    noise.evoked,
    noise.forward,
    noise.noise_cov,
    ["vae", "best_columns"],
    truth=[],
)
nothing.table[["title", "n_sources", "false_positives"]]

# %%
# A benchmark of many conditions and seeds takes the same name in its protocol, see
# ``meg-vae benchmark --help``. To keep the method for good, put the function into a file of
# ``meg_vae/comparison/methods``.
#
# A method that needs MNE's own objects goes without ``@array_method()``: it is handed ``evoked``,
# ``forward``, ``noise_cov``, ``loose`` and ``rank``, and returns a source estimate, a list of
# dipoles, or :class:`~meg_vae.comparison.Sources`.
#
# What to watch out for
# ---------------------
# - **Do not use what the others do not get.** The seed, the true places, a tuned setting per
#   condition: a comparison with any of them is not one.
# - Do not change the inputs in place; they are the next method's inputs too.
# - Name *no* dipole where nothing is found. That has a defined score, and an exception is a row
#   with an error.
# - A source estimate of free or loose dipoles must be a vector estimate, or explained variance
#   cannot be computed from it.
# - A method that needs a package which may be missing says so in ``package`` and ``module``, and is
#   then skipped with a reason.
