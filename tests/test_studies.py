"""Many subjects: what is checked before any work, what is written, and going on after a stop."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from meg_vae import datasets, read_vae_inverse, study, viz
from meg_vae.cli import main
from meg_vae.studies import make_plan, task
from meg_vae.studies.engine import group_of
from meg_vae.studies.result import TABLES
from meg_vae.studies.space import warp_of

CONDITIONS = ["standard", "deviant"]
ROUNDS = 1  # of priors, which fits every subject again
QUICK = {"extent": "point", "registration": None}  # how sources look is not what is asked here


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three subjects that share two sources; the last one is weak."""
    folder = tmp_path_factory.mktemp("study") / "data"
    levels = [0.0, 0.0, -10.0]
    return datasets.simulated_study(
        folder, 3, 2, spread_mm=2.0, presence=1.0, snr_db=levels, verbose="error"
    )


def run(made, out, **more):
    given = {"conditions": CONDITIONS, "subjects_dir": made.subjects_dir, "options": QUICK}
    given["rounds"] = ROUNDS
    return study(made.recordings, out, verbose="error", **given | more)


@pytest.fixture(scope="module")
def result(made, tmp_path_factory):
    return run(made, tmp_path_factory.mktemp("study") / "out")


def table_of(made, **changes):
    """The table of the recordings with absolute paths, some of it changed."""
    table = pd.read_csv(made.recordings)
    for name in ("evoked", "forward", "noise_cov"):
        table[name] = [str(made.recordings.parent / path) for path in table[name]]
    return table.assign(**changes)


def table_of_nobody():
    return pd.DataFrame([{"subject": "a", "evoked": "e", "forward": "f", "noise_cov": "n"}])


class TestFound:
    def test_group_sources_are_where_subjects_have_them(self, made, result):
        axes = ["x_mm", "y_mm", "z_mm"]
        assert len(result.group) == 2
        for source, own in made.truth.groupby("source"):
            mean = own[axes].mean().to_numpy()
            gaps = np.linalg.norm(result.group[axes].to_numpy() - mean, axis=1)
            row = result.group.iloc[gaps.argmin()]
            assert gaps.min() < 3.0, source
            assert row["spread_low_mm"] <= 2.5
            assert row["log_evidence"] > 3
        assert result.presence["present"].all()
        assert (result.presence["distance_mm"] < 12).all()

    def test_places_of_subjects_are_theirs_and_not_the_groups(self, made, result):
        true = made.truth.set_index(["subject", "source"])[["x_mm", "y_mm", "z_mm"]]
        for row in result.presence.itertuples():
            gaps = np.linalg.norm(
                true.loc[row.subject].to_numpy() - [row.x_mm, row.y_mm, row.z_mm], axis=1
            )
            assert gaps.min() < 4.0, row

    def test_conditions_differ_as_they_were_made(self, made, result):
        """In the second condition the first is half as strong again, and the last silent."""
        axes = ["x_mm", "y_mm", "z_mm"]
        centres = made.group[axes].to_numpy()
        of = np.linalg.norm(result.group[axes].to_numpy()[:, None] - centres, axis=2).argmin(1)
        contrasts = result.contrasts.set_index(["source", "what"])
        for k, true in enumerate(of):
            louder, there = contrasts.loc[(k, "amplitude")], contrasts.loc[(k, "presence")]
            if true == 0:
                assert louder["difference"] == pytest.approx(-np.log(1.5), abs=0.2)
                assert there["difference"] == 0
            else:
                assert there["n_first"] == 3
                assert there["n_second"] == 0
                assert there["log_evidence"] > 50
        assert result.amplitudes.query("not active")["peak_nAm"].notna().all()

    def test_maps_are_shares_of_the_subjects(self, result):
        stc = result.occurrence()
        each = result.occurrence(each=True)
        assert stc.data.shape == (5124, 1)
        assert each.data.shape == (5124, 3)
        np.testing.assert_allclose(each.data.mean(1), stc.data[:, 0])
        assert 0.6 < stc.data.max() <= 1
        silent = result.occurrence("deviant").data.sum()
        assert 0 < silent < 0.8 * result.occurrence("standard").data.sum()
        with pytest.raises(ValueError, match="condition='oddball' is none of this study's"):
            result.occurrence("oddball")
        with pytest.raises(ValueError, match="sigma_mm=0"):
            result.occurrence(sigma_mm=0)

    def test_clusters_by_mne_where_conditions_differ(self, result):
        t, clusters = result.cluster_test("standard", "deviant", n_permutations=16, threshold=3.0)
        assert np.isfinite(t.data).all()
        largest, p = max(clusters, key=lambda one: len(one[0]))
        assert p <= 0.26  # of three subjects a quarter of all changes of signs
        assert (t.data[largest, 0] > 0).all()
        with pytest.raises(ValueError, match="two conditions or two groups"):
            result.cluster_test("standard", "standard")


class TestFiles:
    def test_all_is_written_and_opens(self, made, result):
        for name in TABLES:
            again = pd.read_csv(result.folder / f"{name}.csv")
            assert len(again) == len(getattr(result, name)), name
        inverse = result.inverse("sub-01")
        own = result.sources.query("subject == 'sub-01'")
        assert_frame_equal(
            inverse.sources_[["x_mm", "peak_nAm"]].reset_index(drop=True),
            own[["x_mm", "peak_nAm"]].reset_index(drop=True),
        )
        beside = result.folder / "sub-01" / "meg"
        told = json.loads((beside / "sub-01_desc-vae_sources.json").read_text())
        assert told["Options"]["extent"] == "point"
        assert len(told["Sources"]) == 3
        tsv = pd.read_csv(beside / "sub-01_desc-vae_sources.tsv", sep="\t")
        assert list(tsv["group_source"]) == list(own["group_source"])
        kind = json.loads((result.folder / "dataset_description.json").read_text())["DatasetType"]
        assert kind == "derivative"
        stc = mne.read_source_estimate(result.folder / "occurrence-standard", subject="fsaverage5")
        np.testing.assert_allclose(stc.data, result.occurrence("standard").data, atol=1e-6)
        assert len(mne.read_dipole(result.folder / "group.dip")) == 2
        assert len(list(result.folder.glob("group-*.label"))) == 2
        with pytest.raises(ValueError, match="subject='sub-09' was not fitted"):
            result.inverse("sub-09")

    def test_the_same_study_is_not_done_again(self, made, result, monkeypatch):
        def never(*args, **kwargs):
            raise AssertionError("done again")

        monkeypatch.setattr(task, "localize", never)
        again = run(made, result.folder)
        for name in TABLES:
            assert_frame_equal(getattr(again, name), getattr(result, name), check_exact=True)

    def test_a_subject_is_done_again_where_its_group_is_another(self, made, result):
        plan = make_plan(made.recordings, conditions=CONDITIONS, subjects_dir=made.subjects_dir)
        member, folder = plan.members[0], result.folder / "rounds"
        rows = [task.read_task(one, folder / "0", None) for one in plan.members]
        group, volume = group_of(plan, rows)
        prior = task.Prior(tuple(group), volume)
        assert rows[0]["prior"] is None
        assert task.read_task(member, folder / "1", prior)["prior"] == prior.digest
        assert task.read_task(member, folder / "1", task.Prior(tuple(group), 2 * volume)) is None
        assert task.read_task(member, folder / "1", task.Prior(tuple(group[:1]), volume)) is None
        assert task.read_task(member, folder / "0", prior) is None

    @pytest.mark.slow
    def test_killed_anywhere_it_goes_on_to_the_same_tables(self, made, result, tmp_path):
        """A process that is killed three times, a little later each time."""
        code = (
            "from meg_vae import study; study("
            f"{str(made.recordings)!r}, {str(tmp_path / 'out')!r}, conditions={CONDITIONS}, "
            f"subjects_dir={str(made.subjects_dir)!r}, options={QUICK}, rounds={ROUNDS}, "
            "verbose='error')"
        )
        rng = np.random.default_rng(0)
        for seconds in 4.0 + rng.uniform(0, 3, 3):
            process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        again = run(made, tmp_path / "out")
        for name in TABLES:
            assert_frame_equal(getattr(again, name), getattr(result, name), check_exact=True)
            written = (tmp_path / "out" / f"{name}.csv").read_text()
            assert written == (result.folder / f"{name}.csv").read_text()

    def test_another_configuration_is_not_mixed_in(self, made, result, tmp_path):
        with pytest.raises(ValueError, match="a study of another configuration"):
            run(made, result.folder, tmax=0.2)
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="is not empty and holds no study"):
            run(made, tmp_path)

    def test_a_full_disk_is_said_and_loses_nothing(self, made, tmp_path, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(task, "localize", lambda *_: 1 / 0)
        monkeypatch.setattr("meg_vae.studies.task.whole_file", full)
        with pytest.raises(OSError, match="No space left.*what is done is kept"):
            run(made, tmp_path / "out")


class TestFailures:
    @pytest.mark.slow
    def test_a_broken_file_is_a_row_and_the_study_goes_on(self, made, result, tmp_path):
        table = table_of(made)
        half = tmp_path / "half-ave.fif"  # of a broken response the task tells, not the check
        half.write_bytes(Path(table.loc[0, "evoked"]).read_bytes()[:3000])
        make_plan(table.assign(evoked=str(half)), conditions=CONDITIONS).check()
        broken = tmp_path / "broken-fwd.fif"
        broken.write_bytes(Path(table.loc[1, "forward"]).read_bytes()[:5000])
        table.loc[1, "forward"] = str(broken)
        given = {"conditions": CONDITIONS, "subjects_dir": made.subjects_dir, "options": QUICK}
        with pytest.warns(RuntimeWarning, match="1 of 3 subjects could not be fitted.*sub-02"):
            some = study(table, tmp_path / "out", **given, rounds=0, verbose="warning")
        assert list(some.recordings["status"]) == ["ok", "failed", "ok"]
        assert "broken-fwd.fif" in some.recordings["reason"].iloc[1]
        assert set(some.presence["subject"]) == {"sub-01", "sub-03"}
        assert (some.group["n_subjects"] == 2).all()
        assert len(some.group) <= 2
        # mended, that subject alone is done
        shutil.copyfile(table_of(made).loc[1, "forward"], broken)
        before = (tmp_path / "out" / "rounds" / "0" / "sub-01.json").stat().st_mtime_ns
        whole = study(table, tmp_path / "out", **given, rounds=0, verbose="error")
        assert (whole.recordings["status"] == "ok").all()
        assert (tmp_path / "out" / "rounds" / "0" / "sub-01.json").stat().st_mtime_ns == before

    def test_all_that_is_missing_is_in_one_list(self, made, tmp_path):
        table = table_of(made)
        table.loc[0, "forward"] = str(tmp_path / "no-fwd.fif")
        table.loc[2, "noise_cov"] = str(tmp_path / "no-cov.fif")
        with pytest.raises(ValueError, match="2 problems") as told:
            study(table, tmp_path / "out", conditions=CONDITIONS, verbose="error")
        assert "sub-01: there is no file" in str(told.value)
        assert "sub-03: there is no file" in str(told.value)
        assert not (tmp_path / "out").exists()

    def test_windows_and_rates_that_differ_are_told_before_any_work(self, made, tmp_path):
        table = table_of(made)
        both = mne.read_evokeds(table.loc[1, "evoked"], verbose="error")
        other = tmp_path / "other-ave.fif"
        mne.write_evokeds(other, [one.resample(100.0) for one in both], verbose="error")
        table.loc[1, "evoked"] = str(other)
        with pytest.raises(ValueError, match="sub-02: other-ave.fif has a sampling rate of 100 Hz"):
            make_plan(table, conditions=CONDITIONS).check()
        with pytest.raises(ValueError, match="holds no 'oddball'"):
            make_plan(table_of(made), conditions=["oddball"]).check()
        with pytest.raises(ValueError, match=r"has 0 to 0.3 s, and the window is 0.1 to 0.9 s"):
            make_plan(table_of(made), conditions=CONDITIONS, tmin=0.1, tmax=0.9).check()
        with pytest.raises(ValueError, match="holds 2 responses"):
            make_plan(table_of(made)).check()

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"subject": ["a", "a", "b"]}, "'a' stands in lines 2 and 3"),
            ({"colour": "red"}, "has a column 'colour'"),
            ({"evoked": ["x", None, "y"]}, "line 3 of the table of recordings has no evoked"),
            ({"subject": ["a/b", "c", "d"]}, "must be a name that a file can have"),
        ],
    )
    def test_tables_that_are_none(self, made, changes, said):
        with pytest.raises(ValueError, match=said):
            make_plan(table_of(made, **changes))

    @pytest.mark.parametrize(
        ("choice", "said"),
        [
            ({"space": "mni"}, "space='mni'"),
            ({"rounds": -1}, "rounds=-1"),
            ({"tmin": 0.2, "tmax": 0.1}, "must be before"),
            ({"options": {"alpha": 1}}, "'alpha', which is no option"),
            ({"options": {"positions": "grid"}}, "positions='grid'"),
            ({"min_group_evidence": np.nan}, "min_group_evidence=nan"),
            ({"options": {"extent": "huge"}}, "extent='huge'"),
            ({"tmin": "early"}, "tmin='early' must be a number"),
            ({"task": "oddball"}, "task='oddball' is for a BIDS dataset"),
        ],
    )
    def test_choices_that_are_none(self, made, choice, said):
        with pytest.raises(ValueError, match=said):
            make_plan(made.recordings, **choice)

    @pytest.mark.parametrize(
        ("choice", "said"),
        [
            ({"n_subjects": 0}, "n_subjects=0"),
            ({"n_sources": 0}, "n_sources=0"),
            ({"presence": 2}, "presence=2"),
            ({"spread_mm": -1}, "spread_mm=-1"),
            ({"snr_db": np.nan}, r"snr_db=\[nan"),
            ({"snr_db": [0.0]}, "snr_db has 1 levels"),
            ({"others": ["."]}, "has no surf/lh.white; name the folder of a FreeSurfer subject"),
        ],
    )
    def test_simulations_that_are_none(self, tmp_path, choice, said):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            datasets.simulated_study(tmp_path / "new", **choice)
        assert not (tmp_path / "new").exists()
        with pytest.raises(FileExistsError, match="is there already"):
            datasets.simulated_study(tmp_path)

    def test_pictures_of_other_tables(self, result):
        for draw, name in ((viz.plot_presence, "presence"), (viz.plot_amplitudes, "amplitudes")):
            with pytest.raises(ValueError, match=f"{name} has no column 'subject'"):
                draw(pd.DataFrame({"a": [1]}), result.group)
            with pytest.raises(TypeError, match=f"{name} must be a pandas.DataFrame"):
                draw(3, result.group)
        with pytest.raises(ValueError, match="sources has no column 'fs_x_mm'"):
            viz.plot_group(result.group, result.group, subject="x", subjects_dir="y")

    def test_recordings_that_are_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file or folder"):
            make_plan(tmp_path / "nowhere")
        with pytest.raises(TypeError, match="conditions=3"):
            make_plan(table_of_nobody(), conditions=3)
        with pytest.raises(TypeError, match="recordings must be a table"):
            make_plan(3)
        (tmp_path / "x.txt").write_text("")
        with pytest.raises(ValueError, match=r"must be a .toml file"):
            make_plan(tmp_path / "x.txt")

    def test_no_scheduler_answers(self, made, tmp_path):
        pytest.importorskip("distributed")
        with pytest.raises(OSError, match="no dask scheduler answers"):
            run(made, tmp_path / "out", scheduler="nonsense")


class TestConfiguration:
    def test_a_file_tells_all_of_it(self, made, tmp_path):
        text = (
            'title = "Oddball"\nrecordings = "data/recordings.csv"\nsubjects_dir = "heads"\n'
            'conditions = ["standard", "deviant"]\ntmax = 0.25\n[options]\nextent = "point"\n'
        )
        (tmp_path / "data").mkdir()
        table_of(made).to_csv(tmp_path / "data" / "recordings.csv", index=False)
        (tmp_path / "study.toml").write_text(text)
        plan = make_plan(tmp_path / "study.toml")
        assert plan.title == "Oddball"
        assert plan.subjects_dir == tmp_path / "heads"
        assert plan.conditions == ("standard", "deviant")
        assert plan.options == {"extent": "point"}
        assert make_plan(tmp_path / "study.toml", tmax=0.2).tmax == 0.2
        assert make_plan(tmp_path / "study.toml", tmax=0.2).digest != plan.digest
        (tmp_path / "study.toml").write_text(text.replace("tmax", "tmaks"))
        with pytest.raises(ValueError, match="has 'tmaks'"):
            make_plan(tmp_path / "study.toml")
        (tmp_path / "study.toml").write_text("title =")
        with pytest.raises(ValueError, match="is no TOML file"):
            make_plan(tmp_path / "study.toml")

    def test_a_bids_dataset(self, made, tmp_path):
        pytest.importorskip("mne_bids")
        root = tmp_path / "bids"
        for row in table_of(made).itertuples():
            folder = root / "derivatives" / "mne-bids-pipeline" / row.subject / "meg"
            folder.mkdir(parents=True)
            for name, end in (("evoked", "ave"), ("forward", "fwd"), ("noise_cov", "cov")):
                shutil.copyfile(
                    getattr(row, name), folder / f"{row.subject}_task-oddball_{end}.fif"
                )
        (root / "participants.tsv").write_text(
            "participant_id\tgroup\nsub-01\tpatient\nsub-02\tn/a\n"
        )
        plan = make_plan(root, task="oddball", conditions=CONDITIONS)
        assert [one.group for one in plan.members] == ["patient", None, None]
        assert [one.subject for one in plan.members] == [f"sub-0{k}" for k in range(1, 4)]
        plan.check()
        with pytest.raises(ValueError, match="holds no averages.*task rest"):
            make_plan(root, task="rest")
        (folder / "sub-03_task-oddball_fwd.fif").unlink()
        with pytest.raises(ValueError, match=r"sub-03: no forward \(\*_fwd.fif\)"):
            make_plan(root, task="oddball")
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            make_plan(root, derivatives="other")


class TestSpace:
    def test_the_sphere_carries_scaled_heads_back_exactly(self, made):
        """A scaled copy of fsaverage: where each place comes from is known."""
        plan = make_plan(made.recordings, subjects_dir=made.subjects_dir)
        forward = mne.read_forward_solution(plan.members[0].runs[0].forward, verbose="error")
        warp = warp_of(forward, "sub-01", made.subjects_dir, "auto")
        home = made.subjects_dir / "fsaverage5" / "bem" / "fsaverage5-ico3-src.fif"
        src = mne.read_source_spaces(home, verbose="error")
        rr = 1e3 * np.concatenate([one["rr"][one["vertno"]] for one in src])
        np.testing.assert_allclose(warp.targets, rr, atol=0.05)
        x, unsure = warp(warp.positions[::50] + 0.5)
        np.testing.assert_allclose(x, rr[::50] + 0.5 * warp.linear.sum(1), atol=0.2)
        assert np.trace(unsure, axis1=1, axis2=2).max() < 0.1
        with pytest.raises(ValueError, match=r"it needs mri/transforms/talairach.xfm"):
            warp_of(forward, "sub-01", made.subjects_dir, "affine")
        with pytest.raises(ValueError, match="has no way to fsaverage"):
            warp_of(forward, "nobody", made.subjects_dir, "auto")

    @pytest.mark.realdata
    def test_sphere_and_affine_agree_about_as_well_as_is_said(self):
        """On the second head, which has both: an affine match is some millimetres off."""
        heads = os.environ.get("MEG_VAE_HEADS")
        if not heads:
            pytest.skip("needs MEG_VAE_HEADS")
        src = mne.setup_source_space(
            "sample_ecog", "ico3", subjects_dir=heads, add_dist=False, verbose="error"
        )
        info = mne.create_info(1, 1.0, "mag")
        rr = np.concatenate([one["rr"][one["vertno"]] for one in src])
        forward = mne.Forward(
            src=src,
            source_rr=rr,
            mri_head_t=mne.Transform("mri", "head", np.eye(4)),
            info=info,
        )
        by = {space: warp_of(forward, None, heads, space) for space in ("surface", "affine")}
        gap = by["surface"].targets - by["affine"].targets
        along = np.sqrt(np.square(gap - gap.mean(0)).mean(0))
        assert (along < 3 * 4.0).all()
        assert np.median(np.linalg.norm(gap, axis=1)) < 15

    @pytest.mark.realdata
    def test_another_head_has_the_source_where_the_sphere_says(self, tmp_path):
        """Simulated in the second head, found there, and carried back to where it was drawn."""
        heads = os.environ.get("MEG_VAE_HEADS")
        if not heads:
            pytest.skip("needs MEG_VAE_HEADS")
        made = datasets.simulated_study(
            tmp_path / "data",
            1,
            2,
            presence=1.0,
            snr_db=5.0,
            others=[f"{heads}/sample_ecog"],
            verbose="error",
        )
        found = run(made, tmp_path / "out", rounds=0)
        truth = made.truth[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        places = found.sources[["fs_x_mm", "fs_y_mm", "fs_z_mm"]].to_numpy(float)
        gaps = np.linalg.norm(places[:, None] - truth, axis=2)
        assert (gaps.min(0) < 5.0).all()
        assert np.linalg.norm(truth[0] - truth[1]) > 30  # null control: they are far apart


class TestShell:
    def test_the_command_writes_pages_and_tells_the_group(self, made, result, capsys):
        command = ["study", str(made.recordings), "-o", str(result.folder)]
        for name in CONDITIONS:
            command += ["--condition", name]
        # the options of the fixture are no options of the shell: another study
        assert main([*command, "--subjects-dir", str(made.subjects_dir)]) == 2
        assert "a study of another configuration" in capsys.readouterr().err

    @pytest.mark.slow
    @pytest.mark.rendering
    def test_pages(self, made, tmp_path, capsys):
        text = table_of(made).assign(group=["young", "young", "old"])
        text.to_csv(tmp_path / "recordings.csv", index=False)
        (tmp_path / "study.toml").write_text(
            'title = "Oddball"\nrecordings = "recordings.csv"\n'
            f'subjects_dir = "{made.subjects_dir}"\nconditions = ["standard", "deviant"]\n'
            'rounds = 0\n[options]\nextent = "point"\n'
        )
        out = tmp_path / "out"
        assert main(["study", str(tmp_path / "study.toml"), "-o", str(out), "--jobs", "2"]) == 0
        said = capsys.readouterr().out
        assert "Oddball: 3 subjects" in said
        page = (out / "report.html").read_text(encoding="utf-8")
        for words in ("3 of 3 subjects were fitted", "young, old", "MNI305", "sub-03/report.html"):
            assert words in page, words
        assert "Time courses: deviant" in (out / "sub-02" / "report.html").read_text("utf-8")
        for name in ("group", "occurrence", "presence", "amplitudes"):
            assert (out / f"{name}.png").stat().st_size > 10_000
        read_vae_inverse(out / "sub-03" / "meg" / "sub-03-vae.h5")


@pytest.mark.slow
def test_a_cluster_of_two_workers_gives_the_same_tables(made, tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        again = run(made, tmp_path / "out", scheduler=client, rounds=0)
    here = run(made, tmp_path / "here", rounds=0)
    for name in TABLES:
        assert_frame_equal(getattr(again, name), getattr(here, name), check_exact=True)


def test_noise_alone_has_nothing_in_common(made):
    """Rows as of subjects in which nothing was found."""
    plan = make_plan(made.recordings)
    rows = [{"status": "ok", "sources": [], "volume_mm3": 1e6} for _ in plan.members]
    assert group_of(plan, rows)[0] == []
    rows = [{"status": "failed"} for _ in plan.members]
    assert group_of(plan, rows)[0] == []
