"""The files of a study: tables, derivatives with sidecars, and objects of MNE on fsaverage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from meg_vae._version import __version__
from meg_vae.datasets.helmet import MNE_DATA
from meg_vae.files import whole_file, write_table
from meg_vae.meg.inverse import VAEInverse
from meg_vae.meg.saving import kept_options
from meg_vae.studies.maps import average_positions
from meg_vae.studies.members import Member
from meg_vae.studies.result import TABLES, Study
from meg_vae.studies.tables import AXES, file_of

BIDS_VERSION = "1.10.0"
COLUMNS = {  # of the table of one subject, for its sidecar
    "x_mm": ("Place, MRI surface RAS", "mm"),
    "fs_x_mm": ("Place on fsaverage (MNI305), as the data alone put it", "mm"),
    "peak_nAm": ("Largest amplitude", "nAm"),
    "log_evidence": ("Log evidence lost by taking out this source alone", "nats"),
    "radius_mm": ("Half the longest axis of the 95 % ellipsoid of the place", "mm"),
    "weight": ("Log prior odds that the group gives to a source there", "nats"),
    "group_source": ("Row of group.csv that it belongs to, -1 for none", "dimensionless"),
}


def write_study(result: Study, last: Path, file_format: str) -> None:
    """Write the results of a study; each file is whole or not there.

    Parameters
    ----------
    result : Study
        The results.
    last : Path
        Folder of the last round, which holds the inverse of each subject.
    file_format : "csv" | "parquet"
        Of the tables.
    """
    out = result.folder
    for name in TABLES:
        write_table(getattr(result, name), out / f"{name}.{file_format}")
    _write_json(
        {
            "Name": result.plan.title,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "meg_vae", "Version": __version__}],
        },
        out / "dataset_description.json",
    )
    fitted = set(result.recordings.query("status == 'ok'")["subject"])
    options = kept_options(VAEInverse(**result.plan.options))
    for member in result.plan.members:
        if member.subject in fitted:
            _write_subject(result, member, last, options)
    _write_group(result)


def _write_subject(result: Study, member: Member, last: Path, options: dict[str, Any]) -> None:
    """Write the inverse of one subject, its sources, and where they come from."""
    subject = member.subject
    path = file_of(result.folder, subject)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        shutil.copyfile(last / path.name, part)
    own = result.sources
    if len(own):
        own = own[own["subject"] == subject].drop(columns="subject")
    name = path.parent / f"{subject}_desc-vae_sources"
    with whole_file(name.with_suffix(".tsv")) as part:
        own.to_csv(part, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    columns = {key: {"Description": text, "Units": unit} for key, (text, unit) in COLUMNS.items()}
    told = {
        "Description": "Sources of the subject, and where they are on fsaverage",
        "Sources": [str(path) for path in member.files],
        "Conditions": list(result.plan.conditions),
        "Window": {"tmin": result.plan.tmin, "tmax": result.plan.tmax, "Units": "s"},
        "Options": options,
        "GeneratedBy": versions(),
    }
    _write_json(told | columns, name.with_suffix(".json"))


def versions() -> dict[str, str]:
    """Tell the versions that decide a result."""
    return {"meg_vae": __version__, "mne": mne.__version__, "numpy": np.__version__}


def _write_group(result: Study) -> None:
    """Write occurrence maps, and the group sources as labels and dipoles of MNE."""
    for condition in (None, *result.plan.conditions):
        end = "" if condition is None else f"-{_plain(condition)}"
        stc = result.occurrence(condition)
        for side, half in (("lh", 0), ("rh", 1)):
            with whole_file(result.folder / f"occurrence{end}-{side}.stc") as part:
                stem = str(part)[: -len(f"-{side}.stc")]
                stc.save(stem, overwrite=True, verbose="error")
                other = Path(f"{stem}-{('rh', 'lh')[half]}.stc")
                other.unlink()
    for old in result.folder.glob("group-*.label"):
        old.unlink()
    subject, src = average_positions(result.plan)
    for row in result.group.itertuples():
        label = _label(row, subject, src)
        with whole_file(result.folder / f"{label.name}.label") as part:
            mne.write_label(part, label, verbose="error")
    dipoles = result.folder / "group.dip"
    dipoles.unlink(missing_ok=True)
    if len(result.group):
        with whole_file(dipoles) as part:
            _dipoles(result.group).save(part, verbose="error")


def _label(row: Any, subject: str, src: mne.SourceSpaces) -> mne.Label:
    """Make a label of the positions within the spread between subjects, or the nearest."""
    centre = np.array([getattr(row, axis) for axis in AXES])
    side = int(centre[0] > 0)
    rr = 1e3 * src[side]["rr"][src[side]["vertno"]]
    gap = np.linalg.norm(rr - centre, axis=1)
    near = gap <= max(2 * row.spread_mm, gap.min())
    name = f"group-{row.source + 1}-{('lh', 'rh')[side]}"
    return mne.Label(
        src[side]["vertno"][near],
        rr[near] / 1e3,
        hemi=("lh", "rh")[side],
        name=name,
        subject=subject,
    )


def _dipoles(group: pd.DataFrame) -> mne.Dipole:
    """Put the group sources in fsaverage's head coordinates, with the 95 % volume of each."""
    trans = mne.read_trans(MNE_DATA / "fsaverage" / "fsaverage-trans.fif", verbose="error")
    to_head = mne.transforms.invert_transform(trans)
    places = mne.transforms.apply_trans(to_head, group[list(AXES)].to_numpy(float) / 1e3)
    n = len(group)
    upwards = np.tile([0.0, 0.0, 1.0], (n, 1))  # a group has places, and no orientation
    conf = {"vol": 4 / 3 * np.pi * (group["radius_mm"].to_numpy(float) / 1e3) ** 3}
    amplitude = np.full(n, 1e-9)
    return mne.Dipole(
        np.zeros(n), places, amplitude, upwards, np.full(n, 100.0), name="group", conf=conf
    )


def _plain(name: str) -> str:
    """Make a name that a file can have."""
    return "".join(one if one.isalnum() else "_" for one in name)


def _write_json(told: dict[str, Any], path: Path) -> None:
    with whole_file(path) as part:
        text = json.dumps(told, indent=2, ensure_ascii=False, default=str)
        part.write_text(text + "\n", encoding="utf-8")
