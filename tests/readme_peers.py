"""What the README says of other people's tests and of time, from the tables."""

from __future__ import annotations

import numpy as np
from readme_sources import percent
from test_paper import table


def of_mne_tests():
    """The tests of MNE, made again."""
    rows = table("benchmarks/mne_tests_summary").set_index(["method", "test"])
    error = rows["error_mm"]
    sphere = [one for one in rows.loc["VAE"].index if "sphere" in one]
    dipole, ours, worst = error["dipole fit"], error["VAE"], rows["worst_mm"]["VAE"][sphere].max()
    cortex = ours[[one for one in ours.index if "SURE" in one or "hardly" in one]]
    free = error["gamma-MAP"].filter(like="free")
    noisy, fixed, music = free.index[0], "gamma_map, fixed", "rap_music, fixed, 55 averages"
    assert ours[noisy] < free.min()
    assert error["gamma-MAP", fixed] < ours[fixed]
    assert error["RAP-MUSIC", music] < error["VAE (grid)", music] < ours[music]
    real = table("benchmarks/mne_tests_real").query("test.str.startswith('mixed_norm')")
    real = real.set_index("method")
    assert real.loc["VAE", "n_found"] == 0
    assert real.loc["MxNE", "passed"]
    assert real.loc["MxNE", "rh_mm"] < 10
    return [
        f"within {np.ceil(1000 * worst) / 1000} mm of the truth in a sphere "
        f"(MNE's dipole fit {dipole.iloc[0]:.1f} and {dipole.iloc[1]:.1f} mm, `mixed_norm` "
        f"{error['MxNE', 'mixed_norm, volume in a sphere']:.0f} mm) and {cortex.min():.1f} to "
        f"{cortex.max():.1f} mm on a cortex; in noise {ours[noisy]:.1f} mm where `gamma_map` with "
        f"free orientation is {free.min():.0f} to {free.max():.0f} mm off",
        f"(`gamma_map` {error['gamma-MAP', fixed]:.1f} mm against {ours[fixed]:.1f}; RAP-MUSIC "
        f"with 20 channels, told also the number, {error['RAP-MUSIC', music]:.1f} against "
        f"{ours[music]:.1f}, ours on the grid {error['VAE (grid)', music]:.1f})",
    ]


def of_bsi_zoo():
    """The grids of BSI-Zoo."""
    rows = table("benchmarks/bsi_zoo")
    mean = rows.groupby(["n_times", "method"])[["f1_10_mm", "distance_mm"]].mean()
    f1, distance = mean["f1_10_mm"].unstack(), mean["distance_mm"].unstack()
    ours, gamma, best = f1["vae"], f1["gamma_map"], f1["irmxne_best"]
    assert ((ours > gamma) & (gamma > best)).all()
    assert (distance["vae"] > distance["gamma_map"]).all()
    far = {f"{one:.0f}" for one in distance["vae"]}
    known = distance["gamma_map"]
    return [
        f"counts {distance['zeros'].mean():.0f} mm",
        f"known; {(rows['method'] == 'vae').sum()} problems",
        f"F1 within 10 mm is {ours[10]:.2f} with ten samples and {ours[1]:.2f} with one, "
        f"gamma-MAP's {gamma[10]:.2f} and {gamma[1]:.2f}, irMxNE's with the alpha that the truth "
        f"would choose {best[10]:.2f} and {best[1]:.2f}",
        f"mean distance is {' and '.join(far)} mm where gamma-MAP's is {known[10]:.0f} and "
        f"{known[1]:.0f} mm",
    ]


def of_invertmeeg():
    """The tasks of invertmeeg."""
    rows = table("benchmarks/invertmeeg_summary").set_index(["task", "method"])
    error, precision = rows["mle_mm_mean"], rows["average_precision_mean"]
    one, few, noisy, patches = (
        error[task] for task in ("focal_source", "multi_source", "noisy", "extended_source")
    )
    precision = precision["extended_source"]
    grid, places, champagne = "VAE (grid)", "VAE (places)", "FlexChampagne"
    assert all(kind[grid] <= min(kind[champagne], kind["AP"]) for kind in (one, few, noisy))
    assert patches[champagne] < patches[grid]
    assert precision[champagne] > precision[grid]
    return [
        f"{rows['recordings'].max()} recordings a task",
        f"is {one[grid]:.1f} mm for one source (FlexChampagne {one[champagne]:.1f}, AP "
        f"{one['AP']:.1f}), {few[grid]:.1f} mm for two to four ({few[champagne]:.1f}, "
        f"{few['AP']:.1f}) and {noisy[grid]:.1f} mm at -5 to 0 dB, most of these patches "
        f"({noisy[champagne]:.1f}, {noisy['AP']:.1f})",
        f"{patches[champagne]:.1f} mm (FlexChampagne) against {patches[grid]:.1f}, and an average "
        f"precision of {precision[champagne]:.2f} against {precision[grid]:.2f}",
        f"has {few[places]:.1f} mm for two to four, and {patches[places]:.1f} mm and "
        f"{precision[places]:.2f} for patches",
    ]


def of_phantoms():
    """Simulated phantoms, beside the dipole fit."""
    rows = table("benchmarks/phantom_summary")
    rows = rows[rows["condition"].str.contains("calibrated")]
    of_hundred = rows["condition"].str.startswith("100 ")
    error = rows[of_hundred].set_index("method")["position_error_mm"]
    far, fit = {f"{one:.1f}" for one in error["vae"]}, error["fit_dipole"]
    weak = rows["condition"].str.startswith("10 ")
    inside = rows.loc[~weak & (rows["method"] == "vae"), "inside"]
    return [
        f"of {rows['n_dipoles'].max()} dipoles of 100 nAm the mean error is {' and '.join(far)} mm "
        f"(dipole fit, which is told that there is one, {fit.min():.1f} to {fit.max():.1f} mm), "
        f"and 95 % ellipsoids hold {percent(inside.min())} to {percent(inside.max())} % from 100",
    ]


def of_time():
    """Seconds of a fit on the grid, and of other solvers."""
    rows = table("benchmarks/solver").set_index(["orientation", "case", "method"]).sort_index()
    free, fixed = (rows["seconds"][one] for one in ("free", "fixed"))
    columns = rows["columns"].xs("meg_vae", level="method")
    gamma, norm = "gamma_map (MNE)", "mixed_norm, SURE (MNE)"
    few, many = "3 sources, 10 dB", "10 sources, 10 dB"
    alone = [one[few, "certificate alone"] for one in (free, fixed)]
    batch, on = "1000 bootstrap samples, 150 positions, 2 processes", "that the data single out"
    target = table("benchmarks/solver_targets").set_index("target")["figure"]
    for case in (few, many):
        assert 0 <= target[f"fixed, {case}: energy of gamma_map (MNE) less ours"] < 1e-3
    return [
        f"({columns['free', few]:,} columns) a certified fit took {free[few, 'meg_vae']:.2f} s for "
        f"3 sources and {free[many, 'meg_vae']:.2f} s for 10, MNE's `gamma_map` "
        f'{free[few, gamma]:.0f} and {free[many, gamma]:.0f} s, `mixed_norm(alpha="sure")` '
        f"{free[few, norm]:.0f} and {free[many, norm]:.0f} s; with fixed orientation "
        f"({columns['fixed', few]:,} columns) {fixed[few, 'meg_vae']:.2f} and "
        f"{fixed[many, 'meg_vae']:.2f} s, {fixed[few, gamma]:.0f} and {fixed[many, gamma]:.0f} s, "
        f"{fixed[few, norm]:.1f} and {fixed[many, norm]:.0f} s.",
        f"takes {alone[0]:.2f} and {alone[1]:.2f} s",
        f"1,000 bootstrap samples on the 150 positions {on} took {free[batch, 'meg_vae']:.0f} s",
    ]


def of_what_is_beyond():
    """Seconds of what is looked for beyond the grid."""
    few, many = table("benchmarks/solver_places").to_dict("records")
    assert few["repeats"] == many["repeats"]
    return [
        f"adds {few['seconds_places']:.1f} s for {few['found']:.0f} sources and "
        f"{many['seconds_places']:.1f} s for {many['found']:.0f}, "
        f"{few['places_over_grid_fit']:.1f} and {many['places_over_grid_fit']:.1f} times the fit "
        f"on the grid, and {few['seconds_field']:.1f} s to prepare the field of a forward model, "
        f"once (processor time, medians of {few['repeats']:.0f};",
    ]


def of_growth():
    """Time and memory against columns and samples, and of a day."""
    rows = table("benchmarks/solver_growth")
    wide = rows[rows["samples"] == 100].set_index("columns")
    long = rows[rows["columns"] == 8001].set_index("samples")["seconds"]
    least, most = (round(one, -3) for one in (wide.index.min(), wide.index.max()))
    over = 2 * wide["memory_over_Phi"]  # the table's is over Φ in double precision
    single, small = over.loc[24_000:], over.loc[:8001]
    target = table("benchmarks/solver_targets").set_index("target")["figure"]
    power = target["columns, 2,000 to 500,000: exponent"]
    short = long[[10, 1_000, 10_000]]
    day, minutes = (table("benchmarks/stream").set_index("hours").loc[one] for one in (24, 0.1))
    return [
        f"From {least:,} to {most:,} columns with free orientation time grows with their power "
        f"{power:.2f}, to {wide['seconds'].iloc[-1]:.1f} s, and from "
        f"24,000 on a fit takes beside Φ {single.min():.1f} to {single.max():.1f} times what Φ "
        f"would in single precision ({small[8001]:.1f} and {small[2001]:.1f} at 8,000 and 2,000)",
        f"from {short.index.min()} to {short.index.max():,} samples of one covariance it takes "
        f"{short.min():.2f} to {short.max():.2f} s, and {long[100_000]:.1f} s at 100,000",
        f"A recording of a day ({day['file_gb']:.0f} GB) is turned into channels of its sources "
        f"and saved in {day['seconds']:.0f} s with {day['peak_gb']:.1f} GB of memory, one of six "
        f"minutes with {minutes['peak_gb']:.1f}",
    ]


def of_minima():
    """How often a fit ended at the lowest minimum known."""
    rows = table("benchmarks/solver_minima_summary").set_index(["kind", "orientation", "restarts"])
    fixed, free = (rows.loc[("recording", one)] for one in ("fixed", "free"))
    assert [round(one.loc[4, "times_first_fit"]) for one in (free, fixed)] == [4, 5]
    return [
        f"of {fixed.loc[0, 'problems'] + free.loc[0, 'problems']} windows of the sample recordings",
        f"found in {fixed.loc[0, 'lowest']} of {fixed.loc[0, 'problems']} with fixed orientation "
        f"and {free.loc[0, 'lowest']} of {free.loc[0, 'problems']} with free",
        f"in {fixed.loc[4, 'lowest']} and {free.loc[4, 'lowest']} ([solver_minima_summary",
    ]


def of_cuda():
    """Seconds on a graphics card."""
    rows = (
        table("benchmarks/solver_cuda")
        .set_index(["task", "orientation", "items", "device"])
        .sort_index()
    )
    seconds = rows["seconds"]
    fit = seconds["one fit", "free", 1]
    return [
        f"took {fit['cuda']:.2f} s for the free fit of 3 sources, against {fit['cpu']:.2f} s on "
        f"one thread of the machine it is in, and "
        f"{seconds['bootstrap samples', 'free', 1000, 'cuda']:.1f} s for 1,000 bootstrap samples",
    ]
