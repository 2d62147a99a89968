r"""
Why the minima are good
=======================

A variational autoencoder with the decoder :math:`x = Φ\,diag(w_x)\,z` has, under stated
conditions, no bad local minimum: wherever its training ends, it has found the sparsest explanation
of the data (D. Wipf, "Marginalization is not Marginal", ICML 2023). The same model without the
marginalisation, a deterministic autoencoder with any row-sparsity penalty, has many.

Eight figures show it, each made by a script of the folder ``scripts`` that can be run again with
``python scripts/talk_recovery.py`` and so on (``--quick`` for a small version in under a minute).
They are drawn here from the tables that those scripts wrote, and every number below them is
computed from these tables, so that text and measurement cannot disagree. A small part of each is
computed anew.
"""

# %%
import sys
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch

from meg_vae import SparseVAE

here = (
    Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
)
root = here if (here / "scripts").is_dir() else here.parent
sys.path.insert(0, str(root / "scripts"))

import talk_common  # noqa: E402
import talk_decoders  # noqa: E402
import talk_dimensions  # noqa: E402
import talk_meg  # noqa: E402
import talk_meg_data  # noqa: E402
import talk_meg_methods  # noqa: E402
import talk_minima  # noqa: E402
import talk_pca  # noqa: E402
import talk_places  # noqa: E402
import talk_places_data  # noqa: E402
import talk_places_fits  # noqa: E402
import talk_recovery  # noqa: E402
import talk_smoothing  # noqa: E402

torch.set_num_threads(1)  # the problems are small
mne.set_log_level("error")
pd.set_option(
    "display.width", 120, "display.max_columns", 20, "display.precision", 3
)

# %%
# 1. A linear decoder learns PCA
# ------------------------------
# **The talk claims** that with a free linear decoder and a learnt λ the VAE is probabilistic PCA,
# without a bad minimum. **Seen:** the decoder spans the principal subspace, λ is the mean of the
# discarded eigenvalues (middle and left), and of 20 latents on noiseless data of rank 5 exactly 5
# are active, while the others have the variance 1 of the prior (right). **Where it stops:** with
# noise, a superfluous latent takes the next noise eigenvalue instead of going away, as in
# probabilistic PCA. On noiseless data λ has to be lowered step by step: learnt from the start, it
# reaches its floor before all superfluous latents have gone, and the last ones go very slowly.
table = talk_common.show("talk_pca", talk_pca.draw)

# %%
fits = table.drop_duplicates(["data", "n_latents", "seed"])
noisy, clean = (
    fits[fits["data"] == "noisy"],
    table[table["data"] == "noiseless"],
)
off = (
    (noisy["noise_variance"] / noisy["mean_discarded_eigenvalue"] - 1)
    .abs()
    .max()
)
idle = clean[clean["direction"] > clean["rank"]]["posterior_variance"]
print(
    f"{len(noisy)} noisy data sets: largest angle to PCA's subspace {noisy['angle_rad'].max():.1e}"
)
print(f"λ from the mean discarded eigenvalue: at most {100 * off:.1e} % off")
print(
    f"noiseless: active latents {clean['n_active'].unique()}, others' variance {idle.min():.4f} up"
)

fit = talk_pca.fit(talk_pca.low_rank_data(20, 400, 5, 0.3, seed=0), 5, seed=0)
print(
    f"anew: angle {fit['angle']:.1e}, λ {fit['noise_variance']:.5f} = {fit['discarded']:.5f}"
)

# %%
# 2. Active latents count dimensions
# ----------------------------------
# **The talk claims** that on data from a manifold of dimension r an optimal VAE of any decoder that
# can represent it reconstructs without error with r active latents, and leaves the rest at N(0, 1).
# **Seen:** the active latents have a posterior variance far below 1 and the others 1 (left), so
# that their number is a clear estimate of r (middle), right in nearly all manifolds. **Where it
# stops:** this is training by Adam of networks of 32 units in a layer, not a theorem. The error is
# small but not zero, larger for larger r, and λ is still falling at the end (right), since
# Adam's steps bound how far it gets. Where the estimate is wrong, it is too small: the last
# dimension had not been taken up yet.
table = talk_common.show("talk_dimensions", talk_dimensions.draw)

# %%
fits = table.drop_duplicates(["dimension", "seed"])
fits = fits.assign(right=fits["n_active"] == fits["dimension"])
print(
    fits.groupby("dimension").agg(
        {"right": ["sum", "count"], "residual": "max"}
    )
)

X = talk_dimensions.manifold(2, 20, 300, 0)
variances, residual, _ = talk_dimensions.posterior_variances(X, 0, n_steps=400)
print("anew, r = 2, posterior variance per latent:", np.round(variances, 3))

# %%
# 3. Row-sparse recovery
# ----------------------
# **The talk claims** that from X = ΦU the VAE recovers up to d − 1 nonzero rows where the row norms
# are spread and there are enough samples, and that no autoencoder of the same capacity does,
# whatever its penalty. **Seen:** with n = d the VAE is right up to d − 1 rows, by the exact solver
# and by gradient training. The twins fail well before, though they are annealed alike, keep the
# best of five starts, and may choose one of two decoder penalties by the truth; the lasso and
# matching pursuit, which are told how many rows there are, fail too. **Where it stops:** at ρ₀ = d
# nothing tells the solution from another basis, and it is hardly ever found. With fewer samples the
# VAE's reach shrinks, and with a single one the theorem says nothing: there the twins recover more
# than the VAE. With equal norms the twins hold out longer than with spread ones.
table = talk_common.show("talk_recovery", talk_recovery.draw)

# %%
keys = ["row_norms", "n_samples", "method"]
share = table.pivot_table(
    index=keys, columns="n_active", values="recovered", aggfunc="mean"
)
print("share recovered, against ρ₀, at most and at fewest samples:")
print(share.loc[(slice(None), [table["n_samples"].max(), 1]), :])

problem = talk_common.sparse_problem(15, 40, 14, 15, decades=2, seed=0)
for name in ("VAE", "autoencoder, log", "matching pursuit"):
    right = talk_common.recovered(
        talk_recovery.METHODS[name](problem), problem.U
    )
    print(
        f"anew: {name:17s} 14 rows of 15 channels {'' if right else 'not '}recovered"
    )

# %%
# 4. No bad local minima
# ----------------------
# **The talk claims** that in the theorem's regime any minimum of the VAE's energy is the sparsest
# solution. **Seen:** at a fixed small λ, without annealing, every random start of the VAE ends at
# one energy, and at U (shaded columns); nearly every start of the twin ends somewhere else. All are
# trained until their largest relative gradient is tiny, so these are minima and not places where
# training gave up. Annealing does not make the twin's minimum one. **Where it stops:** with few
# samples and equal norms the VAE has bad minima too, and with n = 1 about one for every start. At
# ρ₀ = d there is still one minimum, but it is not U. Equal norms alone did no harm at n = d: the
# theorem's condition on the norms is sufficient, not necessary. What is called a minimum is one
# that a certified second-order descent ends in; plain L-BFGS on log γ can stall where rows have
# been switched off too early, which is no minimum of the energy in γ.
table = talk_common.show("talk_minima", talk_minima.draw)

# %%
cells = table.groupby(["inside", "regime", "method"], sort=False)
counts = table.groupby(["inside", "regime", "method", "problem"], sort=False)[
    "energy"
]
minima = (
    counts.agg(talk_minima.n_minima)
    .groupby(level=[0, 1, 2], sort=False)
    .mean()
)
print(
    pd.DataFrame({"minima": minima, "share right": cells["recovered"].mean()})
)
print(
    f"largest relative gradient at the end: {table['certificate'].max():.1e}"
)

problem = talk_common.sparse_problem(15, 40, 10, 15, decades=2, seed=0)
log = talk_minima.TWINS["autoencoder, log"]
vae = [talk_minima.vae_from(problem, seed) for seed in range(4)]
twin = [talk_minima.twin_from(problem, seed, **log) for seed in range(4)]
print(
    "anew, VAE: ",
    [
        f"{end.energy:.3f} {'right' if end.recovered else 'wrong'}"
        for end in vae
    ],
)
print(
    "anew, twin:",
    [
        f"{end.energy:.3f} {'right' if end.recovered else 'wrong'}"
        for end in twin
    ],
)

# %%
# 5. Selective smoothing
# ----------------------
# **The talk claims** that marginalising smooths the energy where its minima are bad and not where
# they are good. **Seen:** on the line from a bad minimum of the twin to the truth (upper row) the
# twin has a well at both ends, and the smaller λ, the deeper; the VAE has a slope at the one and a
# well at the other, at every λ. The plane (lower row) shows the same. From each of twenty bad
# minima the twin's energy has to rise before it falls, and the VAE's never does (right). **Where
# it stops:** these are straight ways in a space of many dimensions; that no other way is blocked
# is what the starts above speak for. A twin that is rounded off at the level of λ loses its bad
# wells too when λ is large, which is why annealing helps it.
table = talk_common.show("talk_smoothing", talk_smoothing.draw)

# %%
barriers = table[table["part"] == "barrier"].groupby("noise_variance")
print("barriers between bad minima and the truth, nats × 2 per sample:")
print(barriers[["autoencoder", "VAE"]].agg(["min", "max"]))

# %%
# 6. Neuromagnetic sources
# ------------------------
# **The talk claims** that the theorem asks nothing of Φ but that any d columns are independent, so
# that even the coherent columns of a lead field will do. **Seen:** with 102 magnetometers and no
# noise the VAE finds every source of the table below whose orientation is known. At 20 dB its
# error is at most that of every other: of the mixed norms at the best of a few alphas, the
# twin at the best of three penalties (all chosen by the truth), sLORETA, and gamma-MAP, which are
# told the noise level. **Where it stops:** where the orientation is known, gamma-MAP ties with the
# VAE, as it must: at its optimum the linear VAE's energy *is* the sparse Bayesian likelihood. Where
# it is unknown and sources are many the VAE is ahead because it learns a full covariance for each
# position and takes out sources without evidence, while MNE's gamma-MAP has one variance for
# three components, and a rule that does not quite minimise its own energy. As the
# noise grows that lead can be lost: the VAE then leaves sources out for want of evidence, which
# the error counts with 100 mm.
table = talk_common.show("talk_meg", talk_meg.draw)

# %%
mean = table.pivot_table(
    index=["orientation", "snr_db", "n_sources"],
    columns="method",
    values="error_mm",
)
print(
    f"mean localization error in mm, {table['seed'].nunique()} recordings a condition:"
)
print(mean[list(talk_meg_methods.METHODS)].round(1))

for orientation in talk_meg_data.ORIENTATIONS:
    case = talk_meg_data.make_case(5, 20.0, 1, orientation)
    for name in ("VAE", "gamma-MAP", "sLORETA"):
        result = talk_meg_data.score(
            case, talk_meg_methods.METHODS[name](case)
        )
        print(
            f"anew, orientation {orientation}: {name:9s} error {result['error_mm']:.1f} mm"
        )

# %%
# 7. More complex decoders
# ------------------------
# **The talk claims** that the one-layer decoder is a step towards deeper ones. **Seen:** with
# Gaussian rows at 30 dB, a decoder with a learnt monotone f(z) and one with a hidden layer before Φ
# keep exactly the right rows, as the linear one does, as long as they are few. **Where it stops:**
# nothing is proved here, and little holds. With many rows all but the warped decoder keep some
# spurious ones. With rows that are far from Gaussian, sinh(2z), the nonlinear decoders, which could
# represent them, are worse than the linear one with the exact encoder, which is the wrong model:
# the hidden layer keeps many spurious rows. The fault is in the training (Adam, a linear encoder)
# as much as in the energy, and this experiment cannot tell the two apart.
table = talk_common.show("talk_decoders", talk_decoders.draw)

# %%
share = table.pivot_table(
    index=["bend", "n_active"], columns="decoder", values="right"
)
print(
    f"share with exactly the right rows, of {table['seed'].nunique()} problems each:"
)
print(share[list(talk_decoders.DECODERS)])

problem = talk_decoders.make_problem(3, 0.0, seed=0)
norms = talk_decoders.row_norms(problem, "warped f(z)", seed=0)
kept = np.flatnonzero(norms > talk_decoders.KEPT * norms.max())
print(
    "anew, warped f(z): keeps rows",
    kept,
    "of the true",
    np.flatnonzero(problem.U.any(axis=1)),
)

# %%
# 8. Places that slide
# --------------------
# **The talk's claim is about a fixed Φ.** Here its columns slide along a line: the decoder stays
# linear in z, but not in the places. **Seen:** from the certified minimum on a grid, the VAE's
# places slide to the true ones, one source for each, in every problem. On the grid itself both
# models need two to eight positions for a source, since no column is right. **Where it stops:**
# from random starts marginalising gains nothing. In no condition is the VAE right more often than
# the twin with free places, often less, and with a narrow kernel both end in several minima. What
# decides is whether some place starts within a kernel's reach of every source: with many places or
# a wide kernel both are nearly always right. A likely reason for the VAE's lag is that a latent
# that is switched off has no pull on its place, while the twin's rounding keeps its rows, and so
# its places, moving. Some descents of the VAE stall, mostly with λ held low from the start, and are
# counted where they are. The full grid finds the sources, and sliding gives them their places.
table = talk_common.show("talk_places", talk_places.draw)

# %%
share = table.pivot_table(
    index=["sweep", "width", "n_sources"],
    columns="method",
    values="recovered",
)
print("share with all places exact and none beside:")
print(share[[name for name in talk_places.LINES if "free" in name]])
stalled = table[table["certificate"] > 1].groupby("method").size()
print("descents that stalled:")
print(stalled)

line = talk_places_data.make_line(0.05, 3, 40, 20, seed=0)
for name, end in talk_places_fits.on_grid(line):
    print(
        f"anew, three sources: {name:40s} reports {end.n_found}, worst place off by "
        f"{end.error:.1e} widths"
    )

# %%
# And where there is nothing to find
# ----------------------------------
# Data without sparse structure give no sparse answer: on noise alone no source has evidence.
rng = np.random.default_rng(0)
Phi, noise = rng.standard_normal((60, 300)), rng.standard_normal((60, 40))
print(
    "sources in noise:",
    int(SparseVAE(min_log_evidence=10.0).fit(Phi, noise).active_.sum()),
)

# %%
# What to watch out for
# ---------------------
# - **The theorem is about noiseless data** (λ → 0) with about as many samples as channels and row
#   norms that are not all alike. With noise the VAE is a well-founded heuristic: look at the
#   evidence of a source, not only at its amplitude.
# - **One sample is not enough.** At n = 1 the VAE has as many bad minima as anybody, and recovers
#   fewer rows than a twin with a logarithm. Give it a window, not a moment.
# - **ρ₀ < d is a wall**, for every method: as many sources as channels can hardly ever be told from
#   another set of as many.
# - **It is the energy that is good, not the autoencoder.** gamma-MAP and Champagne seek the same
#   optimum. What a solver adds is to reach it, and a certificate that says so.
# - **Lower λ step by step** on noiseless data (``noise_variance="anneal"``): learnt or started too
#   low, it freezes what has not settled yet.
# - **Free places have no such guarantee**: start them from the minimum on a grid.
# - **Deeper decoders have no such guarantee**, here or elsewhere: check what they keep.
