"""MNE's datasets of phantoms, where they are installed: dipoles whose places are known."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
from mne.dipole import get_phantom_dipoles
from mne.utils import verbose
from numpy.typing import NDArray

from .phantom_responses import (
    KIT_DIPOLES,
    bti_responses,
    ctf_responses,
    elekta_responses,
    kit_responses,
)

HEAD_RADIUS = 0.08  # m, of the sphere model of all of them; its centre is that of the head
KIT_STRETCH = (11.5, 302.9)  # s, whole rounds of the dipoles
# The four dipoles of the 4D phantom: in its own axes in cm, and these turned to the head's.
BTI_CM = [[0.16, 1.61, 5.13], [0.17, 1.35, 4.15], [0.16, 1.05, 3.19], [0.13, 0.80, 2.26]]
BTI_TURN = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]


@dataclass(frozen=True, eq=False)
class Phantom:
    """Recordings of dipoles whose places are known.

    Attributes
    ----------
    kind : str
        "elekta", "kit", "4dbti" or "ctf".
    title : str
        Its name.
    evokeds : list of mne.Evoked
        Of each dipole, one sample: the time at which it is strongest.
    noise_covs : list of mne.Covariance
        Noise covariance of single trials that goes with each.
    sphere : mne.bem.ConductorModel
        The sphere model.
    pos : ndarray, shape (n_dipoles, 3)
        Where the dipoles are, m, head coordinates.
    ori : ndarray, shape (n_dipoles, 3)
        Unit vectors along them; NaN where that is not known.
    amplitude : ndarray, shape (n_dipoles,)
        Their size at the time of the responses, A·m; NaN where that is not known.
    """

    kind: str
    title: str
    evokeds: list[mne.Evoked]
    noise_covs: list[mne.Covariance]
    sphere: mne.bem.ConductorModel
    pos: NDArray[np.float64]
    ori: NDArray[np.float64]
    amplitude: NDArray[np.float64]


@dataclass(frozen=True)
class _Dataset:
    """What is read from where: ``home`` is MNE's module of it, ``files`` tell that it is there."""

    title: str
    home: str
    files: tuple[str, ...]
    read: Callable[[Path], tuple[list[mne.Evoked], list[mne.Covariance]]]
    truth: Callable[[], tuple[NDArray[np.float64], ...]]


@verbose
def phantom(
    kind: str, folder: str | Path | None = None, verbose: bool | str | int | None = None
) -> Phantom:
    """Read a phantom dataset as MNE's tutorials do, ready for source localization.

    Parameters
    ----------
    kind : "elekta" | "kit" | "4dbti" | "ctf"
        The dataset: 32 dipoles of 100 nAm (200 nAm from peak to peak) in a VectorView, 49 in a KIT
        system, 4 in a 4D one, or one of 20 µA in a CTF system.
    folder : path-like | None
        Where it lies; None asks MNE, which does not download it.
    verbose : bool | str | int | None
        Level of MNE's logging.

    Returns
    -------
    phantom : Phantom
        The responses and the truth. Orientations of the CTF and the 4D phantom are not known, and
        amplitudes of the Elekta phantom alone are.

    Raises
    ------
    FileNotFoundError
        If the dataset is not there, or lacks a file.
    ValueError
        If there is no such kind, or the files are not those of the dataset.

    Notes
    -----
    The Elekta phantom was tried on simulated recordings in the same files; of the others, whose
    formats MNE does not write, all but the reading of their files was. Bad channels, filters,
    times and sphere are those of the tutorials; responses keep their number of averages.
    """
    folder = phantom_folder(kind, folder)
    dataset = DATASETS[kind]
    evokeds, noise_covs = dataset.read(folder)
    sphere = mne.make_sphere_model((0.0, 0.0, 0.0), head_radius=HEAD_RADIUS)
    return Phantom(kind, dataset.title, evokeds, noise_covs, sphere, *dataset.truth())


def phantom_folder(kind: str, folder: str | Path | None = None) -> Path:
    """Find a phantom dataset without downloading it, or say how to get it."""
    if kind not in DATASETS:
        raise ValueError(f"kind={kind!r} is no phantom; use one of {', '.join(DATASETS)}.")
    dataset = DATASETS[kind]
    if folder is None:
        home = importlib.import_module(dataset.home)
        # MNE's answer is an empty path where it has none
        folder = home.data_path(download=False, update_path=False)
        where = "not installed" if folder == Path() else f"not whole in {folder}"
    else:
        folder = Path(folder).expanduser()
        where = f"not in {folder}"
    missing = [name for name in dataset.files if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"the phantom dataset {kind!r} is {where}: there is no {missing[0]}. Download it with "
            f"{dataset.home}.data_path(), or name the folder that holds it."
        )
    return folder


def _read_elekta(folder: Path) -> tuple[list[mne.Evoked], list[mne.Covariance]]:
    return _shared(elekta_responses(mne.io.read_raw_fif(folder / ELEKTA_FILE)))


def _read_kit(folder: Path) -> tuple[list[mne.Evoked], list[mne.Covariance]]:
    return _shared(kit_responses(mne.io.read_raw_kit(folder / KIT_FILE).crop(*KIT_STRETCH)))


def _read_bti(folder: Path) -> tuple[list[mne.Evoked], list[mne.Covariance]]:
    evokeds, noise_covs = [], []
    for name in BTI_FILES:
        raw = mne.io.read_raw_bti(folder / name, rename_channels=False, preload=True)
        (evoked,), noise_cov = bti_responses(raw)
        evokeds.append(evoked)
        noise_covs.append(noise_cov)
    return evokeds, noise_covs


def _read_ctf(folder: Path) -> tuple[list[mne.Evoked], list[mne.Covariance]]:
    raw, empty_room = (mne.io.read_raw_ctf(folder / name) for name in CTF_FILES)
    return _shared(ctf_responses(raw, empty_room))


def _shared(
    responses: tuple[list[mne.Evoked], mne.Covariance],
) -> tuple[list[mne.Evoked], list[mne.Covariance]]:
    """Give each response the noise covariance that they have in common."""
    evokeds, noise_cov = responses
    return evokeds, [noise_cov] * len(evokeds)


def _elekta_truth() -> tuple[NDArray[np.float64], ...]:
    """Half of the current from peak to peak, which the name of the file tells."""
    pos, ori = get_phantom_dipoles("vectorview")
    return pos, ori, np.full(len(pos), 100e-9)


def _kit_truth() -> tuple[NDArray[np.float64], ...]:
    pos, ori = (values[:KIT_DIPOLES] for values in get_phantom_dipoles("oyama"))
    return pos, ori, np.full(KIT_DIPOLES, np.nan)


def _bti_truth() -> tuple[NDArray[np.float64], ...]:
    return 0.01 * np.array(BTI_CM) @ BTI_TURN, np.full((4, 3), np.nan), np.full(4, np.nan)


def _ctf_truth() -> tuple[NDArray[np.float64], ...]:
    return np.array([[0.018, 0.0, 0.049]]), np.full((1, 3), np.nan), np.full(1, np.nan)


ELEKTA_FILE = "kojak_all_200nAm_pp_no_chpi_no_ms_raw.fif"
KIT_FILE = "002_phantom_11Hz_100uA.con"
BTI_FILES = tuple(f"{number}/e,rfhp1.0Hz" for number in range(1, 5))
CTF_FILES = ("phantom_20uA_20150603_03.ds", "emptyroom_20150709_01.ds")
DATASETS = {
    "elekta": _Dataset(
        "Elekta phantom",
        "mne.datasets.brainstorm.bst_phantom_elekta",
        (ELEKTA_FILE,),
        _read_elekta,
        _elekta_truth,
    ),
    "kit": _Dataset("KIT phantom", "mne.datasets.phantom_kit", (KIT_FILE,), _read_kit, _kit_truth),
    "4dbti": _Dataset("4D phantom", "mne.datasets.phantom_4dbti", BTI_FILES, _read_bti, _bti_truth),
    "ctf": _Dataset(
        "CTF phantom",
        "mne.datasets.brainstorm.bst_phantom_ctf",
        CTF_FILES,
        _read_ctf,
        _ctf_truth,
    ),
}
