"""The minimiser's parts against plain formulas: certificate, span, batches, bad input."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch
from conftest import sparse_problem
from threadpoolctl import threadpool_info, threadpool_limits

from meg_vae.model import solve as solver
from meg_vae.model.exact import pulls
from meg_vae.model.exact.certificate import growth
from meg_vae.model.exact.descent import Trace, descend
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.exact.model import Model
from meg_vae.model.exact.point import Candidates, evaluate
from meg_vae.model.exact.pulls import group_pulls, pulling_rows
from meg_vae.model.exact.slopes import slopes
from meg_vae.model.exact.threads import CHOSEN, few_threads, one_thread
from meg_vae.model.noise_variance import Held, Learnt
from meg_vae.model.priors import ISOTROPIC
from meg_vae.model.solve import data_factor, solve


def tensor(array):
    """Float64 tensor."""
    return torch.as_tensor(array, dtype=torch.float64)


def smooth_dictionary(d=40, groups=400):
    """Columns that neighbours nearly share, as in a lead field: bumps on a line, broad and few."""
    places, sensors = np.linspace(0, 1, groups), np.linspace(0, 1, d)
    return np.exp(-0.5 * ((sensors[:, None] - places) / 0.08) ** 2)


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("noise", [1e-9, 1e-4, 1.0])
def test_first_look_hides_nothing(noise, n):
    """The largest growth is that of float64 alone, and float32 errs less than its bound says.

    With few samples the columns are held against the active ones and the data alone.
    """
    Phi = smooth_dictionary()
    rng = np.random.default_rng(0)
    X = Phi[:, [50, 300]] @ rng.standard_normal((2, n)) + 0.1 * rng.standard_normal((40, n))
    dictionary = Dictionary(Phi)
    groups = torch.tensor([50, 300, 310])
    F = data_factor(tensor(X))[None]
    candidates = Candidates(dictionary.columns(groups), F, ISOTROPIC, Held(noise))
    R = torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64)[None, :, None, None]
    variances = torch.full((1, 40), noise, dtype=torch.float64)
    point = evaluate(candidates, R, variances)
    s, q = group_pulls(*pulling_rows(point.L, point.B), dictionary.Phi, 1)
    exact = (q / s)[0]
    exact[[50, 300]] = 0.0
    model = Model.at(candidates, torch.arange(3), R, variances)
    assert (len(model.rows().T[0]) < 40) == (n < 40)
    found = growth(dictionary, model, groups)[0] + 1
    assert float(found.max()) == pytest.approx(float(exact.max()), rel=1e-6)
    assert int(found.argmax()) == int(exact.argmax())
    ratio, error = pulls._single_ratio(dictionary, model.rows())
    off = (ratio[0] - (q / s)[0]).abs()
    assert (off <= error[0]).all()
    assert off.max() > 1e-9 * exact.max()  # null control: there is rounding to be bounded


@pytest.mark.parametrize("n_orient", [1, 3])
@pytest.mark.parametrize("n", [4, 60])
def test_span_of_the_candidates_is_enough(n_orient, n):
    """Energy, gradient and curvature are the same in fewer directions, and the answer too."""
    case = sparse_problem(n_orient=n_orient, n_groups=4, n_active=2, n=n)
    Phi = tensor(case.Phi).reshape(20, 4, n_orient)
    candidates = Candidates(Phi, data_factor(tensor(case.X))[None], ISOTROPIC, Learnt())
    eye = torch.eye(n_orient, dtype=torch.float64)
    R = torch.linspace(0.5, 2, 4, dtype=torch.float64)[None, :, None, None] * eye
    noise = torch.full((1, 20), 0.3, dtype=torch.float64)
    basis, fewer = candidates.in_span()
    torch.testing.assert_close(basis @ fewer.Phi.flatten(1), candidates.Phi.flatten(1))
    assert fewer.Phi.shape[0] == 4 * n_orient == fewer.F.shape[1]
    assert fewer.n_rest == 20 - 4 * n_orient
    whole, small = evaluate(candidates, R, noise), evaluate(fewer, R, noise[:, : 4 * n_orient])
    torch.testing.assert_close(small.J, whole.J)
    for one, other in zip(
        vars(slopes(fewer, small)).values(), vars(slopes(candidates, whole)).values(), strict=True
    ):
        torch.testing.assert_close(one, other)
    point, steepest = descend(candidates, whole, tol=1e-8, floor=1e-10, trace=Trace([whole.J], 100))
    assert float(steepest) <= 1e-8
    assert float(slopes(candidates, point).gradient.abs().max()) <= 2e-8
    assert point.L.shape == (1, 20, 20)  # back in all directions


def test_groups_of_one_equal_no_groups(problem):
    """One dipole a position has one prior variance, shared or full."""
    X = tensor(problem.X)
    shared = solve(Dictionary(problem.Phi, 1), X)
    full = solve(Dictionary(problem.Phi, 1), X, orientation="full")
    torch.testing.assert_close(shared.gamma, full.gamma)
    zeros = np.zeros((20, 30, 2))  # two silent dipoles beside each add nothing
    padded = np.concatenate([problem.Phi[:, :, None], zeros], 2).reshape(20, 90)
    three = solve(Dictionary(padded, 3), X)
    assert float(three.energy) == pytest.approx(float(shared.energy), abs=1e-5)


def test_single_precision_data_give_the_same_answer(problem):
    Phi, X = problem.Phi.astype(np.float32), problem.X.astype(np.float32)
    single = solve(Dictionary(Phi), torch.as_tensor(X), noise_variance=0.01)
    double = solve(Dictionary(problem.Phi), tensor(problem.X), noise_variance=0.01)
    assert single.factor.dtype == torch.float64
    assert float(single.energy) == pytest.approx(float(double.energy), abs=1e-4)
    np.testing.assert_allclose(
        single.gamma, double.gamma, rtol=1e-3, atol=1e-5 * float(double.gamma.max())
    )


def test_processes_and_an_accelerators_way_share_a_batch(problem, monkeypatch):
    """One by one, over two processes, and together as on an accelerator: the same energies."""
    rng = np.random.default_rng(0)
    X = tensor(np.stack([problem.X[:, rng.integers(0, 40, 40)] for _ in range(9)]))
    dictionary = Dictionary(problem.Phi)
    alone = solve(dictionary, X, noise_variance=0.01, tol=1e-5)
    shared = solve(dictionary, X, noise_variance=0.01, tol=1e-5, n_jobs=2)
    assert torch.equal(alone.gamma, shared.gamma)
    monkeypatch.setattr(solver, "together", lambda dictionary, F: 4)
    monkeypatch.setattr(pulls, "_jointly_diagonal", pulls._by_two_products)
    together = solve(dictionary, X, noise_variance=0.01, tol=1e-5)
    torch.testing.assert_close(together.energy, alone.energy, atol=1e-5, rtol=0)
    assert (together.history.diff(dim=0) <= 0).all()


@pytest.mark.parametrize("noise", ["learn", "per_channel", 0.5])
def test_silent_data_have_the_energy_of_their_noise(problem, noise):
    """J = d log λ, alone or beside data with sources, whose answer stays as it is."""
    X = tensor(problem.X)
    both = torch.stack([torch.zeros_like(X), X])
    with pytest.warns(RuntimeWarning, match="data are zero"):
        solution = solve(Dictionary(problem.Phi), both, noise_variance=noise)
    alone = solve(Dictionary(problem.Phi), X, noise_variance=noise)
    silent = solution.noise_variance[0].expand(20)
    assert float(solution.energy[0]) == pytest.approx(float(silent.log().sum()))
    assert not solution.gamma[0].any()
    assert solution.certificate[0] == 0
    assert float(solution.energy[1]) == pytest.approx(float(alone.energy))
    assert (solution.gamma[1] > 0).any()


@pytest.mark.parametrize("n", [1, 3, 10])
def test_noise_is_learnt_from_few_samples_of_a_lead_field(n):
    """Columns that neighbours share cannot explain noise: λ keeps its size, without a warning."""
    Phi = smooth_dictionary()
    rng = np.random.default_rng(n)
    signal = 10 * Phi[:, [50, 300]] @ rng.standard_normal((2, n))
    X = tensor(signal + rng.standard_normal((40, n)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(Dictionary(Phi), X)
    assert 0.3 < float(solution.noise_variance) < 2
    assert solution.certificate <= 1e-3
    assert (solution.gamma > 0).any()


BAD = {
    "shape": ({"X": torch.zeros(7, 5)}, "must have shape .* n_channels=20 .* got \\(7, 5\\)"),
    "vector": ({"X": torch.zeros(20)}, "must have shape"),
    "no samples": ({"X": torch.zeros(20, 0)}, "must have shape"),
    "NaN": ({"X": torch.full((20, 5), torch.nan)}, "NaN or infinite"),
    "noise 0": ({"noise_variance": 0.0}, "noise_variance=0.0 must be positive"),
    "noise option": ({"noise_variance": "guess"}, "noise_variance='guess' is unknown"),
    "orientation": ({"orientation": "free"}, "orientation='free' is unknown"),
    "tol": ({"tol": -1.0}, "tol=-1.0 must be a positive number"),
    "restarts": ({"restarts": -1}, "restarts=-1 must be a whole number"),
    "max_iter": ({"max_iter": 0}, "max_iter=0 must be a positive number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(problem, case):
    given, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        solve(Dictionary(problem.Phi), **({"X": tensor(problem.X)} | given))


@pytest.mark.parametrize(
    ("Phi", "n_orient", "message"),
    [
        (np.zeros((5, 6)), 1, "zero everywhere"),
        (np.full((5, 6), np.inf), 1, "NaN or infinite"),
        (np.ones((5, 7)), 3, "n_orient=3 does not divide the 7 columns"),
        (np.ones(5), 1, "must be a matrix"),
    ],
)
def test_bad_dictionary_is_named(Phi, n_orient, message):
    with pytest.raises(ValueError, match=message):
        Dictionary(Phi, n_orient)


def test_timings_say_where_the_time_went(problem):
    timings = solve(Dictionary(problem.Phi), tensor(problem.X)).timings
    assert set(timings) == {"sweeps", "descent", "certificate"}
    assert all(seconds > 0 for seconds in timings.values())


@pytest.mark.parametrize(("groups", "n"), [(1, 1), (1, 10_000), (5_000, 2)])
def test_extreme_sizes(groups, n):
    rng = np.random.default_rng(0)
    Phi = rng.standard_normal((10, groups))
    X = tensor(5 * Phi[:, :1] @ rng.standard_normal((1, n)) + rng.standard_normal((10, n)))
    solution = solve(Dictionary(Phi), X, noise_variance=1.0)
    assert solution.certificate <= 1e-3
    assert (solution.gamma > 0).sum() <= 10
    assert (solution.gamma > 0).any()


@pytest.mark.parametrize("noise", [1e-10, 1e-6])
def test_nearly_singular_covariance(problem, noise):
    """Data without noise, columns twice and nearly twice: three directions, almost no noise."""
    nearly = problem.Phi[:, :10] + 1e-7 * np.random.default_rng(0).standard_normal((20, 10))
    Phi = np.concatenate([problem.Phi, problem.Phi[:, :10], nearly], axis=1)
    X = tensor(problem.Phi @ problem.U)
    solution = solve(Dictionary(Phi), X, noise_variance=noise)
    plain = solve(Dictionary(problem.Phi), X, noise_variance=noise)
    assert solution.certificate <= 1e-3
    assert (solution.history.diff() <= 0).all()
    assert float(solution.energy) == pytest.approx(float(plain.energy), abs=1e-3)
    assert float(plain.energy) == pytest.approx(17 * np.log(noise), rel=0.15)  # 20 − 3 directions
    found = (solution.gamma > 1e-6 * solution.gamma.max()).nonzero()[:, 0] % 30
    assert set(found.tolist()) <= set(problem.active)


def test_a_fit_takes_one_thread_unless_the_user_has_chosen(monkeypatch):
    """Those of torch and of the library beneath NumPy; both are put back, after an error too."""

    def threads():
        return [torch.get_num_threads(), *(one["num_threads"] for one in threadpool_info())]

    @one_thread
    def fails(seen):
        seen.append(threads())
        raise RuntimeError("in the middle")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2):
            own, seen = threads(), []
            for name in CHOSEN:
                monkeypatch.delenv(name, raising=False)
            for chosen in (False, True):
                if chosen:
                    monkeypatch.setenv("OMP_NUM_THREADS", "2")
                with pytest.raises(RuntimeError, match="in the middle"):
                    fails(seen)
                assert threads() == own
        assert set(seen[0]) == {1}
        assert seen[1] == own
        assert max(own) == 2  # null control
    finally:
        torch.set_num_threads(before)


def test_the_users_threads_are_put_back_by_fits_that_overlap():
    """The first fit to begin is the first to end, as happens in a bootstrap's threads."""
    before, most = torch.get_num_threads(), 2
    begun, both, ended = threading.Event(), threading.Event(), threading.Event()

    def first():
        with few_threads(1):
            begun.set()
            both.wait(10)
        ended.set()

    def second():
        begun.wait(10)
        with few_threads(1):
            inside.append(torch.get_num_threads())
            both.set()
            ended.wait(10)

    inside = []
    try:
        torch.set_num_threads(most)
        threads = [threading.Thread(target=one) for one in (first, second)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert inside == [1]
        assert torch.get_num_threads() == most
        with few_threads(5):
            assert torch.get_num_threads() == most
    finally:
        torch.set_num_threads(before)
