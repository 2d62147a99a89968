"""MNE's sample dataset, where it is installed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import mne
from mne.cov import regularize
from mne.utils import verbose

from .cache import cache_dir, cached_folder, run_steps
from .recordings import Recording

SUBJECT = "sample"

# For each file its name in MNE's sample dataset, then its name in a smaller copy, made of the
# files that MNE ships for its own tests.
_FILES = {
    "evoked": ("MEG/sample/sample_audvis-ave.fif", "MEG/test-ave.fif.gz"),
    "noise_cov": ("MEG/sample/sample_audvis-cov.fif", "MEG/sample_audvis-cov.fif"),
    "trans": ("MEG/sample/sample_audvis_raw-trans.fif", "MEG/sample_audvis_trunc-trans.fif"),
    "src": ("subjects/sample/bem/sample-oct-6-src.fif", "sample-src.fif.gz"),
    "bem": (
        "subjects/sample/bem/sample-5120-bem-sol.fif",
        "subjects/sample/bem/sample-1280-bem-sol.fif",
    ),
}
_BAD_CHANNEL = "MEG 2443"
_LOWPASS_HZ = 40.0
_FORWARD_FILE = "sample-fwd.fif"


@verbose
def sample(
    condition: str = "Left visual",
    tmin: float | None = None,
    tmax: float | None = None,
    verbose: bool | str | int | None = None,
) -> Recording:
    """Load an evoked response of MNE's sample dataset, ready for source localization.

    The data are low-passed at 40 Hz and corrected for the mean of the baseline (-0.2 to 0 s),
    the channel MEG 2443 is marked bad, the covariance is regularized by 0.05, and the forward
    solution (MEG alone, sources at least 5 mm from the inner skull) is computed on the first
    call and kept in the cache folder.

    Parameters
    ----------
    condition : str
        One of the conditions of the dataset: "Left Auditory", "Right Auditory", "Left visual"
        or "Right visual".
    tmin, tmax : float | None
        Part of the response to keep, in s. None: from its start, to its end.
    verbose : bool | str | int | None
        Level of MNE's logging. The progress bar is shown at "info" and below.

    Returns
    -------
    recording : Recording
        The recording; ``truth`` is None.

    Raises
    ------
    FileNotFoundError
        If the dataset is not installed, or lacks a file.
    ValueError
        If there is no such condition.

    Notes
    -----
    The folder is the one named by the environment variable ``MEG_VAE_SAMPLE`` where that is set,
    else where ``mne.datasets.sample.data_path()`` has put it. Nothing is downloaded.
    """
    files = sample_files()
    evoked = _read_evoked(files["evoked"], condition)
    noise_cov = mne.read_cov(files["noise_cov"], verbose="warning")
    noise_cov = noise_cov.pick_channels(evoked.ch_names, ordered=True, verbose="warning")
    noise_cov = regularize(noise_cov, evoked.info, mag=0.05, grad=0.05, verbose="warning")
    trans = mne.read_trans(files["trans"], verbose="warning")
    return Recording(
        evoked=evoked.crop(tmin, tmax, verbose="warning"),
        forward=_forward(evoked.info, trans, files),
        noise_cov=noise_cov,
        truth=None,
        subjects_dir=_root() / "subjects",
        subject=SUBJECT,
        trans=trans,
        bem=mne.read_bem_solution(files["bem"], verbose="warning"),
    )


def sample_files() -> dict[str, Path]:
    """Find the files of the sample dataset.

    Returns
    -------
    files : dict of Path
        By what they hold: "evoked", "noise_cov", "trans", "src" and "bem".

    Raises
    ------
    FileNotFoundError
        If the dataset is not installed, or lacks a file.
    """
    root = _root()
    return {name: _find(root, names) for name, names in _FILES.items()}


def _root() -> Path:
    named = os.environ.get("MEG_VAE_SAMPLE")
    if named:
        root = Path(named).expanduser().resolve()
        if not root.is_dir():
            raise FileNotFoundError(f"MEG_VAE_SAMPLE names {named!r}, which is not a folder")
        return root
    root = mne.datasets.sample.data_path(download=False, verbose="warning")
    if not (root / "MEG").is_dir():
        raise FileNotFoundError(
            "MNE's sample dataset is not installed. Download it with "
            "mne.datasets.sample.data_path(), or set the environment variable "
            "MEG_VAE_SAMPLE to a folder that holds it."
        )
    return root


def _find(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"{root} has no {' and no '.join(names)}")


def _read_evoked(path: Path, condition: str) -> mne.Evoked:
    try:
        evoked = mne.read_evokeds(path, condition, verbose="warning")
    except ValueError as error:  # reading all of them takes long, so only to name them
        known = [evoked.comment for evoked in mne.read_evokeds(path, verbose="warning")]
        if condition in known:
            raise
        raise ValueError(
            f"condition must be one of {', '.join(known)}, got {condition!r}"
        ) from error
    evoked.info["bads"] = [_BAD_CHANNEL]
    evoked.pick("meg", exclude=(), verbose="warning")
    evoked.filter(None, _LOWPASS_HZ, verbose="warning")
    return evoked.apply_baseline((None, 0), verbose="warning")


def _forward(info: mne.Info, trans: mne.Transform, files: dict[str, Path]) -> mne.Forward:
    """Compute the forward solution, or load the one computed from these same files."""
    inputs = [files[name].resolve() for name in ("evoked", "trans", "src", "bem")]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in inputs]
    key = f"1-mne-{mne.__version__}-{hashlib.sha256(repr(stats).encode()).hexdigest()[:16]}"

    def write_forward(folder: Path) -> None:
        def compute() -> None:
            forward = mne.make_forward_solution(
                info,
                trans,
                files["src"],
                files["bem"],
                meg=True,
                eeg=False,
                mindist=5.0,
                verbose="warning",
            )
            mne.write_forward_solution(folder / _FORWARD_FILE, forward, verbose="warning")

        run_steps("Sample forward", {"forward solution": compute})

    folder = cached_folder(cache_dir() / f"sample-{key}", key, write_forward)
    return mne.read_forward_solution(folder / _FORWARD_FILE, verbose="warning")
