"""The distribution: what the wheel holds, and that it works away from the checkout beside folders of its names."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DECOYS = ("engine", "tui", "presets")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git would hold, with the build backend that is installed here."""
    pytest.importorskip("setuptools", minversion="77", reason="the wheel is built without the network")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*DECOYS, "pyproject.toml"):
        os.symlink(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed without its dependencies; returns the folder to import from."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], timeout=300, check=True, capture_output=True)
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A working directory with folders engine, tui and presets of its own, which must not be taken for ours."""
    for name in DECOYS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this is not ours')\n")
    return tmp_path


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_the_presets_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(DECOYS)
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "presets").rglob("*.yaml")}
    assert ours <= set(names)
    code = {
        str(path.relative_to(ROOT))
        for top in DECOYS
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".py", ".tcss")
    }
    assert code <= set(names)


@pytest.mark.slow
def test_the_installed_command_works_beside_folders_of_the_same_names(installed: Path, elsewhere: Path) -> None:
    runs = elsewhere / "runs"
    assert "No runs yet" in _command(installed, elsewhere, "--list", "--runs", str(runs))
    assert "architecture" in json.loads(_command(installed, elsewhere, "--schema"))["properties"]
    presets = json.loads(_command(installed, elsewhere, "--list-presets", "--json"))
    (quickstart,) = (preset for preset in presets if preset["name"] == "quickstart")
    assert Path(quickstart["path"]).is_relative_to(installed)
    assert "70,618" in _command(installed, elsewhere, "--inspect", "quickstart")


def _command(installed: Path, folder: Path, *arguments: str) -> str:
    """What the installed ``cifar-tui`` prints; its dependencies come from this environment, its own code does not."""
    script = installed / "bin" / "cifar-tui"
    site = sysconfig.get_paths()["purelib"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), site])}
    # -S leaves out this environment's editable install, -P the folder of the script.
    line = [sys.executable, "-S", "-P", str(script), *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_versions_that_passed_are_within_the_ranges() -> None:
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    versions = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for text in wanted:
        requirement = packaging.Requirement(text)
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(versions[requirement.name.lower()]), text


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_ci_runs_the_command_of_the_makefile() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "for target in check test test-slow" in script
    assert "\ntest: $(READY)\n" in (ROOT / "Makefile").read_text()
