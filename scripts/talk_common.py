"""What the scripts of the talk share: problems, the test of success, options, and output."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import typer
from joblib import Parallel, delayed
from PIL import Image
from tqdm.auto import tqdm

from meg_vae.files import whole_file
from meg_vae.viz.style import PALETTE, RC

HERE = Path(__file__).resolve().parent
Quick = Annotated[bool, typer.Option(help="A small version, under a minute.")]
Out = Annotated[
    Path, typer.Option(help="Folder for the figure and the table.", callback=lambda out: _made(out))
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Jobs = Annotated[int, typer.Option(help="Processes; the results do not depend on it.")]
OUT = HERE.parent / "data" / "talk"
JOBS = 2
STYLE = {**RC, "font.size": 9}

#: One colour and marker per method, the same in every figure.
LOOKS = {
    "VAE": {"color": PALETTE[0], "marker": "o", "linewidth": 2.4, "zorder": 3},
    "VAE, gradient": {"color": PALETTE[4], "marker": "s", "linestyle": "--", "zorder": 4},
    "autoencoder, ℓ2,1": {"color": PALETTE[5], "marker": "v"},
    "autoencoder, ℓ2,p": {"color": PALETTE[3], "marker": "^"},
    "autoencoder, log": {"color": PALETTE[1], "marker": "D"},
    "multi-task lasso": {"color": PALETTE[2], "marker": "x", "linestyle": ":"},
    "matching pursuit": {"color": "#666666", "marker": "+", "linestyle": ":"},
}


def _made(out: Path) -> Path:
    """Make the folder before the work, not after it."""
    out.mkdir(parents=True, exist_ok=True)
    return out


@dataclass(frozen=True)
class Problem:
    """A multiple-response regression X = ΦU whose answer is known.

    Attributes
    ----------
    Phi : ndarray, shape (n_channels, n_dipoles)
        Gaussian dictionary with columns of unit norm.
    U : ndarray, shape (n_dipoles, n_samples)
        Activity, with ``n_active`` rows that are not zero.
    X : ndarray, shape (n_channels, n_samples)
        Data, without noise.
    """

    Phi: np.ndarray
    U: np.ndarray
    X: np.ndarray


def check_sizes(n_channels: int, n_dipoles: int, n_active: int, n_samples: int = 1) -> None:
    """Refuse sizes for which the experiment has no meaning.

    Parameters
    ----------
    n_channels, n_dipoles, n_active, n_samples : int
        d, K, ρ0 and n.

    Raises
    ------
    ValueError
        If a size is impossible, with the reason.
    """
    if min(n_channels, n_dipoles, n_samples, n_active) < 1:
        raise ValueError(
            f"sizes must be positive, got d={n_channels}, K={n_dipoles}, n={n_samples}, "
            f"ρ0={n_active}"
        )
    if n_active > n_dipoles:
        raise ValueError(
            f"ρ0={n_active} nonzero rows do not fit among K={n_dipoles}; lower ρ0 or raise K"
        )
    if n_channels > n_dipoles:
        raise ValueError(
            f"d={n_channels} exceeds K={n_dipoles}: with no more columns than channels X = ΦU has "
            "one solution, sparse or not, and there is nothing to recover; raise K or lower d"
        )


def sparse_problem(
    n_channels: int,
    n_dipoles: int,
    n_active: int,
    n_samples: int,
    *,
    decades: float,
    seed: int,
) -> Problem:
    """Make X = ΦU with a Gaussian Φ and a row-sparse U.

    Parameters
    ----------
    n_channels, n_dipoles, n_active, n_samples : int
        d, K, ρ0 and n.
    decades : float
        Row norms run evenly over so many decades; 0 makes them equal.
    seed : int
        Seed.

    Returns
    -------
    problem : Problem
        The problem.

    Raises
    ------
    ValueError
        If a size is impossible.
    """
    check_sizes(n_channels, n_dipoles, n_active, n_samples)
    rng = np.random.default_rng(seed)
    Phi = rng.standard_normal((n_channels, n_dipoles))
    Phi /= np.linalg.norm(Phi, axis=0)
    rows = rng.standard_normal((n_active, n_samples))
    rows *= (10.0 ** np.linspace(0, decades, n_active) / np.linalg.norm(rows, axis=1))[:, None]
    U = np.zeros((n_dipoles, n_samples))
    U[rng.choice(n_dipoles, n_active, replace=False)] = rows
    return Problem(Phi, U, Phi @ U)


def recovered(U: np.ndarray, truth: np.ndarray) -> bool:
    """Say whether every row is right to a tenth of the smallest nonzero one.

    Parameters
    ----------
    U, truth : ndarray, shape (n_dipoles, n_samples)
        Estimate and truth.

    Returns
    -------
    success : bool
        Strict: it implies the right support and the right values.
    """
    norms = np.linalg.norm(truth, axis=1)
    return bool(np.linalg.norm(U - truth, axis=1).max() < 0.1 * norms[norms > 0].min())


def refit(problem: Problem, U: np.ndarray) -> np.ndarray:
    """Refit the strongest rows of U, as many as the truth has: help for methods that shrink.

    Parameters
    ----------
    problem : Problem
        The problem.
    U : ndarray, shape (n_dipoles, n_samples)
        Estimate.

    Returns
    -------
    U : ndarray, shape (n_dipoles, n_samples)
        The estimate without its shrinkage.
    """
    n_active = int(problem.U.any(axis=1).sum())
    rows = np.argsort(np.linalg.norm(U, axis=1))[-n_active:]
    out = np.zeros_like(U)
    out[rows] = np.linalg.lstsq(problem.Phi[:, rows], problem.X, rcond=None)[0]
    return out


def collect(
    work: Callable[..., list[dict[str, Any]]],
    cells: Sequence[tuple[Any, ...]],
    *,
    desc: str,
    unit: str,
    jobs: int = 1,
) -> pd.DataFrame:
    """Do independent pieces of work in several processes, with a progress bar.

    Parameters
    ----------
    work : callable
        Turns the arguments of one piece into rows of the table.
    cells : sequence of tuple
        Arguments of every piece.
    desc, unit : str
        What the progress bar says, and what it counts.
    jobs : int
        Processes, each with one thread.

    Returns
    -------
    table : DataFrame
        All rows, in the order of the cells.

    Raises
    ------
    ValueError
        If there is no process to work in.
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs} must be at least 1")
    done = Parallel(n_jobs=jobs, return_as="generator")(delayed(work)(*cell) for cell in cells)
    bar = tqdm(done, desc=desc, unit=unit, total=len(cells))
    return pd.DataFrame([row for rows in bar for row in rows])


def write(
    name: str, table: pd.DataFrame, draw: Callable[[pd.DataFrame], plt.Figure], out: Path
) -> None:
    """Write the table as ``name.csv`` and its figure as ``name.png``, each in one stroke.

    Parameters
    ----------
    name : str
        Name of both files.
    table : DataFrame
        What was measured; the figure is drawn from it alone.
    draw : callable
        Makes the figure from the table.
    out : Path
        Folder.
    """
    with whole_file(out / f"{name}.csv") as part:
        table.to_csv(part, index=False, float_format="%.6g")
    with mpl.rc_context(STYLE):
        figure = draw(table)
        with whole_file(out / f"{name}.png") as part:
            _save_picture(figure, part)
        plt.close(figure)
    typer.echo(f"wrote {out / name}.csv and .png ({len(table)} rows)")


def show(name: str, draw: Callable[[pd.DataFrame], plt.Figure], folder: Path = OUT) -> pd.DataFrame:
    """Draw a table that was written before, and return it.

    Parameters
    ----------
    name : str
        Name of the table.
    draw : callable
        Makes the figure from the table.
    folder : Path
        Where the table is.

    Returns
    -------
    table : DataFrame
        What was measured.
    """
    table = pd.read_csv(folder / f"{name}.csv")
    with mpl.rc_context(STYLE):
        draw(table)
    return table


def _save_picture(figure: plt.Figure, path: Path) -> None:
    """Save with 128 colours, which makes a small file."""
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        Image.open(buffer).convert("RGB").quantize(128).save(path, format="PNG", optimize=True)


def run(main: Callable[..., None]) -> None:
    """Run a script's ``main`` from the command line; a refused size ends it with its reason.

    Parameters
    ----------
    main : callable
        The command.
    """
    mpl.use("agg")
    torch.set_num_threads(1)  # the problems are small
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
