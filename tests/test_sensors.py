"""Every kind of sensor: a known source is found, noise is not, and mismatches are told."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from small_recordings import (
    ctf_info,
    eeg_info,
    joined,
    meg_info,
    points,
    record,
    sphere_forward,
    tangent,
)

from meg_vae import VAEInverse

ARRAYS = {
    "VectorView": lambda: meg_info(["planar", "planar", "magnetometer"], 30),
    "CTF, compensated": lambda: ctf_info(60, grade=1),
    "CTF, not compensated": lambda: ctf_info(60, grade=0),
    "KIT": lambda: meg_info(["kit"], 60),
    "BTi": lambda: meg_info(["magnes"], 60),
    "BTi gradiometers": lambda: meg_info(["magnes_grad"], 60),
    "OPM": lambda: meg_info(["opm", "opm"], 30),
    "EEG": lambda: eeg_info(60),
    "MEG and EEG": lambda: joined(meg_info(["planar", "planar", "magnetometer"], 20), eeg_info(40)),
}
TRUE = [17, 41]


@pytest.fixture(scope="module")
def arrays():
    """Sensors and forward model of each array, made once."""
    made = {}

    def get(name):
        if name not in made:
            info = ARRAYS[name]()
            made[name] = info, sphere_forward(info, points())
        return made[name]

    return get


def recorded(arrays, name, true=TRUE, **options):
    """A recording of some sources with one of the arrays."""
    info, forward = arrays(name)
    return record(forward, info, true, [tangent(forward["source_rr"][k]) for k in true], **options)


@pytest.mark.parametrize("name", ARRAYS)
def test_sources_are_found_by_every_array(arrays, name):
    case = recorded(arrays, name)
    inverse = VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)
    assert sorted(inverse.sources_["vertno"]) == TRUE
    assert inverse.explained_variance() > 80
    stc = inverse.apply(case.evoked)
    assert isinstance(stc, mne.VolSourceEstimate)
    assert stc.data.max() * 1e9 == pytest.approx(inverse.sources_["peak_nAm"].abs().max())


@pytest.mark.parametrize("name", ARRAYS)
def test_noise_alone_has_no_source(arrays, name):
    case = recorded(arrays, name, true=[])
    with pytest.warns(RuntimeWarning, match="estimate is empty"):
        inverse = VAEInverse(verbose="warning").fit(case.evoked, case.forward, case.noise_cov)
    assert inverse.sources_.empty


@pytest.fixture(scope="module")
def vectorview(arrays):
    """A recording with planar gradiometers and magnetometers, and its fit."""
    case = recorded(arrays, "VectorView")
    return case, VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)


def projection(names, seed, desc):
    """A projection against a random field."""
    field = np.random.default_rng(seed).standard_normal((1, len(names)))
    data = {
        "data": field / np.linalg.norm(field),
        "nrow": 1,
        "ncol": len(names),
        "row_names": None,
        "col_names": list(names),
    }
    return mne.Projection(data=data, active=False, kind=1, desc=desc)


def test_ctf_compensation_must_be_that_of_the_forward_model_and_of_the_fit(arrays):
    """What is recorded with one grade of compensation is not explained by the fields of another."""
    case, plain = recorded(arrays, "CTF, compensated"), recorded(arrays, "CTF, not compensated")
    with pytest.raises(ValueError, match="evoked has compensation grade 0, and the forward model"):
        VAEInverse().fit(plain.evoked, case.forward, case.noise_cov)
    inverse = VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)
    with pytest.raises(ValueError, match="has compensation grade 0, and the fit has 1"):
        inverse.apply(plain.evoked)
    gain, other = case.forward["sol"]["data"], plain.forward["sol"]["data"]
    assert np.linalg.norm(gain - other) > 0.02 * np.linalg.norm(gain)
    mixed = case.evoked.copy()
    mixed.info["chs"][0]["coil_type"] = plain.evoked.info["chs"][0]["coil_type"]
    with pytest.raises(ValueError, match="compensated unequally"):
        inverse.apply(mixed)


def test_projections_must_be_those_of_the_fit(arrays):
    case = recorded(arrays, "BTi")
    names = case.evoked.ch_names
    one, two = projection(names, 0, "one"), projection(names, 1, "two")
    other = projection(names, 2, "one")

    def with_projections(*projs):
        return case.evoked.copy().add_proj(list(projs))

    projected = with_projections(one).apply_proj()
    inverse = VAEInverse(verbose="error").fit(projected, case.forward, case.noise_cov)
    np.testing.assert_allclose(
        inverse.apply(with_projections(one)).data, inverse.apply(projected).data, atol=1e-20
    )  # not applied yet: the same
    with pytest.raises(ValueError, match="other projections than the fit: it lacks one of the fit"):
        inverse.apply(case.evoked)
    with pytest.raises(ValueError, match="it has two, which the fit has not"):
        inverse.apply(with_projections(one, two))
    with pytest.raises(ValueError, match="it has two, which the fit has not and lacks one"):
        inverse.apply(with_projections(two))
    with pytest.raises(ValueError, match="takes out other fields under the same names"):
        inverse.apply(with_projections(other))
    with pytest.raises(ValueError, match="other projections"):
        VAEInverse().fit([projected, case.evoked], case.forward, case.noise_cov)


def test_eeg_must_have_the_average_reference(arrays):
    case = recorded(arrays, "EEG")
    inverse = VAEInverse(verbose="error").fit(case.evoked, case.forward, case.noise_cov)
    none, custom = (
        mne.EvokedArray(case.evoked.data, ARRAYS["EEG"](), nave=20, verbose="error") for _ in "12"
    )
    with pytest.raises(ValueError, match="average reference"):
        inverse.apply(none)
    custom.set_eeg_reference(custom.ch_names[:1], verbose="error")
    with pytest.raises(ValueError, match="Custom EEG reference"):
        inverse.apply(custom)
    with pytest.raises(ValueError, match="Custom EEG reference"):
        VAEInverse().fit(custom, case.forward, case.noise_cov)


def test_other_units_and_channels_are_refused(vectorview):
    case, inverse = vectorview
    evoked = case.evoked
    first = evoked.ch_names[0]
    other = evoked.copy()
    other.info["chs"][0]["unit"] = evoked.info["chs"][2]["unit"]
    with pytest.raises(ValueError, match=f"evoked has {first} in T, and the fit in T/m"):
        inverse.apply(other)
    in_femtotesla = evoked.copy()
    in_femtotesla.data *= 1e15
    with pytest.raises(ValueError, match="values up to .* where T is the unit"):
        inverse.apply(in_femtotesla)
    with pytest.raises(ValueError, match="where T is the unit"):
        VAEInverse().fit(in_femtotesla, case.forward, case.noise_cov)
    bad = evoked.copy()
    bad.info["bads"] = [first]
    with pytest.raises(ValueError, match=f"1 channels of the fit marked bad \\({first}\\)"):
        inverse.apply(bad)
    with pytest.raises(ValueError, match="lacks 89 of the 90 channels of the fit"):
        inverse.apply(evoked.copy().pick([first]))


def test_a_forward_model_in_other_coordinates_or_of_another_subject_is_refused(vectorview):
    case, _ = vectorview
    forward = case.forward.copy()
    forward["coord_frame"] = 5  # MRI
    with pytest.raises(ValueError, match="forward must be in head coordinates"):
        VAEInverse().fit(case.evoked, forward, case.noise_cov)
    forward = case.forward.copy()
    forward["src"][0]["subject_his_id"] = "sub-01"
    with pytest.raises(ValueError, match="forward is of subject 'sub-01', .*subject='sub-02'"):
        VAEInverse(subject="sub-02").fit(case.evoked, forward, case.noise_cov)
