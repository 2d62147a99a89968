"""Every claim of the talk, at a small size, each with a control in which it must fail."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from meg_vae import SparseVAE

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import talk_common
import talk_decoders
import talk_dimensions
import talk_meg
import talk_meg_data
import talk_meg_methods
import talk_minima
import talk_pca
import talk_recovery
import talk_smoothing

D, K = 15, 40
TWINS = ("autoencoder, ℓ2,1", "autoencoder, ℓ2,p", "autoencoder, log")


def problem(n_active, n_samples=D, decades=2.0, seed=0):
    return talk_common.sparse_problem(D, K, n_active, n_samples, decades=decades, seed=seed)


# --- 1. a linear decoder learns PCA


@pytest.mark.parametrize("n_latents", [3, 5])
def test_free_linear_decoder_learns_pca(n_latents):
    result = talk_pca.fit(talk_pca.low_rank_data(20, 400, 5, 0.3, seed=1), n_latents, seed=1)
    assert result["n_active"] == n_latents
    assert result["angle"] < 1e-3
    assert result["noise_variance"] == pytest.approx(result["discarded"], rel=0.01)
    assert result["noise_variance"] == pytest.approx(result["sklearn"], rel=0.01)


def test_a_random_subspace_is_not_the_principal_one():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 20, 5))
    assert subspace_angles(one, other).max() > 0.1


def test_superfluous_latents_sit_on_the_prior():
    result = talk_pca.fit(talk_pca.low_rank_data(20, 400, 5, 0.0, seed=0), 20, seed=0)
    assert result["n_active"] == 5
    np.testing.assert_allclose(result["variances"][5:], 1, atol=1e-3)
    assert result["variances"][:5].max() < 1e-3


def test_isotropic_noise_has_no_principal_subspace():
    result = talk_pca.fit(talk_pca.low_rank_data(20, 4000, 0, 1.0, seed=0), 3, seed=0)
    assert result["n_active"] == 0


# --- 2. active latents count dimensions


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "n_steps"), [(2, 400), (5, 1000)])
def test_active_latents_count_dimensions(dimension, n_steps):
    right = 0
    for seed in range(5):
        X = talk_dimensions.manifold(dimension, 20, 300, seed)
        variances, residual, _ = talk_dimensions.posterior_variances(X, seed, n_steps=n_steps)
        right += int((variances < talk_dimensions.ACTIVE).sum()) == dimension and residual < 0.01
    assert right >= 4


@pytest.mark.slow
def test_noise_has_no_small_dimension():
    X = np.random.default_rng(0).standard_normal((20, 300))
    _, residual, _ = talk_dimensions.posterior_variances(X, 0)
    assert residual > 0.05


# --- 3. row-sparse recovery


@pytest.mark.slow
def test_vae_recovers_one_row_less_than_channels_and_no_twin_does():
    successes = dict.fromkeys(("VAE", *TWINS), 0)
    for seed in range(10):
        case = problem(D - 1, seed=seed)
        for name in successes:
            successes[name] += talk_common.recovered(talk_recovery.METHODS[name](case), case.U)
    assert successes["VAE"] >= 9
    assert max(successes[name] for name in TWINS) <= 2


def test_both_routes_recover_one_row_less_than_channels():
    case = problem(D - 1)
    for route in (talk_recovery.vae, talk_recovery.vae_gradient):
        assert talk_common.recovered(route(case), case.U)
    assert not talk_common.recovered(talk_recovery.matching_pursuit(case), case.U)


def test_without_sparse_structure_nothing_is_claimed():
    rng = np.random.default_rng(0)
    Phi = rng.standard_normal((D, K))
    model = SparseVAE(noise_variance="anneal").fit(Phi, rng.standard_normal((D, 3 * D)))
    assert model.active_.sum() >= D  # no explanation sparser than a basis
    dense = rng.standard_normal((K, D))
    model = SparseVAE(noise_variance="anneal").fit(Phi, Phi @ dense)
    assert not talk_common.recovered(model.U_, dense)


# --- 4. no bad local minima


def minima(case, find, n_starts=6):
    """Number of minima and share that recovers U, of starts that have all come to rest."""
    ends = [find(case, seed) for seed in range(n_starts)]
    assert max(end.certificate for end in ends) < 1e-4
    return talk_minima.n_minima([e.energy for e in ends]), np.mean([e.recovered for e in ends])


def test_vae_has_one_minimum_and_the_twin_many():
    case = problem(10)
    assert minima(case, talk_minima.vae_from) == (1, 1.0)
    for options in talk_minima.TWINS.values():
        count, share = minima(case, lambda c, s, o=options: talk_minima.twin_from(c, s, **o))
        assert count >= 3
        assert share <= 0.5


def test_outside_the_regime_the_vae_fails_too():
    count, share = minima(problem(10, n_samples=1), talk_minima.vae_from, 4)
    assert count > 1
    assert share < 1
    assert minima(problem(D), talk_minima.vae_from, 4) == (1, 0.0)  # one minimum, but not U


def test_minima_are_told_apart_by_their_energy():
    assert talk_minima.n_minima([1.0, 1.0 + 1e-9, 1.0]) == 1
    assert talk_minima.n_minima([3.0, 1.0, 2.0, 1.0]) == 3


# --- 5. selective smoothing


def test_marginalising_removes_the_bad_minimum_and_keeps_the_truth():
    case = talk_common.sparse_problem(D, K, 10, D, decades=1, seed=0)
    bad = talk_smoothing.bad_minimum(case, 0)

    def along(t, column, level=1e-4):
        return talk_smoothing.energies(case, (1 - t) * bad + t * case.U, level)[column]

    step = 0.02
    assert along(0, 0) < min(along(-step, 0), along(step, 0))  # the twin is trapped
    ways = np.array([along(t, 1) for t in (-0.1, 0.0, 0.1, 0.3, 0.5, 0.7, 1.0)])
    assert (np.diff(ways) < 0.01).all()  # the VAE goes down all the way
    assert ways[1] - ways[-1] > 10
    for column in (0, 1):
        assert along(1, column) < min(along(1 - step, column), along(1 + step, column))


def test_no_barrier_between_bad_minima_of_the_twin_and_the_truth():
    case = talk_common.sparse_problem(D, K, 10, D, decades=1, seed=0)
    rows = [row for seed in (0, 50, 100) for row in talk_smoothing.barriers(case, seed)]
    assert all(row["VAE"] < 1e-6 for row in rows)
    small = [row["autoencoder"] for row in rows if row["noise_variance"] <= 1e-4]
    assert min(small) > 1  # the twin's own energy does rise


# --- 6. neuromagnetic


def errors(orientation):
    """Localization errors in mm of all methods, of ten sources at 20 dB."""
    case = talk_meg_data.make_case(10, 20.0, 1, orientation)
    assert talk_meg_data.score(case, np.zeros(len(case.points_mm)))["error_mm"] == 100
    anywhere = talk_meg_data.score(case, np.random.default_rng(0).random(len(case.points_mm)))
    found = {
        name: talk_meg_data.score(case, method(case))["error_mm"]
        for name, method in talk_meg_methods.METHODS.items()
    }
    vae = found.pop("VAE")
    assert vae < anywhere["error_mm"] / 5  # the control: positions drawn at random
    return vae, found


@pytest.mark.slow
def test_vae_localizes_better_than_all_others_where_orientation_is_unknown():
    vae, others = errors("unknown")
    assert vae < min(others.values())


@pytest.mark.slow
def test_vae_ties_with_gamma_map_where_orientation_is_known():
    """With the true noise level gamma-MAP minimises the same energy."""
    vae, others = errors("known")
    assert vae == pytest.approx(others.pop("gamma-MAP"), abs=0.5)
    assert vae < min(others.values())


@pytest.mark.parametrize(
    ("n_orient", "orientation", "n_dipoles"), [(1, "shared", 300), (3, "full", 60)]
)
def test_noise_alone_yields_no_source(n_orient, orientation, n_dipoles):
    rng = np.random.default_rng(0)
    Phi = rng.standard_normal((60, n_dipoles))
    model = SparseVAE(n_orient, orientation=orientation, min_log_evidence=12.0)
    model.fit(Phi, rng.standard_normal((60, 100)))
    assert not model.active_.any()
    assert not model.U_.any()


# --- 7. more complex decoders


@pytest.mark.slow
@pytest.mark.parametrize("name", ["warped f(z)", "hidden layer"])
def test_nonlinear_decoders_prune_to_the_right_rows(name):
    case = talk_decoders.make_problem(3, 0.0, 0)
    norms = talk_decoders.row_norms(case, name, 0)
    true = case.U.any(axis=1)
    np.testing.assert_array_equal(norms > talk_decoders.KEPT * norms.max(), true)


@pytest.mark.slow
def test_nonlinear_decoders_find_no_few_rows_where_there_are_none():
    case = talk_decoders.make_problem(talk_decoders.DIPOLES, 0.0, 0)  # every row is active
    norms = talk_decoders.row_norms(case, "warped f(z)", 0)
    assert (norms > talk_decoders.KEPT * norms.max()).sum() >= talk_decoders.CHANNELS - 1


# --- sizes


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((15, 40, 41), "ρ0=41"), ((50, 40, 3), "d=50 exceeds K=40"), ((0, 40, 3), "positive")],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        talk_common.sparse_problem(*sizes, 5, decades=0, seed=0)


def test_impossible_manifold_and_recording_are_refused():
    with pytest.raises(ValueError, match="r=20"):
        talk_dimensions.manifold(20, 20, 30, 0)
    with pytest.raises(ValueError, match="rank=21"):
        talk_pca.low_rank_data(20, 30, 21, 1.0, 0)


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (talk_recovery, ["--n-channels", "50", "--n-dipoles", "40"], "d=50 exceeds K=40"),
        (talk_smoothing, ["--n-active", "41"], "ρ0=41 nonzero rows do not fit among K=40"),
        (talk_minima, ["--n-channels", "41"], "d=41 exceeds K=40"),
        (talk_pca, ["--jobs", "0"], "jobs=0"),
        (talk_meg, ["--out", __file__], "File exists"),
    ],
)
def test_scripts_refuse_in_one_line(script, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script.__name__, "--quick", "--out", str(tmp_path), *options])
    with pytest.raises(SystemExit) as end:
        talk_common.run(script.main)
    said = capsys.readouterr()
    assert end.value.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not said.out
    assert not list(tmp_path.iterdir())


def test_a_script_writes_its_table_and_its_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["pca", "--quick", "--out", str(tmp_path / "new"), "--jobs", "1"]
    )
    with pytest.raises(SystemExit) as end:
        talk_common.run(talk_pca.main)
    assert end.value.code == 0
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["talk_pca.csv", "talk_pca.png"]
