"""What MNE does with our dipoles, and with labels of the cortex."""

from __future__ import annotations

import os

import mne
import nibabel
import numpy as np
import pytest

from meg_vae import VAEInverse, datasets


def test_dipoles_are_drawn_by_mne(recording, fitted, tmp_path):
    """In three slices of an MRI, at the positions of the sources."""
    import matplotlib.pyplot as plt

    folder = tmp_path / recording.subject / "mri"
    folder.mkdir(parents=True)
    image = nibabel.MGHImage(np.zeros((64, 64, 64), np.uint8), np.diag([4.0, 4.0, 4.0, 1.0]))
    nibabel.save(image, folder / "T1.mgz")
    figure = fitted.dipoles()[1].plot_locations(
        recording.trans,
        recording.subject,
        tmp_path,
        mode="orthoview",
        coord_frame="mri",
        idx="amplitude",
        show=False,
    )
    title = figure.texts[0].get_text() if figure.texts else figure.axes[0].get_title()
    written = [float(word) for word in title.split("(")[1].split(")")[0].split(",")]
    first, second = fitted.sources_[["x_mm", "y_mm", "z_mm"]].to_numpy()
    np.testing.assert_allclose(written, second, atol=0.11)
    assert np.linalg.norm(written - first) > 10  # the control: the other one is elsewhere
    plt.close(figure)


@pytest.mark.realdata
def test_regions_come_from_the_annotation():
    """The strongest source of a visual response is named after the occipital cortex."""
    if "MEG_VAE_SAMPLE" not in os.environ:
        pytest.skip("MEG_VAE_SAMPLE names no sample data")
    case = datasets.sample("Left visual", 0.08, 0.15, verbose="error")
    inverse = VAEInverse(subjects_dir=case.subjects_dir, verbose="error")
    inverse.fit(case.evoked, case.forward, case.noise_cov)
    names = mne.read_labels_from_annot(
        case.subject, "aparc", subjects_dir=case.subjects_dir, verbose="error"
    )
    for _, source in inverse.sources_.iterrows():
        (label,) = (one for one in names if one.name == source["label"])
        assert source["vertno"] in label.vertices
        assert label.hemi == source["hemi"]
    import matplotlib.pyplot as plt

    figure = inverse.dipoles()[0].plot_locations(
        case.trans, case.subject, case.subjects_dir, mode="orthoview", show=False
    )
    assert figure.axes
    plt.close(figure)
