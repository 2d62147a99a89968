"""The page of a localization and of a comparison."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser

import mne
import numpy as np
import pytest

from meg_vae import VAEInverse, compare
from meg_vae.report import (
    Origin,
    comparison_report,
    localization_pictures,
    localization_report,
    save_report,
    versions,
)
from meg_vae.report.facts import truth_table
from meg_vae.viz.tables import box, facts_table, sources_table


class Page(HTMLParser):
    """The words of a page, and what it would load."""

    def __init__(self, html):
        super().__init__()
        self.words, self.loads, self.images, self._skip = [], [], 0, 0
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self._skip += tag in ("script", "style")
        self.images += tag == "img" and attrs["src"].startswith("data:image/")
        names = {"src", "srcset", "poster", "data"} | ({"href"} if tag == "link" else set())
        self.loads += [v for k, v in attrs.items() if k in names and not v.startswith("data:")]

    def handle_endtag(self, tag):
        self._skip -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)


def page_of(report, folder):
    return Page(save_report(report, folder / "page.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bare(recording):
    """A fit that knows of no cortex to draw, so that its pages are quick."""
    inverse = VAEInverse(subjects_dir="/nowhere", extent="point", min_log_evidence=15.0)
    return inverse.fit(recording.evoked, recording.forward, recording.noise_cov)


@pytest.fixture(scope="module")
def pictures(bare, recording, tmp_path_factory):
    with pytest.warns(RuntimeWarning, match="cortex is not drawn"):
        return localization_pictures(bare, recording.evoked, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def comparison(recording):
    case = recording
    return compare(
        case.evoked, case.forward, case.noise_cov, ["vae_grid", "dspm"], truth=case.truth
    )


def test_localization_tells_everything(bare, recording, pictures, tmp_path):
    report = localization_report(
        bare,
        recording.evoked,
        Origin(
            recording.forward,
            recording.noise_cov,
            {"evoked": "some-ave.fif"},
            {"lowpass": "40"},
            "meg-vae localize 'a file'",
        ),
        title="Where it was",
        truth=recording.truth,
        pictures=pictures,
    )
    page = page_of(report, tmp_path)
    assert page.loads == []  # it stands alone, offline
    assert page.images >= len(pictures)
    explained = bare.explained_variance()
    expected = [
        "Where it was",
        f"2 sources together explain {explained:.0f} %",
        "some-ave.fif",
        "-100.0 to 400.0 ms (101 samples)",
        "200 Hz",
        "306 of 306 (204 gradiometers, 102 magnetometers)",
        f"Averages {recording.evoked.nave}",
        "Rank of the whitened data 303",
        "1,284 (surface source space)",
        "lowpass 40",
        "positions free",
        "min_log_evidence 15.0",
        f"{bare.certificate_:.2g}",
        f"Evidence of a further source {bare.growth_:.1f} nats",
        "95 % radius (mm)",
        "x, y, z is the place itself",
        f"{bare.noise_variance_:.3g}",
        f"{bare.history_[-1]:.6g}",
        "(nats)",
        "meg-vae localize 'a file'",
        "VAEInverse(extent='point', min_log_evidence=15.0).fit(evoked, forward, noise_cov)",
        f"mne {mne.__version__}",
    ]
    text = page.text
    assert [one for one in expected if one not in text] == []
    for row in bare.sources_.itertuples():
        for value in (row.x_mm, row.y_mm, row.z_mm, row.peak_nAm, row.sd_nAm):
            assert f" {value:.1f} " in text
        assert f" {row.log_evidence:,.1f} " in text


def test_comparison_tells_everything(comparison, recording, tmp_path):
    with pytest.warns(RuntimeWarning, match="cortex is not drawn"):
        report = comparison_report(
            comparison,
            recording.evoked,
            Origin(recording.forward, recording.noise_cov, command="meg-vae compare"),
            subjects_dir="/nowhere",
        )
    page = page_of(report, tmp_path)
    assert page.loads == []
    row = comparison.table.iloc[0]
    expected = ["VAE", "dSPM", "lambda2 = 1/9", "Localization error (mm)", "meg-vae compare"]
    expected += [f" {row.explained_variance:.1f} ", f" {row.localization_error_mm:.1f} "]
    expected.append("methods=('vae_grid', 'dspm')")
    assert [one for one in expected if one not in page.text] == []
    assert "<NA>" not in page.text
    assert "nan" not in page.text


def test_code_on_the_page_runs(bare, recording):
    """The recipe gives the same answer."""
    from meg_vae.report.facts import python_code

    names = {
        "evoked": recording.evoked,
        "forward": recording.forward,
        "noise_cov": recording.noise_cov,
    }
    exec(python_code(bare), names)  # noqa: S102
    assert names["inverse"].min_log_evidence == 15.0
    np.testing.assert_allclose(names["stc"].data, bare.apply(recording.evoked).data)


def test_nothing_found_is_said(recording, tmp_path):
    noise = recording.evoked.copy().crop(None, 0.0)
    with pytest.warns(RuntimeWarning, match="noise alone"):
        inverse = VAEInverse().fit(noise, recording.forward, recording.noise_cov)
    with pytest.warns(RuntimeWarning, match="cortex is not drawn"):
        report = localization_report(inverse, noise, truth=recording.truth)
    page = page_of(report, tmp_path)
    assert "No source was found." in page.text
    assert page.text.count("missed") >= len(recording.truth)


def dipole(x, amplitude=1e-8):
    """A dipole with its largest amplitude at the second of three times."""
    course = amplitude * np.array([0.5, -1.0, 0.2])
    pos, ori = np.tile([x, 0.0, 0.05], (3, 1)), np.tile([0.0, 0.0, 1.0], (3, 1))
    return mne.Dipole(np.arange(3) / 100, pos, course, ori, np.full(3, 50.0))


def test_truth_is_paired_one_to_one(bare, recording, monkeypatch):
    found = bare.dipoles()
    table = truth_table(recording.truth, bare)
    assert list(table["True source"]) == ["1", "2"]
    # Each true source is beside a source that is really that far away, by its name.
    for row, true in zip(table.itertuples(index=False), recording.truth, strict=True):
        distances = [1e3 * np.linalg.norm(true.pos[0] - one.pos[0]) for one in found]
        assert float(row[3]) == pytest.approx(min(distances), abs=0.06)
        vertno = int(re.search(r"\d+", row[4])[0])
        place = bare.sources_.set_index("vertno").loc[vertno]
        to_mri = mne.transforms.invert_transform(recording.forward["mri_head_t"])
        true_mri = 1e3 * mne.transforms.apply_trans(to_mri, true.pos[0])
        gap = np.linalg.norm(place[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - true_mri)
        assert gap == pytest.approx(float(row[3]), abs=0.06)
    # Two true sources near one found: the nearer has it, the other is missed.
    near, far = dipole(0.001), dipole(-0.004)
    monkeypatch.setattr(bare, "dipoles", lambda: [dipole(0.0)])
    assert list(truth_table([far, near], bare)["Error (mm)"]) == ["missed", "1.0"]
    # What is found beyond the truth is said.
    monkeypatch.setattr(bare, "dipoles", lambda: [dipole(0.05), dipole(0.0)])
    assert list(truth_table([near], bare)["Error (mm)"]) == ["1.0", "extra"]
    # Null control: with nothing found, all is missed.
    monkeypatch.setattr(bare, "dipoles", list)
    assert list(truth_table([far, near], bare)["Error (mm)"]) == ["missed", "missed"]


def test_true_peak_is_that_of_the_dipole(bare, monkeypatch):
    monkeypatch.setattr(bare, "dipoles", list)
    assert truth_table([dipole(0.0, 2.5e-8)], bare)["True peak (nAm)"][0] == "25.0"


def test_sources_are_named_as_in_the_figures(bare):
    unnamed = sources_table(bare.sources_)
    assert "Vertex" not in unnamed
    assert unnamed["Source"].str.startswith("vertex ").all()
    labels = [f"insula-{hemi}" for hemi in bare.sources_["hemi"]]
    named = sources_table(bare.sources_.assign(label=labels))
    assert named["Source"].str.startswith("insula (").all()
    assert list(named["Vertex"]) == [str(v) for v in bare.sources_["vertno"]]


def test_a_place_has_its_radius_and_the_wall_is_told_where_it_is_met(bare):
    shown = sources_table(bare.sources_)
    radius = [f"{value:.1f}" for value in bare.sources_["radius_mm"]]
    assert list(shown["95 % radius (mm)"]) == radius
    assert list(shown).index("95 % radius (mm)") == list(shown).index("z (mm)") + 1
    assert "At the wall" not in shown
    walled = bare.sources_.assign(on_wall=[True, False])
    assert list(sources_table(walled)["At the wall"]) == ["yes", "–"]
    on_grid = sources_table(bare.sources_.assign(radius_mm=np.nan))
    assert "95 % radius (mm)" not in on_grid


def test_text_from_files_is_escaped(bare, recording, pictures, tmp_path):
    evil = "<script>alert(1)</script>"
    evoked = recording.evoked.copy()
    evoked.comment = evil
    report = localization_report(
        bare, evoked, Origin(inputs={evil: evil}, command=evil), title=evil, pictures=pictures
    )
    html = save_report(report, tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "<b>" not in facts_table({"<b>": "<b>"})


def test_versions_are_those_installed():
    import torch

    from meg_vae import __version__

    got = versions()
    assert got["meg_vae"] == __version__
    assert got["numpy"] == np.__version__
    assert got["torch"].split("+")[0] == torch.__version__.split("+")[0]  # the build may differ


def test_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    report = mne.Report(title="page", verbose="error")
    path = save_report(report, tmp_path / "page.html")
    first = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_report(report, path)
    with pytest.raises(ValueError, match=r"\.html"):
        save_report(report, tmp_path / "page.pdf")

    def half(fname, **_):
        fname.write_text("half a pa")
        raise OSError("the disk is full")

    monkeypatch.setattr(report, "save", half)
    with pytest.raises(OSError, match="disk is full"):
        save_report(report, path, overwrite=True)
    assert os.listdir(tmp_path) == ["page.html"]
    assert path.read_bytes() == first


@pytest.mark.parametrize("where", ["unknown subject", "unknown folder", "other subject"])
def test_the_cortex_is_left_out_with_one_warning(bare, recording, tmp_path, monkeypatch, where):
    monkeypatch.delenv("SUBJECTS_DIR", raising=False)
    monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path))
    subjects_dir = {"unknown folder": None}.get(where, tmp_path)
    monkeypatch.setattr(bare, "subjects_dir", subjects_dir)
    monkeypatch.setattr(bare, "subject", "someone" if where == "other subject" else None)
    with pytest.warns(RuntimeWarning, match="cortex is not drawn") as caught:
        made = localization_pictures(bare, recording.evoked, tmp_path)
    assert len(caught) == 1
    assert sorted(made) == ["energy", "evidence", "noise", "residual", "time_courses"]


@pytest.mark.rendering
def test_pictures_are_drawn_when_none_are_given(fitted, recording, comparison, tmp_path):
    report = localization_report(
        fitted,
        recording.evoked,
        truth=recording.truth,
        trans=recording.trans,
        comparison=comparison,
    )
    page = page_of(report, tmp_path)
    for title in ("Sources on the cortex", "Methods side by side", "Beside the truth"):
        assert title in page.text
    assert page.images >= 6
    assert page.loads == []


def test_a_report_is_appended_to(bare, recording, pictures, tmp_path):
    report = mne.Report(title="A study", verbose="error")
    report.add_html("<p>Something before.</p>", "Before")
    same = localization_report(
        bare, recording.evoked, title="Subject 1", pictures=pictures, report=report
    )
    assert same is report
    localization_report(bare, recording.evoked, title="Subject 2", pictures=pictures, report=report)
    page = page_of(report, tmp_path)
    assert "A study" in page.text
    assert "Something before." in page.text
    assert {"Subject 1", "Subject 2"} <= {part.section for part in report._content}
    assert page.text.count("sources together explain") == 2


def test_methods_are_placed_where_they_see_sources(comparison):
    from meg_vae.report.pictures import method_places

    places = method_places(comparison)
    assert list(places["method"].unique()) == ["VAE (grid)", "dSPM"]
    assert (places["method"] == "dSPM").sum() == 1  # of a map its strongest place
    stc = comparison.estimates["dspm"]
    strongest = np.concatenate(stc.vertices)[np.abs(stc.data).max(axis=1).argmax()]
    assert places["vertno"].iloc[-1] == strongest
    found = sum(map(len, comparison.estimates["vae_grid"].vertices))
    assert (places["method"] == "VAE (grid)").sum() == found


def test_results_show_themselves(bare, comparison):
    html = bare._repr_html_()
    assert bare._repr_mimebundle_()["text/html"] == html  # and not scikit-learn's list of options
    assert f"{len(bare.sources_)} sources of {bare.min_log_evidence:g} nats" in html
    for row in bare.sources_.itertuples():
        assert f"<td>{row.peak_nAm:.1f}</td>" in html
    assert "not fitted yet" in VAEInverse()._repr_html_()
    assert "2 methods on the same data" in comparison._repr_html_()
    for shown in (html, comparison._repr_html_()):
        assert "<script" not in shown
        assert "color:inherit" in shown  # light and dark alike
    evil = "<script>alert(1)</script>"
    assert evil not in box(evil, evil, {evil: evil}, bare.sources_.assign(label=evil))


@pytest.mark.slow
@pytest.mark.rendering
def test_the_page_opens_in_a_browser_without_a_complaint(fitted, recording, comparison, tmp_path):
    from browser import browser

    report = localization_report(
        fitted,
        recording.evoked,
        truth=recording.truth,
        trans=recording.trans,
        comparison=comparison,
    )
    path = save_report(report, tmp_path / "page.html")
    with browser(tmp_path) as session:
        session.open(path, (1200, 900))
        session.wait("document.querySelectorAll('iframe').length === 2")
        frame = "document.querySelectorAll('iframe')[{}]"
        for k in range(2):
            session.run(f"{frame.format(k)}.scrollIntoView()")
            session.wait(f"{frame.format(k)}.contentWindow.global?.renderWindow")
        column = "[...document.querySelectorAll('table.numbers')[0].rows].slice(1)"
        column += ".map((row) => row.cells[6].textContent)"
        first = "document.querySelectorAll('table.numbers')[0].querySelectorAll('.th-inner')[6]"
        session.run(f"{first}.click()")
        up = [float(text) for text in session.run(f"return {column}")]
        session.run(f"{first}.click()")
        down = [float(text) for text in session.run(f"return {column}")]
        words = ["–", "1,200.5", "2 of 3", "-7", "b"]
        assert session.run(f"return {words}.sort(byNumber)") == [
            "-7",
            "2 of 3",
            "1,200.5",
            "b",
            "–",
        ]
        assert session.problems() == []
    assert up == sorted(up) != down
    assert down == sorted(down, reverse=True)
