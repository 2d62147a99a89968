"""What the README says of rhythms, motion, studies, forward models and arrays, from the tables."""

from __future__ import annotations

import numpy as np
from readme_sources import WORDS, percent
from test_paper import table


def of_rhythms():
    """Rhythms and coherence, beside DICS."""
    rows = table("benchmarks/rhythms")
    error = rows.groupby(["method", "part"])["error_mm"].mean()
    two, coherent = error["VAE", "two rhythms"], error["VAE", "coherence 0.95"]
    dics = {f"{error['DICS', one]:.1f}" for one in ("two rhythms", "coherence 0.95")}
    single = rows[(rows["method"] == "VAE") & (rows["part"] == "two rhythms")]
    off = (rows["coherence"] - rows["true_coherence"]).abs().max()
    return [
        f"10 and 20 Hz are found {two:.2f} mm off, two of one frequency with a coherence of 0.95 "
        f"{coherent:.2f} mm; MNE's DICS",
        f"is {' and '.join(dics)} mm off in both",
        f"In {(single['n_found'] > 1).sum()} of {len(single)} densities of a single rhythm",
        f"within {off:.2f} of that of the sources (about {rows['true_coherence'].mean():.1f}), "
        f"and at most {rows['silent_coherence'].max():.2f} with a place",
    ]


def of_windows():
    """Sources that are active one after the other."""
    rows = table("benchmarks/windows")
    median = rows.groupby("part")[["error_mm", "alone_mm"]].median()
    quarter, short = median.loc["all of its quarter"], median.loc["50 ms"]
    case = rows.groupby(["part", "head", "seed"])
    within = ((rows["onset_samples"].abs() <= 1) & (rows["offset_samples"].abs() <= 1)).sum()
    noise = rows.groupby(["head", "seed"])["before_the_stimulus"].max()
    nats = (rows["nats"] / rows["alone_nats"]).mean()
    assert 0.95 < nats < 1.05
    assert rows["error_mm"].notna().all()
    return [
        f"({quarter['error_mm']:.2f} and {quarter['alone_mm']:.2f} mm in the median, "
        f"{short['error_mm']:.2f} and {short['alone_mm']:.2f} for 50 ms",
        f"in {(case['n_found'].first() >= 4).sum()} of {case.ngroups} recordings",
        f"right to a sample in {within} of {len(rows)}.",
        f"In {WORDS[noise.sum()]} of {WORDS[len(noise)]} recordings of noise",
    ]


def of_events():
    """Single events told what they are."""
    rows = table("benchmarks/events")
    learnt, whole = (rows[rows["spans"] == one] for one in ("learn", "whole"))
    case = learnt.groupby(["head", "n_events", "seed"])
    told = (case["assigned"].min() == 1) & (case["nothing_in_nothing"].min() == 1)
    rare = [one.loc[one["share"] == 0.05, "error_mm"].mean() for one in (learnt, whole)]
    more = case["n_found"].first()
    more = more[more > 3].reset_index()
    assert (whole["nothing_in_nothing"] == 0).all()
    assert learnt["error_mm"].notna().all()
    assert set(more["head"]) == {"sample head"}
    assert set(more["n_events"]) == {200}
    return [
        f"to be nothing, in {told.sum()} of {case.ngroups} recordings; the rare source is "
        f"{rare[0]:.2f} mm off in the mean, fitted as if it were in all events {rare[1]:.1f} mm",
        f"In {WORDS[len(more)]} of {WORDS[case.ngroups]} recordings, both of 200 events",
    ]


def of_rest():
    """Rhythms of ten minutes at rest."""
    rows = table("benchmarks/rest")
    seconds, filtering = rows["seconds"], rows["filtering_s"]
    assert (rows["n_found"] == 1).all()
    return [
        f"at rest are {rows['error_mm'].mean():.1f} mm off, found in {seconds.min():.0f} to "
        f"{seconds.max():.0f} s a band (filtering takes {filtering.min():.0f} to "
        f"{filtering.max():.0f} s more)",
    ]


def of_sample():
    """The sample subject's responses, from a window and from the whole epoch."""
    rows = table("evidence/sample_sources")
    whole = rows[rows["window"] == "whole epoch"]
    left = rows[rows["condition"] == "Left Auditory"]
    assert (whole["onset_low_s"] > 0).all()
    assert list(left["window"]) == ["80 to 150 ms"]
    place, patch = ["x_mm", "y_mm", "z_mm"], whole.loc[whole["extent_mm"].idxmax()]
    for _, one in rows.drop([*whole.index, *left.index]).iterrows():
        same = whole[whole["condition"] == one["condition"]]
        off = np.linalg.norm((same[place] - one[place]).astype(float), axis=1)
        assert (off < np.maximum(same["extent_mm"], 10)).any()
    assert patch["condition"] == "Right visual"
    assert (whole["extent_mm"] > 0).sum() == 1
    return [
        f"the left auditory response, whose {left['log_evidence'].iloc[0]:.0f} nats",
        f"(two of the right visual response as one patch of {patch['extent_mm']:.0f} mm, beside a",
    ]


def of_motion():
    """A head that had moved, with its registration as given, found and learnt."""
    rows = table("benchmarks/registration_summary")
    error = rows.groupby(["moved", "registration", "n_true"])["mean_error_mm"].mean()
    moved, still = error[True], error[False]
    six = rows[rows["moved"] & (rows["registration"] == "learn") & (rows["n_true"] == 6)]
    six = six.set_index("head")
    others = six.drop("second head")
    assert others["mean_off_mm"].between(2, 3).all()
    assert f"{still['auto', 3]:.3f}" == f"{still['as given', 3]:.3f}"
    return [
        f"puts three sources {moved['as given', 3]:.1f} mm off and six {moved['as given', 6]:.1f}; "
        f'`registration="learn"` {moved["learn", 3]:.1f} and {moved["learn", 6]:.1f} mm',
        f"data ask for it, {moved['auto', 3]:.1f} and {moved['auto', 6]:.1f}.",
        f"as exact as before ({still['auto', 3]:.1f} mm), and learning all the same costs "
        f"{still['learn', 3] - still['auto', 3]:.1f} mm",
        f"in {percent(six.loc['second head', 'place_coverage'])} % with six sources in the second "
        f"head, and in {percent(others['place_coverage'].min())} to "
        f"{percent(others['place_coverage'].max())} % in the two others",
    ]


def of_studies():
    """Group sources of simulated studies."""
    rows = table("benchmarks/study_summary").set_index("kind")
    strong, weak, noise = (rows.loc[one] for one in ("0 dB", "one at -25 dB", "noise alone"))
    assert (rows["found"].dropna() == 1).all()
    assert rows.loc["one at -10 dB", "weak_found_alone"] == 1
    n = round(weak["n_studies"] * weak["n_group"])
    assert noise["false_studies"] == 0
    return [
        f"found, {strong['error_mm']:.1f} mm off at 0 dB in the mean, of which "
        f"{strong['mean_to_centre_mm']:.1f} are the draw of twelve subjects "
        f"({strong['error_to_mean_mm']:.1f} mm from the mean of their own places), and "
        f"{percent(strong['presence_right'])} % of the presences",
        f"no group source in {noise['n_studies']:.0f} studies",
        f"at -25 dB {n * weak['weak_found_alone']:.0f} of {n} is, and "
        f"{n * weak['weak_found']:.0f} of {n} with the group as prior",
    ]


def of_forwards():
    """Forward models that did not make the data."""
    rows = table("benchmarks/forwards_summary").set_index(["n_true", "snr_db", "given"])
    vae, music = (rows[rows["method"] == one] for one in ("vae", "trap_music"))
    error, theirs = vae["error_mm"][3], music["error_mm"][3]
    counts = vae["recordings"] * vae["with_false_source"], vae["n_paired"] * vae["place_coverage"]
    false, held = (one.fillna(0).round().astype(int) for one in counts)
    gains, skull = ["gains 1 %", "gains 3 %"], ["skull 0.003 S/m", "skull 0.012 S/m"]
    coarse = ["642 vertices", "one layer"]
    assert set(vae["recordings"]) == {2}
    assert false[0].sum() == false[:, :, "same"].sum() == 0

    def of(values, given):
        """Sum over all recordings with sources that were given some forward models."""
        return int(values[values.index.get_level_values("given").isin(given)].loc[[1, 3]].sum())

    every = [(["same", "gains 1 %"], "right"), (["gains 3 %", *skull], "near"), (coarse, "coarse")]
    inside = [f"{of(held, one)} of {of(vae['n_paired'], one)}" for one, _ in every]
    single = table("benchmarks/forwards").query("n_true == 1 and method == 'vae'")
    extent = single[single["given"].isin([*gains, *skull, *coarse])]["extent_mm"]
    extent = extent.astype(str).map(lambda one: max(map(float, one.split())))
    named = of(vae["recordings"], [*gains, *skull, *coarse])
    return [
        f"{error[0, 'same']:.1f}, {error[10, 'same']:.1f} and {error[20, 'same']:.1f} mm off at 0, "
        f"10 and 20 dB with the right BEM, at 10 dB up to {error[10][[*gains, *skull]].max():.1f} "
        "with gains off by 1 or 3 % or half or twice the skull's conductivity, "
        f"{error[10, 'one layer']:.1f} with a BEM of one layer and {error[10, '642 vertices']:.1f} "
        "with a coarse one",
        f"in {of(false, [*gains, *skull, *coarse])} of {named} recordings with sources",
        f"held {inside[0]} places with the right BEM or gains off by 1 %, {inside[1]} with gains "
        f"off by 3 % or another skull, {inside[2]} with a coarser BEM",
        f"With a sphere, {of(false, ['sphere'])} of {of(vae['recordings'], ['sphere'])} recordings "
        f"have false ones, and TRAP-MUSIC is nearer ({theirs[10, 'sphere']:.1f} mm against "
        f"{error[10, 'sphere']:.1f} at 10 dB)",
        f"was a disc in {(extent > 0).sum()} of {len(extent)}, of up to {extent.max():.0f} mm",
    ]


def of_arrays():
    """Sources found by seven arrays, beside TRAP-MUSIC, which is told their number."""
    rows = table("benchmarks/arrays")
    some, alone = rows[rows["n_true"] > 0], rows[(rows["n_true"] == 0) & (rows["method"] == "vae")]
    ours, told = (some[some["method"] == one] for one in ("vae", "trap_music"))
    error = ours.groupby("condition")["error_mm"].median()
    by_array = [one.groupby("array")["error_mm"].median() for one in (ours, told)]
    f1, f1_told = (one.groupby("condition")["f1"].mean().round(3) for one in (ours, told))
    sizes = rows[rows["method"] == "vae"].groupby("condition").size()
    more, fewer = (ours["n_found"] > ours["n_true"]), (ours["n_found"] < ours["n_true"])
    assert ours["error_mm"].notna().all()
    assert sizes.eq(sizes.iloc[0]).all()
    assert len(f1) == 11
    others = some[(some["condition"] == "On the grid") & (some["method"] != "vae")]
    assert others.groupby("method")["error_mm"].median().eq(0).all()
    return [
        f"{WORDS[rows['seed'].nunique()]} recordings a head, array and condition, so "
        f"{sizes.iloc[0]} a condition",
        f"{by_array[0].min():.1f} to {by_array[0].max():.1f} mm off in the median with each array, "
        f"from {error['-10 dB']:.1f} mm at -10 dB to {error['20 dB']:.1f} at 20 dB, and "
        f"{error['Ten sources']:.1f} mm where there are ten; TRAP-MUSIC, which is told their "
        f"number, {by_array[1].min():.1f} to {by_array[1].max():.1f} mm",
        f"right in {len(ours) - more.sum() - fewer.sum()} of {len(ours)} recordings, too large in "
        f"{more.sum()} and too small in {fewer.sum()}",
        f"a source was named in {(alone['n_found'] > 0).sum()} of {len(alone)} of noise alone",
        f"in {WORDS[(f1 >= f1_told).sum()]} of the eleven conditions, in the others sources that "
        f"it names too much cost it up to {(f1_told - f1).max():.2f}",
        f"ours is {error['On the grid']:.1f} mm",
    ]
