"""The wheel alone, in an environment of its own and another folder: the console command does what the checkout does."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Orapo = Callable[..., str]


def run(*command: str | Path, cwd: Path) -> str:
    """What the command printed; it must succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline by the backend that is installed, from a copy: what a build leaves behind gets into the next."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("src", "conf"):
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=copy)
    (found,) = (copy / "dist").glob("orapo-*.whl")
    return found


@pytest.fixture(scope="module")
def orapo(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Orapo:
    """Runs the console command in the folder given; the wheel's dependencies are those of this environment."""
    home = tmp_path_factory.mktemp("environment")
    identity = ("-c", "user.name=user", "-c", "user.email=user@example.org")
    run("git", "init", "-q", cwd=home)  # somebody's repository, whose commit is none of the package's
    run("git", *identity, "commit", "-q", "--allow-empty", "--no-verify", "-m", "their own", cwd=home)
    run(sys.executable, "-m", "venv", "--without-pip", home / "venv", cwd=home)
    python = home / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=home)
    (own,) = (home / "venv" / "lib").glob("python*/site-packages")
    # A .pth file of that folder, such as an editable install's, is not read from here.
    (own / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    place = run(python, "-c", "import orapo; print(orapo.__file__)", cwd=home)
    assert Path(place.strip()).is_relative_to(own), "this is not the wheel's package"
    return lambda *arguments, cwd: run(python.with_name("orapo"), *arguments, cwd=cwd)


def test_the_wheel_holds_the_config_tree_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tree = {file.relative_to(ROOT).as_posix() for file in (ROOT / "conf").rglob("*.yaml")}
    assert {name.removeprefix("orapo/") for name in names if name.startswith("orapo/conf/")} == tree
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "conf/", "benchmarks/")) for name in names)


def test_train_then_evaluate_then_compare(orapo: Orapo, tmp_path: Path) -> None:
    small = ("data.source.num_test=4", "data.max_test_studies=4", "training.num_steps=2", "trainer.accelerator=cpu")
    orapo("train", "+experiment=smoke", *small, cwd=tmp_path)
    (folder,) = (tmp_path / "logs").glob("*/*/")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["git_commit"] is None
    orapo("evaluate", f"run={folder}", cwd=tmp_path)
    assert list(folder.glob("evaluation/*/reports.jsonl"))
    assert "1 run in 1 group" in orapo("compare", "logs", cwd=tmp_path)


def test_evaluate_of_the_embedded_policy(orapo: Orapo, tmp_path: Path) -> None:
    orapo("evaluate", "data.source.num_test=4", "shuffled_images=false", "accelerator=cpu", cwd=tmp_path)
    assert list((tmp_path / "evaluations").rglob("reports.jsonl"))


def test_a_sweep_in_two_processes(orapo: Orapo, tmp_path: Path) -> None:
    small = ("data.source.num_test=2", "training.num_steps=1", "trainer.accelerator=cpu")
    two = ("hydra/launcher=slots", "hydra.launcher.n_jobs=2")
    orapo("train", "-m", "+experiment=smoke", "objective.alpha=0.3,0.5", *small, *two, cwd=tmp_path)
    assert len(list((tmp_path / "sweeps").rglob("summary.json"))) == 2


def test_what_reads_and_writes_tables(orapo: Orapo, tmp_path: Path) -> None:
    orapo("data", "miniature", "mimic_cxr", "mini", "--num-patients", "10", cwd=tmp_path)
    assert "no problem found" in orapo("data", "check", "mimic_cxr", "--root", "mini", cwd=tmp_path)
    (tmp_path / "reports.csv").write_text("study_id,report\n1,No effusion.\n2,Small effusion.\n")
    orapo("label", "reports.csv", "labels.csv", "--workers", "2", cwd=tmp_path)
    assert (tmp_path / "labels.csv").read_text().count("\n") == 3
    (tmp_path / "report.txt").write_text("Small left pleural effusion.")
    assert "read by offline" in orapo("judge", "report", "--report", "report.txt", cwd=tmp_path)


def test_the_doctor_finds_the_package_whole(orapo: Orapo, tmp_path: Path) -> None:
    assert orapo("doctor", cwd=tmp_path).endswith("training is possible\n")
    assert not os.listdir(tmp_path)
