"""Compute a forward solution from files."""

from __future__ import annotations

import math
from pathlib import Path

import mne
import typer

from meg_vae.cli.inputs import read
from meg_vae.cli.progress import Steps
from meg_vae.files import whole_file

ENDINGS = ("-fwd.fif", "-fwd.fif.gz", "_fwd.fif", "_fwd.fif.gz")


def forward(
    info_file: Path,
    trans_file: Path,
    src_file: Path,
    out: Path,
    *,
    bem_file: Path | None = None,
    sphere: str | None = None,
    eeg: bool = False,
    mindist: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Compute a forward solution and write it; the file is whole or not there."""
    out = out.expanduser()
    if not 0 <= mindist < math.inf:
        raise ValueError(f"--mindist {mindist:g} must be a number of mm, 0 or more.")
    if (bem_file is None) == (sphere is None):
        raise ValueError("give a BEM solution (--bem) or a sphere model (--sphere), one of them.")
    if not out.name.endswith(ENDINGS):
        raise ValueError(f"the forward solution {out} must be named X{ENDINGS[0]}.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} is there already; name another, or give --overwrite.")
    with whole_file(out, overwrite=overwrite) as part, Steps("Forward", 3) as steps:
        steps.start("reading")
        info = read(info_file, "the positions of sensors", mne.io.read_info)
        trans = read(trans_file, "a head to MRI transform", _read_trans)
        src = read(src_file, "a source space", mne.read_source_spaces)
        bem = _conductor(bem_file, sphere, info)
        steps.start("computing (a minute or so)")
        meg = bool(len(mne.pick_types(info, meg=True, exclude=[])))
        solution = mne.make_forward_solution(
            info, trans, src, bem, meg=meg, eeg=eeg, mindist=mindist
        )
        steps.start("writing")
        mne.write_forward_solution(part, solution)
    offered = sum(space["nuse"] for space in src)
    typer.echo(f"{solution['nsource']} of {offered} positions, {solution['nchan']} channels: {out}")


def _conductor(bem_file: Path | None, sphere: str | None, info: mne.Info) -> mne.bem.ConductorModel:
    """Read a BEM solution, or make a sphere model."""
    if bem_file is not None:
        return read(bem_file, "a BEM solution", mne.read_bem_solution)
    if sphere == "auto":
        try:
            return mne.make_sphere_model(info=info)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"--sphere auto: {error} Give X,Y,Z,RADIUS in m.") from error
    try:
        x, y, z, radius = (float(value) for value in (sphere or "").split(","))
    except ValueError:
        raise ValueError(f"--sphere {sphere!r} must be auto, or X,Y,Z,RADIUS in m.") from None
    if not (math.isfinite(x + y + z) and 0 < radius < math.inf):
        raise ValueError(f"--sphere {sphere!r} must be finite, with a radius above 0.")
    return mne.make_sphere_model((x, y, z), radius)


def _read_trans(path: Path) -> mne.Transform:
    """Read a transform; many other files hold one too, between other frames."""
    from mne.transforms import Transform

    trans: Transform = mne.read_trans(path)
    frames = {trans.from_str, trans.to_str}
    if frames != {"head", "MRI (surface RAS)"}:
        raise ValueError(f"its transform is from {trans.from_str} to {trans.to_str}")
    return trans
