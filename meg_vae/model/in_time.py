"""Noise that goes on in time: its autocorrelation, learnt from what sources leave, and taken out.

Data whose noise has the covariance Σ ⊗ T, T Toeplitz, are X T^-½ in samples that are independent.
T is that of an autoregressive process, by the reflection coefficients of Burg (1968) pooled over
channels and stretches, whose order the Bayesian information criterion chooses. It is looked at
where the evidence looks, in the fields of the dictionary: background activity of the brain is
slower than the noise of the sensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.linalg import toeplitz
from scipy.signal import lfilter, lfiltic
from torch import Tensor

from meg_vae.model.exact.dictionary import Dictionary

MOST_LAGS = 30  # of the autoregressive process
LONGEST = 1000  # samples that are whitened together: the cost grows with the cube
EMPTY = 1e-2  # of the largest variance in time: what lies below, a filter has taken out
FLOOR = 1e-5  # of the power: white noise that goes with any process


def white() -> Tensor:
    """Autocorrelation of white noise, (LONGEST,)."""
    return torch.eye(1, LONGEST, dtype=torch.float64)[0]


def independent(X: Tensor, stretches: Sequence[int], r: Tensor) -> Tensor:
    """Turn consecutive samples into independent ones.

    Parameters
    ----------
    X : Tensor, shape (..., n_channels, n_samples)
        Data.
    stretches : sequence of int
        Lengths of the stretches of consecutive samples.
    r : Tensor, shape (LONGEST,)
        Autocorrelation of the noise.

    Returns
    -------
    X : Tensor, shape (..., n_channels, n_independent)
        The same in the directions of time that hold noise, with the noise variance that it had on
        average.
    """
    if not r[1:].any():
        return X
    parts = []
    for part in (part for one in X.split(list(stretches), -1) for part in one.split(LONGEST, -1)):
        size, axes = _directions(r, part.shape[-1])
        parts.append(part @ (axes / size.sqrt()).to(part))
    return torch.cat(parts, -1)


def independent_together(parts: Sequence[tuple[int, int]], r: Tensor) -> float:
    """Count the independent samples in parts that follow each other and were whitened alone.

    Parameters
    ----------
    parts : sequence of tuple of int
        First sample of each, and the one behind the last.
    r : Tensor, shape (LONGEST,)
        Autocorrelation of the noise.

    Returns
    -------
    n : float
        (tr R)² / ‖R‖² of the correlations R of all whitened samples.
    """
    if not r[1:].any():
        return float(sum(last - first for first, last in parts))
    maps = []
    for first, last in parts:
        size, axes = _directions(r, min(last - first, LONGEST))
        maps.append((first, axes / size.sqrt()))
    total = within = 0.0
    for k, (start, own) in enumerate(maps):
        total += own.shape[1]
        within += own.shape[1]
        for begin, other in maps[k + 1 :]:
            lag = begin - start - torch.arange(len(own))[:, None] + torch.arange(len(other))
            if int(lag.min()) >= LONGEST:
                break
            between = torch.where(lag < LONGEST, r[lag.clamp_max(LONGEST - 1)], 0.0)
            within += 2 * float((own.T @ between @ other).square().sum())
    return total**2 / within


def log_volume(stretches: Sequence[int], r: Tensor) -> float:
    """Logarithm of |T| in the directions of time that hold noise."""
    lengths = [min(LONGEST, n - k) for n in stretches for k in range(0, n, LONGEST)]
    return sum(float(_directions(r, n)[0].log().sum()) for n in lengths)


def _directions(r: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Variances in time and their directions, without those that a filter has taken out."""
    return _decomposed(r.numpy().tobytes(), n)


@lru_cache(maxsize=4)  # a bootstrap whitens as many samples by the same
def _decomposed(r: bytes, n: int) -> tuple[Tensor, Tensor]:
    size, axes = torch.linalg.eigh(torch.as_tensor(toeplitz(np.frombuffer(r)[:n])))
    kept = size > EMPTY * size[-1]
    return size[kept], axes[:, kept]


def seen_by(residual: Tensor, dictionary: Dictionary) -> tuple[Tensor, float]:
    """Look at a residual in the fields of the sources; and how many rows count as independent."""
    weight = dictionary.eigenvalues
    rows = weight.sqrt()[:, None] * (dictionary.basis.T @ residual)
    return rows, float(weight.sum() ** 2 / weight.square().sum())


def autocorrelation(parts: Sequence[Tensor], n_rows: float) -> Tensor:
    """Autocorrelation of lags 0 to `LONGEST` − 1 of an autoregressive process.

    Parameters
    ----------
    parts : sequence of Tensor, shape (n_rows, n_samples)
        Stretches of consecutive samples.
    n_rows : float
        Rows that count as independent, for the choice of the order.

    Returns
    -------
    r : Tensor, shape (LONGEST,)
        From 1 at lag 0; zero at the others where the parts are zero or of single samples.
    """
    n = n_rows * sum(part.shape[1] for part in parts)
    most = min(MOST_LAGS, max(part.shape[1] for part in parts) // 2)
    a = chosen = torch.zeros(0, dtype=torch.float64)
    best, left, whole = 0.0, 1.0, 0.0
    pairs = [(part[:, 1:], part[:, :-1]) for part in parts]  # errors ahead, and behind
    for order in range(1, most + 1):
        both = 2 * sum(float((f * b).sum()) for f, b in pairs)
        size = sum(float(f.square().sum() + b.square().sum()) for f, b in pairs)
        whole = whole or size
        if not size > 0:
            break
        k = both / (size + FLOOR * whole)
        a = torch.cat([a - k * a.flip(0), a.new_tensor([k])])
        left *= max(1 - k**2, 1e-12)
        score = n * math.log(left) + order * math.log(n)
        if score < best:
            best, chosen = score, a
        pairs = [((f - k * b)[:, 1:], (b - k * f)[:, :-1]) for f, b in pairs]
    return _of_process(chosen)


def _of_process(a: Tensor) -> Tensor:
    """Autocorrelation of x_t = Σ a_i x_{t−i} + e_t, by the equations of Yule and Walker."""
    p = len(a)
    if not p:
        return white()
    # r_k − Σ_i a_i r_|k−i| = 0 for k = 1 … p, with r_0 = 1
    k = np.arange(1, p + 1)
    lag, known = np.abs(k[:, None] - k), a.numpy()
    system = np.eye(p)
    row, column = np.nonzero(lag)
    np.subtract.at(system, (row, lag[row, column] - 1), known[column])
    first = np.linalg.solve(system, known)
    recursion = [1.0], np.append(1.0, -known)
    past = lfiltic(*recursion, first[::-1])
    rest = lfilter(*recursion, np.zeros(LONGEST - 1 - p), zi=past)[0]
    return torch.as_tensor(np.concatenate([[1.0], first, rest]))
