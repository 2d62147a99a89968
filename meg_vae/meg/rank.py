"""One rank for data, noise covariance and info: the smallest that all of them support."""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from mne.utils import logger, warn
from numpy.typing import NDArray

from meg_vae.meg.channels import square
from meg_vae.meg.placement import HEAD

MEG = ("mag", "grad", "meg")  # MNE's names: the last where there are both
UNIT = {"mag": 1e-15, "grad": 1e-13, "eeg": 1e-6}  # scales of MNE, which make types comparable
FEW = 1 / 8  # data of a smaller share of the channels' rank have no noise: simulated, not filtered
OUTSIDE = 1e-3  # share of the power that may lie outside the space of a Maxwell filter
REASONS = {"noise_cov": "noise_cov", "info": "the Maxwell filter", "data": "the data"}


def agree_on_rank(
    noise_cov: mne.Covariance,
    info: mne.Info,
    ch_names: list[str],
    rank: Any = None,
    moments: mne.Covariance | None = None,
) -> tuple[mne.Covariance, dict[str, int]]:
    """Compare the rank of data, noise covariance and info, and confine the covariance.

    A covariance of a larger rank than the data gives noise to directions where the data have none,
    and every misfit there would count as a source.

    Parameters
    ----------
    noise_cov : mne.Covariance
        The noise covariance.
    info : mne.Info
        Measurement info of the data, which knows of projections and of a Maxwell filter.
    ch_names : list of str
        Channels that are used.
    rank : None | "info" | "full" | dict | int
        As in `mne.compute_rank`; a number where the channels are of one kind.
    moments : mne.Covariance | None
        Second moments of the data; ``nfree`` tells how many independent samples are in them. The
        rank of few samples is not that of the data, and does not count.

    Returns
    -------
    noise_cov : mne.Covariance
        The same, or confined to the space that the data span.
    rank : dict
        Rank by channel type.

    Raises
    ------
    ValueError
        If ``rank`` asks for more than there is.

    Warns
    -----
    RuntimeWarning
        If the covariance has a larger rank than the data and ``rank`` is None.
    """
    info = mne.pick_info(info, [info["ch_names"].index(one) for one in ch_names], verbose="error")
    with info._unlock():
        info["projs"] = [*info["projs"], *noise_cov["projs"]]
    cov = _restrict(noise_cov, ch_names)
    found = {"noise_cov": _rank(cov, info), "info": _rank(cov, info, "info", proj=False)}
    seen = _restrict(moments, ch_names) if moments is not None else None
    if seen is not None and seen["nfree"] >= 2 * len(ch_names):
        found["data"] = _rank(seen, info)
    rank = _by_kind(rank, list(found["noise_cov"]))
    asked, confined = {}, []
    for kind, full in found["noise_cov"].items():
        ranks = {who: int(one[kind]) for who, one in found.items() if _counts(who, one, kind, info)}
        who = min(ranks, key=ranks.__getitem__)
        asked[kind] = ranks[who]
        if ranks[who] < full:
            _confine(cov, info, kind, ranks[who], who, seen)
            confined.append(f"{full} in its {_channels(kind)}, and {REASONS[who]} {ranks[who]}")
        elif seen is not None:
            _warn_of_outside(cov, info, kind, full, seen)
    if confined:
        noise_cov = cov
        logger.info(f"noise_cov has rank {'; '.join(confined)}")
    if confined and rank is None:
        warn(
            f"noise_cov has rank {'; '.join(confined)}. The smaller one is used, in the space that "
            "the data span; compute noise_cov from data prepared as these are (rank='info' in "
            "mne.compute_covariance), or give rank='info' if this is meant."
        )
    return noise_cov, _least(_rank(cov, info, rank), asked, rank)


def maxwell_rank(info: mne.Info) -> int:
    """Tell what a Maxwell filter has left.

    Parameters
    ----------
    info : mne.Info
        Measurement info.

    Returns
    -------
    rank : int
        Number of its components; 0 where there was no such filter.
    """
    sss = _sss(info)
    return 0 if sss is None else int(sss["components"][: (sss["in_order"] + 1) ** 2 - 1].sum())


def _sss(info: mne.Info) -> dict[str, Any] | None:
    """Look up the record of a Maxwell filter: the first that holds an expansion."""
    for step in info["proc_history"] or []:
        sss = step.get("max_info", {}).get("sss_info", {})
        if "in_order" in sss:
            return sss
    return None


def _restrict(cov: mne.Covariance, ch_names: list[str]) -> mne.Covariance:
    """Take channels in order, whether or not they are marked bad there, as a square matrix."""
    where = {name: k for k, name in enumerate(cov.ch_names)}
    picks = [where[name] for name in ch_names]
    return mne.Covariance(
        square(cov)[np.ix_(picks, picks)], list(ch_names), [], cov["projs"], cov["nfree"]
    )


def _rank(
    cov: mne.Covariance, info: mne.Info, rank: Any = None, proj: bool = True
) -> dict[str, int]:
    return mne.compute_rank(cov, rank, info=info, proj=proj, verbose="error")


def _counts(who: str, ranks: dict[str, int], kind: str, info: mne.Info) -> bool:
    """Whether a rank is one to go by: that of data without noise is not."""
    n_channels = len(_picks(info, kind))
    return kind in ranks and (who != "data" or ranks[kind] >= FEW * n_channels)


def _channels(kind: str) -> str:
    return f"{'MEG' if kind == 'meg' else kind} channels"


def _picks(info: mne.Info, kind: str) -> NDArray[np.int64]:
    kinds = {"eeg": {"eeg": True}, "meg": {"meg": True}}.get(kind, {"meg": kind})
    return mne.pick_types(info, **kinds, ref_meg=False, exclude=[])


def _by_kind(rank: Any, kinds: list[str]) -> Any:
    """Give a rank by number to the kind that it is of, and refuse one of no kind."""
    if isinstance(rank, dict):
        ours = {*kinds, *MEG} if set(kinds) & set(MEG) else set(kinds)
        by_kind = {one: n for one, n in rank.items() if one in ours}
        lone = kinds[0] if kinds[0] in ("mag", "grad") else "meg"  # MNE's name for one of the two
        if "meg" in by_kind and "meg" not in kinds and lone in kinds:
            by_kind[lone] = by_kind.pop("meg")
        whole = all(_whole(value) for value in by_kind.values())
        if set(by_kind) <= set(kinds) and whole:
            return by_kind
    elif _whole(rank) and len(kinds) == 1:
        return {kinds[0]: int(rank)}
    elif rank is None or isinstance(rank, str) and rank in ("info", "full"):
        return rank
    raise ValueError(
        f"rank={rank!r} must be None, 'info', 'full' or a whole number for each kind of channel, "
        f"as {dict.fromkeys(kinds, 60)}."
    )


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value > 0


def _least(asked: dict[str, int], support: dict[str, int], rank: Any) -> dict[str, int]:
    """Take the smaller rank, or refuse one that was asked for by number."""
    for kind, most in support.items():
        by_number = rank == "full" or isinstance(rank, dict) and kind in rank
        if by_number and asked[kind] > most:
            raise ValueError(
                f"rank={rank!r} asks for {asked[kind]} in the {_channels(kind)}, and the data with "
                f"their projections and noise_cov have {most}; use rank=None or "
                f"rank={{{kind!r}: {most}}}."
            )
    return {kind: min(int(asked[kind]), most) for kind, most in support.items()}


def _confine(
    cov: mne.Covariance,
    info: mne.Info,
    kind: str,
    rank: int,
    who: str,
    moments: mne.Covariance | None,
) -> None:
    """Leave in a covariance what lies in the space of the data."""
    picks = _picks(info, kind)
    inside, scale = _projector(info, picks)
    C, P = _scaled(cov, info, picks), None
    if who == "data" and moments is not None:
        P = _project(_largest(_scaled(moments, info, picks), rank))
    elif who == "info":
        P = _maxwell_filter(info, picks, scale)
        if P is not None and moments is not None:
            space = np.linalg.svd(inside @ P)[0][:, :rank]
            P = None if _outside(space, _scaled(moments, info, picks)) > OUTSIDE else P
        C = C if P is None else cov.data[np.ix_(picks, picks)] / np.outer(scale, scale)
    if P is None:  # regularized, the space is still that of the largest eigenvalues
        P = _project(_largest(C, rank))
    P = inside @ P
    cov["data"][np.ix_(picks, picks)] = np.outer(scale, scale) * (P @ C @ P.T)


def _warn_of_outside(
    cov: mne.Covariance, info: mne.Info, kind: str, rank: int, moments: mne.Covariance
) -> None:
    """Tell of data that a covariance of few dimensions does not cover."""
    picks = _picks(info, kind)
    space = _largest(_scaled(cov, info, picks), rank)
    share = _outside(space, _scaled(moments, info, picks))
    if share > OUTSIDE:
        warn(
            f"{100 * share:.2g} % of the power of the data in the {_channels(kind)} lie outside of "
            f"the space of noise_cov, which has rank {rank}, and do not count; compute noise_cov "
            "from data prepared as these are, and from more samples than channels."
        )


def _projector(
    info: mne.Info, picks: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the projections in scaled units, and the scales of the channels."""
    scale = np.array([UNIT[one] for one in info.get_channel_types(picks)])
    project = mne.proj.make_projector(info["projs"], [info["ch_names"][k] for k in picks])[0]
    return project / scale[:, None] * scale, scale


def _scaled(cov: mne.Covariance, info: mne.Info, picks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give a covariance after projections, in units in which channels of all types compare."""
    inside, scale = _projector(info, picks)
    return inside @ (cov.data[np.ix_(picks, picks)] / np.outer(scale, scale)) @ inside.T


def _largest(C: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Find the space of the largest eigenvalues."""
    return np.linalg.eigh(C)[1][:, -rank:]


def _project(space: NDArray[np.float64]) -> NDArray[np.float64]:
    return space @ space.T


def _outside(space: NDArray[np.float64], C: NDArray[np.float64]) -> float:
    """Measure the share of the power that lies outside of a space."""
    total = np.trace(C)
    return float(1 - np.trace(space.T @ C @ space) / total) if total > 0 else 0.0


def _maxwell_filter(
    info: mne.Info, picks: NDArray[np.int64], scale: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Compute the filter that the data have seen, in scaled units; None where that fails."""
    sss = _sss(info)
    if sss is None:
        return None
    plain = mne.pick_info(info, picks, verbose="error")
    with plain._unlock():
        plain["proc_history"], plain["projs"], plain["bads"] = [], [], []
    frame = "head" if int(sss["frame"]) == HEAD else "meg"
    try:
        S = mne.preprocessing.compute_maxwell_basis(
            plain,
            origin=np.asarray(sss["origin"], float),
            int_order=int(sss["in_order"]),
            ext_order=int(sss["out_order"]),
            coord_frame=frame,
            regularize=None,
            bad_condition="ignore",
            verbose="error",
        )[0]
        kept = np.asarray(sss["components"], bool)[: S.shape[1]]
        S = (S / scale[:, None])[:, kept]
    except (IndexError, KeyError, RuntimeError, ValueError):  # what MNE cannot filter again
        return None
    n_inner = maxwell_rank(info)
    return S[:, :n_inner] @ np.linalg.pinv(S)[:n_inner]
