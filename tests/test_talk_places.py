"""What the experiment on places that slide measures, and that it can fail."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import talk_places
from talk_places_data import make_line, score
from talk_places_fits import on_grid, twin_from, vae_from

LINE = make_line(0.05, 3, 40, 20, seed=1)


def test_success_is_the_truth_and_nothing_else():
    assert score(LINE, LINE.places, LINE.U) == (3, 0.0, True)
    twice = np.concatenate([LINE.places, LINE.places])
    assert score(LINE, twice, np.concatenate([LINE.U, LINE.U]) / 2)[2]  # one source in two parts
    assert not score(LINE, LINE.places[:2], LINE.U[:2])[2]
    assert not score(LINE, LINE.places + 0.05 * LINE.width, LINE.U)[2]
    beside = np.append(LINE.places, 0.99)
    assert score(LINE, beside, np.concatenate([LINE.U, LINE.U[:1]]))[2] is False
    assert score(LINE, np.zeros(0), np.zeros((0, 20))) == (0, np.inf, False)


@pytest.mark.parametrize("fit", [vae_from, twin_from])
def test_a_start_within_reach_ends_at_the_truth_and_another_does_not(fit):
    near = fit(LINE, LINE.places + 0.4 * LINE.width, np.ones(3))
    assert near.recovered
    assert near.certificate < 0.1
    far = fit(LINE, np.full(3, 0.5), np.array([1.0, 0.5, 2.0]))
    assert not far.recovered
    assert far.energy > near.energy + 1


def test_the_grid_spreads_a_source_over_positions_and_sliding_does_not():
    ends = dict(on_grid(LINE))
    assert ends["VAE, from the grid's minimum, then free"].recovered
    for name in ("VAE, on the grid", "autoencoder, on the grid"):
        assert ends[name].n_found > 3
        assert not ends[name].recovered


def test_minima_are_told_apart_and_impossible_problems_refused():
    assert talk_places.n_minima(pd.Series([1.0, 1.001, 5.0, 1e6, 1e6 + 0.5])) == 3
    with pytest.raises(ValueError, match="20 sources do not fit"):
        make_line(0.05, 20, 40, 20, seed=0)
