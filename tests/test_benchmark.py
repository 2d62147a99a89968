"""A benchmark is resumed where it stopped, refuses what does not belong, and hides no failure."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from meg_vae.cli import main
from meg_vae.comparison import METHODS, METRICS, Method, read_protocol, run_benchmark
from meg_vae.comparison.benchmark import ranking, summarize
from meg_vae.comparison.benchmark.journal import NAME, Journal
from meg_vae.comparison.benchmark.protocol import make_protocol
from meg_vae.comparison.benchmark.summary import _interval

DATA = Path(__file__).parents[1] / "data" / "benchmarks"
COST = ["seconds", "cpu_seconds", "memory_mb"]  # differ from run to run
SMALL = {
    "title": "Small",
    "seeds": 2,
    "methods": ["sloreta", "dipole"],
    "recipe": {"spacing": "ico3", "grid": "same", "tmax": 0.1},
    "condition": [
        {"name": "10 decibels", "n_sources": 2},
        {"name": "noise", "n_sources": 0, "without": ["dipole"]},
    ],
}
TOML = """
title = "Small"
seeds = 2
methods = ["sloreta", "dipole"]
[recipe]
spacing = "ico3"
grid = "same"
tmax = 0.1
[[condition]]
name = "10 decibels"
n_sources = 2
[[condition]]
name = "noise"
n_sources = 0
without = ["dipole"]
"""


def same(one, other):
    """Assert that two tables differ in nothing but what runs cost."""
    pd.testing.assert_frame_equal(one.drop(columns=COST), other.drop(columns=COST))


def keys(table):
    """Condition, seed and method of every row."""
    return list(table[["condition", "seed", "method"]].itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A benchmark run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    return run_benchmark(make_protocol(SMALL), folder, verbose="error"), folder


@pytest.fixture
def protocol_file(tmp_path):
    path = tmp_path / "protocol.toml"
    path.write_text(TOML)
    return path


class TestProtocol:
    def test_a_file_says_what_runs(self, protocol_file):
        protocol = read_protocol(protocol_file)
        assert protocol == make_protocol(SMALL)
        assert protocol.methods == [
            "sloreta",
            "dipole",
            "zeros",
            "random",
        ]  # nulls are always there
        assert len(protocol.tasks) == 2 * (4 + 3)
        assert protocol.conditions[0].recipe.n_sources == 2

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"method": ["vae"]}, "'method' is no key of a protocol; valid are title, methods"),
            ({"methods": ["magic"]}, "different ones of vae, .*random"),
            ({"methods": []}, "names no methods"),
            ({"condition": []}, "names no condition"),
            ({"metrics": ["beauty"]}, "'beauty' is no metric; valid are localization_error_mm"),
            ({"left_out": {"magic": "why"}}, "'magic' is no method; valid are vae"),
            ({"seeds": 0}, "seeds"),
            ({"seeds": [1, 1]}, "seeds"),
            ({"recipe": {"colour": 1}}, "'colour' is no key of the recipe; valid are n_sources"),
            ({"condition": [{"name": "a", "noises": 1}]}, "valid are name, also, without, n_sou"),
            ({"condition": [{"n_sources": 1}]}, "needs a name"),
            ({"condition": [{"name": "a"}, {"name": "a"}]}, "must differ"),
            ({"condition": [{"name": "a", "n_sources": 50}]}, "condition 'a': n_sources=50"),
            ({"condition": [{"name": "a", "also": ["magic"]}]}, "different ones of"),
            ({"condition": [{"name": "a", "without": ["vae"]}]}, "'vae' is no method of this"),
        ],
    )
    def test_what_is_wrong_is_named_with_what_is_valid(self, change, expected):
        with pytest.raises(ValueError, match=expected):
            make_protocol(SMALL | change)

    def test_files_that_are_no_protocol(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no protocol"):
            read_protocol(tmp_path / "none.toml")
        (tmp_path / "bad.toml").write_text("seeds = = 3")
        with pytest.raises(ValueError, match="no protocol in TOML"):
            read_protocol(tmp_path / "bad.toml")

    def test_more_sources_than_positions_are_refused_before_anything_runs(self, tmp_path):
        deep = {"name": "deep", "n_sources": 5, "depth_mm": [70, 80]}
        with pytest.raises(ValueError, match=r"'deep': n_sources=5 is more than the \d+ positions"):
            run_benchmark(make_protocol(SMALL | {"condition": [deep]}), tmp_path, verbose="error")
        assert list(tmp_path.iterdir()) == []


class TestRun:
    def test_the_table_has_a_row_per_run_in_order(self, whole):
        result, folder = whole
        table = result.table
        tasks = [
            tuple(row) for row in table[["condition", "seed", "method"]].itertuples(index=False)
        ]
        assert tasks == result.protocol.tasks
        assert set(METRICS) <= set(table.columns)
        assert (table["status"] == np.where(table["method"] == "zeros", "empty", "ok")).all()
        assert table.loc[table["condition"] == "noise", "f1"].isna().all()
        lines = (folder / NAME).read_text().splitlines()
        assert len(lines) == 1 + len(table)

    def test_null_methods_are_in_every_table_and_at_the_bottom(self, whole):
        result, _ = whole
        for condition in ("10 decibels", "all"):
            table = ranking(result.summary, condition)
            assert list(table.index[-2:]) == ["random", "zeros"]
            assert (table["f1"].iloc[:-2] > table["f1"].iloc[-2:].max()).all()  # not arranged
            assert table.loc[["random", "sloreta"], "told"].tolist() == [
                "the number of sources",
                "",
            ]
        assert set(ranking(result.summary, "noise").index) == {"sloreta", "zeros", "random"}

    def test_nothing_is_done_twice(self, whole, monkeypatch):
        result, folder = whole
        before = (folder / NAME).read_bytes()

        def never(*args, **kwargs):
            pytest.fail("a run was done again")

        monkeypatch.setattr("meg_vae.comparison.benchmark.run._one", never)
        again = run_benchmark(result.protocol, folder, verbose="error")
        pd.testing.assert_frame_equal(again.table, result.table)
        assert (folder / NAME).read_bytes() == before

    @pytest.mark.parametrize("cut", [1, 25, 400])
    def test_a_row_cut_short_is_dropped_and_the_table_is_the_same(self, whole, tmp_path, cut):
        result, folder = whole
        (tmp_path / NAME).write_bytes((folder / NAME).read_bytes()[:-cut])
        kept = (tmp_path / NAME).read_bytes().count(b"\n") - 1
        done = []
        add = Journal.add
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "add", lambda self, row: (done.append(row), add(self, row)))
            again = run_benchmark(result.protocol, tmp_path, verbose="error")
        same(again.table, result.table)
        assert len(done) == len(result.table) - kept
        assert len((tmp_path / NAME).read_text().splitlines()) == 1 + len(result.table)

    def test_rows_of_another_protocol_are_not_mixed_in(self, whole):
        result, folder = whole
        before = (folder / NAME).read_bytes()
        other = make_protocol(SMALL | {"seeds": 3})
        with pytest.raises(ValueError, match="another protocol, and the two are not mixed"):
            run_benchmark(other, folder, verbose="error")
        assert (folder / NAME).read_bytes() == before
        assert other.digest != result.protocol.digest
        assert make_protocol(SMALL | {"title": "Other"}).digest == result.protocol.digest

    def test_rows_of_another_version_or_a_damaged_file(self, whole, tmp_path):
        result, folder = whole
        header, *rows = (folder / NAME).read_text().splitlines()
        old = json.dumps(json.loads(header) | {"mne": "0.1"})
        (tmp_path / NAME).write_text("\n".join([old, *rows]) + "\n")
        with pytest.raises(ValueError, match="another mne"):
            run_benchmark(result.protocol, tmp_path, verbose="error")
        (tmp_path / NAME).write_text("\n".join([header, rows[0][:30], *rows[1:]]) + "\n")
        with pytest.raises(ValueError, match="is damaged"):
            run_benchmark(result.protocol, tmp_path, verbose="error")

    def test_two_at_once_in_one_folder(self, whole):
        from filelock import FileLock

        result, folder = whole
        with FileLock(folder / f".{NAME}.lock"):
            with pytest.raises(RuntimeError, match="another benchmark is writing"):
                run_benchmark(result.protocol, folder, verbose="error")

    def test_methods_that_fail_are_rows(self, tmp_path, monkeypatch):
        def fields(name, run, **kwargs):
            about = {"family": "Sparse", "unit": "A·m", "sparse": True}
            about |= {"knobs": "", "reference": ""}
            return Method(name, name.upper(), run=run, **about, **kwargs)

        def broken(*args, **kwargs):
            raise np.linalg.LinAlgError('singular,\n"matrix"')

        def infinite(*args, n_sources=None, **kwargs):
            stc = METHODS["dipole"].run(*args, **kwargs)
            stc.data[:] = np.nan
            return stc

        add = {
            "broken": fields("broken", broken),
            "infinite": fields("infinite", infinite),
            "nothing": fields("nothing", lambda *args, **kwargs: None),
            "absent": fields("absent", broken, package="magic", module="no_such_module"),
        }
        for name, method in add.items():
            monkeypatch.setitem(METHODS, name, method)
        one = {"name": "one", "n_sources": 1}
        wanted = SMALL | {"methods": list(add), "condition": [one], "seeds": 1}
        result = run_benchmark(make_protocol(wanted), tmp_path, verbose="error")
        rows = result.table.set_index("method")
        assert list(rows["status"][list(add)]) == ["failed"] * 3 + ["skipped"]
        assert rows.loc["broken", "note"] == 'LinAlgError: singular, "matrix"'
        assert "not finite" in rows.loc["infinite", "note"]
        assert "NoneType, neither a source estimate" in rows.loc["nothing", "note"]
        assert "pip install magic" in rows.loc["absent", "note"]
        assert rows.loc["broken", list(METRICS)[:10]].isna().all()
        # In the summary a failed run is as bad as can be, and a skipped one is not there.
        best = ranking(result.summary, "one")
        assert "absent" not in best.index
        assert best.loc["broken", "localization_error_mm"] == 100
        assert best.loc["broken", "f1"] == 0
        assert (result.summary.query("method == 'broken'")["n_failed"] == 1).all()
        back = pd.read_csv(result.save(tmp_path)[0]).set_index("method")
        assert back.loc["broken", "note"] == rows.loc["broken", "note"]

    @pytest.mark.slow
    def test_two_processes_give_the_same_table(self, whole, tmp_path):
        result, _ = whole
        again = run_benchmark(result.protocol, tmp_path, n_jobs=2, verbose="error")
        same(again.table, result.table)

    def test_wrong_backends(self, whole, tmp_path):
        protocol = whole[0].protocol
        for kwargs, expected in (
            ({"backend": "mpi"}, "one of loky, dask"),
            ({"backend": "dask"}, "needs the address"),
            ({"scheduler": "tcp://here:1"}, "needs backend='dask'"),
        ):
            with pytest.raises(ValueError, match=expected):
                run_benchmark(protocol, tmp_path, verbose="error", **kwargs)

    @pytest.mark.slow
    def test_killed_in_the_middle_and_resumed_to_the_identical_table(
        self, whole, tmp_path, protocol_file
    ):
        """SIGKILL once some rows are there; the same command then finishes the rest."""
        out = tmp_path / "out"
        args = ["benchmark", str(protocol_file), "-o", str(out)]
        code = f"import sys; from meg_vae.cli import main; sys.exit(main({args!r}))"
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        try:
            for _ in range(1200):
                if (out / NAME).exists() and (out / NAME).read_bytes().count(b"\n") >= 3:
                    break
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        kept = (out / NAME).read_bytes()
        assert 3 <= kept.count(b"\n") < 1 + len(whole[0].table)
        assert not (out / "results.csv").exists()
        assert main(args) == 0
        assert (out / NAME).read_bytes().startswith(kept[: kept.rindex(b"\n")])
        whole[0].save(tmp_path)
        same(pd.read_csv(out / "results.csv"), pd.read_csv(tmp_path / "results.csv"))

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # of dask, when its processes end
    def test_a_cluster_of_two_workers_gives_the_same_table(self, whole, tmp_path):
        distributed = pytest.importorskip("distributed")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True
        ) as cluster:
            result = run_benchmark(
                whole[0].protocol,
                tmp_path,
                backend="dask",
                scheduler=cluster.scheduler_address,
                verbose="error",
            )
        same(result.table, whole[0].table)


class TestSummary:
    def test_means_and_intervals_by_hand(self):
        values = np.array([1.0, 2.0, 3.0, 4.0])
        draws = np.array([[0, 0, 0, 0], [3, 3, 3, 3], [0, 1, 2, 3]] * 100)
        one = _interval(values, draws)
        assert one == {"mean": 2.5, "low": 1.0, "high": 4.0}
        assert _interval(np.array([5.0, np.nan]), draws[:, :2] % 2)["high"] == 5.0

    def test_intervals_hold_the_mean_as_often_as_they_say(self):
        rng = np.random.default_rng(0)
        draws = rng.integers(20, size=(400, 20))
        inside = 0
        for _ in range(300):
            one = _interval(rng.standard_normal(20), draws)
            inside += one["low"] <= 0 <= one["high"]
        assert 0.88 < inside / 300 < 0.97

    def test_all_is_the_mean_over_conditions_with_sources(self, whole):
        result, _ = whole
        summary = summarize(result.table, result.protocol).set_index(["condition", "method"])
        error = summary[summary["metric"] == "localization_error_mm"]["mean"]
        assert error["all", "sloreta"] == error["10 decibels", "sloreta"]
        assert ("noise", "sloreta") not in error.index
        assert ("all", "dipole") in error.index
        rows = result.table.query("condition == '10 decibels' and method == 'sloreta'")
        assert error["all", "sloreta"] == pytest.approx(rows["localization_error_mm"].mean())

    def test_saved_tables_summarize_to_the_same(self, whole, tmp_path):
        result, _ = whole
        results, summary = (pd.read_csv(path) for path in result.save(tmp_path))
        pd.testing.assert_frame_equal(summarize(results, result.protocol), summary, rtol=1e-4)


class TestShell:
    def test_a_benchmark_leaves_tables_figures_and_a_page(
        self, whole, protocol_file, tmp_path, capsys
    ):
        out = tmp_path / "out"
        out.mkdir()  # with some of its runs done, as if it had been stopped
        lines = (whole[1] / NAME).read_text().splitlines(keepends=True)
        (out / NAME).write_text("".join(lines[:-2]))
        args = ["benchmark", str(protocol_file), "-o", str(out), "--format", "parquet"]
        assert main(args) == 0
        said = capsys.readouterr()
        assert "Zeros (null)" in said.out
        assert str(out / "report.html") in said.out
        there = {path.name for path in out.iterdir()}
        assert there >= {
            "protocol.toml",
            "rows.jsonl",
            "results.parquet",
            "summary.parquet",
            "hits.png",
            "time.png",
            "ranking.png",
            "report.html",
        }
        table = pd.read_parquet(out / "results.parquet")
        assert len(table) == 14
        page = (out / "report.html").read_text("utf-8")
        assert "Bold: best of the condition" in page
        targets = re.findall(r'href="#([^"]+)"', page)
        assert "Conditions-10_decibels" in targets
        assert all(name[0].isalpha() for name in targets)  # else the page's script stumbles
        protocol_file.write_text(TOML.replace("seeds = 2", "seeds = 3"))
        assert main(args) == 2
        assert "holds runs of another protocol" in capsys.readouterr().err

    def test_what_is_refused(self, protocol_file, tmp_path, capsys):
        full = tmp_path / "full"
        full.mkdir()
        (full / "precious.txt").write_text("mine")
        for more, expected in (
            (["-o", str(full)], "holds no benchmark"),
            (["-o", str(tmp_path / "x"), "--format", "xls"], "one of csv, parquet"),
            (["-o", str(tmp_path / "x"), "--backend", "mpi"], "one of loky, dask"),
        ):
            assert main(["benchmark", str(protocol_file), *more]) == 2
            err = capsys.readouterr().err
            assert expected in err
            assert err.count("\n") == 1
        assert [path.name for path in full.iterdir()] == ["precious.txt"]


@pytest.fixture(scope="module")
def committed():
    """The protocol, the table and the summary in the repository."""
    if not (DATA / "results.csv").exists():
        pytest.skip("the result of the committed protocol is not in this checkout")
    protocol = read_protocol(DATA / "protocol.toml")
    return protocol, pd.read_csv(DATA / "results.csv"), pd.read_csv(DATA / "summary.csv")


class TestCommitted:
    """The result that is in the repository."""

    def test_it_is_complete(self, committed):
        protocol, table, _ = committed
        assert len(protocol.conditions) >= 12
        assert len(protocol.seeds) >= 20
        tasks = [
            tuple(row) for row in table[["condition", "seed", "method"]].itertuples(index=False)
        ]
        assert tasks == protocol.tasks
        assert set(METHODS) <= {*protocol.methods, *protocol.left_out}

    def test_the_summary_is_that_of_the_table(self, committed):
        protocol, table, summary = committed
        again = summarize(table, protocol)
        pd.testing.assert_frame_equal(again, summary, rtol=1e-4)

    def test_null_methods_are_at_the_bottom(self, committed):
        """Measured, not arranged, with one exception: a single dipole among ten sources."""
        _, _, summary = committed
        for metric in ("f1", "hit_rate", "aggregate_performance", "roc_auc"):
            means = summary.query("condition == 'all' and metric == @metric")
            means = means.set_index("method")["mean"]
            null = means[["zeros", "random"]].max()
            assert (means.drop(["zeros", "random"]) > null).all(), metric
        with_sources = summary.query("metric == 'f1'")["condition"].unique()
        for condition in with_sources:
            scores = ranking(summary, condition)["f1"]
            assert set(scores.index[-2:]) == {"zeros", "random"}, condition
            no_better = set(scores.index[:-2][scores.iloc[:-2] <= scores.iloc[-2:].max()])
            assert no_better == ({"dipole"} if condition == "Ten sources" else set()), condition
