"""The commands and their options; what a command does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Exit, Option, Typer, echo

from meg_vae._version import __version__
from meg_vae.cli import options as o

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

app = Typer(
    name="meg-vae",
    help="Where in the cortex MEG and EEG responses come from, how strongly, and how sure that is.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        echo(__version__)
        raise Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options of no command."""


@app.command()
def demo(
    ctx: Context,
    out: o.Out = Path("meg_vae-demo"),
    n_sources: Annotated[int, Option(help="Number of sources to simulate.")] = 3,
    snr: Annotated[float, Option(help="Signal-to-noise ratio in dB.")] = 10.0,
    seed: Annotated[int, Option(help="Seed of places, time courses and noise.")] = 0,
    spacing: Annotated[str, Option(help="Source spacing: oct6, ico4, oct5 or ico3.")] = "oct6",
    overwrite: o.Overwrite = False,
    verbose: o.Verbose = False,
) -> None:
    """Simulate sources in a template head, find them, and compare with other methods.

    Needs no data and no network. The first run also makes the template head, and keeps it.

    \b
    Example:
      meg-vae demo --n-sources 2 --snr 5 --out two-sources
    """  # noqa: D301 (a backspace keeps the lines below it apart)
    from meg_vae.cli.demo import demo as run

    simulation = {
        "n_sources": n_sources,
        "snr_db": snr,
        "random_state": seed,
        "spacing": spacing,
    }
    with _logging(verbose):
        run(out, simulation, overwrite=overwrite, command=ctx.obj)


@app.command()
def forward(
    info: Annotated[Path, Option(metavar="X-ave.fif", help="File with the sensors' positions.")],
    trans: Annotated[Path, Option(metavar="X-trans.fif", help="Head to MRI transform.")],
    src: Annotated[Path, Option(metavar="X-src.fif", help="Source space.")],
    out: Annotated[Path, Option("--out", "-o", metavar="X-fwd.fif", help="File to write.")],
    bem: Annotated[Path | None, Option(metavar="X-bem-sol.fif", help="BEM solution.")] = None,
    sphere: Annotated[
        str | None,
        Option(
            metavar="auto|X,Y,Z,RADIUS",
            help="Sphere model in place of a BEM, in m and head coordinates; auto fits the head's "
            "digitized points.",
        ),
    ] = None,
    eeg: Annotated[bool, Option("--eeg", help="Model EEG too; needs a three-layer BEM.")] = False,
    mindist: Annotated[float, Option(help="Least distance from the inner skull in mm.")] = 5.0,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the file.")] = False,
    verbose: o.Verbose = False,
) -> None:
    """Compute a forward solution.

    \b
    Example:
      meg-vae forward --info X-ave.fif --trans X-trans.fif --src X-src.fif \\
        --bem X-bem-sol.fif -o X-fwd.fif
    """  # noqa: D301 (a backspace keeps the lines below it apart)
    from meg_vae.cli.forward import forward as run

    with _logging(verbose):
        head = {"bem_file": bem, "sphere": sphere}
        run(info, trans, src, out, **head, eeg=eeg, mindist=mindist, overwrite=overwrite)


@app.command()
def localize(
    ctx: Context,
    evoked: o.EvokedFile,
    forward: o.ForwardFile,
    cov: o.CovFile,
    out: o.Out,
    condition: o.Condition = None,
    tmin: o.Tmin = None,
    tmax: o.Tmax = None,
    bad: o.Bad = None,
    baseline: o.Baseline = None,
    lowpass: o.Lowpass = None,
    fmin: o.Fmin = None,
    fmax: o.Fmax = None,
    events: o.Events = None,
    event_id: o.EventId = None,
    reg: o.Reg = 0.0,
    positions: o.Positions = "free",
    bem: o.Bem = None,
    trans: o.Trans = None,
    weights: o.Weights = None,
    loose: o.Loose = "auto",
    rank: o.Rank = None,
    noise_variance: Annotated[
        str, Option(help="Noise of the whitened data: learn it, or hold it at a number.")
    ] = "learn",
    noise_autocorrelation: o.NoiseAutocorrelation = "learn",
    orientation: Annotated[
        str, Option(help="Prior of the dipoles of a place: shared, or full (orientation learnt).")
    ] = "shared",
    extent: o.Extent = "learn",
    registration: o.Registration = "auto",
    spans: o.Spans = "learn",
    lead_field_error: o.LeadFieldError = 0.05,
    min_log_evidence: Annotated[
        float | None, Option(help="Evidence from which a source is reported, in nats (else 13).")
    ] = None,
    subject: o.Subject = None,
    subjects_dir: o.SubjectsDir = None,
    overwrite: o.Overwrite = False,
    verbose: o.Verbose = False,
) -> None:
    """Find the sources of an evoked response, of epochs or of a recording.

    \b
    Examples:
      meg-vae localize X-ave.fif X-fwd.fif X-cov.fif --condition "Left visual" \\
        --tmin 0.08 --tmax 0.15 --baseline -0.2 0 --lowpass 40 -o left-visual
      meg-vae localize rest_raw.fif X-fwd.fif empty-8-12-cov.fif --fmin 8 --fmax 12 -o alpha
      meg-vae localize night_raw.fif X-fwd.fif X-cov.fif --events spikes-eve.fif \\
        --tmin -0.05 --tmax 0.05 -o spikes
    """  # noqa: D301 (a backspace keeps the lines below it apart)
    from meg_vae.cli.localize import localize as run
    from meg_vae.cli.preparation import DataOptions

    data = DataOptions(
        evoked,
        forward,
        cov,
        condition,
        tmin,
        tmax,
        bad or [],
        baseline,
        lowpass,
        reg,
        bem=bem,
        trans=trans,
        weights=weights,
        fmin=fmin,
        fmax=fmax,
        events=events,
        event_id=event_id,
    )
    inverse = {
        "positions": positions,
        "loose": o.number(loose),
        "rank": o.rank(rank),
        "noise_variance": o.number(noise_variance),
        "noise_autocorrelation": noise_autocorrelation,
        "orientation": orientation,
        "extent": o.number(extent),
        "registration": o.registration(registration),
        "spans": spans,
        "lead_field_error": lead_field_error,
        "subject": subject,
        "subjects_dir": subjects_dir,
    }
    if min_log_evidence is not None:
        inverse["min_log_evidence"] = min_log_evidence
    with _logging(verbose):
        run(out, data, inverse, overwrite=overwrite, command=ctx.obj)


@app.command()
def compare(
    ctx: Context,
    evoked: o.EvokedFile,
    forward: o.ForwardFile,
    cov: o.CovFile,
    out: o.Out,
    methods: Annotated[
        str, Option(metavar="NAME,NAME,...", help="Methods to run, with commas between.")
    ] = "vae,irmxne,sloreta",
    condition: o.Condition = None,
    tmin: o.Tmin = None,
    tmax: o.Tmax = None,
    bad: o.Bad = None,
    baseline: o.Baseline = None,
    lowpass: o.Lowpass = None,
    reg: o.Reg = 0.0,
    epochs: Annotated[
        Path | None,
        Option(metavar="X-epo.fif", help="The epochs averaged, for the held-out error."),
    ] = None,
    folds: Annotated[int, Option(help="Number of folds of the epochs.")] = 5,
    weights: o.Weights = None,
    loose: o.Loose = "auto",
    rank: o.Rank = None,
    subject: o.Subject = None,
    subjects_dir: o.SubjectsDir = None,
    overwrite: o.Overwrite = False,
    verbose: o.Verbose = False,
) -> None:
    """Run several inverse methods on the same evoked response.

    \b
    Example:
      meg-vae compare X-ave.fif X-fwd.fif X-cov.fif --condition "Left visual" \\
        --tmin 0.08 --tmax 0.15 --methods vae,irmxne,gamma_map,dspm -o methods
    """  # noqa: D301 (a backspace keeps the lines below it apart)
    from meg_vae.cli.compare import compare as run
    from meg_vae.cli.preparation import DataOptions

    data = DataOptions(
        evoked,
        forward,
        cov,
        condition,
        tmin,
        tmax,
        bad or [],
        baseline,
        lowpass,
        reg,
        epochs,
        weights=weights,
    )
    names = [name.strip() for name in methods.split(",") if name.strip()]
    head = {"subject": subject, "subjects_dir": subjects_dir}
    options = {"loose": o.number(loose), "rank": o.rank(rank), "n_folds": folds}
    with _logging(verbose):
        run(out, data, names, options, head, overwrite=overwrite, command=ctx.obj)


@app.command()
def benchmark(
    ctx: Context,
    out: o.Out,
    protocol: Annotated[
        Path | None,
        Argument(metavar="PROTOCOL.toml", help="Simulated recordings and methods to run."),
    ] = None,
    phantom: Annotated[
        str | None,
        Option(
            metavar="elekta|kit|4dbti|ctf",
            help="In place of a protocol: MNE's dataset of a phantom, whose dipoles are known; the "
            "VAE beside MNE's dipole fit.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Where the dataset of --phantom lies; else where MNE keeps it. It is never "
            "downloaded.",
        ),
    ] = None,
    jobs: Annotated[int, Option(help="Processes on this machine; -1 for one per core.")] = 1,
    backend: Annotated[str, Option(help="loky (this machine) or dask (a cluster).")] = "loky",
    scheduler: Annotated[
        str | None, Option(metavar="ADDRESS", help="Scheduler of the dask.distributed cluster.")
    ] = None,
    file_format: Annotated[str, Option("--format", help="Tables as csv or parquet.")] = "csv",
    overwrite: Annotated[
        bool,
        Option("--overwrite", help="With --phantom: replace what an earlier run wrote."),
    ] = False,
    verbose: o.Verbose = False,
) -> None:
    """Run inverse methods on many simulated recordings, or on a phantom.

    Give a protocol or --phantom. Of a protocol, stopped at any time, the same command goes on
    where it was.

    \b
    Examples:
      meg-vae benchmark data/benchmarks/protocol.toml --jobs 2 -o benchmark
      meg-vae benchmark --phantom elekta --data MNE-brainstorm-data/bst_phantom_elekta -o phantom
    """  # noqa: D301 (a backspace keeps the lines below it apart)
    if (protocol is None) == (phantom is None):
        raise ValueError("give either PROTOCOL.toml or --phantom (see meg-vae benchmark --help).")
    if phantom is None and (data is not None or overwrite):
        raise ValueError("--data and --overwrite go with --phantom, and not with a protocol.")
    if phantom is not None and (backend, scheduler) != ("loky", None):
        raise ValueError("--backend and --scheduler go with a protocol, and not with --phantom.")
    shared = {"n_jobs": jobs, "file_format": file_format, "command": ctx.obj}
    with _logging(verbose):
        if protocol is not None:
            from meg_vae.cli.benchmark import benchmark as run_protocol

            run_protocol(protocol, out, backend=backend, scheduler=scheduler, **shared)
        else:
            from meg_vae.cli.phantom import phantom as run_phantom

            run_phantom(phantom, data, out, overwrite=overwrite, **shared)


@app.command()
def study(
    ctx: Context,
    recordings: Annotated[
        Path,
        Argument(
            metavar="BIDS_ROOT|X.csv|X.toml",
            help="BIDS dataset with derivatives, table of recordings, or a whole configuration.",
        ),
    ],
    out: o.Out,
    task: Annotated[str | None, Option(help="Task, of a BIDS dataset.")] = None,
    session: Annotated[str | None, Option(help="Session, of a BIDS dataset.")] = None,
    derivatives: Annotated[
        str | None, Option(metavar="NAME", help="Which derivatives hold the files; else any.")
    ] = None,
    condition: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="A response of the study; may be given several times."),
    ] = None,
    tmin: o.Tmin = None,
    tmax: o.Tmax = None,
    subjects_dir: o.SubjectsDir = None,
    space: Annotated[
        str | None, Option(metavar="auto|surface|affine", help="How places come to fsaverage.")
    ] = None,
    rounds: Annotated[
        int | None, Option(help="Rounds of subjects and group in turn, at most; 3 without it.")
    ] = None,
    min_group_evidence: Annotated[
        float | None, Option(help="Nats that a group source must carry; 3 without it.")
    ] = None,
    jobs: Annotated[int, Option(help="Subjects at a time; -1 for one per core.")] = 1,
    scheduler: Annotated[
        str | None, Option(metavar="ADDRESS", help="Scheduler of a dask.distributed cluster.")
    ] = None,
    file_format: Annotated[str, Option("--format", help="Tables as csv or parquet.")] = "csv",
    pages: Annotated[bool, Option(help="Write a page for each subject.")] = True,
    verbose: o.Verbose = False,
) -> None:
    """Find the sources of many subjects, and those that they have in common.

    Stopped at any time, the same command goes on where it was. The exit status is 1 where some
    subjects could not be fitted, and 2 where the study could not begin.

    \b
    Example:
      meg-vae study bids --task audio --condition standard --condition deviant -o study
    """  # noqa: D301 (a backspace keeps the lines below it apart)
    from meg_vae.cli.study import study as run

    choices = {
        "task": task,
        "session": session,
        "derivatives": derivatives,
        "conditions": condition or None,
        "tmin": tmin,
        "tmax": tmax,
        "subjects_dir": subjects_dir,
        "space": space,
        "rounds": rounds,
        "min_group_evidence": min_group_evidence,
    }
    with _logging(verbose):
        run(
            recordings,
            out,
            choices,
            n_jobs=jobs,
            scheduler=scheduler,
            file_format=file_format,
            pages=pages,
            command=ctx.obj,
        )


def _logging(verbose: bool) -> AbstractContextManager[None]:
    """Let MNE log nothing but warnings, or all."""
    from mne.utils import use_log_level

    return use_log_level("info" if verbose else "warning")
