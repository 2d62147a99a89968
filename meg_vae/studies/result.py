"""What a study found: its tables, maps and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from meg_vae.meg.inverse import VAEInverse
from meg_vae.meg.shortcuts import read_vae_inverse
from meg_vae.model.group import GroupSource
from meg_vae.studies import maps, statistics, tables
from meg_vae.studies.plan import Plan

TABLES = ("recordings", "sources", "group", "presence", "amplitudes", "contrasts")


@dataclass(frozen=True, eq=False)
class Study:
    """Results of a study.

    Attributes
    ----------
    plan : Plan
        What was done.
    folder : Path
        Where it is written.
    recordings : pandas.DataFrame
        A row for each subject: ``subject, group, status, reason, n_sources, noise_variance,
        n_warnings``.
    sources : pandas.DataFrame
        All sources of all subjects: ``subject``, the columns of ``VAEInverse.sources_``, where they
        are on fsaverage as the data alone put them (``fs_x_mm, fs_y_mm, fs_z_mm``, MNI305, and
        ``fs_radius_mm`` of the 95 % ellipsoid, that of the warp included), ``weight`` in nats of
        the group's prior there, and ``group_source``, −1 where it is of none;
        ``active_<condition>`` says in which conditions each is active.
    group : pandas.DataFrame
        The sources that subjects share, strongest evidence first: ``x_mm, y_mm, z_mm`` on
        fsaverage, ``radius_mm`` of the 95 % ellipsoid of that centre, ``spread_mm`` between
        subjects (standard deviation along each axis) with ``spread_low_mm, spread_high_mm``,
        ``n_present`` of ``n_subjects``, ``presence`` (posterior mean of the probability that a
        subject has it), and ``log_evidence`` in nats that it is one source of the group rather than
        sources of its members.
    presence : pandas.DataFrame
        A row for each subject and group source: ``subject, group, source, present``, place, and
        ``distance_mm`` from the centre on fsaverage, ``log_evidence``, ``log_odds`` (evidence and
        prior together beyond what is asked).
    amplitudes : pandas.DataFrame
        A row for each subject, group source and condition: ``peak_nAm``, ``log_evidence`` in nats
        that the source is active in this condition, ``active``; 0 where the subject lacks it.
    contrasts : pandas.DataFrame
        Differences between conditions, and between groups of subjects, of each group source, as
        ``meg_vae.studies.statistics`` tells.
    """

    plan: Plan
    folder: Path
    recordings: pd.DataFrame
    sources: pd.DataFrame
    group: pd.DataFrame
    presence: pd.DataFrame
    amplitudes: pd.DataFrame
    contrasts: pd.DataFrame

    def inverse(self, subject: str) -> VAEInverse:
        """Read the fitted inverse of one subject.

        Parameters
        ----------
        subject : str
            Its name.

        Returns
        -------
        inverse : VAEInverse
            As the last round left it.

        Raises
        ------
        ValueError
            If there is no such subject, or it could not be fitted.
        """
        row = self.recordings.query("subject == @subject")
        if row.empty or row["status"].iloc[0] != "ok":
            fine = self.recordings.query("status == 'ok'")["subject"]
            raise ValueError(
                f"subject={subject!r} was not fitted in this study; there are {', '.join(fine)}."
            )
        return read_vae_inverse(tables.file_of(self.folder, subject))

    def occurrence(
        self, condition: str | None = None, *, sigma_mm: float = 10.0, each: bool = False
    ) -> mne.SourceEstimate:
        """Map how many of the subjects have a source near each place of fsaverage.

        Parameters
        ----------
        condition : str | None
            Sources that are active in this condition; None takes all.
        sigma_mm : float
            Standard deviation of the smoothing, mm.
        each : bool
            Whether to give a map of each subject, one after the other as if they were times.

        Returns
        -------
        stc : mne.SourceEstimate
            Share of the subjects, 0 to 1, on fsaverage.

        Raises
        ------
        ValueError
            If there is no such condition.
        """
        return maps.occurrence(self, condition, sigma_mm=sigma_mm, each=each)

    def cluster_test(
        self,
        first: str,
        second: str,
        *,
        sigma_mm: float = 10.0,
        threshold: float | None = None,
        n_permutations: int = 1024,
        random_state: int = 0,
    ) -> tuple[mne.SourceEstimate, list[tuple[np.ndarray, float]]]:
        """Test where two conditions, or groups of subjects, differ in their occurrence maps.

        Parameters
        ----------
        first, second : str
            Two conditions (paired, signs are permuted), or two groups of subjects (subjects are).
        sigma_mm : float
            Standard deviation of the smoothing, mm.
        threshold : float | None
            That of the clusters, as in `mne.stats.permutation_cluster_1samp_test`.
        n_permutations : int
            How many.
        random_state : int
            Seed.

        Returns
        -------
        stc : mne.SourceEstimate
            t (conditions) or F (groups) on fsaverage.
        clusters : list of (ndarray, float)
            Vertices of each cluster, counted over both hemispheres, and its p value.

        Raises
        ------
        ValueError
            If they are no two conditions and no two groups.
        """
        return maps.cluster_test(
            self,
            first,
            second,
            sigma_mm=sigma_mm,
            threshold=threshold,
            n_permutations=n_permutations,
            random_state=random_state,
        )


def assemble(plan: Plan, out: Path, rows: list[dict[str, Any]], group: list[GroupSource]) -> Study:
    """Put the rows of all subjects and their group into tables."""
    presence = tables.presence(plan, rows, group)
    amplitudes = tables.amplitudes(plan, rows, group)
    return Study(
        plan=plan,
        folder=out,
        recordings=tables.recordings(plan, rows),
        sources=tables.sources(rows, group),
        group=tables.group(group),
        presence=presence,
        amplitudes=amplitudes,
        contrasts=statistics.contrasts(presence, amplitudes),
    )
