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
from meg_vae.comparison import METHODS, Method, register
from meg_vae.meg.leadfield import make_leadfield, whiten

mne.set_log_level("warning")

# %%
# The method
# ----------
# A method is handed the data, the forward model and the noise covariance. By then ``evoked.nave``
# is 1 and the covariance is that of the average, so that no method can treat it differently from
# the others. It returns MNE's source estimate: here a vector estimate, because dipoles are loose.
#
# Whitened arrays are one call away: ``Phi`` is the whitened lead field, with the dipoles of a
# position adjacent, and ``X`` the whitened data.


def best_columns(evoked, forward, noise_cov, *, loose, rank, n_best=3):
    """Fit the data by the positions whose lead fields explain most of them, one after the other."""
    leadfield = make_leadfield(
        forward, evoked.info, noise_cov, nave=1, loose=loose, rank=rank
    )
    X = whiten(evoked, leadfield.whitener, leadfield.ch_names, nave=1)
    Phi, n_orient = leadfield.Phi, leadfield.n_orient
    blocks = Phi.T.reshape(leadfield.n_positions, n_orient, -1)
    bases = np.linalg.svd(blocks, full_matrices=False)[
        2
    ]  # of the field space of each position

    chosen, residual = [], X
    for _ in range(n_best):
        explained = np.linalg.norm(bases @ residual, axis=(1, 2))
        chosen.append(int(explained.argmax()))
        columns = (
            np.array(chosen)[:, None] * n_orient + np.arange(n_orient)
        ).ravel()
        activity = np.linalg.lstsq(Phi[:, columns], X, rcond=None)[0]
        residual = X - Phi[:, columns] @ activity

    order = np.argsort(chosen)
    U = (leadfield.weights[columns, None] * activity).reshape(
        n_best, n_orient, -1
    )[order]
    return as_estimate(leadfield.forward, np.array(chosen)[order], U, evoked)


def as_estimate(forward, index, U, evoked):
    """Put the activity of a few positions into MNE's source estimate."""
    src = forward["src"]
    ends = np.cumsum([0] + [space["nuse"] for space in src])
    vertices = [
        space["vertno"][
            index[(index >= low) & (index < low + space["nuse"])] - low
        ]
        for space, low in zip(src, ends, strict=False)
    ]
    tmin, tstep = evoked.times[0], 1 / evoked.info["sfreq"]
    if U.shape[1] == 1:
        return mne.SourceEstimate(
            U[:, 0], vertices, tmin, tstep, subject=src[0]["subject_his_id"]
        )
    axes = forward["source_nn"].reshape(len(forward["source_rr"]), 3, 3)[index]
    vectors = np.einsum("gak,gat->gkt", axes, U)
    return mne.VectorSourceEstimate(
        vectors, vertices, tmin, tstep, subject=src[0]["subject_his_id"]
    )


# %%
# Register it
# -----------
# The entry says what a reader of the comparison must know: the unit, whether it names few places,
# the settings it runs with, and what it is told of the truth. Three sources is a setting here, the
# same for all data; a method that is told the *true* number would have to say so in ``oracle``.
register(
    Method(
        name="best_columns",
        title="Best columns",
        family="Sparse",
        unit="A·m",
        sparse=True,
        knobs="three positions, whatever the data are; greedy, refitted after each",
        reference="This tutorial; Mallat & Zhang (1993), IEEE Trans. Signal Process. 41:3397",
        run=best_columns,
    )
)

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
# ``meg_vae/comparison/methods`` and register it there.
#
# What to watch out for
# ---------------------
# - **Do not use what the others do not get.** The seed, the true places, a tuned setting per
#   condition: a comparison with any of them is not one.
# - Do not change the inputs in place; they are the next method's inputs too.
# - Return the *empty* estimate where nothing is found. It has a defined score, and an exception is
#   a row with an error.
# - With free or loose dipoles return a vector estimate, or explained variance cannot be computed
#   from it.
# - A method that needs a package which may be missing says so in ``package`` and ``module``, and is
#   then skipped with a reason.
