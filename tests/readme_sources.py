"""What the README says of the benchmarks of sources, as the committed tables say it."""

from __future__ import annotations

import numpy as np
from test_paper import table

WORDS = {1: "one", 2: "two", 4: "four", 6: "six", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}
WORDS |= {22: "twenty-two"}


def percent(share):
    """A share in whole percent."""
    return f"{100 * share:.0f}"


def numbers(column):
    """All the numbers of a column whose cells hold several."""
    return np.concatenate([np.array(str(one).split(), float) for one in column.dropna()])


def of_methods():
    """F1, errors and numbers of sources in the benchmark of many methods."""
    rows = table("benchmarks/summary").set_index(["metric", "condition", "method"]).sort_index()
    f1, error = rows.loc["f1"], rows.loc["localization_error_mm"]["mean"]
    mean, best = f1["mean"], f1.loc["all", "vae"]
    every, patches, moved = (mean[one] for one in ("all", "Patches 10 mm", "Head moved 4 mm"))
    assert list(every.sort_values(ascending=False).index[:2]) == ["vae", "trap_music"]
    assert f"{every['tf_mxne']:.2f}" == f"{every['irmxne']:.2f}"
    assert patches["vae"] < patches["vae_grid"] < patches["trap_music"]
    assert moved["vae"] < moved["trap_music"]
    levels = ["10 dB", "0 dB", "-10 dB"]
    held = [error[level, one] for level in levels for one in ("trap_music", "lcmv", "vae_grid")]
    ours = [f"{error[level, 'vae']:.1f} mm" for level in levels]
    assert mean.drop("all").groupby("condition").size().size == 11
    assert {error["On the grid", one] for one in ("trap_music", "lcmv", "vae_grid")} == {0}
    return [
        f"F1 of sources of {WORDS[mean.groupby('method').size().size]} methods in eleven",
        f"mean of {f1['n_runs'].xs('vae', level='method').min()} recordings",
        f"{rows.index.unique('metric').size} scores with their intervals",
        f"F1 is {best['mean']:.2f} over the conditions with sources (95 % interval "
        f"{best['low']:.2f} to {best['high']:.2f}), TRAP-MUSIC's, which is told how many sources "
        f"there are, {every['trap_music']:.2f}, ours on the grid {every['vae_grid']:.2f}, LCMV's "
        f"{every['lcmv']:.2f}, TF-MxNE's and irMxNE's {every['tf_mxne']:.2f}.",
        f"{ours[0]} off at 10 dB, {ours[1]} at 0 dB and {ours[2]} at -10 dB, where TRAP-MUSIC, "
        f"LCMV and ours on the grid are {min(held):.0f} to {max(held):.0f} mm off; "
        f"ten sources at once {error['Ten sources', 'vae']:.1f} mm.",
        f"(F1 {patches['vae']:.2f}, on the grid {patches['vae_grid']:.2f}, "
        f"TRAP-MUSIC {patches['trap_music']:.2f})",
        f"moved by 4 mm sources are {error['Head moved 4 mm', 'vae']:.1f} mm off "
        f"(LCMV's {error['Head moved 4 mm', 'lcmv']:.1f}), and one is false "
        f"(F1 {moved['vae']:.2f}; TRAP-MUSIC, which cannot name too many, "
        f"{moved['trap_music']:.2f})",
        f"are exact, and it is {error['On the grid', 'vae']:.1f} mm off",
    ]


def of_runs():
    """What only the rows of the single recordings say, times and maps."""
    rows = table("benchmarks/results")
    rows = rows[rows["method"] == "vae"].set_index("condition")
    false = rows["false_positives"].groupby("condition")
    right = (rows["n_sources"] == rows["true_sources"]).groupby("condition").sum()
    points = right.drop(["Patches 10 mm", "Head moved 4 mm", "Noise alone"])
    assert [round(false.mean()[one]) for one in ("Patches 10 mm", "Head moved 4 mm")] == [1, 1]
    every = table("benchmarks/summary").query("condition == 'all'")
    mean = every.pivot(index="method", columns="metric", values="mean")
    seconds, area = mean["cpu_seconds"], mean["roc_auc"]
    assert area["vae"] < 0.6 < 0.9 < min(area["lcmv"], area["sloreta"])
    quick = seconds[["lcmv", "sloreta", "dipole", "sequential_dipoles"]]
    return [
        f"right in {points.min()} or {points.max()} of 20 recordings in each condition",
        f"in noise alone one was named in {(rows.loc['Noise alone', 'n_sources'] > 0).sum()} "
        f"of {len(rows.loc['Noise alone'])}.",
        f"It took {seconds['vae']:.1f} s of processor time a recording, LCMV, sLORETA and dipole "
        f"fits {quick.min():.1f} to {quick.max():.1f} s.",
    ]


def of_places():
    """Numbers, errors and coverage between the positions."""
    rows, heads = table("benchmarks/places"), table("benchmarks/places_coverage").set_index("head")
    with_sources, alone = rows[rows["n_true"] > 0], rows[rows["n_true"] == 0]
    right = (with_sources["n_free"] == with_sources["n_true"]).sum()
    assert with_sources["false_free"].sum() == 0
    null = table("benchmarks/places_summary").dropna(subset="place_coverage_null")
    pooled = np.average(null["place_coverage_null"], weights=null["n_paired"])
    one = table("benchmarks/places_summary").groupby("condition")["place_coverage"].mean()
    assert one.idxmin() == "5 sources, 10 dB, correlation 0.9"
    held, sample, place = heads.loc["all"], heads.loc["sample head"], heads["place"]
    return [
        f"{rows.groupby(['head', 'condition']).size().max()} recordings of each head and "
        f"condition, so {rows.groupby('condition').size().max()} a row",
        f"In {right} of {len(with_sources)} recordings with sources the number was right, with no "
        f"false one (on the grid in {(with_sources['n_grid'] == with_sources['n_true']).sum()}); "
        f"{numbers(rows['free_error_mm']).mean():.1f} mm off on average, on the grid "
        f"{numbers(rows['grid_error_mm']).mean():.1f}.",
        f"In noise alone one was named in {(alone['n_free'] > 0).sum()} of {len(alone)}.",
        f"in {percent(held['amplitude'])} % of the samples ({percent(held['amplitude_low'])} to "
        f"{percent(held['amplitude_high'])}) and in {percent(held['peak'])} % of the peaks "
        f"({percent(held['peak_low'])} to {percent(held['peak_high'])}).",
        f"held it in {percent(held['place'])} %** (another source's ellipsoid in "
        f"{percent(pooled)} %): in {percent(place['template, oct5'])} % in the template at oct5 "
        f"and {percent(place['template, oct6'])} % at oct6, {percent(place['second head'])} % in "
        f"the second head, and {percent(sample['place'])} % in the sample subject's",
        f"gives {percent(held['place_low'])} to {percent(held['place_high'])} % over all and "
        f"{percent(sample['place_low'])} to {percent(sample['place_high'])} % in the sample",
    ]


def of_one_source():
    """One source, beside MNE's dipole fit."""
    rows = table("benchmarks/places_dipole")
    mean = rows.groupby("snr_db").mean(numeric_only=True)
    ours, peak, component = (
        mean[f"{one}_mm"] for one in ("vae", "fit_dipole_peak", "fit_dipole_component")
    )
    nearer, nearer_too = (
        (rows["vae_mm"] < rows[f"fit_dipole_{one}_mm"]).sum() for one in ("peak", "component")
    )
    return [
        f"{ours[10]:.2f} mm against {peak[10]:.1f} at 10 dB and {ours[0]:.1f} against "
        f"{peak[0]:.1f} at 0 dB, nearer in {nearer} of {len(rows)} recordings",
        f"of the strongest component {component[10]:.1f} and {component[0]:.1f} mm, nearer in "
        f"{nearer_too})",
    ]


def of_noise():
    """False sources, errors and coverage in kinds of noise."""
    rows = table("benchmarks/noise_summary").set_index("noise")
    alone = rows["alone"].sum()
    named = (rows["with_false_source"] * rows["alone"]).sum()
    further = (rows["false_sources"] * rows["recordings"]).sum()
    assert (rows[[f"hits_{snr}_dB" for snr in (0, 5, 10)]] == 1).all(axis=None)
    error, place = rows["error_5_dB"], rows["place_coverage"]
    known = error["white, known"]
    assert round(3 * (error["white, 1,000"] / known - 1)) == 1
    assert round(3 * (error["white, 200"] / known - 1)) == 2
    assert error[error.index.str.match("AR|1/f|low")].min() > error["white, 20,000"]
    assert error.idxmax().startswith("AR 0.9")
    wide = rows["amplitude_coverage"]
    return [
        f"errors and coverage in {WORDS[len(rows)]} kinds of noise",
        f"{rows['alone'].max()} recordings of noise alone and {rows['recordings'].max()} with",
        f"named a source in {named:.0f} of {alone} recordings, and of the "
        f"{rows['recordings'].sum()} with sources all had the right three, {WORDS[round(further)]}",
        f"({error['white, 1,000']:.2f} against {known:.2f} mm at 5 dB), from 200 two thirds",
        f"costs more, up to {error.max():.1f} mm",
        f"held the truth in {percent(place.min())} to {percent(place.max())} %, the interval of "
        f"the amplitude in {percent(wide.min())} to {percent(wide.max())} %",
    ]


def of_radii():
    """Patches whose radius was learnt, and taken for points."""
    rows = table("benchmarks/extents")
    rows = rows[rows["condition"].str.contains("patches")]
    case = rows.groupby(["extent", "head", "condition", "seed"])[["n_true", "n_found"]].first()
    right = (case["n_found"] == case["n_true"]).groupby("extent").sum()
    error = rows.groupby(["extent", "true_mm"])["error_mm"].mean()
    rows = rows[rows["extent"] == "learn"].assign(off=(rows["extent_mm"] - rows["true_mm"]).abs())
    low, true = rows["extent_low_mm"], rows["true_mm"]
    held = ((low <= true) & (true <= rows["extent_high_mm"])).groupby(true).mean()
    off = rows["off"].groupby(true).median()
    assert percent(held[10]) == percent(held[20])
    assert right["learn"] == len(case) // 2
    return [
        f"patches of 10 mm are found {error['learn', 10]:.1f} mm off, of 20 mm "
        f"{error['learn', 20]:.1f} mm (taken for points {error['point', 10]:.1f} and "
        f"{error['point', 20]:.1f}), each as one source in all {len(case) // 2} recordings "
        f"(in {right['point']})",
        f"radius is {off[10]:.1f} and {off[20]:.1f} mm off in the median, and its 95 % interval "
        f"held the truth in {percent(held[10])} % of both; in "
        f"{percent((low[true == 10] == 0).mean())} % of the patches of 10 mm it holds 0 too",
    ]


def of_points():
    """Points that stay points, both together, and ellipsoids of patches."""
    rows = table("benchmarks/extents")
    points = rows[rows["condition"] == "3 points, 5 dB"]
    median = points.groupby("extent")["error_mm"].median()
    points = points[points["extent"] == "learn"]
    named = points[points["extent_mm"] > 0]
    mixed = rows[rows["condition"].str.contains("15 dB") & (rows["extent"] == "learn")]
    case = mixed.groupby(["head", "seed"])[["n_true", "n_found"]].first()
    assert mixed["error_mm"].notna().all()
    assert len(mixed) == case["n_true"].sum()
    assert f"{median['point']:.2f}" == f"{median['learn']:.2f}"
    summary = table("benchmarks/extents_summary")
    patches = summary[(summary["extent"] == "learn") & (summary["true_mm"] > 0)]
    held = patches.groupby(["condition", "true_mm"])["place_coverage"].mean()
    assert held.idxmin() == ("3 patches of 10 mm, 5 dB", 10)
    return [
        f"({median['learn']:.2f} mm in the median): of {len(points)} {WORDS[len(named)]} was",
        f"{named['error_mm'].iloc[0]:.1f} mm off. With three points",
        f"all {len(mixed)} sources were found, and a false one named in "
        f"{(case['n_found'] > case['n_true']).sum()} of {len(case)} recordings",
        f"hold the centre in {percent(held.min())} to {percent(held.max())} %",
    ]
