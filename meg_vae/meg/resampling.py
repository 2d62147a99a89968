"""The bootstrap over epochs: averages of resampled epochs, fitted like the average of all."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
from mne.utils import use_log_level

from meg_vae.meg.bootstrap import Bootstrap
from meg_vae.meg.epochs_runs import epochs_of_runs, prepare_epochs
from meg_vae.meg.fitted import FittedInverse
from meg_vae.meg.grid_bootstrap import resample_grid
from meg_vae.meg.place_bootstrap import resample_places
from meg_vae.meg.runs import naming_run


class SourceBootstrap(FittedInverse):
    """The bootstrap of a fitted inverse."""

    def bootstrap(
        self,
        epochs: mne.BaseEpochs | list[mne.BaseEpochs],
        forward: mne.Forward | list[mne.Forward],
        noise_cov: mne.Covariance | list[mne.Covariance],
        *,
        bem: str | Path | mne.bem.ConductorModel | None = None,
        trans: str | Path | mne.Transform | None = None,
        n_bootstrap: int = 1000,
        random_state: int | np.random.Generator | None = None,
        n_jobs: int | None = None,
        verbose: bool | str | int | None = None,
    ) -> Bootstrap:
        """Fit averages of resampled epochs, to see how sure the sources of this fit are.

        Parameters
        ----------
        epochs : mne.Epochs | list of mne.Epochs
            The epochs whose average was fitted, over the same times; those of each run where
            several were fitted.
        forward : mne.Forward | list of mne.Forward
            Forward model of the fit, or of each run.
        noise_cov : mne.Covariance | list of mne.Covariance
            Noise covariance of the fit, for all runs or for each.
        bem, trans : path-like | mne.bem.ConductorModel | mne.Transform | None
            Those of the fit, if it had any.
        n_bootstrap : int
            Number of samples.
        random_state : int | numpy.random.Generator | None
            Seed. The answer does not depend on ``n_jobs``.
        n_jobs : int | None
            Processes, as in joblib.
        verbose : bool | str | int | None
            Level of MNE's logging. The progress bar is shown at "info" and below.

        Returns
        -------
        bootstrap : Bootstrap
            Selection probability, position and amplitude with their spread.

        Raises
        ------
        ValueError
            If there are fewer than two epochs, their times are not those of the fit, there are
            other than one for each run, or ``n_bootstrap`` is below 2.
        RuntimeError
            If the inverse is not fitted.

        Warns
        -----
        RuntimeWarning
            If the fit averaged another number of epochs, or if the check finds a source missed.

        Notes
        -----
        An average of resampled epochs (Efron 1979) scatters about the average as this does about
        the truth, so its noise variance is twice as large; a learnt one follows, and one that is
        held at a number is multiplied by 2 − 1 / n_epochs. The samples therefore see less of a
        weak source than the fit, and its probability is on the safe side.

        Where places are free each sample starts from the sources of the fit, which find their
        places anew; those that then lack evidence go, and what grows anywhere enters. What the
        lead field's own error adds to the covariance of a position is that of the fit. Of several
        runs the epochs of each are resampled among themselves.

        On the grid the samples are fitted on the few positions where pilots, fitted on all, find a
        source or nearly; a random part of them is held against all positions at the end. A grid
        cell's own variance, spacing² / 12 in each direction, is added to the covariance of a
        position.

        The samples are judged with the weights of the fit.
        """
        self._fitted()
        if n_bootstrap != int(n_bootstrap) or n_bootstrap < 2:
            raise ValueError(f"n_bootstrap={n_bootstrap!r} must be a whole number of at least 2.")
        given = epochs_of_runs(self, epochs, forward, noise_cov)
        with use_log_level(verbose):
            runs = []
            for k, one in enumerate(given):
                with naming_run(k, len(given)):
                    runs.append(prepare_epochs(self, k, *one, bem, trans))
            if self.positions == "free":
                return resample_places(self, runs, n_bootstrap, random_state, n_jobs)
            return resample_grid(self, runs[0], n_bootstrap, random_state, n_jobs)
