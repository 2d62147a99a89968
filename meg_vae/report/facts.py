"""What went into a localization and what came out, in short: a name and a text each."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from meg_vae._version import __version__
from meg_vae.comparison.methods import METHODS
from meg_vae.meg.at_places import VAGUE
from meg_vae.meg.bootstrap import learnt_noises
from meg_vae.meg.registration import motion_text
from meg_vae.meg.saving import kept_options
from meg_vae.viz.sensors import TYPE_NAMES, type_name
from meg_vae.viz.tables import NOTHING, source_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import mne

    from meg_vae.meg.inverse import VAEInverse

TRUTH = ("True source", "True peak (nAm)", "Found peak (nAm)", "Error (mm)", "Found source")
LIBRARIES = ("mne", "torch", "numpy", "scipy", "pandas", "matplotlib", "pyvista", "nibabel")


def versions() -> dict[str, str]:
    """Give the exact versions of the program and of what it stands on.

    Returns
    -------
    versions : dict of str
        Version by name, meg_vae and Python first.
    """
    libraries = {name: version(name) for name in LIBRARIES}
    return {"meg_vae": __version__, "python": platform.python_version()} | libraries


def data_facts(evoked: mne.Evoked, ch_names: Sequence[str] | None = None) -> dict[str, str]:
    """Describe an evoked response, and which channels were used where they are told."""
    info, times = evoked.info, evoked.times
    baseline = evoked.baseline
    first, last = 1e3 * times[0], 1e3 * times[-1]
    facts = {
        "Response": evoked.comment or "unnamed",
        "Averages": f"{evoked.nave:g}",
        "Time window": f"{first:.1f} to {last:.1f} ms ({len(times)} samples)",
        "Sampling frequency": f"{info['sfreq']:.4g} Hz",
        "Pass band": f"{info['highpass']:.3g} to {info['lowpass']:.4g} Hz",
        "Baseline": "none"
        if baseline is None
        else f"{1e3 * baseline[0]:.0f} to {1e3 * baseline[1]:.0f} ms",
    }
    if ch_names is not None:
        facts["Channels used"] = _channels(evoked, ch_names)
    facts["Bad channels"] = ", ".join(info["bads"]) or "none"
    active = sum(proj["active"] for proj in info["projs"])
    facts["Projectors"] = f"{active} applied, of {len(info['projs'])}" if info["projs"] else "none"
    return facts


def _channels(evoked: mne.Evoked, ch_names: Sequence[str]) -> str:
    """Count the channels used, by type, of the good and bad ones that the data have."""
    kinds = dict(zip(evoked.ch_names, evoked.get_channel_types(), strict=True))
    used = [kinds[name] for name in ch_names]
    of_kind = [
        f"{used.count(kind)} {_in_a_sentence(type_name(evoked.info, kind))}"
        for kind in TYPE_NAMES
        if kind in used
    ]
    there = sum(kind in TYPE_NAMES for kind in kinds.values())
    return f"{len(used)} of {there} ({', '.join(of_kind)})"


def _in_a_sentence(name: str) -> str:
    return name if name.isupper() else name.lower()


def model_facts(
    forward: mne.Forward | None, noise_cov: mne.Covariance | None, rank: int | None = None
) -> dict[str, str]:
    """Describe what is given of a forward model, a noise covariance and the data's rank."""
    facts = {}
    if forward is not None:
        kind, subject = forward["src"].kind, forward["src"]._subject
        orientation = "fixed" if forward["source_ori"] == 1 else "free"
        facts["Candidate positions"] = f"{forward['nsource']:,} ({kind} source space)"
        facts["Subject"] = subject or "unnamed"
        facts["Forward model"] = f"{forward['sol']['nrow']} channels, {orientation} orientation"
    if noise_cov is not None:
        shape = "diagonal" if noise_cov["diag"] else "full"
        counted = f", from {noise_cov['nfree']:,} samples" if noise_cov["nfree"] > 1 else ""
        facts["Noise covariance"] = f"{len(noise_cov.ch_names)} channels, {shape}{counted}"
    if rank is not None:
        facts["Rank of the whitened data"] = f"{rank}"
    return facts


def option_facts(inverse: VAEInverse) -> dict[str, str]:
    """Give the options of an inverse."""
    options = kept_options(inverse)
    return {name: str(value) for name, value in options.items() if name != "subject"}


def result_facts(inverse: VAEInverse, evoked: mne.Evoked) -> dict[str, str]:
    """Give the figures that a fit ended with, with their units."""
    noise, history = np.atleast_1d(inverse.noise_variance_), inverse.history_
    held = "" if inverse.noise_variance == "learn" else ", held"
    spread = "" if len(noise) == 1 else f" ({noise.min():.3g} to {noise.max():.3g})"
    facts = {
        "Sources": f"{len(inverse.sources_)}, of {inverse.min_log_evidence:g} nats or more",
        "Explained variance": f"{inverse.explained_variance(evoked):.1f} % of the whitened power",
        "Noise variance λ": f"{noise.mean():.3g}{spread}{held} (1: as the noise covariance says)",
        "Energy J at the minimum": f"{history[-1]:.6g}, after {len(history)} steps",
        "Certificate of the minimum": f"{inverse.certificate_:.2g} (target {inverse.tol:g})",
        "Energy J of these sources": f"{inverse.energy_:.6g}",
        "Independent samples": f"{inverse.n_effective_:.4g}, counted by the evidence",
    }
    return facts | _noise(inverse) | _weights(inverse) | _between(inverse) | _sensors(inverse)


def _noise(inverse: VAEInverse) -> dict[str, str]:
    """Say how the noise of each run goes on, and how well its covariance is known."""
    goes_on, known = [], []
    for noise in learnt_noises(inverse):
        r, n = noise.r.numpy(), noise.n_samples
        past = np.flatnonzero(np.abs(r) < np.exp(-1))
        lag = f", below 1/e after {past[0]} samples" if len(past) else ""
        white = not r[1:].any()
        goes_on.append("white" if white else f"autocorrelation {r[1]:.2f} at one sample{lag}")
        counted = f"{n:.0f}, about {noise.n_independent:.0f} independent"
        known.append(counted if np.isfinite(n) else "not told")
    facts = {"Noise in time": "; ".join(goes_on)}
    patterns = [one.patterns.shape[1] for one in inverse.background_]
    if any(patterns):
        facts["Background"] = f"{'; '.join(map(str, patterns))} patterns of the baseline, as noise"
    if np.isfinite(inverse.noise_samples_).any():
        facts["Samples of the noise covariance"] = "; ".join(known)
    return facts


def _sensors(inverse: VAEInverse) -> dict[str, str]:
    """Say where the sensors were found to be, where that was learnt."""
    covariance = inverse.registration_covariance_
    if not covariance.any():
        return {}
    moved, sure = inverse.registration_, 1e3 * np.sqrt(np.trace(covariance[:3, :3]))
    return {
        "Sensors": f"{motion_text(moved)} (± {sure:.1f}) from where info puts them, "
        f"{inverse.registration_log_evidence_:.0f} nats"
    }


def _weights(inverse: VAEInverse) -> dict[str, str]:
    """Say what prior weights were given, where there were any."""
    given = inverse.position_weights_
    if given is None:
        return {}
    finite = given[np.isfinite(given)]
    excluded = f", {len(given) - len(finite)} excluded" if len(finite) < len(given) else ""
    return {
        "Prior weights": f"{finite.min():.3g} to {finite.max():.3g} nats at {len(given)} positions"
        f"{excluded}, added where sources are judged"
    }


def _between(inverse: VAEInverse) -> dict[str, str]:
    """Say what is to be known of sources between the positions, where they may be there."""
    if inverse.positions == "grid":
        return {}
    facts = {"Evidence of a further source": f"{inverse.growth_:.1f} nats at the best place left"}
    radius, error = inverse.sources_["radius_mm"], np.asarray(inverse.field_error_)
    if len(radius):
        facts["95 % radius of the places"] = f"{radius.min():.1f} to {radius.max():.1f} mm"
    large = inverse.sources_["extent_mm"][inverse.sources_["extent_mm"] > 0]
    if len(large):
        span = (
            f"{large.min():.0f} to {large.max():.0f}" if len(large) > 1 else f"{large.iloc[0]:.0f}"
        )
        facts["Patches"] = f"{len(large)} of the sources, of {span} mm radius along the cortex"
    switching = int(np.isfinite(inverse.spans_).all(1).sum())
    if switching:
        facts["Active in a part of the window"] = f"{switching} of the sources"
    if (error >= VAGUE).any():
        facts["Lead field"] = f"known to {error.max():.0%} only at the worst source"
    walled = int(inverse.sources_["on_wall"].sum())
    if walled:
        facts["At the wall around the source space"] = f"{walled} of the sources"
    return facts


def method_facts(names: Iterable[str]) -> dict[str, str]:
    """Give the settings and the references of methods, by their titles."""
    methods = [METHODS[name] for name in names]
    return {
        one.title: f"{one.knobs} Told {one.oracle or 'nothing'}. {one.reference}."
        for one in methods
    }


def truth_table(truth: list[mne.Dipole], inverse: VAEInverse) -> pd.DataFrame:
    """Set each true source (a dipole in head coordinates) beside the source found for it.

    They are paired one to one so that the distances add up to as little as possible; sources found
    that are left over follow.
    """
    found = inverse.dipoles()
    names = np.array(source_names(inverse.sources_))
    places = ([one.pos[np.abs(one.amplitude).argmax()] for one in some] for some in (truth, found))
    distance = 1e3 * cdist(*(np.reshape(some, (-1, 3)) for some in places))
    partner = dict(zip(*linear_sum_assignment(distance), strict=True))
    rows = []
    for k, dipole in enumerate(truth):
        if (j := partner.get(k)) is None:
            rows.append((str(k + 1), _peak(dipole), NOTHING, "missed", NOTHING))
        else:
            error = f"{distance[k, j]:.1f}"
            rows.append((str(k + 1), _peak(dipole), _peak(found[j]), error, names[j]))
    extra = sorted(set(range(len(found))) - set(partner.values()))
    rows += [(NOTHING, NOTHING, _peak(found[j]), "extra", names[j]) for j in extra]
    return pd.DataFrame(rows, columns=TRUTH)


def _peak(dipole: mne.Dipole) -> str:
    return f"{1e9 * np.abs(dipole.amplitude).max():.1f}"


def python_code(inverse: VAEInverse, *, exact: bool = False) -> str:
    """Write the Python code that does the same again, its variables named as in the documentation.

    ``exact``: it was fitted with the BEM and the transform.
    """
    from inspect import signature

    defaults = signature(type(inverse)).parameters
    kept = kept_options(inverse)
    given = [
        f"{name}={value!r}"
        for name in defaults
        if name in kept and (value := kept[name]) != defaults[name].default
    ]
    model = ", bem=bem, trans=trans" if exact else ""
    n_runs = len(inverse.filters_)
    data, forwards = (
        name if n_runs == 1 else f"[{', '.join(f'{name}{k + 1}' for k in range(n_runs))}]"
        for name in ("evoked", "forward")
    )
    model += "" if inverse.position_weights_ is None else ", weights=weights"
    return (
        "from meg_vae import VAEInverse\n\n"
        f"inverse = VAEInverse({', '.join(given)}).fit({data}, {forwards}, noise_cov{model})\n"
        "inverse.sources_\n"
        f"stc = inverse.apply({'evoked' if n_runs == 1 else 'evoked1'})"
    )
