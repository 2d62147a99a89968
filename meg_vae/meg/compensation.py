"""The grade of compensation of MEG channels, as CTF systems have it."""

from __future__ import annotations

import mne


def compensation(info: mne.Info) -> int:
    """Give the grade of compensation of MEG channels.

    Parameters
    ----------
    info : mne.Info
        Measurement info.

    Returns
    -------
    grade : int
        0 for none; FIFF keeps it in the upper half of the coil type.
    """
    meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=[])
    grades = {int(info["chs"][k]["coil_type"]) >> 16 for k in meg}
    if len(grades) > 1:
        raise ValueError(
            f"the MEG channels are compensated unequally (grades {sorted(grades)}); "
            "use apply_gradient_compensation."
        )
    return grades.pop() if grades else 0


def check_compensation(info: mne.Info, grade: int, name: str, whose: str) -> None:
    """Refuse data of another grade of compensation.

    Parameters
    ----------
    info : mne.Info
        Measurement info of the data.
    grade : int
        The grade needed.
    name, whose : str
        What to call these data and what needs the grade.

    Raises
    ------
    ValueError
        If the grades differ.
    """
    own = compensation(info)
    if own != grade:
        raise ValueError(
            f"{name} has compensation grade {own}, and {whose} has {grade}; use "
            f"{name}.apply_gradient_compensation({grade}) on the recording, or compute the forward "
            "model and fit again."
        )
