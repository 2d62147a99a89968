"""Simulated recordings of phantoms, as MNE's phantom datasets have them.

Dipoles lie where those of the phantoms lie, in the sphere that the tutorials take, below models of
the sensor arrays. Noise is white, 3 fT/√Hz in magnetometers and 3 fT/cm/√Hz in planar gradiometers,
with the field of the room: homogeneous, 1 pT at 50 Hz and as much that drifts, along each axis.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import mne
import numpy as np

from meg_vae.datasets.arrays import array_info
from meg_vae.datasets.phantom_responses import (
    CTF_DRIVE,
    CTF_FREQUENCY,
    ELEKTA_PEAK,
    KIT_DEVICE_TO_HEAD,
    KIT_DIPOLES,
    KIT_DRIVE,
    KIT_FREQUENCY,
    KIT_REFERENCES,
)
from meg_vae.datasets.phantoms import DATASETS, ELEKTA_FILE, HEAD_RADIUS

DENSITY = 3e-15  # T/√Hz; 100 times that in T/m/√Hz
ROOM = 1e-12  # T
TRIAL = 0.95  # s, of the Elekta phantom
BURST = 20.0  # Hz, of it


@cache
def _array(name: str, sfreq: float) -> mne.Info:
    return array_info(name, sfreq)


def array(name: str, sfreq: float) -> mne.Info:
    """Give the info of an array, which takes long to make once."""
    return _array(name, sfreq).copy()


def fields(info: mne.Info, pos: np.ndarray, ori: np.ndarray) -> np.ndarray:
    """Fields of dipoles (n, 3) per A·m, shape (n_channels, n)."""
    sphere = mne.make_sphere_model((0.0, 0.0, 0.0), head_radius=HEAD_RADIUS, verbose="error")
    ones = np.ones(len(pos))
    dipoles = mne.Dipole(np.arange(len(pos)), pos, ones, ori, ones)
    forward = mne.make_forward_dipole(dipoles, sphere, info, verbose="error")[0]
    return forward["sol"]["data"].reshape(len(info.ch_names), len(pos))


def noise(info: mne.Info, n_times: int, rng: np.random.Generator, room: float = ROOM) -> np.ndarray:
    """Draw noise of sensors and room (T), (n_channels, n_times)."""
    sfreq, kinds = info["sfreq"], np.array(info.get_channel_types())
    sd = DENSITY * np.sqrt(sfreq / 2) * np.where(kinds == "grad", 100.0, 1.0)
    out = sd[:, None] * rng.standard_normal((len(kinds), n_times))
    along = np.array([channel["loc"][9:12] for channel in info["chs"]]) * (kinds == "mag")[:, None]
    times = np.arange(n_times) / sfreq
    drift = np.cumsum(rng.standard_normal((3, n_times)), axis=1)
    drift /= drift.std(axis=1, keepdims=True)
    phases = rng.uniform(0, 2 * np.pi, (3, 1))
    return out + along @ (room * (drift + np.sqrt(2) * np.sin(100 * np.pi * times + phases)))


def elekta_raw(
    *,
    trials: int = 12,
    sfreq: float = 500.0,
    amplitude: float = 100e-9,
    gain_error: float = 0.0,
    shift: float = 0.0,
    room: float = ROOM,
    random_state: int = 0,
) -> mne.io.RawArray:
    """Simulate the Elekta phantom: 32 dipoles in turn, bursts of two cycles of 20 Hz.

    ``amplitude`` (A·m) is that of a peak, ``gain_error`` the standard deviation of the sensors'
    relative calibration errors, ``shift`` (m) how far inward from where they should be the dipoles
    lie, ``room`` (T) the field of the room.
    """
    rng = np.random.default_rng(random_state)
    info = array("VectorView", sfreq)
    info.rename_channels({name: name.replace(" ", "") for name in info.ch_names})
    pos, ori, _ = DATASETS["elekta"].truth()
    pos = pos * (1 - shift / np.linalg.norm(pos, axis=1, keepdims=True))
    gain = fields(info, pos, ori) * (1 + gain_error * rng.standard_normal((len(info.ch_names), 1)))
    length = round(TRIAL * sfreq)
    data = noise(info, length * trials * len(pos), rng, room)
    stim = np.zeros(data.shape[1])
    since = np.arange(length) / sfreq - 0.1 - (ELEKTA_PEAK - 1 / BURST / 4)  # s, from the burst on
    burst = np.sin(2 * np.pi * BURST * since) * ((since >= 0) & (since < 2 / BURST))
    for k in range(len(pos) * trials):
        first, dipole = k * length, k // trials
        data[:, first : first + length] += amplitude * np.outer(gain[:, dipole], burst)
        at = first + round(0.1 * sfreq)
        stim[at : at + round(0.01 * sfreq)] = dipole + 1
    return with_channels(info, data, {"STI201": stim}, "stim")


def write_elekta(folder: Path, **options: float) -> Path:
    """Write the file of the Elekta phantom into a folder as the dataset's."""
    folder.mkdir(parents=True, exist_ok=True)
    elekta_raw(**options).save(folder / ELEKTA_FILE, overwrite=True, verbose="error")
    return folder


def kit_raw(*, rounds: int = 2, random_state: int = 0) -> mne.io.RawArray:
    """Simulate the KIT phantom: rounds of 49 dipoles, bursts of two cycles of 11 Hz, 100 nAm."""
    rng = np.random.default_rng(random_state)
    info = array("KIT 160", 2000.0)
    turn = np.linalg.inv(KIT_DEVICE_TO_HEAD) @ info["dev_head_t"]["trans"]
    for channel in info["chs"]:  # the model's device is not that of the system
        axes = channel["loc"].reshape(4, 3) @ turn[:3, :3].T
        axes[0] += turn[:3, 3]
        channel["loc"][:] = axes.ravel()
    info["dev_head_t"] = mne.Transform("meg", "head", KIT_DEVICE_TO_HEAD)
    pos, ori, _ = DATASETS["kit"].truth()
    gain = fields(info, pos, ori)
    info["dev_head_t"] = mne.Transform("meg", "head", np.eye(4))  # wrong, as in the file
    apart, between = round(0.28 * 2000), round(0.85 * 2000)  # samples from onset to onset
    length = (KIT_DIPOLES - 1) * apart + between
    data = noise(info, length * rounds + 2000, rng)
    drive = np.zeros(data.shape[1])
    cycle = np.arange(round(2 / KIT_FREQUENCY * 2000)) / 2000 * 2 * np.pi * KIT_FREQUENCY
    burst = np.sin(cycle)
    for k in range(rounds * KIT_DIPOLES):
        first = 1000 + k // KIT_DIPOLES * length + k % KIT_DIPOLES * apart
        here = slice(first, first + len(burst))
        data[:, here] += 100e-9 * np.outer(gain[:, k % KIT_DIPOLES], burst)
        drive[here] = -burst
    others = {name: 1e-3 * rng.standard_normal(len(drive)) for name in KIT_REFERENCES}
    return with_channels(info, data, others | {KIT_DRIVE: drive}, "misc")


def bti_raw(dipole: int, *, trials: int = 60, random_state: int = 0) -> mne.io.RawArray:
    """Simulate a recording of the 4D phantom: one dipole, half a wave of 140 ms."""
    rng = np.random.default_rng([random_state, dipole])
    info = array("4D 248", 250.0)
    info.rename_channels({name: f"A{k + 1}" for k, name in enumerate(info.ch_names)})
    pos = DATASETS["4dbti"].truth()[0][dipole : dipole + 1]
    ori = np.cross(pos, [0.0, 1.0, 0.0])  # tangential
    gain = fields(info, pos, ori / np.linalg.norm(ori))
    length = round(0.7 * 250)
    data = noise(info, length * trials, rng)
    stim = np.zeros(data.shape[1])
    since = (np.arange(length) - 63) / 250
    shape = np.sin(np.pi * since / 0.14) * ((since >= 0) & (since < 0.14))
    data += 100e-9 * gain * np.tile(shape, trials)
    at = np.flatnonzero(np.tile(since == 0, trials))
    stim[at] = stim[at + 1] = 8192 + 4096  # with a bit that the mask takes away
    return with_channels(info, data, {"TRIGGER": stim}, "stim")


def ctf_raws(*, seconds: float = 24.0, random_state: int = 0) -> list[mne.io.RawArray]:
    """Simulate the CTF phantom, one dipole of 100 nAm at 23 Hz, and the empty room."""
    rng = np.random.default_rng(random_state)
    info = array("CTF 275", 600.0)
    pos = DATASETS["ctf"].truth()[0]
    gain = fields(info, pos, np.array([[0.0, 1.0, 0.0]]))
    n_times = round(seconds * 600)
    wave = np.sin(2 * np.pi * CTF_FREQUENCY * np.arange(n_times) / 600)
    raws = []
    for size in (1.0, 0.0):  # the phantom, then nothing
        data = noise(info, n_times, rng) + size * 100e-9 * gain * wave
        raws.append(with_channels(info, data, {CTF_DRIVE: size * wave}, "misc"))
    return raws


def with_channels(
    info: mne.Info, data: np.ndarray, others: dict[str, np.ndarray], kind: str
) -> mne.io.RawArray:
    """Make a recording of sensors and of other channels of one kind."""
    raw = mne.io.RawArray(data, info.copy(), verbose="error")
    more = mne.create_info(list(others), info["sfreq"], kind)
    added = mne.io.RawArray(np.array(list(others.values())), more, verbose="error")
    return raw.add_channels([added], force_update_info=True)
