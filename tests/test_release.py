"""What is released: metadata, the files of the distributions, and the pages around them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import meg_vae

ROOT = Path(__file__).resolve().parents[1]
DIST = os.environ.get("MEG_VAE_DIST")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

sys.path.insert(0, str(ROOT / ".ci"))

from lowest import lowest  # noqa: E402


def text(name):
    """Text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def tracked(*folders):
    """Names of the files that git has, or a skip where there is no git."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *folders]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a checkout of git")
    return {name for name in done.stdout.split("\0") if name}


def recipe():
    """The draft of a recipe for conda-forge."""
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(text("recipe/recipe.yaml"))


class TestMetadata:
    def test_addresses(self):
        """All lie below one address, which the recipe for conda-forge has too."""
        urls = PROJECT["urls"]
        assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
        assert urls["Homepage"] == urls["Source"]
        for name in ("Issues", "Changelog"):
            assert urls[name].startswith(f"{urls['Source']}/")
        assert (ROOT / urls["Changelog"].rpartition("/")[2]).is_file()

    def test_pythons_of_the_classifiers_begin_with_the_one_required(self):
        versions = [
            name.rpartition(":: ")[2]
            for name in PROJECT["classifiers"]
            if re.search(r"Python :: 3\.\d+$", name)
        ]
        assert f">={versions[0]}" == PROJECT["requires-python"]
        assert versions == [f"3.{minor}" for minor in range(11, 11 + len(versions))]

    def test_the_package_says_that_it_is_typed(self):
        assert "Typing :: Typed" in PROJECT["classifiers"]
        assert (Path(meg_vae.__file__).parent / "py.typed").is_file()

    def test_the_next_version_is_the_same_everywhere(self):
        """The changelog's first heading is the version of the citation."""
        newest, date = re.search(r"^## (\S+) \((.+)\)$", text("CHANGELOG.md"), re.M).groups()
        assert date == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", date)
        cited = re.search(r"^version: (.+)$", text("CITATION.cff"), re.M)[1]
        assert cited == newest == recipe()["context"]["version"]


class TestVersion:
    def test_it_is_that_of_the_installation(self):
        assert meg_vae.__version__ == version("meg_vae")

    def test_files_that_nobody_installed_have_one(self, monkeypatch):
        import runpy

        def missing(name):
            raise PackageNotFoundError(name)

        monkeypatch.setattr("importlib.metadata.version", missing)
        path = Path(meg_vae.__file__).with_name("_version.py")
        assert runpy.run_path(str(path))["__version__"] == "0.0"


class TestLowest:
    def test_every_dependency_has_one_lowest_version(self):
        bounds = lowest(PROJECT)
        assert bounds["torch"] == "2.6"
        names = {re.match(r"[\w.-]+", one)[0] for one in PROJECT["dependencies"]}
        assert names <= set(bounds)

    def test_a_missing_or_a_second_bound_is_refused(self):
        with pytest.raises(ValueError, match="'numpy' in pyproject.toml has no lowest version"):
            lowest({"dependencies": ["numpy"], "optional-dependencies": {}})
        twice = {"dependencies": ["a>=1"], "optional-dependencies": {"more": ["a[b]>=2"]}}
        with pytest.raises(ValueError, match="two lowest versions: 1 and 2"):
            lowest(twice)


class TestRecipe:
    """The draft for conda-forge says what pyproject.toml says."""

    NAMES = {"torch": "pytorch", "POT": "pot", "matplotlib": "matplotlib-base", "mne": "mne-base"}

    def test_dependencies(self):
        parts = [re.match(r"([\w.-]+)(.*)", one).groups() for one in PROJECT["dependencies"]]
        expected = [f"{self.NAMES.get(name, name)} {bounds}" for name, bounds in parts]
        python, *others = recipe()["requirements"]["run"]
        assert others == expected
        assert python == "python >=${{ python_min }}"
        assert f">={recipe()['context']['python_min']}" == PROJECT["requires-python"]

    def test_what_builds_it(self):
        build = tomllib.loads(text("pyproject.toml"))["build-system"]["requires"]
        host = {one.replace(" ", "") for one in recipe()["requirements"]["host"]}
        assert set(build) <= host

    def test_names_and_addresses(self):
        about, urls = recipe()["about"], PROJECT["urls"]
        assert about["homepage"] == urls["Homepage"]
        assert about["repository"] == urls["Source"]
        assert about["documentation"] == urls["Documentation"]
        assert about["license"] == PROJECT["license"]
        entries = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
        assert recipe()["build"]["python"]["entry_points"] == entries


class TestPages:
    """What people who come to the repository are shown."""

    TEMPLATES = ("bug", "question", "feature")

    def test_templates_have_a_name_and_say_what_they_are_for(self):
        yaml = pytest.importorskip("yaml")
        for name in self.TEMPLATES:
            _, head, body = text(f".github/ISSUE_TEMPLATE/{name}.md").split("---\n", 2)
            assert set(yaml.safe_load(head)) == {"name", "about", "labels"}
            assert body.strip()
        found = {path.stem for path in (ROOT / ".github" / "ISSUE_TEMPLATE").iterdir()}
        assert found == set(self.TEMPLATES)

    def test_the_report_of_a_bug_asks_for_versions_by_code_that_runs(self, capsys):
        bug = text(".github/ISSUE_TEMPLATE/bug.md")
        command = re.search(r'`python -c "(import meg_vae; .+?)"`', bug)[1]
        exec(command, {})
        assert "torch" in capsys.readouterr().out

    @pytest.mark.slow
    def test_the_report_of_a_bug_has_lines_that_run(self):
        bug = text(".github/ISSUE_TEMPLATE/bug.md")
        lines = re.search(r"```python\n(.+?)```", bug, re.DOTALL)[1]
        names: dict = {}
        exec(lines, names)
        assert len(names["inverse"].sources_) == 2

    def test_what_the_pages_name_is_there(self):
        from meg_vae import comparison, datasets

        security = text("SECURITY.md")
        for name, home in (("read_vae_inverse", meg_vae), ("template_recording", datasets)):
            assert name in security
            assert hasattr(home, name)
        assert "comparison.register" in security
        assert hasattr(comparison, "register")
        request = text(".github/pull_request_template.md")
        for name in re.findall(r"`([\w/]+\.(?:md|rst)|scripts/)`", request):
            assert (ROOT / name).exists()

    def test_pages_name_no_place_of_one_machine(self):
        """Nor an address of the project that pyproject.toml does not have."""
        names = [name for name in tracked() if name.endswith((".md", ".yaml", ".cff", ".rst"))]
        for name in names:
            assert not re.search(r"(?<![\w.])/(home|root|work|tmp)/", text(name)), name
            for url in re.findall(r"https://(?:github\.com/meg|meg-vae)[^\s)>\"]*", text(name)):
                assert url.rstrip("/") in {one.rstrip("/") for one in PROJECT["urls"].values()}


class TestCoverage:
    def test_there_is_a_floor_and_a_command(self):
        settings = tomllib.loads(text("pyproject.toml"))["tool"]["coverage"]
        assert 0 < settings["report"]["fail_under"] <= 100
        assert settings["run"]["source_pkgs"] == ["meg_vae"]
        assert "--cov" in text("CONTRIBUTING.md")
        extra = PROJECT["optional-dependencies"]["test"]
        assert any(one.startswith("pytest-cov") for one in extra)


class TestVersionsOfTheSite:
    def test_the_switcher_needs_no_network(self):
        """Its list lies in the site, is not checked over the network, and is made when built."""
        conf = text("docs/conf.py")
        path = re.search(r'"json_url": "(.+?)"', conf)[1]
        assert not path.startswith("http")
        assert '"check_switcher": False' in conf
        assert f"docs/{path}" in text(".gitignore").splitlines()
        assert "version-switcher" in conf


@pytest.fixture(scope="module")
def wheel():
    """Content of each file of the wheel."""
    (path,) = Path(DIST).glob("meg_vae-*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.skipif(DIST is None, reason="needs what .ci/build makes (MEG_VAE_DIST)")
class TestDistributions:
    """What .ci/build made, and that it is what these tests import."""

    def test_the_source_distribution_is_what_git_has(self):
        (path,) = Path(DIST).glob("meg_vae-*.tar.gz")
        with tarfile.open(path) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert names == tracked() | {"PKG-INFO"}

    def test_the_wheel_is_the_package_and_its_licence(self, wheel):
        code = {name for name in wheel if ".dist-info/" not in name}
        assert code == tracked("meg_vae")
        assert "meg_vae/py.typed" in code
        about = {name.partition(".dist-info/")[2] for name in set(wheel) - code}
        expected = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
        assert about == expected

    def test_what_is_tested_here_is_the_wheel(self, wheel):
        """Not the files of the checkout, even where they are the same."""
        home = Path(meg_vae.__file__).resolve().parent
        assert home != ROOT / "meg_vae"
        for name, content in wheel.items():
            if ".dist-info/" not in name:
                assert (home.parent / name).read_bytes() == content, name
        (about,) = (content for name, content in wheel.items() if name.endswith("/METADATA"))
        assert f"\nVersion: {meg_vae.__version__}\n" in about.decode()


class TestCommands:
    def test_ci_runs_what_the_readme_says(self):
        """The command of the README, with the arguments that .ci/run leaves to the environment."""
        command = re.search(r"^pip install .*\[test\].*pytest$", text("README.md"), re.M)[0]
        lines = text(".ci/run").replace("pip install --quiet", "pip install").splitlines()
        assert command in lines
        before = lines[: lines.index(command)]
        assert any("PYTHONSAFEPATH=1" in line for line in before)  # else the checkout is imported
        assert any("MEG_VAE_DIST" in line for line in before)
        assert ".ci/build" in before
        assert "-m pytest" in lines[-1]  # its summary is the last word

    def test_commands_are_documented_and_can_be_run(self):
        for name in (".ci/build", ".ci/wheel", ".ci/versions"):
            assert os.access(ROOT / name, os.X_OK)
            assert subprocess.run(["bash", "-n", ROOT / name]).returncode == 0
            if name != ".ci/build":
                assert name in text("CONTRIBUTING.md")

    def test_a_python_that_is_not_there_is_skipped_with_a_reason(self):
        done = subprocess.run(
            [ROOT / ".ci/versions", "lowest", "3.99"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("skipped: ")

    def test_versions_asks_for_lowest_or_newest(self):
        done = subprocess.run([ROOT / ".ci/versions"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "lowest|newest" in done.stderr
