"""SparseAutoencoder: the deterministic twin of SparseVAE, with nothing marginalised."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from meg_vae.model.checks import check_positive
from meg_vae.model.exact.dictionary import Dictionary
from meg_vae.model.penalties import row_penalty
from meg_vae.model.reweighted import SMOOTHING, Reweighted
from meg_vae.model.row_sparse import RowSparseModel
from meg_vae.model.solve import data_factor

FLOOR = 1e-10  # smallest noise variance, relative to the data's mean power, as in SparseVAE
START, LATEST = 0.3, 1e-6  # where annealing starts: the first start, and the last of the others
LEVELS, STEPS = 40, 10  # of the annealing, and steps at each level
WEAK = 1e-4  # part of the largest row norm below which a row counts as zero
SPREAD = 2.0  # standard deviation of log γ in a random start


class SparseAutoencoder(RowSparseModel):
    r"""Row-sparse multiple-response regression by an autoencoder, shaped like `SparseVAE`.

    Parameters
    ----------
    n_orient : int
        Columns of Φ that make up one position and share its penalty.
    penalty : "l21" | "lp" | "log"
        Row-sparsity penalty h on the latents Z = W_z X: ‖z‖, ‖z‖^p or log‖z‖² for each row z.
    p : float
        Exponent for "lp", between 0 and 1.
    decoder_penalty : "squared" | "bounded"
        Penalty g on the decoder scales: w_x² summed, or none up to w_x = 1 and infinite above.
    noise_variance : float | "anneal"
        λ: held at a number, or lowered step by step towards zero for data without noise.
    anneal : bool
        Anneal the level below which row norms are rounded off, from coarse to fine. It avoids many
        poor minima; False shows them.
    n_starts : int
        Starts; the one of lowest energy is kept. The first has all positions alike and anneals all
        the way; the others are random and, since a long annealing forgets where it started, join
        the annealing at a random level.
    random_start : bool
        Make the first start random too.
    random_state : int | None
        Seed of the random starts.
    tol : float
        Stop when no row norm changes by more than this part of the largest one in a step.
    max_iter : int
        Most steps at the final λ.

    Attributes
    ----------
    U_ : ndarray, shape (n_dipoles, n_samples)
        Activity diag(w_x) W_z X, in the unit of X over that of Φ; inactive rows are zero.
    w_x_ : ndarray, shape (n_dipoles,)
        Decoder scales.
    W_z_ : ndarray, shape (n_dipoles, n_channels)
        Encoder.
    noise_variance_ : float
        λ at the end, in the unit of X squared.
    active_ : ndarray of bool, shape (n_groups,)
        Positions whose row norm is above 1e-4 of the largest.
    energy_ : float
        Energy per sample of the best start.
    history_ : ndarray, shape (n_steps,)
        Its energy after every step at the final λ, never rising.
    start_energies_ : ndarray, shape (n_starts,)
        Energy that each start ended with.
    certificate_ : float
        Largest change of a row norm in the last step, relative to the largest row norm.

    Notes
    -----
    With data in units of their root mean square, Φ's columns of unit norm, n samples and d
    channels, the energy per sample is

    .. math::

        \tfrac1{nλ}\|X - Φ D W_z X\|^2 + d \log λ + \sum_i g(w_i) + h(\|z_i\| / \sqrt n),
        \qquad D = diag(w_x).

    It is the energy of `SparseVAE` with the encoder's covariance left out and a sparsity penalty
    put in. Only the activity u = w_x z enters the fit, so w_x is minimised out in closed form:
    "squared" leaves a penalty of exponent 2p/(p + 2) on ‖u‖, "bounded" one of exponent p, and
    "log" a logarithm with either. What is left is minimised by reweighted least squares, each step
    of which lowers the energy. Row norms are rounded off below a level that is annealed along with
    λ: the twin is given the same help as the VAE.

    λ is not learnt: nothing is marginalised, so a perfect fit at λ = 0 has an energy of -∞.

    Examples
    --------
    >>> import numpy as np
    >>> from meg_vae import SparseAutoencoder
    >>> rng = np.random.default_rng(0)
    >>> Phi, U = rng.standard_normal((20, 50)), np.zeros((50, 30))
    >>> U[[3, 17]] = rng.standard_normal((2, 30))
    >>> model = SparseAutoencoder().fit(Phi, Phi @ U)
    >>> np.flatnonzero(model.active_)
    array([ 3, 17])
    """

    def __init__(
        self,
        n_orient: int = 1,
        *,
        penalty: str = "log",
        p: float = 0.5,
        decoder_penalty: str = "squared",
        noise_variance: float | str = "anneal",
        anneal: bool = True,
        n_starts: int = 5,
        random_start: bool = False,
        random_state: int | None = 0,
        tol: float = 1e-6,
        max_iter: int = 500,
    ) -> None:
        self.n_orient = n_orient
        self.penalty = penalty
        self.p = p
        self.decoder_penalty = decoder_penalty
        self.noise_variance = noise_variance
        self.anneal = anneal
        self.n_starts = n_starts
        self.random_start = random_start
        self.random_state = random_state
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, Phi: ArrayLike | Dictionary, X: ArrayLike) -> SparseAutoencoder:
        """Fit encoder and decoder to data.

        Parameters
        ----------
        Phi : array_like, shape (n_channels, n_dipoles) | Dictionary
            The dictionary.
        X : array_like, shape (n_channels, n_samples)
            Data.

        Returns
        -------
        self : SparseAutoencoder
            The fitted model.

        Raises
        ------
        ValueError
            If a shape, an entry or an option is wrong, or X is zero.

        Warns
        -----
        RuntimeWarning
            If the best start did not settle within ``max_iter`` steps.
        """
        penalty = row_penalty(self.penalty, self.p, self.decoder_penalty)
        self._check_options()
        dictionary, data = self._prepare(Phi, X)
        scale = float(np.sqrt(np.mean(data**2)))
        if scale == 0:
            raise ValueError("X is zero everywhere, so there is nothing to encode.")
        twin = Reweighted(dictionary, data_factor(torch.as_tensor(data / scale)), penalty)
        lowered = isinstance(self.noise_variance, str)
        final = FLOOR if lowered else float(self.noise_variance) / scale**2
        gamma, level = self._starts(dictionary)
        if self.anneal:
            gamma = self._lower(twin, gamma, level, None if lowered else final)
        energies, change, gamma = self._settle(twin, gamma, torch.full_like(level, final))
        best = int(energies[-1].argmin())
        self.history_ = energies[:, best].numpy()
        self.start_energies_ = energies[-1].numpy()
        self.energy_ = float(energies[-1, best])
        self.certificate_ = float(change[best])
        self.noise_variance_ = final * scale**2
        self._keep(twin, gamma[best], final, scale)
        self.U_ = self.transform(data)
        self._warn_if_unsettled()
        return self

    def _warn_if_unsettled(self) -> None:
        if self.certificate_ > self.tol:
            warnings.warn(
                f"stopped by max_iter={self.max_iter} while row norms changed by "
                f"{self.certificate_:.2g} of the largest, above tol={self.tol:.2g}; raise max_iter",
                RuntimeWarning,
                stacklevel=3,
            )

    def _check_options(self) -> None:
        if isinstance(self.noise_variance, str):
            if self.noise_variance != "anneal":
                raise ValueError(
                    f"noise_variance={self.noise_variance!r} must be positive or 'anneal'; an "
                    "autoencoder cannot learn it, since a perfect fit drives it to zero."
                )
            if not self.anneal:
                raise ValueError("noise_variance='anneal' needs anneal=True; or give λ a number.")
        else:
            check_positive("noise_variance", self.noise_variance)
        for name in ("tol", "max_iter", "n_starts"):
            check_positive(name, getattr(self, name))

    def _starts(self, dictionary: Dictionary) -> tuple[Tensor, Tensor]:
        """Draw starting γ, shape (n_starts, n_groups), and levels to anneal from, (n_starts,)."""
        rng = np.random.default_rng(self.random_state)
        logs = SPREAD * rng.standard_normal((self.n_starts, dictionary.n_groups))
        levels = rng.uniform(np.log(LATEST), np.log(START), self.n_starts)
        if not self.random_start:
            logs[0], levels[0] = 0.0, np.log(START)
        gamma = torch.as_tensor(np.exp(logs)) * (dictionary.n_channels / dictionary.n_groups)
        return gamma * ~dictionary.silent, torch.as_tensor(np.exp(levels))

    def _lower(self, twin: Reweighted, gamma: Tensor, level: Tensor, noise: float | None) -> Tensor:
        """Lower the smoothing of every start from its level, and λ with it unless it is held."""
        for part in torch.linspace(0, 1, LEVELS, dtype=level.dtype):
            smoothing = level ** (1 - part) * SMOOTHING**part
            now = smoothing if noise is None else torch.full_like(level, noise)
            for _ in range(STEPS):
                gamma = twin.step(gamma, now, smoothing).gamma
        return gamma

    def _settle(
        self, twin: Reweighted, gamma: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step at the final λ until nothing changes; energies, last changes and γ."""
        energies: list[Tensor] = []
        before = change = torch.full_like(gamma, torch.inf)
        for _ in range(int(self.max_iter)):
            now = twin.step(gamma, noise, torch.full_like(noise, SMOOTHING))
            energies.append(now.energy)
            change = (now.norms - before).abs().amax(1) / now.norms.amax(1)
            before, gamma = now.norms, now.gamma
            if float(change.max()) <= self.tol:
                break
        return torch.stack(energies), change, gamma

    def _keep(self, twin: Reweighted, gamma: Tensor, noise: float, scale: float) -> None:
        """Keep encoder and decoder of one solution, in the units of X and Φ."""
        dictionary = twin.dictionary
        inverse_map = twin.inverse_map(gamma, torch.tensor(noise))
        rows = (inverse_map @ twin.F).square().sum(1).reshape(-1, self.n_orient).sum(1).sqrt()
        active = rows > WEAK * rows.max()
        w = torch.where(active, twin.penalty.scales(rows), 0.0)
        self.active_ = active.numpy()
        # the decoder carries the units: Φ's column norms and the size of X
        units = scale / dictionary.norms
        self.w_x_: NDArray[np.float64] = (w * units).repeat_interleave(self.n_orient).numpy()
        used = self.active_dipoles_
        inner = (w.repeat_interleave(self.n_orient)[used] * scale).reciprocal()
        self._W_z: NDArray[np.float64] = (inner[:, None] * inverse_map[used]).numpy()

    def _active_maps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._W_z, self.w_x_[self.active_dipoles_, None] * self._W_z
