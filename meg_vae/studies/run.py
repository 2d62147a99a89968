"""Run a study: many recordings and subjects, each with its sources, and those that they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mne.utils import logger, verbose, warn

from meg_vae.files import check_format
from meg_vae.parallel import workers
from meg_vae.studies.engine import opened, run_rounds
from meg_vae.studies.memory import tell_memory
from meg_vae.studies.outputs import write_study
from meg_vae.studies.plan import make_plan
from meg_vae.studies.result import Study, assemble


@verbose
def study(
    recordings: Any,
    out: str | Path,
    *,
    conditions: list[str] | tuple[str, ...] | str | None = None,
    tmin: float | None = None,
    tmax: float | None = None,
    subjects_dir: str | Path | None = None,
    task: str | None = None,
    session: str | None = None,
    derivatives: str | None = None,
    options: Mapping[str, Any] | None = None,
    space: str | None = None,
    rounds: int | None = None,
    min_group_evidence: float | None = None,
    title: str | None = None,
    file_format: str = "csv",
    n_jobs: int = 1,
    scheduler: Any = None,
    verbose: bool | str | int | None = None,
) -> Study:
    """Find the sources of many subjects, and those that they have in common.

    Each subject is fitted by itself; sources that subjects share become the prior of their places
    (`meg_vae.model.group`), and subjects and group are fitted in turn until neither changes. A
    subject whose data would not say so by themselves is so found to have a source where the others
    have it.

    Parameters
    ----------
    recordings : Plan | DataFrame | path-like
        A table with a row for each recording (columns ``subject, evoked, forward, noise_cov`` and,
        where they are needed, ``run, head, group, bem, trans``), a CSV file of one, a TOML file of
        a whole configuration, or the folder of a BIDS dataset.
    out : path-like
        Folder to write. If it holds some of the same study, only what is missing is done; subjects
        that failed, or whose files changed, are done again.
    conditions : list of str | str | None
        Comments of the responses of the study, which share their sources; None takes the only one
        of each file.
    tmin, tmax : float | None
        Window of interest in s; None takes the data as they are.
    subjects_dir : path-like | None
        FreeSurfer folder; None takes MNE's setting.
    task, session, derivatives : str | None
        Which recordings of a BIDS dataset.
    options : mapping | None
        Options of `VAEInverse`.
    space : "auto" | "surface" | "affine" | None
        How places come to fsaverage: by the registered spheres of the cortex, the Talairach
        transform, or the first of both that a subject has (None: that).
    rounds : int | None
        Rounds of subjects and group in turn, at most (None: 3); 0 groups the sources as they are.
    min_group_evidence : float | None
        Log evidence in nats that a group source must carry (None: 3).
    title : str | None
        Title of the report.
    file_format : "csv" | "parquet"
        Of the tables; parquet needs pyarrow.
    n_jobs : int
        Subjects at a time, each in a process of one thread; -1 takes all processors.
    scheduler : str | distributed.Client | None
        Address of a dask.distributed scheduler, or a client of one; its workers need meg_vae and
        the same folders.
    verbose : bool | str | int | None
        Level of MNE's logging; progress bars are shown at "info" and below.

    Returns
    -------
    study : Study
        The results, which are written in ``out`` too.

    Raises
    ------
    FileExistsError
        If ``out`` holds something else.
    FileNotFoundError
        If there are no such recordings.
    ValueError
        If the configuration is wrong, files are missing or do not fit together (all in one list),
        or ``out`` holds another study.
    OSError
        If results cannot be written, or a scheduler does not answer or goes away.

    Warns
    -----
    RuntimeWarning
        If some subjects could not be fitted; ``recordings`` says why.

    Examples
    --------
    >>> import tempfile
    >>> from meg_vae import datasets, study
    >>> folder = tempfile.mkdtemp()
    >>> files = datasets.simulated_study(f"{folder}/data", 3, 1, presence=1, snr_db=5)
    >>> found = study(
    ...     files.recordings,
    ...     f"{folder}/out",
    ...     conditions=["standard", "deviant"],
    ...     subjects_dir=files.subjects_dir,
    ...     verbose="error",
    ... )
    >>> len(found.group)
    1
    """
    plan = make_plan(
        recordings,
        conditions=conditions,
        tmin=tmin,
        tmax=tmax,
        subjects_dir=subjects_dir,
        task=task,
        session=session,
        derivatives=derivatives,
        options=options,
        space=space,
        rounds=rounds,
        min_group_evidence=min_group_evidence,
        title=title,
    )
    check_format(file_format)
    plan.check()
    out = Path(out).expanduser()
    with workers(scheduler, n_jobs) as parallel, opened(plan, out):
        tell_memory(plan, n_jobs, cluster=scheduler is not None)
        rows, group, last = run_rounds(plan, out, parallel)
        result = assemble(plan, out, rows, group)
        write_study(result, last, file_format)
    failed = result.recordings.query("status == 'failed'")
    if len(failed):
        first = failed.iloc[0]
        warn(
            f"{len(failed)} of {len(result.recordings)} subjects could not be fitted, the first "
            f"{first['subject']}: {first['reason']}"
        )
    logger.info(f"{len(result.group)} group sources in {len(result.recordings)} subjects")
    return result
