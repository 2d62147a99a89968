"""Rhythms: cross-spectral densities and complex time-frequency data, fitted and applied."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from mne.time_frequency import CrossSpectralDensity, csd_multitaper
from small_recordings import meg_info, points, sphere_forward

from meg_vae import VAEInverse
from meg_vae.meg.spectral import counted_samples, real_part, spectral_data

N_EPOCHS, SFREQ, RHYTHMS = 40, 200.0, (10.0, 24.0)
TRUE = (12, 40)  # positions of the rhythms


@pytest.fixture(scope="module")
def rhythms():
    """Epochs with a rhythm of each frequency at a position, of random phases, and noise alone."""
    info = meg_info(["planar", "magnetometer"], 40)
    with info._unlock():
        info["sfreq"], info["lowpass"] = SFREQ, SFREQ / 2
    forward = sphere_forward(info, points(60))
    rng = np.random.default_rng(0)
    t = np.arange(200) / SFREQ
    gain = forward["sol"]["data"].reshape(len(info.ch_names), -1, 3)[:, TRUE]
    normals = forward["src"][0]["nn"][list(TRUE)]
    fields = np.einsum("dmk,mk->dm", gain, normals)
    cov = mne.make_ad_hoc_cov(info, verbose="error")
    sd = np.sqrt(cov.data)
    size = 0.3 * len(sd) ** 0.5 / np.linalg.norm(fields / sd[:, None], axis=0)
    phase = rng.uniform(0, 2 * np.pi, (N_EPOCHS, len(TRUE), 1))
    waves = size[:, None] * np.cos(2 * np.pi * np.array(RHYTHMS)[:, None] * t + phase)
    noise = sd[:, None] * rng.standard_normal((2, N_EPOCHS, len(sd), len(t)))
    both = [fields @ waves + noise[0], noise[1]]
    data, rest = (mne.EpochsArray(one, info, verbose="error") for one in both)
    return data, rest, forward, size


def density(epochs, frequency):
    csd = csd_multitaper(epochs, frequency - 2, frequency + 2, bandwidth=4, verbose="error")
    return csd.mean()


def place(inverse):
    return inverse.filter_.positions.rr_head


@pytest.mark.parametrize("k", [0, 1])
def test_each_rhythm_is_found_where_it_is(rhythms, k):
    data, rest, forward, _ = rhythms
    csd, noise = (density(one, RHYTHMS[k]) for one in (data, rest))
    inverse = VAEInverse().fit(csd, forward, noise, info=data.info)
    assert len(inverse.sources_) == 1
    np.testing.assert_allclose(place(inverse)[0], forward["source_rr"][TRUE[k]], atol=0.002)
    assert 0.8 < inverse.noise_variance_ < 1.2
    assert np.isnan(inverse.sources_["peak_s"]).all()


def test_all_frequencies_together_find_both(rhythms):
    data, rest, forward, _ = rhythms
    csd, noise = (csd_multitaper(one, 8, 26, bandwidth=4, verbose="error") for one in (data, rest))
    inverse = VAEInverse().fit(csd, forward, noise, info=data.info)
    assert len(inverse.sources_) == 2
    stc, frequencies = inverse.apply_csd(csd)
    assert stc.data.shape == (2, len(frequencies))
    own = inverse.filter_.at_positions().positions.vertno
    peaks = {int(v): frequencies[k] for v, k in zip(own, stc.data.argmax(1), strict=True)}
    assert [round(peaks[k]) for k in TRUE] == list(RHYTHMS)
    assert inverse.apply_csd(csd, full=True)[0].data.shape[0] == forward["nsource"]


def test_noise_has_no_rhythm(rhythms):
    data, rest, forward, _ = rhythms
    half = N_EPOCHS // 2
    csd, noise = (density(one, 10.0) for one in (rest[:half], rest[half:]))
    with pytest.warns(RuntimeWarning, match="look like noise alone|directions"):
        inverse = VAEInverse().fit(csd, forward, noise, info=data.info)
    assert inverse.sources_.empty


def test_time_frequency_data_find_the_same(rhythms):
    data, rest, forward, size = rhythms
    options = {"freqs": [9.0, 10.0, 11.0], "n_cycles": 5, "output": "complex", "verbose": "error"}
    tfr, noise = (one.compute_tfr("morlet", **options) for one in (data, rest))
    inverse = VAEInverse().fit(tfr, forward, noise)
    assert len(inverse.sources_) == 1
    np.testing.assert_allclose(place(inverse)[0], forward["source_rr"][TRUE[0]], atol=0.003)
    sources = inverse.apply_tfr(tfr)
    assert sources.data.shape == (N_EPOCHS, 1, 3, 200)
    assert np.iscomplexobj(sources.data)
    middle = sources.data[:, 0, 1, 60:140]
    unit = mne.time_frequency.tfr_array_morlet(
        np.cos(2 * np.pi * 10 * np.arange(200) / SFREQ)[None, None],
        SFREQ,
        [10.0],
        5,
        output="complex",
    )[0, 0, 0, 60:140]
    np.testing.assert_allclose(np.median(abs(middle)) / np.median(abs(unit)), size[0], rtol=0.1)
    np.testing.assert_array_equal(sources.events, tfr.events)
    average = inverse.apply_tfr(tfr.average())
    np.testing.assert_allclose(average.data, sources.data.mean(0), atol=1e-12 * size[0])


def test_a_covariance_tells_the_pattern_of_the_noise(rhythms):
    data, _, forward, _ = rhythms
    cov = mne.make_ad_hoc_cov(data.info, verbose="error")
    inverse = VAEInverse().fit(density(data, 10.0), forward, cov, info=data.info)
    assert len(inverse.sources_) == 1
    np.testing.assert_allclose(place(inverse)[0], forward["source_rr"][TRUE[0]], atol=0.002)
    assert 0.8 < inverse.noise_variance_ < 1.2  # its level is that of the data


def test_samples_are_counted_or_told(rhythms):
    data, rest, forward, _ = rhythms
    few, many = (
        VAEInverse().fit(
            density(data, 10.0), forward, density(rest, 10.0), info=data.info, n_samples=n
        )
        for n in (100, 400)
    )
    assert (few.n_effective_, many.n_effective_) == (200, 800)
    assert few.sources_["log_evidence"][0] < 0.5 * many.sources_["log_evidence"][0]
    counted = VAEInverse().fit(density(data, 10.0), forward, density(rest, 10.0), info=data.info)
    # a taper of bandwidth 4 Hz in bins over 4 Hz of epochs of a second: 4 to 8 of each
    assert 4 * N_EPOCHS < counted.n_effective_ / 2 < 9 * N_EPOCHS


@pytest.mark.parametrize("noise_too", [False, True])
@pytest.mark.parametrize(("d", "n"), [(50, 200), (100, 1000), (100, 300)])
@pytest.mark.parametrize("n_signals", [0, 3])
def test_eigenvalues_tell_how_many_samples_there_were(d, n, n_signals, noise_too):
    rng = np.random.default_rng(d + n)
    X = rng.standard_normal((d, n))
    X += 3 * rng.standard_normal((d, n_signals)) @ rng.standard_normal((n_signals, n))
    W = np.eye(d)
    if noise_too:
        N = rng.standard_normal((d, n))
        W = np.linalg.inv(np.linalg.cholesky(N @ N.T / n))
    values = np.linalg.eigvalsh(W @ X @ X.T @ W.T / n)
    assert counted_samples(values, noise_too) == pytest.approx(n, rel=0.2)


def test_the_real_part_is_the_covariance_of_both_parts():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4, 9)) + 1j * rng.standard_normal((4, 9))
    C = z @ z.conj().T / 9
    vector = C[np.triu_indices(4)][:, None]
    csd = CrossSpectralDensity(vector, list("abcd"), [10.0], 200)
    both = np.concatenate([z.real, z.imag], 1)
    np.testing.assert_allclose(real_part(csd, 0), both @ both.T / 9)


class TestBadInput:
    def test_a_density_needs_info(self, rhythms):
        data, rest, forward, _ = rhythms
        with pytest.raises(ValueError, match="info is needed with a csd"):
            VAEInverse().fit(density(data, 10.0), forward, density(rest, 10.0))

    def test_other_channels(self, rhythms):
        data, rest, forward, _ = rhythms
        info = mne.create_info(["A", "B"], SFREQ, "mag")
        with pytest.raises(ValueError, match="csd and info have no channel in common"):
            VAEInverse().fit(density(data, 10.0), forward, density(rest, 10.0), info=info)

    def test_other_frequencies(self, rhythms):
        data, rest, forward, _ = rhythms
        with pytest.raises(ValueError, match=r"noise_csd lacks the frequencies .* Hz of csd"):
            VAEInverse().fit(density(data, 10.0), forward, density(rest, 24.0), info=data.info)

    def test_a_single_sample(self, rhythms):
        data, rest, forward, _ = rhythms
        csd = csd_multitaper(data[:1], 9.5, 10.5, bandwidth=2, verbose="error").mean()
        with pytest.raises(ValueError, match="of about 1.0 independent samples"):
            VAEInverse().fit(csd, forward, density(rest, 10.0), info=data.info, n_samples=1)
        with pytest.raises(ValueError, match="cannot be told from noise in so few"):
            spectral_data(csd, mne.make_ad_hoc_cov(data.info, verbose="error"), data.info, None)

    def test_power_alone(self, rhythms):
        data, rest, forward, _ = rhythms
        power = data.compute_tfr("morlet", freqs=[10.0], n_cycles=4, verbose="error")
        cov = mne.make_ad_hoc_cov(data.info, verbose="error")
        with pytest.raises(ValueError, match="holds power"):
            VAEInverse().fit(power, forward, cov)
        csd, noise = density(data, 10.0), density(rest, 10.0)
        inverse = VAEInverse().fit(csd, forward, noise, info=data.info)
        with pytest.raises(ValueError, match="output='complex'"):
            inverse.apply_tfr(power)
        with pytest.raises(TypeError, match="apply_csd takes csd"):
            inverse.apply_csd(cov)

    def test_n_samples_of_time_points(self, rhythms):
        data, _, forward, _ = rhythms
        cov = mne.make_ad_hoc_cov(data.info, verbose="error")
        with pytest.raises(ValueError, match="n_samples=5 goes with a csd"):
            VAEInverse().fit(data.average(), forward, cov, n_samples=5)

    def test_a_baseline_of_time_points(self, rhythms):
        data, rest, forward, _ = rhythms
        with pytest.raises(ValueError, match="baseline holds time points"):
            VAEInverse().fit(
                density(data, 10.0),
                forward,
                density(rest, 10.0),
                info=data.info,
                baseline=rest.average(),
            )

    def test_noise_by_frequency_for_data_in_time(self, rhythms):
        data, rest, forward, _ = rhythms
        with pytest.raises(TypeError, match="got CrossSpectralDensity"):
            VAEInverse().fit(data.average(), forward, density(rest, 10.0))

    @pytest.mark.parametrize("n_samples", [0, -3, float("nan"), 2, "many"])
    def test_too_few_samples_told(self, rhythms, n_samples):
        data, rest, forward, _ = rhythms
        with pytest.raises(ValueError, match=f"n_samples={n_samples!r}"):
            VAEInverse().fit(
                density(data, 10.0),
                forward,
                density(rest, 10.0),
                info=data.info,
                n_samples=n_samples,
            )
