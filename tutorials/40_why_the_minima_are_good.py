r"""
Why the minima are good
=======================

A variational autoencoder with the decoder :math:`x = Φ\,diag(w_x)\,z` has, under stated
conditions, no bad local minimum: wherever its training ends, it has found the sparsest explanation
of the data (D. Wipf, "Marginalization is not Marginal", ICML 2023). The same model without the
marginalisation, a deterministic autoencoder with any row-sparsity penalty, has many.

Seven figures show it, each made by a script of the folder ``scripts`` that can be run again with
``python scripts/talk_recovery.py`` and so on (``--quick`` for a small version). Here the committed
figures are shown, and a small part of each is computed anew.
"""

# %%
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from meg_vae import SparseVAE

here = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
root = here if (here / "scripts").is_dir() else here.parent
sys.path.insert(0, str(root / "scripts"))
torch.set_num_threads(1)  # the problems are small
warnings.filterwarnings("ignore", "stopped by max_iter", RuntimeWarning)  # starts that creep


def show(name):
    """Show a committed figure."""
    picture = plt.imread(root / "data" / "talk" / f"{name}.png")
    figure = plt.figure(figsize=(10, 10 * picture.shape[0] / picture.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture)
    axes.axis("off")


# %%
# 1. A linear decoder learns PCA
# ------------------------------
# **The talk:** with a free linear decoder and a learnt λ the VAE is probabilistic PCA, and it has
# no bad minimum either. **Seen:** the decoder spans the principal subspace to better than
# 10\ :sup:`-6` rad, λ is the mean of the discarded eigenvalues, and of 20 latents on noiseless data
# of rank 5 exactly 5 are active; the others have the prior's variance. **Where it stops:** with
# noise, a superfluous latent takes the next noise eigenvalue instead of going away, as in
# probabilistic PCA. On noiseless data λ has to be lowered step by step: learnt from the start, it
# reaches its floor before all superfluous latents have gone, and the last ones go very slowly.
show("talk_pca")

# %%
import talk_pca  # noqa: E402

fit = talk_pca.fit(talk_pca.low_rank_data(20, 400, 5, 0.3, seed=0), 5, seed=0)
print(f"largest angle to PCA's subspace {fit['angle']:.1e} rad")
print(f"λ {fit['noise_variance']:.5f}, mean discarded eigenvalue {fit['discarded']:.5f}")

# %%
# 2. Active latents count dimensions
# ----------------------------------
# **The talk:** on data from a manifold of dimension r an optimal VAE of any decoder that can
# represent it reconstructs without error with r active latents, and leaves the rest at N(0, 1).
# **Seen:** for r = 1, 2, 3 and 5 the count is exact in 4 of 4 manifolds each; active latents
# have a posterior variance below 0.002, the others within a few per cent of 1. **Where it stops:**
# for r = 7 one of 4 manifolds was given 6 dimensions. This is training by Adam of networks of 32
# units in a layer, not a theorem: after 1,500 steps the error is 10\ :sup:`-6` to 10\ :sup:`-2` of
# the power, larger for larger r, and λ is still falling, since Adam's steps bound how far it gets.
show("talk_dimensions")

# %%
import talk_dimensions  # noqa: E402

X = talk_dimensions.manifold(3, 20, 300, 0)
variances, residual, _ = talk_dimensions.posterior_variances(X, 0)
print("posterior variance per latent, r = 3:", np.round(variances, 3))

# %%
# 3. Row-sparse recovery
# ----------------------
# **The talk:** from X = ΦU the VAE recovers up to d − 1 nonzero rows where the row norms are spread
# and there are enough samples; no autoencoder of the same capacity does, whatever its penalty.
# **Seen:** with n = d = 30 the VAE is right in every problem up to 29 rows, by the exact solver and
# by gradient training. The twins, annealed alike, from five starts, with the better of two decoder
# penalties chosen by the truth, fail in some problems of 25 rows and in all of 29, norms spread.
# **Where it stops:** at ρ₀ = d nobody can tell a solution from another basis; with fewer samples
# the VAE's reach shrinks (n = 5: 20 rows), and with a single sample it is no better than the twins
# (at 15 rows of spread norms it solved 1 of 4 problems, the log twin 3). With equal norms the twins
# hold out longer; at 29 rows one of them, and the lasso when told how many rows to keep, are right
# in half of the problems.
show("talk_recovery")

# %%
import talk_common  # noqa: E402
import talk_recovery  # noqa: E402

problem = talk_common.sparse_problem(15, 40, 14, 15, decades=2, seed=0)
for name, solve in talk_recovery.METHODS.items():
    if name != "multi-task lasso":
        right = talk_common.recovered(solve(problem), problem.U)
        print(f"{name:20s} 14 of 15 rows {'recovered' if right else 'not recovered'}")

# %%
# 4. No bad local minima
# ----------------------
# **The talk:** under the conditions any minimum of the VAE's energy is the sparsest solution.
# **Seen:** at a fixed small λ, without annealing, all random starts end at one energy, and at U;
# every start of the twin ends somewhere else, and annealing it leaves about ten minima.
# **Where it stops:** with n = 3 and equal norms the VAE has about ten minima, with n = 1 one for
# every start. With ρ₀ = d there is still one minimum, but it is not U. Equal norms alone did no
# harm at n = d: the theorem's condition on the norms is sufficient, not necessary. One minimum
# means one that a certified second-order descent ends in; plain L-BFGS on log γ without annealing
# can stall where rows have been switched off too early, which is no minimum of the energy in γ.
show("talk_minima")

# %%
import talk_minima  # noqa: E402

problem = talk_common.sparse_problem(15, 40, 10, 15, decades=2, seed=0)
vae = [talk_minima.vae_from(problem, seed) for seed in range(5)]
twin = [
    talk_minima.twin_from(problem, seed, **talk_minima.TWINS["autoencoder, log"])
    for seed in range(5)
]
print("VAE, energies and success: ", [(round(e, 3), ok) for e, ok in vae])
print("twin, energies and success:", [(round(e, 3), ok) for e, ok in twin])

# %%
# 5. Selective smoothing
# ----------------------
# **The talk:** marginalising smooths the energy where its minima are bad and not where they are
# good. **Seen:** on the line from a bad minimum of the twin to the truth, the twin has a well at
# both ends, and the smaller λ, the deeper; the VAE has a slope at the one and a well at the other,
# at every λ. **Where it stops:** it is one line and one plane of a space of many dimensions; that
# no other path is blocked is what the starts above speak for. A twin that is rounded off at the
# level of λ loses its bad well too when λ is large, which is why annealing helps it.
show("talk_smoothing")

# %%
# 6. Neuromagnetic sources
# ------------------------
# **The talk:** the theorem asks nothing of Φ but that any d columns are independent, so even the
# coherent columns of a lead field will do. **Seen:** with 102 magnetometers the VAE finds all of
# up to 40 sources without noise, and all of 20 at 20 dB. At 20 dB MxNE and irMxNE at the best of
# three alphas, the twin at the best of three penalties (all chosen by the truth) and sLORETA lose
# sources from 5 on. **Where it stops:** gamma-MAP finds the same as the VAE, since at its optimum
# the linear VAE's energy *is* the sparse Bayesian likelihood; given the true noise level it is no
# worse. Without noise a twin with the convex penalty, λ annealed, keeps up to 20 sources and finds
# 77 % of 40. With 5 sources at 0 dB the VAE leaves one out in one of two recordings, which the
# error counts with 100 mm, and MxNE and the twin are ahead.
show("talk_meg")

# %%
import talk_meg  # noqa: E402

case = talk_meg.make_case(10, 20.0, seed=0)
for name in ("VAE", "gamma-MAP", "irMxNE", "sLORETA"):
    result = talk_meg.score(case, talk_meg.METHODS[name](case))
    print(f"{name:10s} found {100 * result['found']:.0f} %, error {result['error_mm']:.1f} mm")

# %%
# 7. More complex decoders
# ------------------------
# **The talk:** the one-layer decoder is a step towards deeper ones. **Seen:** at 30 dB and with
# Gaussian rows, a decoder with a learnt monotone f(z) keeps exactly the right rows up to 14 of 15,
# one with a hidden layer before Φ up to 11, as the linear ones do. **Where it stops:** nothing is
# proved here, and little holds. Above 11 rows all but the warped decoder keep some spurious ones.
# With rows that are far from Gaussian, sinh(2z), the nonlinear decoders are right in one of two
# problems at 5 rows and in none from 11 on: the hidden layer keeps nearly every row, and Adam with
# a linear encoder loses true rows, while the linear decoder with the exact encoder, which is the
# wrong model, still keeps the right ones in most problems. There are two problems to a point.
show("talk_decoders")

# %%
import talk_decoders  # noqa: E402

problem = talk_decoders.make_problem(3, 0.0, seed=0)
for name in talk_decoders.DECODERS[2:]:
    norms = talk_decoders.row_norms(problem, name, seed=0)
    kept = np.flatnonzero(norms > talk_decoders.KEPT * norms.max())
    print(f"{name:12s} keeps rows {kept}, true rows {np.flatnonzero(problem.U.any(axis=1))}")

# %%
# And where there is nothing to find
# ----------------------------------
# Data without sparse structure give no sparse answer: on noise alone no source has evidence.
rng = np.random.default_rng(0)
Phi, noise = rng.standard_normal((60, 300)), rng.standard_normal((60, 40))
print("sources in noise:", int(SparseVAE(min_log_evidence=10.0).fit(Phi, noise).active_.sum()))
